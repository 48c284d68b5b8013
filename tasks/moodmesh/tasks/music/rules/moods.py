"""Words for moods on the plane of valence and arousal (Russell 1980), and paths over it."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import NamedTuple

from moodmesh.tasks.errors import InvalidInput


class Mood(NamedTuple):
    """A point of the plane, both in -1..1: unpleasant to pleasant, calm to excited."""

    valence: float
    arousal: float


EMOTIONS = {
    "happy": Mood(0.7, 0.6),
    "angry": Mood(-0.6, 0.8),
    "sad": Mood(-0.7, -0.6),
    "calm": Mood(0.6, -0.7),
    "excited": Mood(0.6, 0.9),
    "hopeful": Mood(0.5, 0.2),
    "tender": Mood(0.5, -0.4),
    "neutral": Mood(0.0, 0.0),
    "tired": Mood(-0.1, -0.8),
    "wistful": Mood(-0.4, -0.3),
    "gloomy": Mood(-0.8, -0.3),
    "tense": Mood(-0.5, 0.6),
}
"""The four of the corners first. Where a word lies is ours, near Russell's circle."""
QUADRANTS = ("happy", "angry", "sad", "calm")


def emotion(word: str) -> Mood:
    """Where a word lies; InvalidInput says which words are known."""
    found = EMOTIONS.get(word.strip().lower())
    if found is None:
        near = difflib.get_close_matches(word.lower(), EMOTIONS, 1)
        meant = f"did you mean {near[0]}? " if near else ""
        raise InvalidInput(f"no emotion {word!r} is known: {meant}use one of {', '.join(EMOTIONS)}, or valence and arousal")
    return found


def along(points: Sequence[tuple[float, Mood]], share: float) -> Mood:
    """Where a path is at a share 0..1 of the piece; `points` rise in their share, and it stays at the first and the last."""
    before = [point for point in points if point[0] <= share] or [points[0]]
    after = [point for point in points if point[0] > share] or [points[-1]]
    (begin, one), (end, other) = before[-1], after[0]
    done = (share - begin) / (end - begin) if end > begin else 0.0
    return Mood(one.valence + done * (other.valence - one.valence), one.arousal + done * (other.arousal - one.arousal))
