"""room, privacy: rooms near, how they feel, and what has left this device for them."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.cli.make import BARS, From, PathFile, Share, leaves, mood_of
from moodmesh.nodes.cli.output import Json, ago, columns, emit, say
from moodmesh.nodes.errors import UsageError

room_app = typer.Typer(
    help="Rooms: how the people near feel together, and nothing about any one of them.", no_args_is_help=True
)
privacy_app = typer.Typer(help="What has left this device, what it told, and what may still leave.", no_args_is_help=True)
Name = Annotated[str, typer.Argument(help="A room's name, or the beginning of its id.")]
Yes = Annotated[bool, typer.Option("--yes", help="Agree to the words that would be shown.")]
Every = Annotated[
    int, typer.Option(min=1, max=144, help="Take part in one epoch (ten minutes) of so many: what is sent tells less in a day.")
]
Trust = Annotated[
    Literal["verified", "assumed"] | None,
    typer.Option(
        help="Of an ambient room, asked otherwise. verified: only people paired with this device count as honest. assumed: two "
        "thirds of the others are."
    ),
]
WHO_IS_HONEST = (
    "Who counts as honest when an ambient room's cost is charged? People whose device is paired with yours (verified): with",
    "few of them here, each release costs more, and this device sits out most. Or you assume that at least two thirds of all",
    "others are real people: if they are not, more is told of you than is charged.",
)
_NOTHING = "nothing was joined, and nothing was sent"


def add_to(app: typer.Typer) -> None:
    """Register the commands of these nouns."""
    app.add_typer(room_app, name="room")
    app.add_typer(privacy_app, name="privacy")


@room_app.command()
def create(
    name: Annotated[str, typer.Argument(help="What it is called.")],
    kind: Annotated[
        Literal["circle", "on-demand", "ambient"],
        typer.Option(
            help="circle: exact, of people named. on-demand: from 5 people, when asked. ambient: from 30, all the time."
        ),
    ] = "on-demand",
    eps: Annotated[
        int | None,
        typer.Option(help="Of an on-demand room: 1, 2 or 4 (the default). Smaller tells less of you, and is rougher."),
    ] = None,
    person: Annotated[list[str] | None, typer.Option(help="Of a circle: a paired device, once for each.")] = None,
    open: Annotated[bool, typer.Option("--open", help="Whoever is near may join, without an invitation.")] = False,
    trust: Trust = None,
    every: Every = 1,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Make a room, and be its first member.

    Example: moodmesh room create living-room --kind circle --person anna --person ben
    """
    about = {"name": name, "kind": kind, "eps": eps, "open": open}
    _agree(("rooms",), {**about, "people": person or [], "trust": trust, "every": every}, yes, json)


@room_app.command()
def join(
    room: Annotated[str, typer.Argument(help="Its code (moodroom1:...), or the name of an invitation or an open room near.")],
    trust: Trust = None,
    every: Every = 1,
    yes: Yes = False,
    json: Json = False,
) -> None:
    """Take part in a room, after its conditions were read.

    Example: moodmesh room join cafe
    """
    _agree(("rooms", "join"), {"room": room, "trust": trust, "every": every}, yes, json)


def _agree(path: tuple[str, ...], asked: dict[str, Any], yes: bool, json: bool) -> None:
    client = Client()
    asked = {key: value for key, value in asked.items() if value is not None}
    told = client.post(*path, body=asked)
    if not yes:
        if told["room"]["kind"] == "ambient" and "trust" not in asked and not json:
            for line in WHO_IS_HONEST:
                say(line)
            assumed = _confirmed("Do you assume so?", "say --trust verified or --trust assumed", default=False)
            asked["trust"] = "assumed" if assumed else "verified"
            told = client.post(*path, body=asked)
        for line in told["agree"]:
            say(line)
        if json or not _confirmed("Do you agree?", "say --yes to agree"):
            raise UsageError(f"{_NOTHING}: say --yes to agree")
    if "room" in asked:  # what was read, not what a name means by now
        asked["room"] = told["room"]["code"]
    found = client.post(*path, body={**asked, "agreed": True})

    def text() -> list[str]:
        lines = [f"joined {found['name']} ({found['kind']})", *(found["agreed"] if yes else [])]
        return [*lines, f"Others join with: moodmesh room join {found['code']}"]

    emit(found, json, text)


def _confirmed(question: str, instead: str, *, default: bool | None = None) -> bool:
    """`UsageError` where nobody is there to answer."""
    try:
        return typer.confirm(question, default=default, err=True)
    except typer.Abort:
        raise UsageError(f"{_NOTHING}: without a terminal, {instead}") from None


