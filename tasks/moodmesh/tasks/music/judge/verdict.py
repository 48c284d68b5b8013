"""What a judge says of a piece: the chances that its arousal and its valence are high (systems S20)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.notation.score import Score, excerpt

WINDOW = 16
"""Bars that are judged together: about as long as the clips that judges learn from."""
Chances = Callable[[Score], Floats]
"""[2] P(arousal high), P(valence high) of a piece."""


@dataclass(frozen=True)
class Verdict:
    """`arousal` and `valence`: the chance, 0..1, that each is high."""

    arousal: float
    valence: float

    @property
    def quadrants(self) -> tuple[float, float, float, float]:
        """The chances of Q1 (+V +A), Q2 (-V +A), Q3 (-V -A), Q4 (+V -A), the two axes taken as independent; they sum to 1."""
        a, v = self.arousal, self.valence
        return a * v, a * (1 - v), (1 - a) * (1 - v), (1 - a) * v

    def right(self, mood: tuple[int, int]) -> tuple[bool, bool]:
        """Whether (valence, arousal) are judged as they were meant, each -1 or 1."""
        return (self.valence > 0.5) == (mood[0] > 0), (self.arousal > 0.5) == (mood[1] > 0)


def windows(score: Score) -> list[tuple[int, int]]:
    """(first bar, bar after the last) of the parts of a piece that are judged one by one: 12 to 23 bars, or the whole of it."""
    parts = max(1, (score.bars + WINDOW // 2) // WINDOW)
    edges = [round(part * score.bars / parts) for part in range(parts + 1)]
    return list(pairwise(edges))


def judged(score: Score, chances: Chances) -> tuple[Verdict, list[Verdict | None]]:
    """Of the whole piece, the mean of its windows by bars, and of each window; None for one without notes."""
    verdicts: list[Verdict | None] = []
    weights = []
    for first, last in windows(score):
        try:
            arousal, valence = chances(excerpt(score, first, last)).tolist()
        except InvalidInput:
            verdicts.append(None)
        else:
            verdicts.append(Verdict(arousal, valence))
            weights.append((last - first, arousal, valence))
    if not weights:
        raise InvalidInput("there is no pitched note in this piece: give one that has")
    bars = sum(weight for weight, _, _ in weights)
    return Verdict(*(sum(row[0] * row[axis] for row in weights) / bars for axis in (1, 2))), verdicts
