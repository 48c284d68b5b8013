"""Who writes the bars: the rules, or a trained composer (systems S19). Each goes on after the bars that are made already."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Protocol

import numpy as np

from moodmesh.tasks.music.engine.playing import MAX_BAR, Ask, Bar, Player
from moodmesh.tasks.music.engine.sampling import Cadence, Taste
from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.generate.asked import PHRASE, Asked, trimmed
from moodmesh.tasks.music.generate.selector import Selector
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import minorness
from moodmesh.tasks.music.notation.score import Score, excerpt
from moodmesh.tasks.music.notation.tokens import bars
from moodmesh.tasks.music.rules.attributes import Attributes, described, heard, parted
from moodmesh.tasks.music.rules.compose import compose

_PLAIN = Selector()
MAJOR, MINOR = ((7, 11, 2, 5), (0, 4, 7)), ((4, 8, 11, 2), (9, 0, 4))
"""How pieces end, in C major and A minor: from the dominant on the tonic, where composers left alone end a third of theirs."""
FORM, HEAD = "AABA", 4
"""Which phrases begin as the first in their mood did, over and over, with one in HEAD of its bars; the others are new. Left
alone composers bring less back than songs do; with half of its bars it is more, and fewer pieces pass the gate."""
SLOWEST, FASTEST = 45.0, 180.0
"""Quarters a minute of nearly all bars that composers learned from. What is to be slower or faster they play at these, and the
tempo is changed afterwards: at 30 they left one bar in six empty."""
WEARY = 0.3
"""Of `Taste`. Without it an angry piece strikes one chord for bars on end."""
THINNER, SOFTER, FEWER = 0.7, 5.0, 1
"""How bars that close a song of POP909 differ from the eight before (medians): share of the density; velocity; polyphony."""


class Composer(Protocol):
    """Makes a piece bar by bar, in C major or A minor, for the piano."""

    def bars(self, asked: Asked, made: Sequence[Bar], check: Callable[[], None]) -> Iterator[Bar]:
        """The tokens of each bar after those `made`; the same for the same request and seed. `check` may raise."""


class Rules:
    """The rule composer: each phrase is taken from the piece that it would write in that mood throughout.

    Of several takes, other pieces in that mood, one is chosen for all phrases of it.
    """

    def __init__(self, selector: Selector = _PLAIN) -> None:
        self._selector = selector

    def bars(self, asked: Asked, made: Sequence[Bar], check: Callable[[], None]) -> Iterator[Bar]:
        """As the protocol says; a given piece is not read."""
        whole: dict[Attributes, list[Bar]] = {}
        for first, last, shown in asked.phrases:
            for number in range(max(first, len(made)), last):
                check()
                if shown not in whole:
                    whole[shown] = self._chosen(shown, asked, check)
                yield paced(whole[shown][number], asked.tempo(number))

    def _chosen(self, shown: Attributes, asked: Asked, check: Callable[[], None]) -> list[Bar]:
        takes = []
        for take in range(asked.request.takes):
            check()
            seed = int(np.random.default_rng((asked.seed, take)).integers(1 << 31)) if take else asked.seed
            takes.append(bars(compose(shown, asked.request.bars, seed)))
        return takes[self._selector.best(shown, [], takes)] if len(takes) > 1 else takes[0]


class Trained:
    """A trained composer that is told what is to be heard; with `form`, how it ends and what comes again are rules."""

    def __init__(self, steps: Steps, selector: Selector = _PLAIN, form: bool = True) -> None:
        self._steps, self._selector, self._form = steps, selector, form

    def bars(self, asked: Asked, made: Sequence[Bar], check: Callable[[], None]) -> Iterator[Bar]:
        """As the protocol says; the last bars of a given piece are read first."""
        tempi = [_known_step(asked.tempo(bar)) for bar in range(asked.request.bars)]
        again = returning(asked) if self._form else {}
        plan = [
            Ask(told, tempi[first + at], phrase, again=again.get(first + at))
            for phrase, (first, last, shown) in enumerate(asked.phrases)
            for at, told in enumerate(told_of(shown, last - first, closing=last == asked.request.bars))
        ]

        def best(first: int, before: Sequence[Bar], takes: Sequence[Sequence[Bar]]) -> int:
            return self._selector.best(asked.phrases[plan[first].phrase][2], before, takes)

        chords = MINOR if asked.phrases[-1][2].minor else MAJOR
        for at, chord in zip((-2, -1)[-len(plan) :], chords[-len(plan) :], strict=True):
            plan[at] = replace(plan[at], cadence=Cadence(chord, last=at == -1) if self._form else None)
        before = given(asked.before) if asked.before else []
        taste = Taste(asked.request.temperature, weary=WEARY)
        player = Player(self._steps, plan, asked.seed, taste, before, asked.request.takes, best)
        known = [paced(bar, tempo) for bar, tempo in zip(made, tempi, strict=False)]
        for number, bar in enumerate(player.bars(known, check), len(made)):
            yield paced(bar, asked.tempo(number))


def paced(bar: Bar, tempo: int) -> Bar:
    """A bar at another tempo step."""
    return [bar[0], v.tempo(tempo), *bar[2:]]


def returning(asked: Asked) -> dict[int, int]:
    """The bars whose notes come again, and those that they are of (FORM)."""
    begun: dict[Attributes, tuple[int, int]] = {}
    made: dict[int, int] = {}
    for phrase, (first, last, shown) in enumerate(asked.phrases):
        start, end = begun.setdefault(shown, (first, last))
        if start != first and FORM[phrase % len(FORM)] == FORM[0]:
            made |= {first + at: start + at for at in range(min(last - first, end - start) // HEAD)}
    return made


def told_of(shown: Attributes, bars: int, *, closing: bool) -> list[tuple[float, ...]]:
    """What each bar of a phrase is told; those that close the piece are to be thinner."""
    shown = _known(shown)
    starts, made = parted(bars, bars, closing=closing), list[tuple[float, ...]]()
    for start, end in pairwise([*starts, bars]):
        last = closing and end == bars
        asked = thinned(shown) if last else shown
        made += [tuple(described(asked, end - start, last))] * (end - start)
    return made


def _known(shown: Attributes) -> Attributes:
    """At the nearest tempo that composers know."""
    return replace(shown, bpm=min(max(shown.bpm, SLOWEST), FASTEST))


def _known_step(tempo: int) -> int:
    return min(max(tempo, v.tempo_step(SLOWEST)), v.tempo_step(FASTEST))


def thinned(shown: Attributes) -> Attributes:
    """As at the end of a piece."""
    return replace(
        shown,
        density=THINNER * shown.density,
        velocity=max(shown.velocity - SOFTER, 1.0),
        polyphony=max(shown.polyphony - FEWER, 0),
    )


def given(score: Score) -> list[tuple[Bar, Ask]]:
    """The bars of a given piece, each told as the phrase that it is of is heard: as in training, at tempi known from it."""
    asks = []
    for first in range(0, score.bars, PHRASE):
        part = excerpt(score, first, min(first + PHRASE, score.bars))
        shown = _known(heard(part))
        asks += [Ask(tuple(described(shown, part.bars, closing=False, minorness=minorness(part))), None)] * part.bars
    tempi = map(_known_step, score.tempi)
    return list(zip(map(paced, trimmed(bars(score), MAX_BAR), tempi), asks, strict=True))
