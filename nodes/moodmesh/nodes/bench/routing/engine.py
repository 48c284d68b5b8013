"""The event loop of a simulated fleet: time, devices that leave and return, attempts that run, and the account of it all."""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

from moodmesh.nodes.bench.routing.world import KINDS, NAMES, Machine, World

DETECTION_S = 5.0
LATENCY_S = 0.003
SIZES = tuple(KINDS.values())


@dataclass(eq=False)
class Attempt:
    """One try of a job on a box. `expected`: service seconds predicted there, `claim`: by the box itself."""

    job: int
    number: int
    box: Box
    expected: float
    claim: float = 0.0
    started: float | None = None
    ready: float = math.inf
    done_s: float = 0.0
    turn: int = 0
    state: str = "booked"  # -> running -> (suspended -> running)* -> done | dead


@dataclass(eq=False)
class Box:
    """A device as it is, not as anyone believes it is."""

    index: int
    machine: Machine
    up: bool = True
    boot: int = 0
    running: list[Attempt] = field(default_factory=list)
    loaded: list[int] = field(default_factory=list)


@dataclass
class Outcome:
    """What one run gave: by job its completion seconds (NaN: never) and service seconds on the best device; the
    account: slot seconds used and wasted, results made visible."""

    completion: list[float]
    ideal: list[float]
    used_s: float = 0.0
    wasted_s: float = 0.0
    visible: Counter[int] = field(default_factory=Counter)
    predicted: list[tuple[float, float]] = field(default_factory=list)

    @property
    def duplicates(self) -> int:
        """Results that became visible although their job had one."""
        return sum(count - 1 for count in self.visible.values())


class Policy(Protocol):
    """Who decides, in a run."""

    def submit(self, job: int) -> None:
        """A job arrives, or comes back after its attempt was lost."""

    def ended(self, attempt: Attempt, seconds: float) -> None:
        """An attempt ran to its end: its slot is free."""

    def committed(self, job: int) -> None:
        """The submitter has the result."""

    def lost(self, attempt: Attempt) -> None:
        """The submitter learns that an attempt died with its device."""

    def left(self, box: Box) -> None:
        """A device is gone; nobody knows yet."""

    def returned(self, box: Box) -> None:
        """A device is back, empty."""


