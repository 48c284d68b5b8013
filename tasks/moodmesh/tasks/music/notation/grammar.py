"""Which token may follow: every sequence sampled under it can be decoded (systems S16, S17).

    piece = bar* EOS PAD*      bar = Bar Tempo place*      place = Beat note+      note = Pitch Velocity Duration

Places of a bar rise; notes of a place rise by (track, pitch); the three tokens of a note are of one track.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.vocabulary import Kind

Mask = NDArray[np.bool_]


class State(NamedTuple):
    """All that the next token depends on: the kind and track of the last, and the place and pitch tokens of this bar.

    `place` is the last sub-beat stated in this bar, -1 for none; `pitch` the last pitch token of that place, -1 for none.
    """

    kind: Kind = Kind.EOS
    track: int = 0
    place: int = -1
    pitch: int = -1


START = State(Kind.BAR, place=v.BAR)
"""Before the first token, which is a bar line."""


@cache
def allowed(state: State) -> Mask:
    """[923] True for each token that may follow; at least one may. Read only."""
    match state.kind:
        case Kind.PAD | Kind.EOS:
            return _only(v.PAD, v.PAD + 1)
        case Kind.BAR if state == START:
            return _only(v.BAR_LINE, v.BAR_LINE + 1)
        case Kind.BAR:
            return _only(v.tempo(0), v.tempo(v.TEMPI - 1) + 1)
        case Kind.BEAT:
            return _pitches(-1)
        case Kind.PITCH:
            return _only(v.velocity(state.track, 0), v.velocity(state.track, v.VELOCITIES - 1) + 1)
        case Kind.VELOCITY:
            return _only(v.duration(state.track, 1), v.duration(state.track, v.BAR) + 1)
        case Kind.TEMPO:
            return _places(-1)
    return _frozen(_places(state.place) | _pitches(state.pitch))


def follow(state: State, token: int) -> State:
    """The state after a token; ValueError names a token that may not stand there."""
    if not allowed(state)[token]:
        raise ValueError(f"{v.name(token)} may not follow {state.kind.name.lower()}")
    kind, track, value = v.meaning(token)
    match kind:
        case Kind.BEAT:
            return State(kind, 0, value, -1)
        case Kind.PITCH:
            return State(kind, track, state.place, token)
        case Kind.VELOCITY | Kind.DURATION:
            return State(kind, track, state.place, state.pitch)
    return State(kind)


def _frozen(mask: Mask) -> Mask:
    mask.flags.writeable = False
    return mask


@cache
def _only(first: int, end: int) -> Mask:
    tokens = np.arange(v.SIZE)
    return _frozen((tokens >= first) & (tokens < end))


@cache
def _places(after: int) -> Mask:
    """What may follow a finished note, but for another note of its place."""
    mask = _only(v.beat(after + 1), v.beat(v.BAR)).copy()
    mask[[v.EOS, v.BAR_LINE]] = True
    return _frozen(mask)


@cache
def _pitches(after: int) -> Mask:
    """Every pitch token above `after`: they rise by (track, pitch)."""
    return _frozen(np.array([token > after and v.meaning(token)[0] == Kind.PITCH for token in range(v.SIZE)]))
