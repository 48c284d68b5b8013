"""The parts of a MIDI file that are judged one by one: windows of its bars, or of its seconds where it has no grid."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from moodmesh.tasks.music.corpus.grid import OWN_GRID, chosen, for_piano, grid_error, tracked
from moodmesh.tasks.music.judge.verdict import windows
from moodmesh.tasks.music.notation.features import Key, profile_fit
from moodmesh.tasks.music.notation.midi import Performance, performance, quantised
from moodmesh.tasks.music.notation.score import Score, excerpt

_SECONDS = 32.0
"""Of a performance without a grid, whose beats are found anew in each part: as long as the clips that judges learn from."""
_NOTES = 8
"""Fewer notes have no beat that could be found."""


def read(data: bytes) -> Performance:
    """The notes of a MIDI file as if for the piano; InvalidInput says what is wrong with one that cannot be judged."""
    return for_piano(performance(data))


def key_of(played: Performance) -> Key:
    """The key that fits the whole of a performance best."""
    lasting = played.seconds(played.end) - played.seconds(played.start)
    minor, tonic = divmod(int(profile_fit(np.bincount(played.pitch % 12, lasting, 12)).argmax()), 12)
    return Key(tonic, bool(minor))


def parts(played: Performance) -> Iterator[tuple[float, float, Score]]:
    """(start, length, score) of each part in order, in seconds; a score may have no notes."""
    if len(played.start) < _NOTES or grid_error(played) <= OWN_GRID:
        score = quantised(played)
        start = 0.0
        for first, last in windows(score):
            part = excerpt(score, first, last)
            yield start, part.seconds, part
            start += part.seconds
        return
    at, end = played.seconds(played.start), float(played.seconds(played.end).max())
    count = max(1, round(end / _SECONDS))
    for number in range(count):
        inside = (at >= end * number / count) & (at < end * (number + 1) / count)
        yield end * number / count, end / count, _on_beats(chosen(played, inside))


def _on_beats(played: Performance) -> Score:
    if not len(played.start):
        return Score((), ())
    return quantised(tracked(played) if len(played.start) >= _NOTES else played)
