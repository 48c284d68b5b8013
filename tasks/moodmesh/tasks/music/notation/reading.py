"""What a MIDI file loses when it is read: a score has 4/4 bars, one key of a piano once at a time, notes of one bar at most."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from moodmesh.tasks.music.notation.midi import Performance, performance, quantised
from moodmesh.tasks.music.notation.score import Score

METRE = "4/4"
MOST_METRES = 8


@dataclass(frozen=True)
class Reading:
    """A file beside its score.

    `bars` of the score. `notes` of the file, and `kept` of them in the score: the rest are beyond a piano, sound effects, or
    one key of a track struck twice at once; `shortened` of those to a bar, or to where their key is struck again. `metres` of
    the file but 4/4, the first eight.
    """

    bars: int
    notes: int
    kept: int
    shortened: int
    metres: tuple[str, ...]


def read_given(data: bytes) -> tuple[Score, Reading]:
    """The score of a MIDI file, and what was read of it; InvalidInput as for `midi.read`."""
    played = performance(data)
    score = quantised(played)
    metres = tuple(metre for metre in played.metres if metre != METRE)[:MOST_METRES]
    return score, Reading(score.bars, played.notes, len(score.notes), _shortened(played, score), metres)


def _shortened(played: Performance, score: Score) -> int:
    onset, lasting = (np.rint(quarters * 4).astype(int).tolist() for quarters in (played.start, played.end - played.start))
    longest: dict[tuple[int, int, int], int] = {}
    for place, steps in zip(zip(onset, played.track.tolist(), played.pitch.tolist(), strict=True), lasting, strict=True):
        longest[place] = max(longest.get(place, 0), steps)
    return sum(note.duration < longest[note[:3]] for note in score.notes)
