"""A mesh in which a device knows few others: some at random, and of each class of work good ones that it heard of (routing §17).

Those it knows tell it how busy they are, and hear what it holds back. Every second it swaps the names of the good ones, with
their rates, with one device it knows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import chain
from math import log

from moodmesh.nodes.bench.campus.traffic import Traffic
from moodmesh.nodes.bench.routing.board import Board
from moodmesh.nodes.bench.routing.engine import Run
from moodmesh.nodes.bench.routing.meshed import Desk, Meshed, Seat
from moodmesh.nodes.bench.routing.world import NAMES
from moodmesh.nodes.placement.pull import Heap, Waiting
from moodmesh.nodes.placement.view import Device

WARM_ROUNDS = 20


@dataclass(frozen=True)
class Plan:
    """How much a device knows: so many others at random, and so many good ones of each class of work.

    `dice`: among the good ones each device prefers others, by dice of its own, the faster the likelier. Without, all agree on
    the very best, and all their work meets there.
    """

    random: int = 50
    best: int = 16
    dice: bool = True
    weight: float = 2.0
    every_s: float = 1.0


SKETCH = Plan(dice=False)


class Campus(Meshed):
    """All devices of a run, each knowing what the plan allows."""

    def __init__(self, run: Run, plan: Plan | None = None) -> None:
        self.plan, count = plan or Plan(), len(run.boxes)
        self._draw = random.Random(count)  # noqa: S311 - a simulation's draw
        self._boards = [Board() for _ in range(count)]
        self._known: list[list[int]] = [[] for _ in range(count)]
        super().__init__(run)
        last = run.world.jobs[-1].at
        self.traffic = Traffic(count, last / 10, last)
        self._met = self._meet(count)
        self._best: list[list[list[int]]] = [[[] for _ in NAMES] for _ in range(count)]
        for _ in range(WARM_ROUNDS):
            for index in range(count):
                self._swap(index)
        for index in range(count):
            run.at(self._draw.random() * self.plan.every_s, self._swapped, index)

    def _meet(self, count: int) -> list[list[int]]:
        """Random acquaintances, always mutual."""
        found: list[set[int]] = [set() for _ in range(count)]
        for one in range(count):
            for other in self._draw.sample(range(count), min(count - 1, self.plan.random // 2)):
                if other != one:
                    found[one].add(other)
                    found[other].add(one)
        return [sorted(met) for met in found]

    def known(self, index: int) -> Sequence[int]:
        """Itself, its acquaintances, and the good ones."""
        return self._known[index]

    def board(self, index: int) -> Board:
        """What it has heard itself."""
        return self._boards[index]

    def boards(self, index: int) -> Iterable[Board]:
        """Those of all it knows."""
        return (self._boards[i] for i in self._known[index])

    # -- whom to know --------------------------------------------------------------------------------------------------

    def _swapped(self, index: int) -> None:
        if self.run.boxes[index].up:
            self._swap(index)
        self.run.after(self.plan.every_s, self._swapped, index)

    def _swap(self, one: int) -> None:
        """Two devices tell each other of the good ones they know, and of themselves."""
        other = self._draw.choice(self._met[one])
        if not self.run.boxes[other].up:
            return
        said = [[*mine, *theirs, one, other] for mine, theirs in zip(self._best[one], self._best[other], strict=True)]
        for index in (one, other):
            self.traffic.swap(index, self._best[index], self.run.now)
            self._best[index] = [self._choose(index, kind, heard) for kind, heard in enumerate(said)]
            self._link(index)

    def _choose(self, index: int, kind: int, heard: Iterable[int]) -> list[int]:
        """The best of those heard of that are there; and the absent ones it knew, should they return."""
        able = {i for i in heard if self.seats[i].rates[kind] is not None}
        gone = [i for i in self._best[index][kind] if not self.views[i].present]
        here = nsmallest(self.plan.best, (i for i in able if self.views[i].present), key=lambda i: self._rank(index, i, kind))
        return here + gone[-self.plan.best :]

    def _rank(self, me: int, index: int, kind: int) -> float:
        """Seconds of a unit there, or a die with as many more chances as the device is faster, always the same for this pair."""
        rate = self.seats[index].rates[kind]
        assert rate is not None
        if not self.plan.dice:
            return rate.mean
        return -log((hash((me, index)) % 2**32 + 1) / 2**32) * rate.mean**self.plan.weight

    def _link(self, index: int) -> None:
        """Know exactly these from now on: who is new hears what is held back here, who is not known any more forgets it."""
        before, now = self._known[index], sorted({index, *self._met[index], *chain(*self._best[index])})
        if before == now:
            return
        self._known[index], desk = now, self.desks[index]
        for old in set(before).difference(now):
            self._boards[old].hear(index, {}, [])
            desk.views.pop(old, None)
            desk.seen.pop(old, None)
        self.traffic.link(index, before, now, self.run.now)
        if desk.pool or desk.booked:
            self._tell_pool(desk)

    # -- what it costs -------------------------------------------------------------------------------------------------

    def _publish(self, desk: Desk, held: dict[str, Heap], waiting: list[Waiting]) -> None:
        self.traffic.pool(desk.index, len(held), len(waiting), self.run.now)
        super()._publish(desk, held, waiting)

    def _show(self, seat: Seat, view: Device) -> None:
        super()._show(seat, view)
        if view.present and view.dynamic is not None:
            desk, rates = self.desks[seat.box.index], [rate.mean for rate in seat.rates if rate is not None]
            busy = bool(seat.box.running or seat.queue or desk.pool or desk.booked)
            self.traffic.document(seat.box.index, view.dynamic, rates, busy, self.run.now)
