"""job submit, list, show, explain, logs, cancel, result, adopt."""

from __future__ import annotations

import base64
import contextlib
import json as jsonlib
import math
import re
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from moodmesh.nodes.cli.client import Client, outliving
from moodmesh.nodes.cli.output import Json, ago, columns, emit, progress, put, say
from moodmesh.nodes.errors import NodeError, UsageError

job_app = typer.Typer(help="Submit jobs and look into them. An id may be shortened to a unique prefix.", no_args_is_help=True)
Id = Annotated[str, typer.Argument(help="Job id, or the beginning of one.")]
LARGEST_INPUT = 64 * 2**20
EMPTY = "(empty, perhaps an unset variable)"
WAITS = {"scoring": "waits for a device that can run it", "pooled": "waits for a better device"}
"""What the first steps of a job are called for people; `--json` has the words of the journal."""
PREDICTED = (
    "Each line: the mean of the seconds predicted before it ran. total = the longer of transfer (the input's way) and queue\n"
    "(until a slot is free) + load (the model into memory) + service (the work itself) + back (the result's way) + hand\n"
    "(messages, journals). The smallest total wins; displaced, where it is shown, is added for that: what longer jobs that\n"
    "wait there would lose. Within 2 % the asking device and measured ones are preferred. What is held back goes to whoever\n"
    "falls free."
)


def add_to(app: typer.Typer) -> None:
    """Register the commands of this noun."""
    app.add_typer(job_app, name="job")