@room_app.command("list")
def list_(json: Json = False) -> None:
    """Rooms this device is in, invitations, and open rooms near.

    Example: moodmesh room list
    """
    found = Client(timeout=60).get("rooms")

    def text() -> list[str]:
        rows = [(r["name"], r["kind"], "joined", r["state"]) for r in found["rooms"]]
        rows += [(r["name"], r["kind"], f"invited by {r['by']}", "moodmesh room join NAME") for r in found["invited"]]
        rows += [(r["name"], r["kind"], "open, near", "moodmesh room join NAME") for r in found["near"]]
        return columns(rows, ("room", "kind", "", "")) if rows else ["no room, no invitation, and no open room near"]

    emit(found, json, text)


@room_app.command()
def show(name: Name, json: Json = False) -> None:
    """How a room feels: the value with its error, of how many people, and what it told of each.

    Example: moodmesh room show cafe
    """
    found = Client().get("rooms", name)
    emit(found, json, lambda: told(found))


def told(found: dict[str, Any]) -> list[str]:
    """A room in words."""
    lines = [f"{found['name']}  {found['kind']}  (needs {found['least']}; this epoch ends in {ago(found['epoch_left_s'])})"]
    value, last = found["mood"], found["last"]
    if value is None:
        return [*lines, f"  nothing yet: {found['state']}"]
    about = "rough: " if value["rough"] else ""
    mood = f"valence {value['valence']:+.2f}, arousal {value['arousal']:+.2f}"
    lines.append(f"  mood      {about}{mood}, within {value['radius']:.2f} (95 %)")
    if value["releases"] > 1:
        lines.append(f"            average over {10 * value['releases']} minutes")
    people = f"{last['contributors']} of {last['n']} people ({last['verified']} verified)"
    lines.append(f"  of        {people}, {ago(found['age_s'])} ago")
    if found["kind"] == "circle":
        lines.append(f"  exact     not differentially private: the exact mean of {last['n']} people")
    else:
        alone = f"{last['eps_alone']:.2f} if all others were against you"
        lines.append(f"  it told   of you at most epsilon {last['eps_room']:.2f}; {alone}")
    if last["unchecked"]:
        lines.append("  unchecked so few opened it that a lying member could not have been told")
    return [*lines, f"  now       {found['state']}"]


@room_app.command()
def watch(name: Name, json: Json = False) -> None:
    """Follow a room: a line whenever it tells something. Ctrl-C ends it.

    Example: moodmesh room watch cafe
    """
    before = None
    while True:
        found = Client().get("rooms", name)
        now = (found["last"] or {}).get("epoch"), found["state"]
        if now != before:
            emit(found, json, lambda: told(found))  # noqa: B023 - called at once
        before = now
        time.sleep(1)


@room_app.command()
def ask(name: Name, json: Json = False) -> None:
    """Have a circle or an on-demand room told now; each of its members sends at most once in ten minutes.

    Example: moodmesh room ask living-room
    """
    client = Client()
    before = (client.get("rooms", name)["last"] or {}).get("epoch")
    found = client.post("rooms", name, "ask")
    for _ in range(120):
        if (found["last"] or {}).get("epoch") != before or found["state"] not in ("here", "told in this epoch"):
            break
        time.sleep(0.5)
        found = client.get("rooms", name)
    emit(found, json, lambda: told(found))


@room_app.command()
def pace(
    name: Name,
    every: Annotated[int, typer.Argument(min=1, max=144, help="Take part in one epoch of so many; 1: in all.")],
    json: Json = False,
) -> None:
    """Sit out by a schedule: never by how you feel, which would tell of it.

    Example: moodmesh room pace hall 6
    """
    found = Client().post("rooms", name, "pace", body={"every": every})
    emit(found, json, lambda: [f"{found['name']}: one epoch of {every}, from the next one on"])


@room_app.command()
def invite(name: Name, peer: Annotated[str, typer.Argument(help="A paired device.")], json: Json = False) -> None:
    """Tell a paired device of a room; it decides itself. It takes invitations once it gave this one `room.invite`.

    Example: moodmesh room invite cafe anna
    """
    found = Client().post("rooms", name, "invite", body={"peer": peer})
    emit(found, json, lambda: [f"{found['invited']} is invited"])


@room_app.command()
def leave(name: Name, json: Json = False) -> None:
    """Leave at once: nothing more is sent.

    Example: moodmesh room leave cafe
    """
    found = Client().delete("rooms", name)
    emit(found, json, lambda: [f"left {found['left']}"])


