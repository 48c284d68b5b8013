"""The mood as it may be told to one chosen person: a cell of the coarse grid, in clear (room-mood §2)."""

from __future__ import annotations

from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.shared import CELLS, SharedMood


def coarse(mood: EmotionVector) -> SharedMood:
    """The cell that a mood lies in."""
    return SharedMood(_cell(mood.valence), _cell(mood.arousal))


def _cell(value: float) -> int:
    return min(CELLS - 1, int((value + 1) / 2 * CELLS))
