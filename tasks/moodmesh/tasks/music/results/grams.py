"""What is copied: runs of (pitch interval, time to the next note) that a piece shares with the training set (evaluation §2)."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.generate.novelty import Hashes, grams, symbols
from moodmesh.tasks.music.notation.score import Score

SIZES = (8, 12, 16)
"""Notes of the runs whose shares are reported: one more than the steps between them."""
LADDER = (3, 4, 5, 6, 7, 8, 9, 10, 11, 13, 15, 17, 20, 23, 27, 31, 36, 42, 48, 56, 63)
"""Steps of the runs that are looked for when it is asked for the longest."""
NEAR = 5
"""Steps of the runs by which two pieces are called alike."""


class Known:
    """The runs of a set of pieces, on one line."""

    def __init__(self, scores: Sequence[Score], line: str) -> None:
        self._line, self._pieces = line, [symbols(score, line) for score in scores]
        self._runs: dict[int, Hashes] = {}

    def runs(self, size: int) -> Hashes:
        """The hashes of all runs of `size` steps, sorted, each once."""
        if size not in self._runs:
            self._runs[size] = np.unique(np.concatenate([grams(one, size) for one in self._pieces]))
        return self._runs[size]

    def among(self, steps: Hashes, size: int) -> NDArray[np.bool_]:
        """Of each run of a line, whether it is known."""
        asked, known = grams(steps, size), self.runs(size)
        if not len(known):
            return np.zeros(len(asked), np.bool_)
        return np.asarray(known[np.minimum(np.searchsorted(known, asked), len(known) - 1)] == asked)

    def longest(self, score: Score) -> int:
        """Notes of the longest run of a piece that is known, by LADDER; 0 for none."""
        steps = symbols(score, self._line)
        place = bisect_left(LADDER, True, key=lambda size: not self.among(steps, size).any())  # a known run holds shorter ones
        return LADDER[place - 1] + 1 if place else 0

    def shares(self, score: Score) -> list[float]:
        """Of the runs of 8, 12 and 16 notes of a piece, the shares that are known; 0 where it has none."""
        steps = symbols(score, self._line)
        found = [self.among(steps, size - 1) for size in SIZES]
        return [float(one.mean()) if len(one) else 0.0 for one in found]

    @cached_property
    def _by_piece(self) -> tuple[Hashes, NDArray[np.int64]]:
        """The distinct short runs of every piece, sorted, and the piece of each."""
        rows = [np.unique(grams(one, NEAR)) for one in self._pieces]
        runs, piece = np.concatenate(rows), np.repeat(np.arange(len(rows)), [len(row) for row in rows])
        order = np.argsort(runs, kind="stable")
        return runs[order], piece[order]

    def nearest(self, score: Score) -> float:
        """The largest share of the short runs of a piece that one known piece has as well, 0..1."""
        asked = np.unique(grams(symbols(score, self._line), NEAR))
        runs, piece = self._by_piece
        if not len(asked) or not len(runs):
            return 0.0
        first, last = np.searchsorted(runs, asked, "left"), np.searchsorted(runs, asked, "right")
        hits = np.concatenate([piece[a:b] for a, b in zip(first, last, strict=True)])
        return float(np.bincount(hits).max() / len(asked)) if len(hits) else 0.0

    def copied(self, score: Score) -> list[float]:
        """[5] notes of the longest known run, the three shares, the nearest piece."""
        return [float(self.longest(score)), *self.shares(score), self.nearest(score)]
