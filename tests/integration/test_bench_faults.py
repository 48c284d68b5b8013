"""bench faults: its schedules, its relays, its verdict; that it finds nothing here, and that it would find what is broken."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

import pytest

from moodmesh.nodes.bench import homes
from moodmesh.nodes.bench.checkpoint import add
from moodmesh.nodes.bench.failover import run as failover
from moodmesh.nodes.bench.faults import harness, play
from moodmesh.nodes.bench.faults.harness import Bench, Outcome, read
from moodmesh.nodes.bench.faults.schedule import STEPS, Action, schedule
from moodmesh.nodes.bench.relay import Relays
from moodmesh.nodes.errors import UsageError

JOURNAL, EXECUTOR, PURSUIT = (f"moodmesh.nodes.jobs.{name}" for name in ("journal", "executor", "pursuit"))
UNLESS_ENDED = "\"WHERE id=? AND status IN ('PENDING', 'RUNNING')\",\n                "
ALWAYS = '"WHERE id=?",\n                '
CLEAN = ("runs", "lost", "duplicates", "orphans", "violations")
PARTED = 0
"""A seed whose run parts a long job's device from its owner."""


def mutation(module: str, old: str, new: str) -> str:
    """Statements that change a module of a daemon before anything else imports it."""
    return (
        f"import inspect, {module} as m\nsource = inspect.getsource(m)\nassert {old!r} in source\n"
        f"exec(compile(source.replace({old!r}, {new!r}), m.__file__, 'exec'), m.__dict__)"
    )


class Caught(Exception):
    """A breach was found."""


def race(seed: int) -> list[Action]:
    """Jobs that are cancelled at about the moment of their result, on a slow disk."""
    rng = random.Random(seed)
    jobs = [(n * 0.3, Action(n * 0.3, "submit", "ann", "bob", 0.1, f"{n} work")) for n in range(8)]
    cancels = [Action(at + rng.uniform(0.2, 0.9), "cancel", "ann", text=job.text.split()[0]) for at, job in jobs]
    return sorted([Action(0.0, "slow", "ann", value=0.12), *(job for _, job in jobs), *cancels])


def death(who: str, task: str, on: str = "") -> Callable[[int], list[Action]]:
    """Somebody is killed in the midst of jobs of ann's, and comes back."""
    jobs = [Action(0.0, "submit", "ann", on, 1.0, f"{n} {task}") for n in range(3)]
    return lambda seed: [*jobs, Action(1.6 + seed / 10, "kill", who), Action(1.8 + seed / 10, "start", who)]


# -- schedules -------------------------------------------------------------------------------------------------------------


def test_a_seed_is_its_schedule() -> None:
    assert schedule(1) == schedule(1) != schedule(2)
    assert all(found == sorted(found) for found in map(schedule, range(50)))


def test_every_fault_comes_up_and_every_lasting_one_ends() -> None:
    actions = [action for seed in range(500) for action in schedule(seed)]
    done = {action.do for action in actions}
    assert done == {name.removeprefix("_do_") for name in vars(play.Play) if name.startswith("_do_")}
    assert {a.text for a in actions if a.do == "start"} == {"", *STEPS}
    for seed in range(500):
        found = schedule(seed)
        for begin, end in (("stop", "continue"), ("fill", "free"), ("kill", "start"), ("hold", "heal"), ("cut", "heal")):
            for one in (a for a in found if a.do == begin):
                assert [a for a in found if (a.do, a.who, a.other) == (end, one.who, one.other) and a.at >= one.at], (seed, one)


# -- relays ----------------------------------------------------------------------------------------------------------------


@contextmanager
def relayed() -> Iterator[tuple[Relays, int]]:
    """Relays of two devices; the port at which `a` reaches an echo that is `b`."""
    ports = {"a": homes.free_port(), "b": homes.free_port()}
    relays = Relays(ports)
    try:
        yield relays, ports["b"]
    finally:
        relays.close()


