"""The mood as it may be told to one chosen person: a cell of the coarse grid, in clear (room-mood §2)."""

from __future__ import annotations

from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.shared import CELLS, SharedMood


def coarse(mood: EmotionVector) -> SharedMood:
    """The cell that a mood lies in."""
    return SharedMood(_cell(mood.valence), _cell(mood.arousal))


def centred(valence: float, arousal: float) -> tuple[float, float]:
    """A mood in -1..1 at the middle of its cell, each axis -0.667, 0 or 0.667: all that is left of it."""
    return _middle(valence), _middle(arousal)


def _middle(value: float) -> float:
    return round((2 * _cell(value) + 1) / CELLS - 1, 3)


def _cell(value: float) -> int:
    return min(CELLS - 1, int((value + 1) / 2 * CELLS))
