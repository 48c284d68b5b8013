"""A mood path from a file: CSV or JSON of points, by their share of the piece (`at`, 0 to 1) or in seconds."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from moodmesh.nodes.errors import UsageError
from moodmesh.tasks.music.rules.moods import Mood, along

MOST_POINTS = 64
LARGEST = 4 << 20
LATEST = 1e12
"""Seconds, from any beginning: beyond it they are no times, and their differences no numbers."""
HOW = "write columns at,valence,arousal (at from 0 to 1), or seconds,valence,arousal; as CSV with that first line, or as JSON"


class Point(NamedTuple):
    """A mood at a share of the piece."""

    at: float
    valence: float
    arousal: float


def points(file: Path) -> list[Point]:
    """The points of a file, in order, at most `MOST_POINTS`: of more, as many at equal steps. Seconds are stretched so that the
    first point is the beginning of the piece and the last its end. `UsageError` says what to change, and in which row."""
    rows = _rows(file)
    if not rows:
        raise UsageError(f"{file}: there is no point in it: {HOW}")
    keyed = {"at", "seconds"} & rows[0].keys()
    if len(keyed) != 1:
        raise UsageError(f"{file}: each point has `at` or `seconds`, one of them: {HOW}")
    (clock,) = keyed
    found = [_point(file, number, row, clock) for number, row in enumerate(rows, 1)]
    if clock == "seconds":
        first, last = found[0].at, found[-1].at
        found = [point._replace(at=(point.at - first) / (last - first) if last > first else 0.0) for point in found]
    for number, (one, other) in enumerate(pairwise(found), 2):
        if one.at >= other.at:
            raise UsageError(f"{file}, point {number}: `{clock}` is not later than that of the point before: sort them")
    if clock == "at" and (found[0].at < 0 or found[-1].at > 1):
        raise UsageError(f"{file}: `at` is a share of the piece, from 0 to 1; for times write `seconds`")
    return found if len(found) <= MOST_POINTS else _fewer(found)


def _fewer(found: Sequence[Point]) -> list[Point]:
    path = [(point.at, Mood(point.valence, point.arousal)) for point in found]
    steps = [step / (MOST_POINTS - 1) for step in range(MOST_POINTS)]
    return [Point(at, *along(path, at)) for at in steps]


def _rows(file: Path) -> list[Mapping[str, Any]]:
    try:
        with file.open("rb") as stream:
            data = stream.read(LARGEST + 1)
        text = data.decode("utf-8-sig")
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; check the path and its permissions") from None
    except UnicodeDecodeError:
        raise UsageError(f"{file} is not a text file: {HOW}") from None
    if len(data) > LARGEST:
        raise UsageError(f"{file} has more than {LARGEST >> 20} MiB: a path needs a few points only")
    if text.lstrip()[:1] in ("[", "{"):
        return _json(file, text)
    try:
        return list(csv.DictReader(io.StringIO(text), skipinitialspace=True))
    except csv.Error as error:
        raise UsageError(f"{file}: {error}: {HOW}") from None


def _json(file: Path, text: str) -> list[Mapping[str, Any]]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{file} is no JSON ({str(error)[:80]}): {HOW}") from None
    rows = found.get("points") if isinstance(found, dict) else found
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise UsageError(f'{file}: JSON has to be a list of points, like [{{"at": 0, "valence": 0.2, "arousal": -0.5}}]')
    return rows


def _point(file: Path, number: int, row: Mapping[str, Any], clock: str) -> Point:
    values = []
    for name in (clock, "valence", "arousal"):
        try:
            value = float("true" if isinstance(row[name], bool) else row[name])  # True would be 1
        except (KeyError, TypeError, ValueError, OverflowError):
            raise UsageError(f"{file}, point {number}: `{name}` is not a number: {HOW}") from None
        if not math.isfinite(value) or (name != clock and not -1 <= value <= 1):
            raise UsageError(f"{file}, point {number}: `{name}` is {value:g}; valence and arousal go from -1 to 1")
        if name == clock and abs(value) > LATEST:
            raise UsageError(f"{file}, point {number}: `{name}` is {value:g}: no time is that far away; {HOW}")
        values.append(value)
    return Point(*values)
