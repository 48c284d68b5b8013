"""What Moodmesh is measured against (routing §15): each knows at once who is there, and pays nothing to decide."""

from __future__ import annotations

import math
import random
from collections import deque
from collections.abc import Callable

from moodmesh.nodes.bench.routing.engine import SIZES, Attempt, Box, Run
from moodmesh.nodes.bench.routing.world import NAMES

IMAGE = NAMES.index("image/base")


class Base:
    """A policy that chooses among devices; a job whose device dies is chosen for again."""

    def __init__(self, run: Run) -> None:
        self.run, self.random = run, random.Random(run.world.jobs[0].at)  # noqa: S311 - luck, no secret

    def service(self, job: int, box: Box) -> float:
        """Seconds a job takes on a device without luck; infinite when it cannot run there."""
        return box.machine.seconds[self.run.world.jobs[job].kind]

    def start(self, job: int, box: Box) -> Attempt:
        """Run a job on a device now; its slot is taken from the transfer on."""
        work = self.run.world.jobs[job]
        attempt = Attempt(job, self.run.tries[job], box, self.service(job, box))
        self.run.tries[job] += 1
        self.run.begin(attempt, self.run.transfer_s(SIZES[work.kind].bytes_in, work.origin, box.index))
        return attempt

    def submit(self, job: int) -> None:
        """A job arrives."""
        raise NotImplementedError

    def ended(self, attempt: Attempt, seconds: float) -> None:
        """A slot is free."""
        raise NotImplementedError

    def returned(self, box: Box) -> None:
        """A device is back."""
        raise NotImplementedError

    def committed(self, job: int) -> None:
        """Nothing to do."""

    def lost(self, attempt: Attempt) -> None:
        """Again."""
        if not self.run.done[attempt.job]:
            self.submit(attempt.job)

    def left(self, box: Box) -> None:
        """Nothing to do."""


class Central(Base):
    """Ray's hybrid policy, modelled generously: one queue, perfect knowledge; spread below half use, then pack by use, random
    among the best fifth. With `tags`, images run on GPU boxes only, as a careful user would write it."""

    tags = False

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.queues: list[deque[int]] = [deque() for _ in NAMES]

    def submit(self, job: int) -> None:
        """Queue it, and start what can start."""
        self.queues[self.run.world.jobs[job].kind].append(job)
        self._pump()

    def ended(self, attempt: Attempt, seconds: float) -> None:
        """Start what can start."""
        self._pump()

    def returned(self, box: Box) -> None:
        """Start what can start."""
        self._pump()

    def _pump(self) -> None:
        stuck: set[int] = set()
        while heads := [(self.run.world.jobs[q[0]].at, kind) for kind, q in enumerate(self.queues) if q and kind not in stuck]:
            kind = min(heads)[1]
            box = self._choose(self.queues[kind][0])
            if box is None:
                stuck.add(kind)
            else:
                self.start(self.queues[kind].popleft(), box)

    def _choose(self, job: int) -> Box | None:
        kind = self.run.world.jobs[job].kind
        able = [b for b in self.run.boxes if b.up and b.machine.seconds[kind] < math.inf]
        if self.tags and kind == IMAGE:
            able = [b for b in able if b.machine.kind == "gpu"]
        free = [b for b in able if len(b.running) < b.machine.slots]
        if not free:
            return None
        use = {b.index: len(b.running) / b.machine.slots for b in free}
        ranked = sorted(free, key=lambda b: (0.0 if use[b.index] < 0.5 else use[b.index], self.random.random()))
        return self.random.choice(ranked[: max(1, math.ceil(len(able) / 5))])


class Tagged(Central):
    """Ray with GPU tags: the bar to beat."""

    tags = True


