"""Which token comes next: chance under the grammar, never a token that could not be decoded (systems S17)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.grammar import State, allowed
from moodmesh.tasks.music.notation.vocabulary import Kind


@dataclass(frozen=True)
class Taste:
    """How daring a composer is: logits over `temperature` (> 0), and of the tokens the likeliest that make up `top_p`."""

    temperature: float = 1.0
    top_p: float = 0.95

    def warmer(self, by: float) -> Taste:
        """The same, with the temperature raised."""
        return Taste(self.temperature + by, self.top_p)


@cache
def choices(state: State) -> NDArray[np.int64]:
    """The tokens that may follow for the piano, in order."""
    mask = allowed(state)
    return np.array([token for token in np.flatnonzero(mask).tolist() if _of_the_piano(token)], np.int64)


def _of_the_piano(token: int) -> bool:
    kind, track, _ = v.meaning(token)
    return kind not in (Kind.PITCH, Kind.VELOCITY, Kind.DURATION) or track == v.PIANO


def choose(logits: NDArray[np.float32], state: State, taste: Taste, random: np.random.Generator) -> int:
    """One of the tokens that may follow `state`; takes one number from `random`."""
    tokens = choices(state)
    weights = logits[tokens].astype(np.float64)
    weights -= weights.max()
    weights /= taste.temperature
    np.exp(weights, out=weights)
    falling = np.sort(weights)[::-1]
    summed = falling.cumsum()
    least = falling[min(int(summed.searchsorted(taste.top_p * summed[-1])), len(falling) - 1)]
    weights[weights < least] = 0.0
    summed = weights.cumsum()  # in the order of the tokens: a rounding error moves it little
    return int(tokens[min(int(summed.searchsorted(random.random() * summed[-1], side="right")), len(tokens) - 1)])
