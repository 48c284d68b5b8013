"""Which take of a phrase is kept: near to what was asked, like music, new, not repeating itself (systems S19).

No label and no judge has a part in it: the gate learned from free music of the roles train and dev; that of the evaluation was
fitted to none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.engine.playing import Bar
from moodmesh.tasks.music.generate.novelty import Filter
from moodmesh.tasks.music.judge import gate
from moodmesh.tasks.music.judge.gate import Gate
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.tokens import decode
from moodmesh.tasks.music.rules.attributes import Attributes, distance, heard

BARS = 8
"""Bars that the gate hears: a phrase, or the end of what was played where a phrase is shorter."""
UNLIKE, COPIED, AGAIN = 0.5, 4.0, 1.0
"""What counts as much as one unit of `attributes.distance`: a whole width outside of a band of the gate, a quarter of the top
line known from the training set beyond what is usual, every bar like the one before beyond what is usual."""
USUAL_KNOWN, USUAL_AGAIN = 0.1, 0.5
_WORST = 2.0
"""The most that the gate counts."""


@dataclass(frozen=True)
class Selector:
    """What is not there does not count: `like` and `known` come from a file of the package."""

    like: Gate | None = None
    known: Filter | None = None

    @classmethod
    def load(cls, file: Path) -> Selector:
        """What `save` wrote."""
        with np.load(file, allow_pickle=False) as held:
            known = Filter(held["bits"])
        return cls(gate.load(file, _unheard), known)

    def best(self, shown: Attributes, before: Sequence[Bar], takes: Sequence[Sequence[Bar]]) -> int:
        """The number of the take that costs least, the first of equals."""
        return min(range(len(takes)), key=lambda take: (self.cost(shown, before, takes[take]), take))

    def cost(self, shown: Attributes, before: Sequence[Bar], take: Sequence[Bar]) -> float:
        """0 for a take that is all it should be; in units of `attributes.distance`."""
        score = _score(take)
        copied = self.known.share(score) if self.known else 0.0
        return (
            distance(shown, heard(score))
            + UNLIKE * self._unlike([*before, *take])
            + COPIED * max(0.0, copied - USUAL_KNOWN)
            + AGAIN * max(0.0, again(take) - USUAL_AGAIN)
        )

    def _unlike(self, played: Sequence[Bar]) -> float:
        """How far outside of its bands the gate hears the last bars, in widths; 0 before there are enough of them."""
        if self.like is None or len(played) < self.like.bars:
            return 0.0
        try:
            found = self.like.measured(_score(played[-self.like.bars :]))
        except InvalidInput:  # nothing is to be heard in them
            return _WORST
        low, high = self.like.bands.T
        outside = np.maximum(np.maximum(low - found, np.array(found) - high), 0) / np.maximum(high - low, 1e-9)
        return min(float(outside[[0, 2]].sum()), _WORST)


def again(take: Sequence[Bar]) -> float:
    """The share of bars that are as the one before, tempo aside; 0 for a single one."""
    same = [one[2:] == other[2:] for one, other in pairwise(take)]
    return sum(same) / max(len(same), 1)


def _score(played: Sequence[Bar]) -> Score:
    return decode([token for bar in played for token in bar])


def _unheard(tokens: Sequence[int]) -> float:
    """The gate's language model does not ship, and its number does not count."""
    return 0.0


def save(like: Gate, known: Filter, file: Path) -> None:
    """As .npz, under 1 MB."""
    like.save(file)
    with np.load(file, allow_pickle=False) as held:
        parts = {name: held[name] for name in held.files}
    np.savez_compressed(file, allow_pickle=False, bits=known.bits, **parts)