class Dispatch(Base):
    """Every job goes to one device's first-come queue at once, by `choose`."""

    def choose(self, job: int, able: list[Box]) -> Box:
        """One of the devices that can run it."""
        raise NotImplementedError

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.queues: list[deque[int]] = [deque() for _ in run.boxes]
        self.turn = 0
        self.stranded: list[int] = []

    def submit(self, job: int) -> None:
        """To the chosen device; without any that can run it, it waits for one to return."""
        able = [b for b in self.run.boxes if b.up and self.service(job, b) < math.inf]
        if not able:
            self.stranded.append(job)
            return
        box = self.choose(job, able)
        self.queues[box.index].append(job)
        self._pump(box)

    def _pump(self, box: Box) -> None:
        while self.queues[box.index] and len(box.running) < box.machine.slots:
            self.start(self.queues[box.index].popleft(), box)

    def ended(self, attempt: Attempt, seconds: float) -> None:
        """The next of its queue."""
        self._pump(attempt.box)

    def left(self, box: Box) -> None:
        """What waited there goes elsewhere once that is known."""
        waiting, self.queues[box.index] = list(self.queues[box.index]), deque()
        for job in waiting:
            self.run.after(self.run.detection_s, self.submit, job)

    def returned(self, box: Box) -> None:
        """What found no device may go there."""
        waiting, self.stranded = self.stranded, []
        for job in waiting:
            self.submit(job)

    def work(self, box: Box, seconds: Callable[[int], float] | None = None) -> float:
        """Predicted seconds of work per slot at a device."""
        cost = seconds or (lambda job: self.service(job, box))
        jobs = [a.job for a in box.running] + list(self.queues[box.index])
        return sum(cost(job) for job in jobs) / box.machine.slots


def _dispatch(name: str, words: str, choose: Callable[[Dispatch, int, list[Box]], Box]) -> type[Dispatch]:
    return type(name, (Dispatch,), {"__doc__": words, "choose": choose})


def _turn(self: Dispatch, job: int, able: list[Box]) -> Box:
    self.turn += 1
    return able[self.turn % len(able)]


def _count(self: Dispatch, box: Box) -> float:
    return (len(box.running) + len(self.queues[box.index])) / box.machine.slots


def _two(self: Dispatch, job: int, able: list[Box]) -> Box:
    return min(self.random.choices(able, k=2), key=lambda b: _count(self, b))


def _dask(self: Dispatch, job: int, able: list[Box]) -> Box:
    """Durations are known per task name, the same for every worker; then occupancy and transfer decide."""
    jobs = self.run.world.jobs
    mean = {
        kind: sum(m.seconds[kind] for m in self.run.world.machines if m.seconds[kind] < math.inf) for kind in range(len(NAMES))
    }
    job_in = SIZES[jobs[job].kind].bytes_in

    def start_s(box: Box) -> float:
        return self.work(box, lambda j: mean[jobs[j].kind]) + self.run.transfer_s(job_in, jobs[job].origin, box.index)

    return min(able, key=start_s)


Random = _dispatch("Random", "Any device that can.", lambda self, job, able: self.random.choice(able))
RoundRobin = _dispatch("RoundRobin", "Each in turn.", _turn)
LeastLoaded = _dispatch(
    "LeastLoaded", "Fewest jobs per slot.", lambda self, job, able: min(able, key=lambda b: _count(self, b))
)
TwoChoices = _dispatch("TwoChoices", "The less loaded of two drawn devices.", _two)
Fastest = _dispatch("Fastest", "The fastest on paper.", lambda self, job, able: min(able, key=lambda b: self.service(job, b)))
DaskLike = _dispatch("DaskLike", "Dask's: occupancy by durations that are global per task name.", _dask)


class Oracle(Dispatch):
    """A clairvoyant greedy: it knows luck and departures, and picks the earliest true completion. Greedy, so no bound."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.free = [[0.0] * b.machine.slots for b in run.boxes]

    def choose(self, job: int, able: list[Box]) -> Box:
        """Earliest true completion before the device leaves."""
        work = self.run.world.jobs[job]
        number = self.run.tries[job]

        def ends(box: Box) -> float:
            begin = max(self.run.now, min(self.free[box.index]))
            moved = self.run.transfer_s(SIZES[work.kind].bytes_in, work.origin, box.index)
            end = begin + moved + self.service(job, box) * work.luck(box.index, number)
            leaves = next((at for at, _ in self.run.world.absences[box.index] if at > self.run.now), math.inf)
            return (
                end + (1e6 if end > leaves else 0.0) + self.run.transfer_s(SIZES[work.kind].bytes_out, work.origin, box.index)
            )

        best = min(able, key=ends)
        slots = self.free[best.index]
        begin = max(self.run.now, min(slots))
        moved = self.run.transfer_s(SIZES[work.kind].bytes_in, work.origin, best.index)
        slots[slots.index(min(slots))] = begin + moved + self.service(job, best) * work.luck(best.index, number)
        return best

    def left(self, box: Box) -> None:
        """Its queue is gone."""
        self.free[box.index] = [0.0] * box.machine.slots
        super().left(box)
