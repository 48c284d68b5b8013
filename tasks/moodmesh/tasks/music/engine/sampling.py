"""Which token comes next: chance under the grammar, never a token that could not be decoded (systems S17)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import NamedTuple

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


Chord = tuple[int, ...]
"""Pitch classes, the root first."""
HALF = v.BAR // 2
LAST_PLACE, HIGHEST_BASS, LASTING = 4, 59, HALF
"""Of a bar that closes a piece: the last place where notes begin, the highest pitch of its bass, the shortest duration."""


class Cadence(NamedTuple):
    """What a bar has to do with how a piece ends: it leads there, or is the `last`."""

    chord: Chord
    last: bool


@cache
def choices(state: State, cadence: Cadence | None = None) -> NDArray[np.int64]:
    """The tokens that may follow for the piano, in order.

    The last bar of a piece begins with the root of its chord in the bass and has no other tones, none late or short. In the one
    that leads there a chord begins at the half, its root in the bass; what was before has ended, and all that follows is of it.
    """
    tokens = [token for token in np.flatnonzero(allowed(state)).tolist() if _of_the_piano(token)]
    if cadence:
        fits = _closes if cadence.last else _leads
        tokens = [token for token in tokens if fits(state, token, cadence.chord)]
    return np.array(tokens, np.int64)


def _leads(state: State, token: int, chord: Chord) -> bool:
    kind, _, value = v.meaning(token)
    before = state.place < HALF
    match kind:
        case Kind.BEAT:
            return not before or value <= HALF
        case Kind.PITCH if state.place == HALF and state.pitch == -1:
            return value % 12 == chord[0] and value <= HIGHEST_BASS
        case Kind.PITCH:
            return before or value % 12 in chord
        case Kind.DURATION:
            return not before or value <= HALF - state.place
        case Kind.BAR | Kind.EOS:
            return not before
    return True


def _closes(state: State, token: int, close: Chord) -> bool:
    kind, _, value = v.meaning(token)
    opens = state.place == 0 and state.pitch == -1
    match kind:
        case Kind.BEAT:
            return value == 0 if state.kind == Kind.TEMPO else value <= LAST_PLACE
        case Kind.PITCH if opens:
            return value % 12 == close[0] and value <= HIGHEST_BASS
        case Kind.PITCH:
            return (HIGHEST_BASS - 12 < value <= HIGHEST_BASS and value % 12 in close) or value % 12 == close[0]
        case Kind.DURATION:
            return value >= LASTING
    return state.kind != Kind.TEMPO


def _of_the_piano(token: int) -> bool:
    kind, track, _ = v.meaning(token)
    return kind not in (Kind.PITCH, Kind.VELOCITY, Kind.DURATION) or track == v.PIANO


def choose(
    logits: NDArray[np.float32], state: State, taste: Taste, random: np.random.Generator, cadence: Cadence | None = None
) -> int:
    """One of the `choices`; takes one number from `random`."""
    tokens = choices(state, cadence)
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