class Run:
    """One world under one policy."""

    def __init__(self, world: World, policy: Callable[[Run], Policy], *, detection_s: float = DETECTION_S) -> None:
        self.world, self.detection_s = world, detection_s
        self.now = 0.0
        self._events: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._tick = itertools.count()
        self.boxes = [Box(i, m) for i, m in enumerate(world.machines)]
        self.tries = [0] * len(world.jobs)
        self.done = [False] * len(world.jobs)
        best = [min(m.seconds[k] for m in world.machines) for k in range(len(NAMES))]
        self.outcome = Outcome([math.nan] * len(world.jobs), [best[j.kind] for j in world.jobs])
        self._left_to_do = len(world.jobs)
        self.policy = policy(self)

    def at(self, time: float, call: Callable[..., None], *args: Any) -> None:
        """Do something at a time."""
        heapq.heappush(self._events, (time, next(self._tick), call, args))

    def after(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """Do something later."""
        heapq.heappush(self._events, (self.now + seconds, next(self._tick), call, args))

    def run(self) -> Outcome:
        """To the end of the last job, or until nothing can happen any more."""
        for index, job in enumerate(self.world.jobs):
            self.at(job.at, self.policy.submit, index)
        for box, absences in zip(self.boxes, self.world.absences, strict=True):
            for leaves, returns in absences:
                self.at(leaves, self._leave, box)
                if returns < math.inf:
                    self.at(returns, self._return, box)
        while self._events and self._left_to_do:
            self.now, _, call, args = heapq.heappop(self._events)
            call(*args)
        return self.outcome

    # -- attempts ------------------------------------------------------------------------------------------------------

    def true_seconds(self, attempt: Attempt) -> float:
        """How long an attempt will run."""
        job = self.world.jobs[attempt.job]
        return attempt.box.machine.seconds[job.kind] * job.luck(attempt.box.index, attempt.number)

    def begin(self, attempt: Attempt, blocked_s: float = 0.0) -> float:
        """An attempt takes a slot now, and runs after `blocked_s` and once its model is loaded: after so many seconds."""
        blocked_s += self._load(attempt.box, self.world.jobs[attempt.job].kind)
        attempt.state, attempt.started = "running", self.now + blocked_s
        attempt.box.running.append(attempt)
        attempt.turn += 1
        left = self.true_seconds(attempt) - attempt.done_s
        self.after(blocked_s + left, self._finish, attempt, attempt.box.boot, attempt.turn)
        return blocked_s

    def _load(self, box: Box, kind: int) -> float:
        """Seconds until a model is in memory; the one that was not used for longest makes room."""
        if not self.world.cold:
            return 0.0
        there = kind in box.loaded
        box.loaded = [*(k for k in box.loaded if k != kind), kind][-(box.machine.slots + 1) :]
        return 0.0 if there else SIZES[kind].load_s

    def suspend(self, attempt: Attempt) -> None:
        """An attempt gives its slot away and keeps what it has done; `begin` goes on with it."""
        attempt.box.running.remove(attempt)
        attempt.done_s = self.ran(attempt)
        attempt.state, attempt.started = "suspended", None

    def ran(self, attempt: Attempt) -> float:
        """Seconds an attempt has run so far."""
        return attempt.done_s + (max(0.0, self.now - attempt.started) if attempt.started is not None else 0.0)

    def stop(self, attempt: Attempt) -> None:
        """An attempt is cancelled: what it ran is wasted."""
        if attempt.state == "running":
            attempt.box.running.remove(attempt)
        self._account(attempt, self.ran(attempt), wasted=True)
        attempt.state = "dead"

    def _finish(self, attempt: Attempt, boot: int, turn: int) -> None:
        if attempt.state != "running" or attempt.box.boot != boot or attempt.turn != turn:
            return
        attempt.box.running.remove(attempt)
        attempt.state = "done"
        job = self.world.jobs[attempt.job]
        self.after(self.transfer_s(SIZES[job.kind].bytes_out, job.origin, attempt.box.index), self._arrive, attempt, boot)
        self.policy.ended(attempt, self.true_seconds(attempt))

    def _arrive(self, attempt: Attempt, boot: int) -> None:
        if attempt.box.boot != boot and attempt.box.index != self.world.jobs[attempt.job].origin:
            self._account(attempt, self.true_seconds(attempt), wasted=True)
            self.after(self.detection_s, self.policy.lost, attempt)
            return
        self._account(attempt, self.true_seconds(attempt), wasted=self.done[attempt.job])
        if not self.done[attempt.job]:
            self.done[attempt.job] = True
            self._left_to_do -= 1
            self.outcome.visible[attempt.job] += 1
            self.outcome.completion[attempt.job] = self.now - self.world.jobs[attempt.job].at
            self.policy.committed(attempt.job)

    def _account(self, attempt: Attempt, seconds: float, *, wasted: bool) -> None:
        self.outcome.used_s += seconds
        self.outcome.wasted_s += seconds * wasted

    def transfer_s(self, size: int, one: int, other: int) -> float:
        """Seconds to move bytes between two devices."""
        if one == other:
            return 0.0
        return LATENCY_S + size / min(self.world.machines[one].bandwidth, self.world.machines[other].bandwidth)

    # -- absences ------------------------------------------------------------------------------------------------------

    def _leave(self, box: Box) -> None:
        box.up, box.boot, box.loaded = False, box.boot + 1, []
        for attempt in list(box.running):
            self.stop(attempt)
            self.after(self.detection_s, self.policy.lost, attempt)
        self.policy.left(box)

    def _return(self, box: Box) -> None:
        box.up = True
        self.policy.returned(box)
