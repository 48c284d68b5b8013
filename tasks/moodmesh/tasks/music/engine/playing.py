"""A piece bar by bar: what is asked for each bar, and the bars that a composer makes of it (systems S19).

A bar depends on the bars before it, on the plan, and on chance drawn from (seed, number of the bar, take). So another device
can go on where one left off: the bars so far are all it needs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from moodmesh.tasks.music.engine.sampling import Taste, choose
from moodmesh.tasks.music.engine.steps import Stepping
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.grammar import START, follow
from moodmesh.tasks.music.notation.vocabulary import Kind

MAX_BAR = 304
"""Tokens after which a bar ends in any case: 75 notes."""
TOO_OFTEN, WARMER = 2, 0.15
"""A bar that came so often in a row makes the next one warmer, by so much for each time more."""

Bar = list[int]


@dataclass(frozen=True)
class Ask:
    """What a composer is told of a bar (`examples.described`), and the tempo step it is played at."""

    told: tuple[float, ...]
    tempo: int


class Player:
    """Plays a plan on a composer; `before` are bars that the piece goes on from and that are not counted in the plan."""

    def __init__(self, steps: Stepping, plan: Sequence[Ask], seed: int, taste: Taste, before: Sequence[Bar] = ()) -> None:
        self._steps, self._plan, self._seed, self._taste = steps, plan, seed, taste
        self._asked = [plan[0]] * len(before) + list(plan)
        self._lead = len(before)
        self._bars = [list(bar) for bar in before]
        self._first = 0  # of the bars in the caches
        self._read = 0  # the bar after the last in the caches

    def bars(self, made: Sequence[Bar] = (), check: Callable[[], None] = lambda: None) -> Iterator[Bar]:
        """The bars of the plan after those `made` already; `check` is called between tokens and may raise."""
        self._bars += [list(bar) for bar in made]
        self._first, self._read, self._steps.past = 0, 0, 0
        for number in range(len(made), len(self._plan)):
            yield self._next(number, check)

    def _next(self, number: int, check: Callable[[], None]) -> Bar:
        self._catch_up()
        ask, random = self._plan[number], np.random.default_rng((self._seed, number))
        taste = self._taste.warmer(WARMER * max(0, self._same() - TOO_OFTEN + 1))
        bar = [v.BAR_LINE, v.tempo(ask.tempo)]
        self._steps.remember(ask.told)
        logits = self._steps.feed(bar)
        state = follow(follow(START, bar[0]), bar[1])
        while True:
            check()
            token = choose(logits, state, taste, random)
            if token in (v.BAR_LINE, v.EOS):
                break
            bar.append(token)
            state = follow(state, token)
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
        first, moved = window([len(bar) for bar in self._bars], self._steps.room)
        if first != self._first:
            self._first, self._read, self._steps.past = first, first, 0
        while self._read < len(self._bars):
            bar = self._bars[self._read]
            self._steps.remember(self._asked[self._read].told)
            for part in [bar] if self._read < max(moved, self._lead) else [bar[:2], *([token] for token in bar[2:])]:
                self._steps.feed(part)
            self._read += 1


def window(sizes: Sequence[int], room: int) -> tuple[int, int]:
    """(first bar that is still read after bars of such sizes, so that another fits; bars there were when that last changed)."""
    first = used = moved = 0
    for number, size in enumerate(sizes):
        used += size
        if used > room - MAX_BAR - 4:
            moved = number + 1
            while used > room // 2 and first < number:
                used -= sizes[first]
                first += 1
    return first, moved
