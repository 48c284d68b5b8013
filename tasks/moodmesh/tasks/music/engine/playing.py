"""A piece bar by bar: what is asked for each bar, and the bars that a composer makes of it (systems S19).

A bar depends on the bars before it, on the plan, and on chance drawn from (seed, number of the bar, take). So another device
can go on where one left off: the bars so far are all it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from moodmesh.tasks.music.engine.sampling import RECENT, Cadence, Taste, Weariness, choose
from moodmesh.tasks.music.engine.steps import Stepping
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.grammar import START, follow
from moodmesh.tasks.music.notation.vocabulary import Kind

MAX_BAR = 304
"""Tokens after which a bar ends in any case: about 95 notes."""
TOO_OFTEN, WARMER = 2, 0.15
"""A bar that came so often in a row makes the next one warmer, by so much for each time more."""

Bar = list[int]


@dataclass(frozen=True)
class Ask:
    """What a composer is told of a bar (`attributes.described`), the tempo step it is played at (None: the composer's choice),
    the number of its phrase (bars of one phrase are chosen together), its part in how the piece ends, if it has one, and the
    bar of the plan whose notes come again in it (None: it is new)."""

    told: tuple[float, ...]
    tempo: int | None
    phrase: int = 0
    cadence: Cadence | None = None
    again: int | None = None


Best = Callable[[int, Sequence[Bar], Sequence[Sequence[Bar]]], int]
"""(bar of the plan that a phrase begins with, the bars before it, its takes) -> the number of the take that is kept."""


class Player:
    """Plays a plan on a composer; `before` are bars that the piece goes on from, each with what is heard in it; they are not
    counted in the plan.

    With `takes` above 1 every phrase is played so often, and `best` says which take is kept; its bars come when all are played.
    """

    def __init__(
        self,
        steps: Stepping,
        plan: Sequence[Ask],
        seed: int,
        taste: Taste,
        before: Sequence[tuple[Bar, Ask]] = (),
        takes: int = 1,
        best: Best = lambda first, before, takes: 0,
    ) -> None:
        self._steps, self._plan, self._seed, self._taste, self._takes, self._best = steps, plan, seed, taste, takes, best
        self._asked = [*(ask for _, ask in before), *plan]
        self._lead = len(before)
        self._bars = [list(bar) for bar, _ in before]
        self._first = 0  # of the bars in the caches
        self._read = 0  # the bar after the last in the caches

    def bars(self, made: Sequence[Bar] = (), check: Callable[[], None] = lambda: None) -> Iterator[Bar]:
        """The bars of the plan after those `made` already; `check` is called between tokens and may raise."""
        known = [list(bar) for bar in made]
        self._first, self._read, self._steps.past = 0, 0, 0
        if self._takes == 1:
            self._bars += known
            for number in range(len(known), len(self._plan)):
                yield self._next(number, 0, check)
            return
        for first, last in _phrases(self._plan):
            given = known[first:last]
            if len(given) < last - first:
                yield from self._phrase(first, last, given, check)[len(given) :]
            else:
                self._bars += given

    def _phrase(self, first: int, last: int, given: list[Bar], check: Callable[[], None]) -> list[Bar]:
        """The take that is kept; it goes on from the `given` bars.

        A machine that computes like this one chose it with them. Any other may play nothing here that begins like them: then
        all takes go on from them.
        """
        takes = [self._take(first, last, [], take, check) for take in range(self._takes)]
        takes = [one for one in takes if one[: len(given)] == given] or [
            self._take(first, last, given, take, check) for take in range(self._takes)
        ]
        kept = takes[self._best(first, self._bars[: self._lead + first], takes)]
        if self._bars[self._lead + first :] != kept:  # the caches hold the last take
            self._back(first)
            self._bars += kept
        return kept

    def _take(self, first: int, last: int, given: list[Bar], take: int, check: Callable[[], None]) -> list[Bar]:
        self._back(first)
        self._bars += given
        for number in range(first + len(given), last):
            self._next(number, take, check)
        return self._bars[self._lead + first :]

    def _back(self, number: int) -> None:
        """Forget the bars from `number` of the plan on. The caches lose them too, or all where the window moved since."""
        del self._bars[self._lead + number :]
        first, _ = self._window()
        sizes = [len(bar) for bar in self._bars[first:]]
        self._read = min(self._read, len(self._bars)) if first == self._first else first
        self._first, self._steps.past = first, sum(sizes[: self._read - first])

    def _next(self, number: int, take: int, check: Callable[[], None]) -> Bar:
        ask = self._plan[number]
        if ask.again is not None:
            check()
            opening = _opening(ask)
            self._bars.append(opening + self._bars[self._lead + ask.again][len(opening) :])
            return self._bars[-1]
        self._catch_up()
        random = np.random.default_rng((self._seed, number, take) if take else (self._seed, number))
        draws = iter(random.random(MAX_BAR + 3).tolist())  # a note that is begun is ended
        taste = self._taste.warmer(WARMER * max(0, self._same() - TOO_OFTEN + 1))
        bar, cadence, weariness = _opening(ask), ask.cadence, Weariness(taste)
        for token in (token for last in self._bars[1 - RECENT :] for token in last):
            weariness.strike(token)
        if cadence and self._bars:
            cadence = cadence.near(_top(self._bars[-1]))
        self._steps.remember(ask.told)
        logits, state = self._steps.feed(bar), START
        for token in bar:
            state = follow(state, token)
        while True:
            check()
            token = choose(logits - weariness.cost, state, taste, next(draws), cadence)
            if token in (v.BAR_LINE, v.EOS):
                break
            bar.append(token)
            weariness.strike(token)
            state = follow(state, token)
            cadence = cadence and cadence.after(state)
            logits = self._steps.feed([token])
            if len(bar) >= MAX_BAR and state.kind == Kind.DURATION:
                break
        self._bars.append(bar)
        self._read += 1
        return bar

    def _same(self) -> int:
        """How often in a row the last bar came, its tempo aside."""
        last = [bar[2:] for bar in self._bars[-1:-6:-1]]
        return next((count for count, bar in enumerate(last) if bar != last[0]), len(last))

    def _catch_up(self) -> None:
        """Bring the caches to the end of the bars so far, room left for one more; each is read with what was asked of it.

        What was played since the window last moved is read token by token, as it was played: rounding is then the same.
        """
        first, moved = self._window()
        if first != self._first:
            self._first, self._read, self._steps.past = first, first, 0
        while self._read < len(self._bars):
            bar = self._bars[self._read]
            ask = self._asked[self._read]
            self._steps.remember(ask.told)
            lead = len(_opening(ask))
            for part in [bar] if self._read < max(moved, self._lead) else [bar[:lead], *([token] for token in bar[lead:])]:
                self._steps.feed(part)
            self._read += 1

    def _window(self) -> tuple[int, int]:
        return window([len(bar) for bar in self._bars], self._steps.room)


def _opening(ask: Ask) -> Bar:
    """What a bar begins with, whoever plays it."""
    return [v.BAR_LINE] if ask.tempo is None else [v.BAR_LINE, v.tempo(ask.tempo)]


def _top(bar: Bar) -> int:
    """Its highest pitch; 0 for a bar without notes."""
    meanings = [v.meaning(token) for token in bar]
    return max((value for kind, _, value in meanings if kind == Kind.PITCH), default=0)


def _phrases(plan: Sequence[Ask]) -> list[tuple[int, int]]:
    """(first bar, bar after the last) of each run of bars of one phrase."""
    starts = [at for at in range(len(plan)) if at == 0 or plan[at].phrase != plan[at - 1].phrase]
    return list(zip(starts, [*starts[1:], len(plan)], strict=True))


def full(room: int) -> int:
    """The most tokens after which a bar still begins in caches of so much room."""
    return room - MAX_BAR - 4


def window(sizes: Sequence[int], room: int) -> tuple[int, int]:
    """(first bar that is still read after bars of such sizes, so that another fits; bars there were when that last changed)."""
    first = used = moved = 0
    for number, size in enumerate(sizes):
        used += size
        if used > full(room):
            moved = number + 1
            while used > full(room) // 2 and first < number:
                used -= sizes[first]
                first += 1
    return first, moved