@privacy_app.command()
def ledger(
    accept_full_day: Annotated[
        bool, typer.Option("--accept-full-day", help="Begin a new ledger, with a whole day's budget taken as spent.")
    ] = False,
    json: Json = False,
) -> None:
    """What this device sent to rooms, what each release told, and what is left of the budget.

    Example: moodmesh privacy ledger
    """
    client = Client()
    if accept_full_day:
        client.post("privacy", "accept")
    found = client.get("privacy", "ledger")

    def text() -> list[str]:
        if found["closed"]:
            return [found["closed"]]
        opened = {(e["room"], e["epoch"]): e for e in found["lines"] if e["what"] == "opened"}
        rows = [_row(line, opened) for line in found["lines"] if line["what"] != "opened"]
        lines = columns(rows, ("when", "room", "what", "told")) if rows else ["nothing was ever sent to a room"]
        for window in ("hour", "day"):
            spent, cap = found["spent"][window], found["caps"][window]
            lines.append(
                f"this {window}: {spent['room']:.2f} of {cap['room']:g} with the room honest, "
                f"{spent['alone']:.2f} of {cap['alone']:g} if everybody else were hostile"
            )
        return lines

    emit(found, json, text)


def _row(line: dict[str, Any], opened: dict[tuple[str, int], dict[str, Any]]) -> tuple[str, str, str, str]:
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(600 * line["epoch"]))
    room = line.get("room", "")[:8]
    match line["what"]:
        case "charge" if line["kind"] == "circle":
            return when, room, f"circle of {line['n']}", "the exact mean, no epsilon"
        case "charge":
            last = opened.get((line["room"], line["epoch"]), line)
            came = f"{last['contributors']} of {line['n']}" if "contributors" in last else f"of {line['n']}, not opened here"
            noise = f"sigma {line['sigma']}" if line["sigma"] else f"epsilon {line['eps']}"
            said = f"epsilon {line['eps_room']:.2f}, {line['eps_alone']:.2f} if everybody else were hostile"
            return when, room, f"{line['kind']} {came}, {last['honest']} honest, {noise}", said
        case "refused":
            return when, room, "nothing sent", line["why"]
        case "sent":
            return when, room, "sent", line["why"]
        case _:
            return when, "", "a full day accepted", ""


def _request(from_: str | None, path: Path | None, room: str | None, *, share: bool, json: bool) -> None:
    from moodmesh.nodes.making import wish

    meant = mood_of(from_, None, None, path, room, share=share)
    leaves(wish.generate(meant, {"bars": BARS}, None), json)


_WHAT = {
    "circle": "keys, signatures, and your mood itself, cut in shares that only all of the circle together can add up",
    "on-demand": "keys, signatures, and a report that was blurred here, cut in shares",
    "ambient": "keys, signatures, and your mood with noise that was added here, cut in shares",
}


@privacy_app.command()
def preview(
    room: Annotated[str | None, typer.Argument(help="A room's name, or the beginning of its id.")] = None,
    from_: From = None,
    path: PathFile = None,
    share: Share = False,
    full: Annotated[bool, typer.Option("--bytes", help="Every byte.")] = False,
    json: Json = False,
) -> None:
    """What this device said as a member of a room in this epoch, byte for byte, or such as it would; of a room not joined, by
    its code or name, also what would be agreed to. What it passes on of others is not in it, nor that it tells linked paired
    devices its key of the epoch.

    With --from or --path: the request that `make music` with these would send; its --preview shows it with all its options.

    Example: moodmesh privacy preview cafe

    Example: moodmesh privacy preview --from mood --share
    """
    if from_ is not None or path is not None:
        if room is not None and from_ != "room":
            raise UsageError("a room, or --from mood, or --path: one of them is shown at a time")
        _request(from_, path, room, share=share, json=json)
        return
    if room is None:
        raise UsageError("of what? `moodmesh privacy preview ROOM`, or --from mood for a request of `make music`")
    found = Client(timeout=60).get("privacy", "preview", room=room)

    def text() -> list[str]:
        head = "left in this epoch" if found["sent"] else "would leave, for instance,"
        lines = [*found["agree"], f"{found['bytes']} bytes {head} for {found['room']}: {_WHAT[found['kind']]}"]
        if found["forgotten"]:
            lines[-1:] = [
                f"left in this epoch for {found['room']}, before this device started again or left it: {_WHAT[found['kind']]}",
                "  their bytes are no longer kept; `moodmesh privacy ledger` tells what they cost",
                f"{found['bytes']} bytes since then",
            ]
        for message in found["messages"]:
            shown = message["hex"] if full else message["hex"][:64] + ("..." if len(message["hex"]) > 64 else "")
            lines.append(f"  {message['step']:<9} {message['bytes']:>6}  {shown}")
        return lines

    emit(found, json, text)
