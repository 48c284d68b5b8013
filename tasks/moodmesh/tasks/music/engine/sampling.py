"""Which token comes next: chance under the grammar, never a token that could not be decoded (systems S17)."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from dataclasses import dataclass, replace
from functools import cache
from itertools import accumulate
from math import exp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.grammar import State, allowed
from moodmesh.tasks.music.notation.vocabulary import Kind


@dataclass(frozen=True)
class Taste:
    """How daring a composer is: logits over `temperature` (> 0), and of the tokens the likeliest that make up `top_p`; `weary`
    is what the logit of a pitch loses each time that it is struck more than OFTEN times in RECENT bars."""

    temperature: float = 1.0
    top_p: float = 0.95
    weary: float = 0.0

    def warmer(self, by: float) -> Taste:
        """The same, with the temperature raised."""
        return replace(self, temperature=self.temperature + by)


OFTEN, RECENT = 4, 3
"""How often a pitch is struck in so many bars, the one that is being made among them, before it costs anything."""


_PITCHES = frozenset(token for token in range(v.SIZE) if v.meaning(token)[0] == Kind.PITCH)


class Weariness:
    """What pitches cost (`cost` [SIZE], taken from logits) after the tokens struck so far: a penalty of frequency. Left alone,
    composers strike one chord for bars on end where much is to happen."""

    def __init__(self, taste: Taste) -> None:
        self.cost = np.zeros(v.SIZE, np.float32)
        self._taste, self._struck = taste, [0] * v.SIZE

    def strike(self, token: int) -> None:
        """Heed a token, of whatever kind."""
        if token in _PITCHES and self._taste.weary:
            self._struck[token] += 1
            if self._struck[token] > OFTEN:
                self.cost[token] += self._taste.weary


Chord = tuple[int, ...]
"""Pitch classes: the root, the third, others."""
HALF = v.BAR // 2
LAST_PLACE, HIGHEST_BASS, LASTING = 4, 59, HALF
"""Of a bar that closes a piece: the last place where notes begin, the highest pitch of its bass, the shortest duration."""
LOWEST_TONE, HIGHEST_TONE, LEAP = 60, 79, 7
"""The bounds of `Cadence.highest`; how far the top may rise over that of the bar before (POP909 rises no more in 95 %)."""


class Cadence(NamedTuple):
    """What a bar has to do with how a piece ends: it leads there, or is the `last`; the `highest` pitch of its
    tones (the root may stand an octave higher); whether the chord has its `third` yet."""

    chord: Chord
    last: bool
    highest: int = HIGHEST_TONE
    third: bool = False

    def near(self, top: int) -> Cadence:
        """After a bar with that highest pitch."""
        return self._replace(highest=min(max(top + LEAP - 12, LOWEST_TONE), HIGHEST_TONE))

    def after(self, state: State) -> Cadence:
        """With what a bar has come to."""
        begun = self.last or state.place >= HALF
        return self._replace(third=self.third or (begun and state.pitch != -1 and _class(state.pitch) == self.chord[1]))


@cache
def choices(state: State, cadence: Cadence | None = None) -> NDArray[np.int64]:
    """The tokens that may follow for the piano, in order. No bar is without a note.

    The last bar of a piece begins with its chord, the root in the bass, the third above it and the root on top, and has no
    other tones, none late or short. In the one that leads there a chord begins at the half, root in the bass and with its
    third; what was before has ended, all that follows is of it, and nothing sounds on into the last bar.
    """
    tokens = [token for token in np.flatnonzero(allowed(state)).tolist() if _of_the_piano(token)]
    if state.kind == Kind.TEMPO:
        tokens = [token for token in tokens if token not in (v.BAR_LINE, v.EOS)]
    if cadence:
        fits = _closes if cadence.last else _leads
        tokens = [token for token in tokens if fits(state, token, cadence)]
    return np.array(tokens, np.int64)


def _leads(state: State, token: int, cadence: Cadence) -> bool:
    kind, _, value = v.meaning(token)
    before = state.place < HALF
    match kind:
        case Kind.BEAT:
            return value <= HALF if before else cadence.third
        case Kind.PITCH:
            return before or _of_chord(state, value, cadence)
        case Kind.DURATION:
            return value <= (HALF if before else v.BAR) - state.place
        case Kind.BAR | Kind.EOS:
            return cadence.third
    return True


def _closes(state: State, token: int, cadence: Cadence) -> bool:
    kind, _, value = v.meaning(token)
    whole = cadence.third and state.pitch != -1 and _class(state.pitch) == cadence.chord[0]
    match kind:
        case Kind.BEAT:
            return value == 0 if state.kind == Kind.TEMPO else whole and value <= LAST_PLACE
        case Kind.PITCH:
            return _of_chord(state, value, cadence)
        case Kind.DURATION:
            return value >= LASTING
        case Kind.BAR | Kind.EOS:
            return whole
    return True


def _of_chord(state: State, pitch: int, cadence: Cadence) -> bool:
    """Whether a pitch may stand in the chord: what is yet to come of it can still come above."""
    root, third = pitch % 12 == cadence.chord[0], pitch % 12 == cadence.chord[1]
    if not cadence.third and state.pitch == -1:
        return root and pitch <= min(HIGHEST_BASS, cadence.highest - 12)
    if not cadence.third and not third:
        return pitch % 12 in cadence.chord and pitch <= cadence.highest - 12
    return pitch % 12 in cadence.chord and pitch <= cadence.highest + 12 * (cadence.third and root)


def _class(token: int) -> int:
    return v.meaning(token)[2] % 12


def _of_the_piano(token: int) -> bool:
    kind, track, _ = v.meaning(token)
    return kind not in (Kind.PITCH, Kind.VELOCITY, Kind.DURATION) or track == v.PIANO


def choose(logits: NDArray[np.float32], state: State, taste: Taste, draw: float, cadence: Cadence | None = None) -> int:
    """One of the `choices`: the one that a number in [0, 1) draws."""
    tokens = choices(state, cadence)
    held: list[float] = logits.take(tokens).tolist()  # so few that lists are faster than arrays
    most, temperature = max(held), taste.temperature
    chances = [exp((one - most) / temperature) for one in held]
    falling = sorted(chances, reverse=True)
    summed = list(accumulate(falling))
    least = falling[min(bisect_left(summed, taste.top_p * summed[-1]), len(falling) - 1)]
    summed = list(accumulate([one if one >= least else 0.0 for one in chances]))
    # In the order of the tokens, so that a rounding error moves it little.
    return int(tokens[min(bisect_right(summed, draw * summed[-1]), len(tokens) - 1)])
