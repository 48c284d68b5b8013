"""What is new: runs of (pitch interval, time to the next note) against a filter of those of the training set (systems S19).

Transposing a piece, or another tempo, changes no run. A line is all notes, chords from the lowest up, or the top line alone,
the highest note of each moment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.vocabulary import BAR, DRUMS

Hashes = NDArray[np.uint64]
LINES = ("all notes", "top line")
RUN = 11
"""Steps of the runs of the top line in the filter: 12 notes."""
_BITS = 22
"""The filter has two to this power bits (512 kB): of 450,000 runs it takes 1 % of new ones for known."""
_PROBES = 6
_FACTOR = np.uint64(0x9E3779B97F4A7C15)
_INVERSE = np.uint64(pow(int(_FACTOR), -1, 1 << 64))


def symbols(score: Score, line: str) -> Hashes:
    """[notes - 1] each step of a line as one number: interval -87..87 and sub-beats to the next note, at most a bar's."""
    notes = [(note.onset, note.pitch) for note in score.notes if note.track != DRUMS]
    if line == "top line":
        notes = [(onset, pitch) for onset, pitch in dict(sorted(notes)).items()]
    if len(notes) < 2:
        return np.zeros(0, np.uint64)
    onset, pitch = np.diff(np.array(sorted(notes), np.int64), axis=0).T
    return np.asarray((pitch + 128) * 64 + np.minimum(onset, BAR) + 1, np.uint64)


def grams(steps: Hashes, size: int) -> Hashes:
    """[n - size + 1] a hash of each run of `size` steps; 64 bits, so that two among millions hardly ever meet."""
    count = len(steps) - size + 1
    if count <= 0:
        return np.zeros(0, np.uint64)
    # a polynomial in an odd number modulo 2^64: sums from the start, the power of the first step divided out
    with np.errstate(over="ignore"):
        mixed = (steps ^ (steps >> np.uint64(7))) * _FACTOR
        mixed ^= mixed >> np.uint64(29)
        powers = np.cumprod(np.full(len(steps), _FACTOR))
        sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(mixed * powers)])
        made = (sums[size:] - sums[:-size]) * np.cumprod(np.full(count, _INVERSE))
        made = (made ^ (made >> np.uint64(31))) * _FACTOR
        return np.asarray(made ^ (made >> np.uint64(29)))


@dataclass(frozen=True)
class Filter:
    """A Bloom filter (1970) of runs: bits [2^22 / 8]. It knows each that was put in, and takes a few others for known."""

    bits: NDArray[np.uint8]

    @classmethod
    def of(cls, scores: Iterable[Score]) -> Filter:
        """Of the top lines of scores."""
        bits = np.zeros(1 << _BITS, np.bool_)
        for score in scores:
            bits[_places(grams(symbols(score, "top line"), RUN))] = True
        return cls(np.packbits(bits))

    def share(self, score: Score) -> float:
        """Of the runs of the top line of a piece, the share that is known; 0 where it has none."""
        places = _places(grams(symbols(score, "top line"), RUN))
        if not places.size:
            return 0.0
        known = self.bits[places >> 3] >> (7 - (places & 7)).astype(np.uint8) & 1
        return float(known.all(0).mean())


def _places(runs: Hashes) -> NDArray[np.int64]:
    """[probes, n] bits of each run."""
    step = runs >> np.uint64(32) | np.uint64(1)
    with np.errstate(over="ignore"):
        probed = [(runs + np.uint64(probe) * step) & np.uint64((1 << _BITS) - 1) for probe in range(_PROBES)]
    return np.array(probed).astype(np.int64)
