"""Whose mood a piece is made of: a word, two numbers, a path, the owner's own mood, or that of a room."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moodmesh.nodes.cli.client import Client
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.making.path import points
from moodmesh.nodes.moods.asked import Personal, kept

WAYS = "--from mood, --from room, --emotion WORD, --va V,A or --path FILE"


@dataclass(frozen=True)
class Meant:
    """A mood as the parameters of a job. `name`: for files; `said`: for the user; `personal`: see `JobRequest`."""

    params: Mapping[str, Any]
    name: str
    said: str
    personal: Personal | None = None


def one_way(ways: Mapping[str, object]) -> str:
    """The one way in which a mood is given; `UsageError` for none or several. Keys are options, None what was not given."""
    given = [option for option, value in ways.items() if value is not None]
    if len(given) > 1:
        raise UsageError(f"{' and '.join(given)}: give the mood in one way only")
    if not given:
        raise UsageError(f"no mood is given: say {WAYS}")
    return given[0]


def word(emotion: str) -> Meant:
    """A typed word: it says nothing of anybody. Whether it is known, the task says."""
    return Meant({"emotion": emotion}, _plain(emotion), emotion)


def numbers(text: str) -> Meant:
    """Typed numbers, like 0.4,-0.3."""
    from moodmesh.nodes.moods.state import quadrant

    try:
        valence, arousal = (float(part) for part in text.split(","))
    except ValueError:
        valence = math.nan
    if math.isnan(valence) or not (-1 <= valence <= 1 and -1 <= arousal <= 1):
        raise UsageError(f"--va {text}: write valence,arousal like 0.4,-0.3, each from -1 to 1")
    name = quadrant(valence, arousal)
    return Meant({"valence": valence, "arousal": arousal}, name, f"{name} ({valence:+.2f}, {arousal:+.2f})")


def path(file: Path, *, share: bool) -> Meant:
    """Points over time from a file, which may be how somebody felt: personal."""
    found = [point._asdict() for point in points(file)]
    whose: Personal = "mood.share" if share else "own"
    return Meant(kept({"path": found}, whose), _plain(file.stem), f"the path of {file.name}", whose)


def own(client: Client, *, share: bool) -> Meant:
    """How the owner feels now: personal, and no finer than tenths even on own devices; `share`: the cell of a coarse grid."""
    felt = client.get("moods", span="today")["mood"]
    if felt is None:
        raise UsageError("how you feel is not known: say `moodmesh feel` first, or give --emotion")
    whose: Personal = "mood.share" if share else "own"
    params = kept({"valence": felt["valence"], "arousal": felt["arousal"]}, whose)
    return Meant(params, felt["word"], f"your mood ({felt['word']})", whose)


def room(client: Client, name: str | None) -> Meant:
    """What a room has told of itself, filtered over time: what is uncertain is drawn towards neutral. Free to go anywhere."""
    from moodmesh.nodes.moods.state import quadrant

    joined = [
        one for one in client.get("rooms")["rooms"] if name is None or one["name"] == name or one["room"].startswith(name)
    ]
    if not joined:
        raise UsageError(f"this device is in no room{f' called {name!r}' if name else ''}: `moodmesh room list`")
    told = [one for one in joined if one["filtered"]]
    if not told:
        raise UsageError(f"{joined[0]['name']} has told nothing yet: `moodmesh room ask {joined[0]['name']}`")
    if len(told) > 1:
        raise UsageError(f"--room says which: {', '.join(one['name'] for one in told)}")
    mood, called = told[0]["filtered"], told[0]["name"]
    valence, arousal = (max(-1.0, min(1.0, mood[axis])) for axis in ("valence", "arousal"))
    feels = quadrant(valence, arousal)
    return Meant({"valence": valence, "arousal": arousal}, _plain(f"{called}-{feels}"), f"the room {called} ({feels})")


def _plain(text: str) -> str:
    """A name for a file, whatever was typed."""
    kept_ = "".join(c if c.isalnum() or c in "-_" else "-" for c in text.strip().lower())[:60].strip("-")
    return kept_ or "piece"
