"""A score as arrays of notes with their times in seconds: what the statistics of the judge are made from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.vocabulary import BAR, DRUMS, bpm, loudness

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Heard:
    """The pitched notes of a piece in the order they begin, arrays of equal length, at least one note.

    `onset` and `duration` in sub-beats, `start` and `end` in seconds, `velocity` 1..127. `bars` and `seconds` of the piece.
    """

    onset: Ints
    duration: Ints
    pitch: Ints
    velocity: Floats
    start: Floats
    end: Floats
    bars: int
    seconds: float


def heard(score: Score) -> Heard:
    """The notes of a score, drums aside; InvalidInput where there are none."""
    notes = np.array([note for note in score.notes if note.track != DRUMS], np.int64).reshape(-1, 5)
    if not len(notes):
        raise InvalidInput("there is no pitched note in this piece: give one that has")
    onset, _, pitch, velocity, duration = notes.T
    lasting = np.repeat([15 / bpm(step) for step in score.tempi], BAR)
    at = np.concatenate([[0.0], np.cumsum(np.concatenate([lasting, np.full(BAR, lasting[-1])]))])
    loud = np.array([loudness(step) for step in range(64)], np.float64)[velocity]
    return Heard(onset, duration, pitch, loud, at[onset], at[onset + duration], score.bars, score.seconds)
