"""feel, mood: what the owner of this device feels. It is kept here, and never leaves."""

from __future__ import annotations

import time
from typing import Annotated, Any

import typer

from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.cli.output import Json, columns, emit, progress
from moodmesh.nodes.errors import NodeError, UsageError

TASK, WAIT_S, OPEN = "emotion.text", 120.0, ("PENDING", "RUNNING")
READ = ("valence", "arousal", "valence_sd", "arousal_sd")
mood_app = typer.Typer(help="Your moods, as this device knows them. They never leave it.", invoke_without_command=True)


def add_to(app: typer.Typer) -> None:
    """Register the commands of these nouns."""
    app.command()(feel)
    app.add_typer(mood_app, name="mood")


def feel(
    words: Annotated[str | None, typer.Argument(help="How you feel, in your own words. They are not kept.")] = None,
    valence: Annotated[float | None, typer.Option(min=-1, max=1, help="Unpleasant (-1) to pleasant (1).")] = None,
    arousal: Annotated[float | None, typer.Option(min=-1, max=1, help="Calm (-1) to excited (1).")] = None,
    json: Json = False,
) -> None:
    """Say how you feel: in words, which your own devices read, or outright.

    Example: moodmesh feel "tired, but hopeful"
    """
    numbers = valence is not None and arousal is not None
    if numbers == (words is not None) or (not numbers and (valence is not None or arousal is not None)):
        raise UsageError('say it in words (moodmesh feel "tired, but hopeful"), or with both --valence and --arousal')
    told = {"valence": valence, "arousal": arousal} if numbers else _read(words or "")
    found = Client().post("moods", body=told)
    emit(found, json, lambda: told_lines(found))


def _read(words: str) -> dict[str, Any]:
    """What the words come to, by a job on one's own devices."""
    if not words.strip():
        raise UsageError('no words: moodmesh feel "tired, but hopeful"')
    client = Client()
    job = client.post("jobs", body={"task": TASK, "params": {"text": words}})
    try:
        items = [item for item in _result(client, job)["items"] if item["valence"] is not None]
    finally:  # the words are not kept
        if client.get("jobs", job["id"])["status"] in OPEN:
            client.post("jobs", job["id"], "cancel")
        client.delete("jobs", job["id"])
    if not items:
        raise UsageError("these words say nothing that can be read: say more, or use --valence and --arousal")
    return {"source": "words"} | {key: sum(i[key] for i in items) / len(items) for key in READ}


def _result(client: Client, job: dict[str, Any]) -> dict[str, Any]:
    end = time.monotonic() + WAIT_S
    with progress("reading the words") as tell:
        while job["status"] in OPEN and time.monotonic() < end:
            tell(job.get("share") or 0.0, job.get("message") or "reading the words")
            time.sleep(0.1)
            job = client.get("jobs", job["id"])
    if job["status"] != "SUCCEEDED":
        raise NodeError(f"the words could not be read: {job['message'] or job['status']}; try --valence and --arousal")
    found: dict[str, Any] = client.get("jobs", job["id"], "result")["result"]
    return found


def told_lines(found: dict[str, Any]) -> list[str]:
    """The mood now."""
    m = found["mood"]
    if m is None:
        return ["nothing is known: `moodmesh feel` says it"]
    sd = (m["valence_sd"] + m["arousal_sd"]) / 2
    return [f"{m['word']}: valence {m['valence']:+.2f}, arousal {m['arousal']:+.2f} (give or take {sd:.2f})"]


@mood_app.callback()
def mood(context: typer.Context) -> None:
    """Without a command: today."""
    if context.invoked_subcommand is None:
        today()


@mood_app.command()
def today(json: Json = False) -> None:
    """The last 24 hours.

    Example: moodmesh mood today
    """
    _show("today", json)


@mood_app.command()
def week(json: Json = False) -> None:
    """The last seven days.

    Example: moodmesh mood week
    """
    _show("week", json)


def _show(span: str, json: bool) -> None:
    found = Client().get("moods", span=span)

    def text() -> list[str]:
        lines = [f"now  {told_lines(found)[0]}"]
        rows = [
            (time.strftime("%a %H:%M", time.localtime(s["at"])), *_both(s["valence"]), *_both(s["arousal"]))
            for s in found["states"]
        ]
        if found["shared"]["with"]:
            lines.append(f"told as one of nine words to {', '.join(found['shared']['with'])}: `moodmesh peers deny` ends that")
        lines += [f"{other['name']} feels {other['word']}" for other in found["shared"]["from"]]
        return [*lines, *(columns(rows, ("when", "valence", "", "arousal", "")) if rows else [])]

    emit(found, json, text)


def _both(value: float) -> tuple[str, str]:
    return _bar(value), f"{value:+.2f}"


def _bar(value: float, half: int = 8) -> str:
    """From -1 to 1 around a middle."""
    at = half + round(value * half)
    return "".join("o" if k == at else "|" if k == half else "." for k in range(2 * half + 1))


@mood_app.command()
def export(json: Json = False) -> None:
    """Everything that is kept, as JSON.

    Example: moodmesh mood export > moods.json
    """
    found = Client().get("moods", "export")
    emit(found, True, list)


@mood_app.command()
def erase(yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False, json: Json = False) -> None:
    """Delete every mood that is kept, and overwrite it.

    Example: moodmesh mood erase --yes
    """
    if not yes and not typer.confirm("Delete all moods of this device?", err=True):
        raise UsageError("nothing was deleted")
    found = Client().delete("moods")
    emit(found, json, lambda: [f"{found['erased']} entries are gone"])
