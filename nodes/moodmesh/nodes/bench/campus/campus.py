"""A mesh where a device knows few others: some at random, and of each class of work good ones that it heard of (routing §17).

Those it knows tell it how busy they are, and hear what it holds back. From time to time it swaps the names of the good ones,
with their rates, with one device it knows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import log

from moodmesh.nodes.bench.campus.traffic import Traffic
from moodmesh.nodes.bench.routing.board import Board
from moodmesh.nodes.bench.routing.engine import Run
from moodmesh.nodes.bench.routing.meshed import Desk, Meshed, Seat
from moodmesh.nodes.bench.routing.world import NAMES
from moodmesh.nodes.peers import BEAT_LIVE_S
from moodmesh.nodes.placement.pull import Heap, Waiting
from moodmesh.nodes.placement.view import Device

WARM_ROUNDS = 10


@dataclass(frozen=True)
class Plan:
    """How much a device knows: so many others at random, and so many good ones of each class of work; how often it swaps names.

    `dice`: the faster a device, the likelier it is among the good ones, but each draws its own. Without, all agree on the very
    best, and everybody's documents and work meet there.
    """

    random: int = 30
    best: int = 8
    every_s: float = 5.0
    dice: bool = True


SKETCH = Plan(random=50, best=16, every_s=1.0, dice=False)
ALL = Plan(random=10**6, best=0)


class Campus(Meshed):
    """All devices of a run, each knowing what the plan allows."""

    def __init__(self, run: Run, plan: Plan | None = None) -> None:
        self.plan, count = plan or Plan(), len(run.boxes)
        self._draw = random.Random(count)  # noqa: S311 - a simulation's draw
        self._boards = [Board() for _ in range(count)]
        self._known: list[list[int]] = [[] for _ in range(count)]
        self._shapes: dict[int, tuple[int, int, int]] = {}
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
        """The best of those heard of that are there, and the absent ones it knew, should they return.

        Rates and presence are as they are now: who dials a device learns both, and rates change slowly.
        """
        found, views, seats = [], self.views, self.seats
        for other in set(heard):
            rate = seats[other].rates[kind]
            if rate is not None and views[other].present:
                found.append((self._rank(index, other, rate.mean), other))
        gone = [other for other in self._best[index][kind] if not views[other].present]
        return [other for _, other in sorted(found)[: self.plan.best]] + gone[-self.plan.best :]

    def _rank(self, me: int, other: int, seconds: float) -> float:
        """Seconds of a unit there; with dice, a draw that is always the same for this pair, and small for a fast device."""
        if not self.plan.dice:
            return seconds
        return -log((hash((me, other)) % 2**32 + 1) / 2**32) * seconds

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

    def _told(self, seat: Seat) -> None:
        """At once when something changed, else at most every second: to be woken changes nothing by itself."""
        box, learned = seat.box, seat.capability is None
        shape = (len(box.running), seat.held, len(seat.queue))
        if learned or shape != self._shapes.get(box.index) or self.run.now - seat.told >= BEAT_LIVE_S or not box.up:
            self._shapes[box.index] = shape
            super()._told(seat)
        else:
            seat.telling = False

    def _show(self, seat: Seat, view: Device) -> None:
        super()._show(seat, view)
        if view.present and view.dynamic is not None:
            desk, rates = self.desks[seat.box.index], [rate.mean for rate in seat.rates if rate is not None]
            busy = bool(seat.box.running or seat.queue or desk.pool or desk.booked)
            self.traffic.document(seat.box.index, view.dynamic, rates, busy, self.run.now)
