"""A mood in the request of a job that was made from how its owner feels: no finer than needed, and for others coarse."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from moodmesh.nodes.errors import UsageError
from moodmesh.privacy.release.coarse import centred
from moodmesh.tasks.music.rules.moods import Mood, along

Personal = Literal["own", "mood.share"]
"""Who may have a request that tells how its owner feels: own devices, or, once it is coarse, also peers with `mood.share`."""
STEPS = 8
"""Into so many equal steps a path is cut before others see it: when a mood changed tells of its owner, too."""
NOT_COARSE = "only a mood as valence and arousal, or a path of them, can be made coarse: leave `mood.share` out"


def kept(params: Mapping[str, Any], whose: Personal) -> dict[str, Any]:
    """The parameters with each mood in tenths, or, for others, at the middle of its cell of the grid of `SharedMood`.

    A path leaves for others as the cells at the ends of `STEPS` equal steps. What is malformed stays, and its task refuses it.
    """
    if whose == "own":
        return _moods(params, lambda v, a: (round(v, 1), round(a, 1)))
    points = params.get("path")
    if not points and not {"valence", "arousal"} <= params.keys():
        raise UsageError(NOT_COARSE)
    if params.get("emotion") is not None:
        raise UsageError(NOT_COARSE)
    return _moods(dict(params) | ({"path": _stepped(points)} if points else {}), centred)


def _moods(params: Mapping[str, Any], change: Callable[[float, float], tuple[float, float]]) -> dict[str, Any]:
    changed = dict(params)
    if {"valence", "arousal"} <= params.keys():
        changed |= dict(
            zip(("valence", "arousal"), change(_number(params["valence"]), _number(params["arousal"])), strict=True)
        )
    if params.get("path"):
        changed["path"] = [_moods(point, change) for point in _points(params["path"])]
    return changed


def _stepped(points: Any) -> list[dict[str, float]]:
    path = [(_number(p.get("at"), 0.0), Mood(_number(p.get("valence")), _number(p.get("arousal")))) for p in _points(points)]
    moods = [(step / STEPS, along(path, step / STEPS)) for step in range(STEPS + 1)]
    return [{"at": at, "valence": mood.valence, "arousal": mood.arousal} for at, mood in moods]


def _points(found: Any) -> list[dict[str, Any]]:
    if not isinstance(found, list) or not all(isinstance(point, dict) for point in found):
        raise UsageError("a path is a list of points, each with at, valence and arousal")
    return found


def _number(value: Any, least: float = -1.0) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not least <= value <= 1:
        raise UsageError(f"a mood has numbers from -1 to 1, and a point of its path an `at` from 0 to 1: not {value!r}")
    return float(value)
