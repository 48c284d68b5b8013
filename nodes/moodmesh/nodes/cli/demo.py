"""demo, bench, results: what a newcomer and a sceptic run first."""

from __future__ import annotations

import contextlib
import json as jsonlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from moodmesh.nodes.cli.output import Json, emit, say
from moodmesh.nodes.errors import UsageError

if TYPE_CHECKING:
    from moodmesh.nodes.bench.report import Report


BENCHES = {
    "submit": "from a request to the task's first line on another device; Dask beside it, where installed",
    "discovery": "from `up` to listed on both sides",
    "pairing": "from a typed code to both stores committed",
    "idle": "memory and CPU of a daemon with nothing to do",
    "fuzz": "every parser that faces others, under edits of valid input",
    "timing": "whether the time of an operation tells something about a secret",
    "faults": "real daemons under random faults: --runs, --seed, --replay, --resume",
    "failover": "until a job of a lost device runs elsewhere: --runs",
    "routing": "simulated fleets, beside Ray and others: --runs, --resume, --so-far; --real needs moodmesh[ray] for Ray",
    "scale": "what a decision costs, and the bytes of gossip, at 2 to 200 devices",
    "campus": "up to 10,000 simulated devices that each know some forty: --resume",
    "calibration": "predicted against actual seconds of emotion.text: --runs",
    "roomsum": "what the sum of a room costs its members, beside a plain SecAgg and Flower's (--flower: a Python that has it)",
    "roomscale": "rooms of 10 to 1000 people in memory: processor time, bytes and messages by role, also when a tenth vanishes",
    "roomfaults": "a room of twelve real daemons that are killed, stopped, and come and go: --runs (epochs), --seed",
    "roommood": "how far off the mood of a room is, simulated, and audits of its noise; on annotations of --data",
    "generate": "music: tokens a second, beside bare onnxruntime and PyTorch; a piece over the mesh; needs moodmesh[train]",
    "ble": "Bluetooth on virtual radios: found, connected, TLS, round trips, kB/s beside bare GATT; needs moodmesh[bench-ble]",
}
"""What each measures, and which options it has beside --quick, --out and --json."""