async def test_a_wire_passes_delays_holds_and_breaks() -> None:
    with relayed() as (relays, port):
        ended = asyncio.Event()

        async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                while data := await reader.read(100):
                    writer.write(data)
            writer.transport.abort()
            ended.set()

        server = await asyncio.start_server(echo, "127.0.0.1", port)
        reader, writer = await asyncio.open_connection("127.0.0.1", relays.routes["a"][port])

        async def answer(word: bytes, seconds: float = 5) -> float:
            began = time.monotonic()
            writer.write(word)
            async with asyncio.timeout(seconds):
                assert await reader.readexactly(len(word)) == word
            return time.monotonic() - began

        assert await answer(b"one") < 1
        relays.set("a", "b", delay_s=0.2)
        await asyncio.sleep(0.05)
        assert await answer(b"two") >= 0.4
        relays.set("b", "a", "hold")
        await asyncio.sleep(0.05)
        heard = relays.heard("b", "a")
        with pytest.raises(TimeoutError):
            await answer(b"three", 0.3)
        assert relays.heard("b", "a") == heard
        relays.heal()
        assert await reader.readexactly(5) == b"three"
        assert relays.heard("b", "a") > heard
        relays.set("a", "b", "cut")
        with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
            await answer(b"four")
        writer.close()
        server.close()
        await ended.wait()
        await asyncio.sleep(0)  # its transport ends in the next step of the loop


# -- runs ------------------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_few_runs_find_nothing_and_go_on_where_they_were_broken_off(tmp_path: Path) -> None:
    begin = next(s for s in range(1000) if all(schedule(s + n)[-1].at < 3 for n in range(2)))
    first = harness.run(True, runs=1, seed=begin, out=tmp_path)
    assert {k: first.summary[k] for k in CLEAN} == {"runs": 1, **dict.fromkeys(CLEAN[1:], 0)}, first.notes
    before = (tmp_path / harness.CHECKPOINT).read_text()
    more = harness.run(True, runs=2, out=tmp_path, resume=True)
    assert {k: more.summary[k] for k in CLEAN} == {"runs": 2, **dict.fromkeys(CLEAN[1:], 0)}, more.notes
    after = (tmp_path / harness.CHECKPOINT).read_text()
    assert (after[: len(before)], after.count("\n")) == (before, 2), "one more, and the one before not again"
    assert sum(outcome.jobs["SUCCEEDED"] for outcome in read(tmp_path / harness.CHECKPOINT)) > 2


def test_a_checkpoint_that_was_cut_off_is_read_to_its_last_whole_line(tmp_path: Path) -> None:
    file = tmp_path / harness.CHECKPOINT
    assert read(file) == []
    one = Outcome(7, 1.0, {"SUCCEEDED": 3})
    file.write_text(json.dumps(asdict(one)) + '\n{"seed": 8, "sec')
    assert read(file) == [one]
    add(file, asdict(one))
    assert read(file) == [one, one], "the next one has a line of its own"
    with pytest.raises(UsageError, match="--resume needs --out"):
        harness.run(True, resume=True)


@pytest.mark.slow
def test_a_breach_is_counted_its_homes_are_kept_and_its_seed_is_told(tmp_path: Path) -> None:
    patch = mutation(JOURNAL, "(attempt.number, outputs", "(attempt.number + 1, outputs")
    found: list[Outcome] = []
    Bench(patch, tmp_path).go([5], found.append)
    kinds = {breach["kind"] for breach in found[0].breaches}
    assert "winner" in kinds
    assert (Path(found[0].kept) / "ann" / "moodmesh.db").exists()
    report = harness.report(True, found)
    assert report.failed
    assert report.summary["violations"] >= 1
    assert "--replay 5" in report.notes[0]


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("kind", "draw", "seeds", "patch"),
    [
        ("changed", race, range(8), mutation(JOURNAL, UNLESS_ENDED + "(attempt.number", ALWAYS + "(attempt.number")),
        ("lease", schedule, [PARTED], mutation(EXECUTOR, "sleep(lease_s)", "sleep(1000)")),
        ("lost", death("ann", "work"), range(4), mutation(JOURNAL, "WHERE (finished IS NULL OR ?)", "WHERE (0 AND ?)")),
        ("effects", death("bob", "effect", "bob"), range(8), mutation(PURSUIT, "effects and may_have_run", "effects and 0")),
    ],
)  # fmt: skip
def test_what_is_broken_is_found(
    kind: str, draw: Callable[[int], list[Action]], seeds: Iterable[int], patch: str, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    """A daemon changed in this way breaks a promise; unchanged, the same runs find nothing."""
    monkeypatch.setattr(play, "PEACE_S", 25.0)
    found: list[str] = []

    def done(outcome: Outcome) -> None:
        found.extend(breach["kind"] for breach in outcome.breaches)
        if kind in found:
            raise Caught

    with pytest.raises(Caught):
        Bench(patch, tmp_path, draw).go(list(seeds), done, 2)
    found.clear()
    Bench("", tmp_path, draw).go(list(seeds)[:2], done, 2)
    assert found == []


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_failover_bench_ends(tmp_path: Path) -> None:
    assert set(failover(True, runs=1).summary) == {"crash_p50_s", "crash_p95_s", "silent_p50_s", "silent_p95_s"}
