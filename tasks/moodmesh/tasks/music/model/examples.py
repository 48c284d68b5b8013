"""What the composers learn from: windows of whole bars, played a little otherwise each time, and the attributes heard in them.

A window is drawn by (seed, number) alone, so that a run that goes on after a stop sees what it would have seen.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import POLYPHONY_BOUNDS, minorness, polyphony_classes
from moodmesh.tasks.music.notation.score import Score, excerpt, tidy
from moodmesh.tasks.music.notation.tokens import bars
from moodmesh.tasks.music.rules.attributes import DESCRIBED, described, heard, parted

SPANS = (4, 8, v.PITCHES)
"""Bars that share one description, the last for a whole window; drawn anew for each window. The bars that close a piece
(`attributes.CLOSE`) have one of their own."""
PLACES = 8
"""The most descriptions of a window."""


@dataclass(frozen=True)
class Window:
    """`tokens` [length]; `spans` [length] the number of the description that holds for each; `told` [PLACES, DESCRIBED].

    `polyphony` [8] is the share of its bars in each class of polyphony, `minor` the mode of the passage that it is from, `mood`
    its labelled (valence, arousal), -1 or 1.
    """

    tokens: NDArray[np.int64]
    spans: NDArray[np.int64]
    told: NDArray[np.float32]
    polyphony: NDArray[np.float32]
    minor: bool
    mood: tuple[int, int] | None


@dataclass(frozen=True)
class Source:
    """A passage to draw from; `ends` when its last bar is the end of a piece."""

    score: Score
    minor: bool
    ends: bool
    song: str = ""
    mood: tuple[int, int] | None = None


def sources(passages: Sequence[Passage], whole: bool) -> list[Source]:
    """The passages to draw from; `whole` says that files end where pieces do (EMOPIA has clips)."""
    return [Source(one.score, one.key.minor, whole and one.ends, one.group, one.mood) for one in passages if one.score.notes]


class Windows:
    """Draws windows; `vary` plays them at other tempi, louder or softer, shorter or longer."""

    def __init__(self, drawn_from: Sequence[Source], seed: int, vary: bool = True) -> None:
        self._sources, self._seed, self._vary = drawn_from, seed, vary
        self._sizes = [np.array([len(bar) for bar in bars(one.score)]) for one in drawn_from]
        self._ends = np.cumsum([sizes.sum() for sizes in self._sizes])

    def draw(self, number: int, length: int) -> Window:
        """Window `number` of `length` tokens; the same for the same number and length."""
        random = np.random.default_rng((self._seed, number))
        at = int(np.searchsorted(self._ends, random.integers(self._ends[-1]), side="right"))
        source, sizes = self._sources[at], self._sizes[at]
        first, last = _cut(sizes, length, random)
        score = excerpt(source.score, first, last)
        if self._vary:
            score = varied(score, random)
        span = max(int(random.choice(SPANS)), math.ceil(score.bars / (PLACES - 1)))
        return window(replace(source, score=score, ends=source.ends and last == source.score.bars), length, span)


def _cut(sizes: NDArray[np.int64], length: int, random: np.random.Generator) -> tuple[int, int]:
    """(first bar, bar after the last) of a window with room for an EOS; every bar is about as likely to be in it."""
    reach = np.searchsorted(np.cumsum(sizes), np.cumsum(sizes) - sizes + length - 1, side="right")
    full = int(np.argmax(reach == len(sizes)))  # the first bar from which the rest fits
    spare = len(sizes) - full
    first = int(np.clip(random.integers(-spare + 1, full + spare), 0, full))
    return first, max(int(reach[first]), first + 1)


def varied(score: Score, random: np.random.Generator) -> Score:
    """The same notes up to a third faster or slower, 24 velocities louder or softer, half as long or a quarter longer."""
    faster, louder = round(random.uniform(-9, 9)), round(random.uniform(-12, 12))
    longer = random.choice([1.0, random.uniform(0.5, 1.25)])
    steps = [note.velocity for note in score.notes]
    louder = min(max(louder, -min(steps, default=0)), v.VELOCITIES - 1 - max(steps, default=0))
    notes = (
        note._replace(velocity=note.velocity + louder, duration=max(1, math.floor(note.duration * longer + 0.5)))
        for note in score.notes
    )
    return tidy(notes, [min(max(step + faster, 0), v.TEMPI - 1) for step in score.tempi])


def window(source: Source, length: int, span: int) -> Window:
    """The bars of a source as a window, those that fit, each `span` bars with what is heard in them."""
    tokens, spans = np.full(length, v.PAD, np.int64), np.zeros(length, np.int64)
    told = np.zeros((PLACES, DESCRIBED), np.float32)
    score, used, place = source.score, 0, -1
    starts = parted(score.bars, span, closing=source.ends)
    for number, bar in enumerate(bars(score)):
        if used + len(bar) > length:
            break
        if number in starts:
            place += 1
            end = min((start for start in starts if start > number), default=score.bars)
            part = excerpt(score, number, end)
            told[place] = described(heard(part), part.bars, source.ends and end == score.bars, minorness(part))
        tokens[used : used + len(bar)], spans[used:] = bar, place
        used += len(bar)
    if source.ends and used < length:
        tokens[used] = v.EOS
    classes = np.bincount(polyphony_classes(score), minlength=len(POLYPHONY_BOUNDS) + 1)
    return Window(tokens, spans, told, (classes / max(score.bars, 1)).astype(np.float32), source.minor, source.mood)