demo_app = typer.Typer(invoke_without_command=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this noun."""
    app.add_typer(demo_app, name="demo")
    app.command(epilog="\b\n" + "\n".join(f"{name:<11} {what}" for name, what in BENCHES.items()))(bench)
    app.command()(results)


@demo_app.callback()
def demo(
    context: typer.Context,
    input: Annotated[Path | None, typer.Option("--input", help="A text to read instead of our diary page.")] = None,
    picture: Annotated[Path, typer.Option(help="Where the mood curve goes, as PNG.")] = Path("moodmesh-demo.png"),
    duty: Annotated[list[str] | None, typer.Option(help="Another throttle for a device, like laptop=1.0.")] = None,
    json: Json = False,
) -> None:
    """Three daemons on this machine find each other, pair, run a job on the best one, survive its death, and turn the mood
    of their room into music (beside the picture, as .mid and .ogg).

    Example: moodmesh demo --input diary.txt
    """
    if context.invoked_subcommand is not None:
        if any(getattr(context.get_parameter_source(name), "name", "DEFAULT") != "DEFAULT" for name in context.params):
            raise UsageError(f"options of `demo {context.invoked_subcommand}` come after that word")
        return
    from moodmesh.nodes.demo.story import Story, page_of

    duties = dict(_duty(pair) for pair in duty or [])
    _drawable(picture)
    page = page_of(input)
    found = Story(page, picture.absolute(), duties, told=say if json else print).run()
    if json:
        print(jsonlib.dumps(found))
    else:
        t = found["timings"]
        print(
            f"\nfound each other in {t['discovery_s']:.2f} s, paired in {t['pairing_s']:.2f} s each, "
            f"first line of the job after {t['submit_to_start_ms']:.0f} ms, all in {t['total_s']:.0f} s"
        )


@demo_app.command()
def room(
    people: Annotated[int, typer.Option(help="How many; up to 12 with a real daemon each, more of them in memory.")] = 8,
    epochs: Annotated[int, typer.Option(min=1, help="How many times ten minutes the story has.")] = 6,
    kind: Annotated[
        Literal["circle", "on-demand", "ambient"] | None,
        typer.Option(help="Otherwise 3 and 4 people are a circle, 5 to 29 on-demand, 30 and more ambient."),
    ] = None,
    data: Annotated[Path | None, typer.Option(help="Moods from annotations of CEAP-360VR, as in bench roommood.")] = None,
    picture: Annotated[Path, typer.Option(help="Where the curves of mood and truth go, as PNG.")] = Path("moodmesh-room.png"),
    seed: Annotated[int, typer.Option(min=0, help="Another story and other moods; noise and keys are never seeded.")] = 1,
    json: Json = False,
) -> None:
    """People come, go and crash, and their room tells how it feels: beside the truth, which only the demo knows.

    Example: moodmesh demo room --people 8
    """
    from moodmesh.nodes.demo.room.story import RoomStory

    _drawable(picture)
    found = RoomStory(people, picture.absolute(), epochs, kind, data, seed, told=say if json else print).run()
    if json:
        print(jsonlib.dumps(found))
    elif found["rms_error"] is not None:
        print(
            f"\nerror per axis {found['rms_error']:.2f} (RMS), radius {found['mean_radius']:.2f} on average, the truth "
            f"within it {found['within_radius']:.0%} of the time; {found['joined']} joined, {found['left']} left, "
            f"{found['crashed']} crashed"
        )


@demo_app.command()
def bluetooth(json: Json = False) -> None:
    """Two devices without a network meet, pair, share a mood and work over Bluetooth; then there is a network.

    Their radios are virtual; all else is the product. Example: moodmesh demo bluetooth
    """
    from moodmesh.nodes.demo.bluetooth.story import play

    found = play(say if json else print)
    if json:
        print(jsonlib.dumps(found))
    else:
        t = found["timings"]
        print(
            f"\nseen in {t['seen_s']:.1f} s, paired in {t['paired_s']:.1f} s, a small job in {t['small_job_s']:.1f} s, "
            f"on the network {t['moved_s']:.1f} s after the cable, all in {t['total_s']:.0f} s"
        )


def _drawable(picture: Path) -> None:
    if not picture.absolute().parent.is_dir():
        raise UsageError(f"--picture {picture}: there is no directory {picture.absolute().parent}; make it first")


def _duty(pair: str) -> tuple[str, float]:
    from moodmesh.nodes.demo.scene import demo_settings

    name, _, share = pair.partition("=")
    known = demo_settings({})
    with contextlib.suppress(ValueError):
        if name in known and 0 < float(share) <= 1:
            return name, float(share)
    raise UsageError(f"--duty {pair}: write NAME=SHARE, NAME one of {', '.join(known)}, SHARE over 0 and at most 1")


Quick = Annotated[bool, typer.Option("--quick", help="A minute or so on an idle machine, and marked as such.")]


def bench(
    name: Annotated[
        str,
        typer.Argument(help=f"One of those below: {', '.join(BENCHES)}."),
    ],
    quick: Quick = False,
    out: Annotated[Path | None, typer.Option(help="Also write the JSON into this directory, like docs/results.")] = None,
    runs: Annotated[int | None, typer.Option(min=1, help="How many runs; routing: how many seeds.")] = None,
    seed: Annotated[
        int | None, typer.Option(min=0, help="faults: of the first run, each next has the next; roomfaults.")
    ] = None,
    replay: Annotated[int | None, typer.Option(min=0, help="faults: show and run the schedule of this seed alone.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="faults, routing, campus: only what --out lacks.")] = False,
    so_far: Annotated[bool, typer.Option("--so-far", help="routing: only tell what the runs kept in --out come to.")] = False,
    real: Annotated[bool, typer.Option("--real", help="routing: is the simulator right? On daemons and on Ray.")] = False,
    flower: Annotated[Path | None, typer.Option(help="roomsum: the Python of an environment that has flwr 1.41.")] = None,
    data: Annotated[Path | None, typer.Option(help="roommood: a directory with the annotations of CEAP-360VR.")] = None,
    json: Json = False,
) -> None:
    """Measure this machine: real daemons, the reference in the same run. `faults` breaks them, and fails if a promise broke;
    `routing` simulates whole fleets; with --real it replays one on real daemons and on a real Ray.

    Example: moodmesh bench submit --quick
    """
    from inspect import signature

    if name not in BENCHES:
        raise UsageError(f"no benchmark {name!r}; there are {', '.join(BENCHES)}")
    measure = benches()[name]
    takes = signature(measure).parameters
    options: dict[str, object] = {"runs": runs, "seed": seed, "replay": replay, "resume": resume or None, "real": real or None}
    options |= {"so_far": so_far or None, "flower": flower, "data": data}
    given = {option: value for option, value in options.items() if value is not None}
    for option in given.keys() - takes.keys():
        raise UsageError(f"bench {name} has no --{option.replace('_', '-')}; `moodmesh bench --help` says which has")
    say(f"measuring {name}; this takes {'a minute or so' if quick else 'some minutes'}")
    report = measure(quick, **given, **({"out": out} if "out" in takes else {}))
    if out is not None and replay is None:
        say(f"wrote {report.write(out)}")
    emit(report.data(), json, report.text)
    if report.failed:
        raise typer.Exit(1)


def benches() -> dict[str, Callable[..., Report]]:
    """The benchmarks by name; importing them is slow."""
    from moodmesh.nodes.bench import calibration, failover, faults, fuzz, generate, idle, mesh, roomfaults, submit, timing
    from moodmesh.nodes.bench.ble import bench as ble
    from moodmesh.nodes.bench.campus import bench as campus
    from moodmesh.nodes.bench.roommood import bench as roommood
    from moodmesh.nodes.bench.roomscale import bench as roomscale
    from moodmesh.nodes.bench.roomsum import bench as roomsum
    from moodmesh.nodes.bench.routing import bench as routing
    from moodmesh.nodes.bench.scale import bench as scale

    return {
        "submit": submit.run, "discovery": mesh.discovery, "pairing": mesh.pairing, "idle": idle.run, "fuzz": fuzz.run,
        "timing": timing.run, "faults": faults.run, "failover": failover.run, "routing": routing.run,
        "scale": scale.run, "campus": campus.run, "calibration": calibration.run, "roomsum": roomsum.run,
        "roomscale": roomscale.run, "roomfaults": roomfaults.run, "roommood": roommood.run, "generate": generate.run,
        "ble": ble.run,
    }  # fmt: skip


_TABLES = {"generation": "moodmesh.tasks.music.results.generation"}
"""Tables that have a name of their own; the others are named after their package."""


def results(
    name: Annotated[str, typer.Argument(help="A table of docs/results, like emotion.text.")],
    data: Annotated[Path | None, typer.Option(help="The research data; MOODMESH_DATA otherwise.")] = None,
    retrain: Annotated[bool, typer.Option("--retrain", help="Fill the cache of predictions first; it can be resumed.")] = False,
    check: Annotated[bool, typer.Option("--check", help="Fail when a mean leaves its stored interval.")] = False,
    quick: Quick = False,
    json: Json = False,
) -> None:
    """Compute a table of docs/results anew.

    Example: moodmesh results emotion.text --data ~/research-data
    """
    from importlib import import_module, util

    module = _TABLES.get(name, f"moodmesh.tasks.{name}.results")
    try:
        known = util.find_spec(module) is not None
    except (ImportError, ValueError):
        known = False
    if not known:
        raise UsageError(f"no table {name!r}; there are emotion.text, emotion.text.escalation, music.judge, generation")
    options = {"--retrain": retrain, "--check": check, "--quick": quick, "--json": json}
    arguments = [*(["--data", str(data)] if data else []), *(option for option, given in options.items() if given)]
    try:
        raise typer.Exit(int(import_module(module).main(arguments)))
    except ModuleNotFoundError as error:
        raise UsageError(f"this needs what training needs ({error.name}): pip install 'moodmesh[train]'") from None
