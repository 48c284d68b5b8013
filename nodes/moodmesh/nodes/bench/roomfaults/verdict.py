"""What must hold of an epoch of a room: its sum is that of what its contributors encoded, once, and paid for once."""

from __future__ import annotations

import contextlib
import math
import sqlite3
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from moodmesh.nodes.bench.roomfaults.play import Played
from moodmesh.nodes.bench.roomfaults.town import Event, Town
from moodmesh.nodes.reset import STORE_FILE
from moodmesh.privacy.release.gaussian import SCALE
from moodmesh.privacy.release.ledger import Charge, Ledger, Refused

TWICE = "charged more than once: "
"""How that breach begins."""
NO_REASON = {"here", "waiting for the next epoch", "told in this epoch"}


@dataclass
class Verdict:
    """`outcome`: opened, aborted (shares left, no sum was told) or refused (nothing left any device). `why`: in the words of
    the devices."""

    outcome: str
    n: int = 0
    contributors: int = 0
    unchecked: bool = False
    why: str = ""
    breaches: list[str] = field(default_factory=list)


def judge(town: Town, played: Played) -> Verdict:
    """Of one epoch, after it, with every device up again."""
    events = town.testimony.of(played.epoch)
    opened, shares = _of(events, "opened"), _of(events, "shares")
    ends = [e["state"] for e in _of(events, "ended") if e["state"] not in NO_REASON]
    why = Counter([*ends, *(s for s in played.states.values() if s not in NO_REASON)]).most_common(1)
    found = Verdict("opened" if opened else "aborted" if shares else "refused", why=why[0][0] if why and not opened else "")
    if opened:
        found.n, found.contributors = opened[0]["n"], len(opened[0]["keys"])
        found.unchecked = any(e["unchecked"] for e in opened)
    found.breaches = [
        *_sums(opened, shares), *_encoded(events), *_ledgers(town, played.epoch, shares), *_closed(town, events), *_keys(town),
        *_ends(town, played, why=bool(why or opened)), *_shown(town, played.epoch, opened),
    ]  # fmt: skip
    return found


def _of(events: Sequence[Event], what: str) -> list[Event]:
    return [e for e in events if e["what"] == what]


def _sums(opened: list[Event], shares: list[Event]) -> Iterator[str]:
    """Exact integers: of the values behind the keys in the certificate, and the same for everybody."""
    values = {e["key"]: e["values"] for e in shares}
    for event in opened:
        if unknown := [key for key in event["keys"] if key not in values]:
            yield f"{event['who']} opened a set with {len(unknown)} keys that shared nothing"
            continue
        total = [sum(axis) for axis in zip(*(values[key] for key in event["keys"]), strict=True)]
        if total != event["sums"]:
            yield f"{event['who']} opened {event['sums']}; its contributors encoded {total}"
    if len({(tuple(e["sums"]), tuple(e["keys"])) for e in opened}) > 1:
        yield f"different sums were seen: {[(e['who'], e['sums'], len(e['keys'])) for e in opened]}"


def _encoded(events: list[Event]) -> Iterator[str]:
    """One value and one sharing a device and epoch, whatever befell it."""
    for who in sorted({e["who"] for e in events}):
        mine = [e for e in events if e["who"] == who]
        if len({tuple(e["values"]) for e in mine if e["what"] in ("release", "shares")}) > 1:
            yield f"{who} encoded its mood twice"
        if len(_of(mine, "shares")) > 1:
            yield f"{who} shared twice"
        if sum(e["taken"] for e in _of(mine, "once")) > 1:
            yield f"{who} took its right to open twice"
        if len({(tuple(e["sums"]), tuple(e["keys"])) for e in _of(mine, "opened")}) > 1:
            yield f"{who} opened two sums"


def _ledgers(town: Town, epoch: int, shares: list[Event]) -> Iterator[str]:
    """At most one charge a device, and one if its shares left; on disk, also where the process was killed."""
    for name, member in town.members.items():
        try:
            lines = Ledger(member.home / "ledger", begun=True).lines()
        except Refused as error:
            yield f"the ledger of {name} is closed: {error}"
            continue
        count = sum(isinstance(line, Charge) and (line.epoch, line.room) == (epoch, town.room) for line in lines)
        if count > 1:
            yield f"{TWICE}{name}, {count} times"
        if count < 1 and any(e["who"] == name for e in shares):
            yield f"{name} shared without a charge"


def _closed(town: Town, events: list[Event]) -> Iterator[str]:
    """Whoever used its right has it on disk: no second set, also after a restart."""
    for event in _of(events, "once"):
        if event["taken"]:
            with contextlib.closing(sqlite3.connect(town.members[event["who"]].home / STORE_FILE)) as db:
                row = db.execute("SELECT closed FROM room WHERE id=?", (town.room,)).fetchone()
            if row is None or row[0] < event["epoch"]:
                yield f"{event['who']} has not on disk that it used its right"


def _keys(town: Town) -> Iterator[str]:
    """A key of a run is never used again."""
    keys = Counter(e["key"] for e in town.testimony.events if e["what"] == "join")
    yield from (f"a key was used in {count} runs" for count in keys.values() if count > 1)


def _ends(town: Town, played: Played, *, why: bool) -> Iterator[str]:
    yield from (f"{who} shared, and came to no end" for who in played.hung)
    yield from (f"{who} ended by itself: {town.members[who].log(400)}" for who in town.died())
    if not why:
        yield f"nothing was opened, and nobody says why: {played.states}"


def _shown(town: Town, epoch: int, opened: list[Event]) -> Iterator[str]:
    """Users are shown the sum that their device opened."""
    shown: dict[str, Any] = town.each({e["who"] for e in opened}, town.shown)
    for event in opened:
        room, n = shown[event["who"]], len(event["keys"])
        last = next((r for r in (room or {}).get("readings", []) if r["epoch"] == epoch), None)
        if last is None:
            continue  # it left, or was killed before it wrote that down
        v, a = (value / (SCALE * n) for value in event["sums"])
        size = max(1.0, math.hypot(v, a))
        if math.hypot(last["valence"] - v / size, last["arousal"] - a / size) > 1e-9 or last["contributors"] != n:
            yield f"{event['who']} shows {last} for a sum of {event['sums']}"
