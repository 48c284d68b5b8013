"""Scores as token numbers and back, and whole bars packed into windows (systems S16).

A bar is `Bar Tempo` and then, for each place where notes begin, `Beat` and its notes by (track, pitch). Each bar states its
tempo, so any run of whole bars stands for itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.grammar import START, State, follow
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.notation.vocabulary import Kind

WINDOW = 1024
"""Tokens in one training sample."""


def encode(score: Score) -> list[int]:
    """The tokens of a score, `EOS` last; none for a score without bars."""
    return [token for bar in bars(score) for token in bar] + [v.EOS] * bool(score.bars)


def bars(score: Score) -> list[list[int]]:
    """The tokens of each bar."""
    made = [[v.BAR_LINE, v.tempo(step)] for step in score.tempi]
    place = -1
    for note in score.notes:
        bar = made[note.bar]
        if note.onset != place:
            place = note.onset
            bar.append(v.beat(note.beat))
        track = note.track
        bar += (v.pitch(track, note.pitch), v.velocity(track, note.velocity), v.duration(track, note.duration))
    return made


def decode(tokens: Sequence[int]) -> Score:
    """The score of a sequence up to its first `PAD`; a note or bar that was cut off before it was whole is dropped.

    Notes that would sound over a later one of their pitch end there, so that encoding again is the identity from then on.
    InvalidInput names the first token that may not stand where it does.
    """
    state, notes, tempi, current = START, list[Note](), list[int](), (0, 0, 0)
    for place, token in enumerate(tokens):
        if token == v.PAD:
            break
        state = _step(state, token, place)
        kind, track, value = v.meaning(token)
        if kind == Kind.TEMPO:
            tempi.append(value)
        elif kind == Kind.PITCH:
            current = (track, value, 0)
        elif kind == Kind.VELOCITY:
            current = (*current[:2], value)
        elif kind == Kind.DURATION:
            notes.append(Note((len(tempi) - 1) * v.BAR + state.place, *current, value))
    return tidy(notes, tempi)


def _step(state: State, token: int, place: int) -> State:
    try:
        return follow(state, int(token))
    except (ValueError, IndexError) as wrong:
        raise InvalidInput(f"token {place} of the sequence: {wrong}; sample under `grammar.allowed`") from None


def windows(score: Score, size: int = WINDOW) -> Iterator[NDArray[np.uint16]]:
    """Whole bars packed in order into windows of `size` tokens filled up with `PAD`; `EOS` ends the last where it fits.

    A bar that alone is longer than a window is left out, and a new window begins after it.
    """
    window: list[int] = []
    for bar in [*bars(score), [v.EOS]]:
        if len(window) + len(bar) > size:
            if window:
                yield _padded(window, size)
            window = []
        if len(bar) <= size and (window or bar != [v.EOS]):
            window += bar
    if window:
        yield _padded(window, size)


def _padded(window: list[int], size: int) -> NDArray[np.uint16]:
    filled = np.full(size, v.PAD, np.uint16)
    filled[: len(window)] = window
    return filled