@job_app.command()
def submit(
    task: Annotated[str, typer.Argument(help="A task name, like emotion.text; `moodmesh tasks` lists them.")],
    param: Annotated[list[str] | None, typer.Option("-p", "--param", help="A parameter, as key=value (JSON or text).")] = None,
    input: Annotated[Path | None, typer.Option("--input", help="The input file; - for standard input.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="One item per line of the input.")] = False,
    variant: Annotated[str | None, typer.Option(help="Only this variant of the model.")] = None,
    on: Annotated[str | None, typer.Option(help="Only this peer; `here` for this device.")] = None,
    by: Annotated[str | None, typer.Option(help="The best quality that is done by then, like 10s or 2min.")] = None,
    expire: Annotated[
        str | None, typer.Option(help="Stop it if it has no result by then, like 10min; --by never does.")
    ] = None,
    wait_for_device: Annotated[
        str | None,
        typer.Option(help="Fail when no device can run it for so long, like 10min; by default `jobs.wait_for_device_h`, 24h."),
    ] = None,
    quality: Annotated[
        str, typer.Option(help="best: no smaller model while a better one is present. fast: the soonest.")
    ] = "best",
    escalate: Annotated[
        str | None,
        typer.Option(
            metavar="SHARE",
            help="The small model answers here; at most this share (0.3 or 30%) goes to the large one elsewhere: what it is "
            "expected to improve most. With --by, what is not back by then stays the small one's.",
        ),
    ] = None,
    public: Annotated[bool, typer.Option("--public", help="Personal input may go to devices that are not your own.")] = False,
    seed: Annotated[int | None, typer.Option(help="Same seed, same answer.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    json: Json = False,
) -> None:
    """Hand in a job; it runs on the device that returns its result soonest.

    Example: moodmesh job submit emotion.text --input diary.txt --wait --json

    Example: moodmesh job submit emotion.text --input diary.txt --escalate 30% --wait

    Example: moodmesh job submit emotion.text --input diary.txt --wait-for-device 10min
    """
    params = dict(_param(pair) for pair in param or [])
    if lines:
        params["lines"] = True
    body = {
        "task": task,
        "params": params,
        "input": base64.b64encode(_read(input)).decode(),
        "variant": variant,
        "on": on,
        "by_s": time_of("--by", by) if by is not None else None,
        "expire_s": time_of("--expire", expire) if expire is not None else None,
        "wait_s": time_of("--wait-for-device", wait_for_device) if wait_for_device is not None else None,
        "quality": quality,
        "escalate": _share(escalate) if escalate is not None else None,
        "public": public,
        "seed": seed,
    }
    job = Client().post("jobs", body=body)
    _handed_in(job, wait, json)


@job_app.command("list")
def list_(
    limit: Annotated[int, typer.Option(help="At most so many of each device, the newest.", min=1, max=1000)] = 50,
    here: Annotated[bool, typer.Option("--here", help="Only jobs that were submitted on this device.")] = False,
    json: Json = False,
) -> None:
    """The newest jobs: of this device, and of every other one whose jobs it may see.

    Example: moodmesh job list
    """
    found = Client().get("jobs", limit=limit, **({} if here else {"all": 1}))
    now = time.time()
    rows = [
        (j["id"][:8], j["task"], j["variant"], state(j), _device(j),
         ago(now - j["created"]) + " ago", _owner(j))
        for j in found["jobs"]
    ]  # fmt: skip
    emit(found, json, lambda: columns(rows, ("id", "task", "variant", "status", "device", "created", "owner")))


def _owner(job: dict[str, Any]) -> str:
    """Who submitted it; of another device's job, how old this news is; of an adopted one, what it was before."""
    name = "here" if job["owner_here"] else job["owner"]
    notes = ["owner absent"] if job["owner_absent"] else []
    notes += [f"as of {ago(job['age_s'])} ago"] if job["age_s"] else []
    notes += [f"adopted from {job['adopted_from'][:8]}"] if job["adopted_from"] else []
    return f"{name} ({', '.join(notes)})" if notes else str(name)


def _submitted(job: dict[str, Any]) -> list[str]:
    """Whose job it is, where it is not simply this device's."""
    return [] if job["owner_here"] and not job["adopted_from"] else [f"  submitted by {_owner(job)}"]


def _device(job: dict[str, Any]) -> str:
    """Where it ran or runs."""
    return _named(job["ran_on"] or (job["attempts"][-1]["name"] if job["attempts"] else ""))


def _named(devices: str) -> str:
    """Names of devices; a peer that was forgotten has none any more, only its id."""
    return re.sub(r"\b([a-z2-7]{8})[a-z2-7]{44}\b", r"\1 (forgotten)", devices)


@job_app.command()
def show(id: Id, json: Json = False) -> None:
    """One job and its attempts, of this device or of another one whose jobs it may see.

    Example: moodmesh job show 7f3a
    """
    job = Client().get("jobs", id)
    emit(job, json, lambda: describe(job))


@job_app.command()
def explain(id: Id, json: Json = False) -> None:
    """Why a job ran where it ran: every device's predicted seconds, or the gate that barred it.

    Example: moodmesh job explain 7f3a
    """
    found = Client().get("jobs", id, "explain")
    emit(found, json, lambda: explained(found))


@job_app.command()
def logs(
    id: Id,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on until the job ends.")] = False,
    json: Json = False,
) -> None:
    """What the task said while it ran.

    Example: moodmesh job logs -f 7f3a
    """
    client = Client()
    found = client.get("jobs", id, "logs")
    if json and not follow:
        emit(found, json, list)
        return
    if not found.get("owner_here", True):
        say(f"# the last lines, told by {_owner(found)}" if found["lines"] else f"# {_owner(found)} told of no line")
    for line in found["lines"]:
        put(jsonlib.dumps(line) if json else line["line"])
    if follow and found["status"] in ("PENDING", "RUNNING"):
        for event in client.events("jobs", found["id"], "events"):
            if event["event"] == "log":
                put(jsonlib.dumps(event) if json else event["line"])


@job_app.command()
def cancel(id: Id, json: Json = False) -> None:
    """Stop a job; its worker is gone within 2 s. A job of another own device is stopped by that one. While that one is away,
    what runs of it within reach is ended, and it stops the job when it is back.

    Example: moodmesh job cancel 7f3a
    """
    job = Client().post("jobs", id, "cancel")
    emit(job, json, lambda: [f"{job['id'][:8]}: {job['message']}" if job["cancel_asked"] else f"{job['id'][:8]} is stopped"])


@job_app.command()
def forget(id: Id, json: Json = False) -> None:
    """Delete a job of this device that has ended: what it was asked, its result and its log, overwritten on the disk. What own
    devices of yours were told of it (`moodmesh job list` there: no input, no result) goes after seven days.

    Example: moodmesh job forget 7f3a
    """
    found = Client().delete("jobs", id)
    emit(found, json, lambda: [f"{found['forgotten'][:8]}: nothing of it is left here"])


@job_app.command()
def result(
    id: Id,
    out: Annotated[Path | None, typer.Option("--out", help="Write the result's files into this directory.")] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for it.")] = False,
    json: Json = False,
) -> None:
    """The result of a job, with who made it.

    Example: moodmesh job result 7f3a --json
    """
    client = Client()
    job = _follow(id) if wait else client.get("jobs", id)
    if out is not None and job["status"] == "SUCCEEDED":
        out.mkdir(parents=True, exist_ok=True)
        files = {out / Path(name).name: name for name in client.get("jobs", job["id"], "result")["files"]}
        if there := next((file for file in files if file.exists()), None):
            raise UsageError(f"{there} is there already: name another folder, or move it away")
        for file, name in files.items():
            file.write_bytes(client.bytes("jobs", job["id"], "files", name))
            say(f"wrote {file}")
    _finish(job, json)


@job_app.command()
def adopt(
    id: Id,
    param: Annotated[list[str] | None, typer.Option("-p", "--param", help="The job's parameters, as key=value.")] = None,
    input: Annotated[Path | None, typer.Option("--input", help="The job's input file; - for standard input.")] = None,
    lines: Annotated[bool, typer.Option("--lines", help="One item per line of the input.")] = False,
    on: Annotated[str | None, typer.Option(help="Only this peer; `here` for this device.")] = None,
    public: Annotated[bool, typer.Option("--public", help="Personal input may go to devices that are not your own.")] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the result and print it.")] = False,
    json: Json = False,
) -> None:
    """Run a job of a device that is gone anew, as a job of this one. Input and parameters are not known here: give them again.

    Example: moodmesh job adopt 7f3a --input diary.txt --wait
    """
    params = dict(_param(pair) for pair in param or []) | ({"lines": True} if lines else {})
    data = base64.b64encode(_read(input)).decode()
    job = Client().post("jobs", id, "adopt", body={"params": params, "input": data, "on": on, "public": public})
    _handed_in(job, wait, json)


def _handed_in(job: dict[str, Any], wait: bool, json: bool) -> None:
    """Say what it is worth, then print the id of a new job, or wait for its result."""
    if job["quality"] and job["quality"]["words"]:
        say(job["quality"]["words"])
    if wait:
        _finish(_follow(job["id"]), json)
        return
    emit(job, json, lambda: [job["id"]])
    if job["message"]:
        say(f"it waits: {job['message']}")


def _follow(job_id: str) -> dict[str, Any]:
    """Show progress until the job ends; the job then."""
    client = Client()
    say(f"job {job_id}")
    with outliving(job_id):
        with progress("waiting for a device") as show_progress:
            for event in client.events("jobs", job_id, "events"):
                if event["event"] == "job":
                    words = event["message"] or f"{event['status'].lower()} {event['task']}"
                    show_progress(event["share"], words)
        found: dict[str, Any] = client.get("jobs", job_id)
        return found


def _finish(job: dict[str, Any], json: bool) -> None:
    if job["status"] != "SUCCEEDED" and json and job["status"] in ("FAILED", "STOPPED"):
        print(jsonlib.dumps(job))
        raise typer.Exit(1)
    if job["status"] in ("FAILED", "STOPPED"):
        raise unsuccessful(job)
    found = Client(timeout=120).get("jobs", job["id"], "result")
    emit(found, json, lambda: result_lines(found))


def unsuccessful(job: dict[str, Any]) -> NodeError:
    """Why there is no result of a job; one that its user stopped has nothing to say of itself."""
    why = f": {job['message']}" if job["message"] else ""
    return NodeError(f"job {job['id'][:8]} is {state(job)}{why}; see `moodmesh job explain {job['id'][:8]}`")


def result_lines(found: dict[str, Any]) -> list[str]:
    """A result for people: where it ran, then a row per item when it has items, else its JSON."""
    items = found["result"].get("items")
    head = f"# {found['task']} {found['variant']} on {_named(found['ran_on'])} in {found['provenance']['seconds']:.3g} s"
    say(f"{head}\n# {found['why']}")
    if found["quality"] and found["quality"]["words"]:
        say(f"# {found['quality']['words']}")
    if not isinstance(items, list) or not items or not isinstance(items[0], dict):
        return [jsonlib.dumps(found["result"], indent=2, ensure_ascii=False)]
    names = [key for key, value in items[0].items() if not isinstance(value, (dict, list))]
    return columns([[_cell(item.get(name)) for name in names] for item in items], names)


def _cell(value: object) -> str:
    return f"{value:+.2f}" if isinstance(value, float) else "" if value is None else str(value)


def state(job: dict[str, Any]) -> str:
    """Status and substate, with the share done while it runs."""
    share = f" {job['share']:.0%}" if job["status"] == "RUNNING" else ""
    detail = WAITS.get(job["substate"], job["substate"]) if job["substate"] != job["status"].lower() else ""
    asked = "(cancel asked for)" if job.get("cancel_asked") else ""
    return " ".join(filter(None, (f"{job['status']}{share}", detail, asked)))


def describe(job: dict[str, Any]) -> list[str]:
    """A job and its attempts for people; of a job in two parts, both."""
    lines = [f"{job['id']}  {job['task']}  {state(job)}" + (f"  on {_named(job['ran_on'])}" if job["ran_on"] else "")]
    lines += _submitted(job)
    lines += [f"  {words}" for words in (job["message"], (job["quality"] or {}).get("words")) if words]
    lines += [f"  {job['streamed']} parts of it are here, {job['streamed_bytes']} bytes"] if job.get("streamed") else []
    for part in job.get("parts", []):
        lines += [f"  {part['role']}: {line}" for line in describe(part)]
    for a in job["attempts"]:
        times = ", ".join(f"{k} at {a[k] - job['created']:.3f} s" for k in ("reserved", "started", "finished") if a[k])
        lines.append(
            f"  attempt {a['number']}  {_named(a['name'])}  {a['variant']}  {a['state']}  {times}  {a['message']}".rstrip()
        )
        lines += [f"    {line}" for line in compared(a)]
    return lines


def compared(attempt: dict[str, Any]) -> list[str]:
    """Predicted against actual, of an attempt with a result."""
    from moodmesh.nodes.placement.afterwards import words

    return words(attempt["compared"]) if attempt.get("compared") else []


def ended(attempt: dict[str, Any]) -> list[str]:
    """How an attempt ended: what it took, or what became of it."""
    if attempt["state"] == "COMMITTED" or not attempt["finished"]:
        return compared(attempt)
    return [f"{attempt['state'].lower()} after {attempt['finished'] - attempt['created']:.1f} s"]


def explained(found: dict[str, Any]) -> list[str]:
    """The tables of every attempt."""
    from moodmesh.nodes.placement.explain import table

    lines = [f"{found['id'][:8]}  {found['task']}  {state(found)}", *([] if "role" in found else _submitted(found))]
    lines += [] if "parts" in found else PREDICTED.splitlines()
    lines += [found["message"]] if found["message"] and found["status"] in ("PENDING", "RUNNING") else []
    if "parts" in found:
        lines += [found["quality"]["words"], *([found["why"]] if found["why"] else [])]
        for part in found["parts"]:
            lines += ["", f"{part['role']} part, {part['variant']}:", *explained(part)]
    elif found["quality"] and found["quality"]["words"]:
        lines.append(found["quality"]["words"])
    for attempt, explain_ in zip(found["attempts"], found["tables"], strict=True):
        lines += [f"attempt {attempt['number']} on {_named(attempt['name'])}: {explain_['why']}", *table(explain_)]
        lines += [f"  {line}" for line in ended(attempt)]
        if attempt["message"]:
            lines.append(f"  {attempt['message']}")
    if found["now"]:
        lines += [("then: " if found["owner_absent"] else "now: ") + found["now"]["why"], *table(found["now"])]
    return lines


def _read(file: Path | None) -> bytes:
    if file is None:
        return b""
    try:
        with sys.stdin.buffer if str(file) == "-" else file.open("rb") as stream:
            data = stream.read(LARGEST_INPUT + 1)
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; check the path and its permissions") from None
    if len(data) > LARGEST_INPUT:
        raise UsageError(f"{file} has more than 64 MiB, the most that can be handed in: split it")
    return data


def _param(pair: str) -> tuple[str, Any]:
    key, equals, value = pair.partition("=")
    if not equals:
        raise UsageError(f"-p {pair}: write key=value")
    try:
        return key, jsonlib.loads(value)
    except (ValueError, RecursionError):  # no JSON, or none that Python reads: the task's schema judges the text
        return key, value


def _share(text: str) -> float:
    with contextlib.suppress(ValueError):
        share = float(text[:-1]) / 100 if text.endswith("%") else float(text)
        if 0 < share <= 1:
            return share
    raise UsageError(f"--escalate {text or EMPTY}: write the share that may go to the large model, like 0.3 or 30%")


def time_of(option: str, text: str) -> float:
    """Seconds of a time like 10s or 2min; `UsageError` names the option."""
    units = {"ms": 1e-3, "s": 1.0, "min": 60.0, "h": 3600.0}
    number = text.rstrip("abcdefghijklmnopqrstuvwxyz")
    with contextlib.suppress(ValueError, KeyError):
        if 0 < (seconds := float(number) * units[text[len(number) :] or "s"]) < math.inf:
            return seconds
    raise UsageError(f"{option} {text or EMPTY}: write a time like 10s, 500ms or 2min")
