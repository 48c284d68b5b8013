"""Moodmesh itself in a simulated fleet: the daemon's pure decisions, driven by events in place of messages (routing §15).

What a device knows of another is its last document, as on a real mesh; pools and queues are known by what submitters publish.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes import rates
from moodmesh.nodes.bench.routing.board import Board
from moodmesh.nodes.bench.routing.documents import capability, changed, priors
from moodmesh.nodes.bench.routing.engine import LATENCY_S, SIZES, Attempt, Box, Run
from moodmesh.nodes.bench.routing.world import NAMES, moved
from moodmesh.nodes.jobs.network import ANSWER_S
from moodmesh.nodes.jobs.pursuit import LOOK_HELD_S, LOOK_S
from moodmesh.nodes.messages import Capability, Dynamic
from moodmesh.nodes.placement.hedge import Budget, free, hedge_after, second
from moodmesh.nodes.placement.hold import hold
from moodmesh.nodes.placement.pull import Field, Heap, Take, Waiting, gain, may_pull, pull
from moodmesh.nodes.placement.queue import CALL_AHEAD_S, left_s, order_key, waits
from moodmesh.nodes.placement.score import Row, place
from moodmesh.nodes.placement.view import Ask, Device
from moodmesh.nodes.rates import Rate

SUSPEND_RATIO, SUSPEND_LEAST_S = 4.0, 2.0


@dataclass(frozen=True)
class Switches:
    """What an ablation turns off or changes."""

    parking: bool = True
    patience: bool = True
    stealing: bool = True
    hedging: bool = True
    virtual_queue: bool = True
    size_order: bool = True
    ageing: bool = True
    pooling: bool = True
    suspending: bool = False
    displacing: bool = True
    correcting: bool = True
    documents_s: float = 0.2
    pools_s: float = 0.2


@dataclass
class Seat:
    """The executor side of a device: its queue, the slots kept for what it has asked for, what it learned, what it told."""

    box: Box
    rates: list[Rate | None]
    queue: list[Attempt] = field(default_factory=list)
    held: int = 0
    free_since: float = 0.0
    told: float = -math.inf
    telling: bool = False
    revision: int = 0
    hears_not: set[DeviceId] = field(default_factory=set)
    capability: Capability | None = None


@dataclass
class Desk:
    """The submitter side of a device: what it holds back, what nobody can run now, what it has reserved, what it
    believes beyond the documents."""

    index: int
    pool: list[int] = field(default_factory=list)
    nowhere: list[int] = field(default_factory=list)
    booked: dict[int, list[Attempt]] = field(default_factory=dict)
    pending: dict[int, tuple[int, float]] = field(default_factory=dict)
    suspect: dict[int, int] = field(default_factory=dict)
    corrections: dict[int, float] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    told: float = -math.inf
    telling: bool = False
    looking: bool = False
    views: dict[int, Device] = field(default_factory=dict)
    seen: dict[int, int] = field(default_factory=dict)


class Meshed:
    """All devices of a run, each with its two sides. Everybody knows everybody: `Campus` knows less."""

    def __init__(self, run: Run, switches: Switches | None = None) -> None:
        self.run, self.switches = run, switches or Switches()
        jobs = run.world.jobs
        self.asks = [
            Ask(f"{i:032x}", NAMES[j.kind].split("/")[0], 1, 1.0, SIZES[j.kind].bytes_in, SIZES[j.kind].bytes_out)
            for i, j in enumerate(jobs)
        ]
        self.seats = [Seat(box, priors(box)) for box in run.boxes]
        self.desks = [Desk(i) for i in range(len(run.boxes))]
        self.version = [0] * len(run.boxes)
        self.left_at = [0.0] * len(run.boxes)
        self.views = [self._view(seat) for seat in self.seats]
        self._all, self._board = range(len(run.boxes)), Board()

    def known(self, index: int) -> Sequence[int]:
        """The devices whose documents a device has, itself among them, and who hear what it holds back."""
        return self._all

    def board(self, index: int) -> Board:
        """What a device has heard of pools."""
        return self._board

    def boards(self, index: int) -> Iterable[Board]:
        """Where it is heard what a device holds back."""
        return (self._board,)

    # -- the submitter -------------------------------------------------------------------------------------------------

    def submit(self, job: int) -> None:
        """Place a job: reserve, hold it back, or keep it until somebody can run it."""
        desk = self.desks[self.run.world.jobs[job].origin]
        if self.run.tries[job] == 0:
            desk.budget.earn()
        self._place(desk, job)

    def _place(self, desk: Desk, job: int) -> bool:
        """Whether a job has left the desk: else it is held back, or waits until somebody can run it."""
        held = job in desk.pool
        for waiting in (desk.pool, desk.nowhere):
            if job in waiting:
                waiting.remove(job)
        chosen = place(self.asks[job], self._devices(desk)).chosen
        if chosen is None:
            desk.nowhere.append(job)
        elif self.switches.pooling and self._hold(desk, job, chosen, held=held):
            desk.pool.append(job)
        else:
            self._reserve(desk, job, chosen)
        if (job in desk.pool) != held:
            self._tell_pool(desk)
        if not desk.looking and (desk.pool or desk.nowhere):
            desk.looking = True
            self.run.after(LOOK_S if desk.nowhere else LOOK_HELD_S, self._look, desk)
        return job not in desk.pool and job not in desk.nowhere

    def _look(self, desk: Desk) -> None:
        """What waits at the desk is placed again: of each kind the oldest, and the next once that has gone; they are alike."""
        desk.looking, jobs = False, self.run.world.jobs
        for waiting in (desk.nowhere, desk.pool):
            for number in range(len(NAMES)):
                found = sorted((j for j in waiting if jobs[j].kind == number), key=lambda j: jobs[j].at)
                any(not self._place(desk, job) for job in found)

    def _hold(self, desk: Desk, job: int, chosen: Row, *, held: bool) -> bool:
        kind, parking = NAMES[self.run.world.jobs[job].kind], self.switches.parking
        if not held:
            return hold(chosen, self._field(kind, desk.index), parking=parking) is not None
        if chosen.terms is not None and chosen.terms.queue > 0:  # as `hold` says, whatever the field
            return True
        others = self.board(desk.index).totals()  # without itself
        count, units = others.pop(kind, (0, 0.0))
        if count > 1:
            others[kind] = count - 1, units - 1.0
        found = Field(kind, 1.0, moved(kind), map(self._dated, self.known(desk.index)), others)
        return hold(chosen, found, held=True, parking=parking) is not None

    def _reserve(self, desk: Desk, job: int, row: Row) -> None:
        assert row.terms is not None
        index, service = int(row.device), row.terms.service
        attempt = Attempt(job, self.run.tries[job], self.run.boxes[index], service, row.terms.claim)
        self.run.tries[job] += 1
        desk.booked.setdefault(job, []).append(attempt)
        known, seconds = desk.pending.get(index, (0, 0.0))
        version = self.version[index]
        desk.pending[index] = (version, service + (seconds if known == version else 0.0))
        desk.seen[index] = -1
        self.run.after(self._latency(desk, index), self._reserved, desk, attempt, attempt.box.boot)

    def _latency(self, desk: Desk, index: int) -> float:
        return 0.0 if desk.index == index else LATENCY_S

    def _reserved(self, desk: Desk, attempt: Attempt, boot: int) -> None:
        """It arrives, or nobody is there: then the submitter asks elsewhere after a second."""
        seat = self.seats[attempt.box.index]
        if attempt.state == "dead":
            return
        if not seat.box.up:
            self.run.after(ANSWER_S, self._unanswered, desk, attempt)
            return
        seat.queue.append(attempt)
        self._pump(seat)
        if attempt.state == "booked" and self._remaining(attempt) is not None:  # it waits there: others may take it
            self._tell_pool(desk)

    def _unanswered(self, desk: Desk, attempt: Attempt) -> None:
        desk.suspect[attempt.box.index] = self.version[attempt.box.index]
        desk.seen[attempt.box.index] = -1
        self.lost(attempt)

    def committed(self, job: int) -> None:
        """The other attempts are cancelled, with a message."""
        desk = self.desks[self.run.world.jobs[job].origin]
        for attempt in desk.booked.pop(job, []):
            if attempt.state == "done" and attempt.box.index != desk.index and self.switches.correcting:
                self._correct(desk, attempt)
            if attempt.state in ("booked", "running", "suspended"):
                self.run.after(self._latency(desk, attempt.box.index), self._cancel, attempt)

    def _correct(self, desk: Desk, attempt: Attempt) -> None:
        """What the executor's claims are worth to this submitter."""
        index = attempt.box.index
        before = desk.corrections.get(index, 0.0)
        desk.corrections[index] = rates.correct(before, self.run.true_seconds(attempt), attempt.claim)
        desk.seen[index] = -1
        seen = changed(self.views[index], correction=desk.corrections[index])
        (set.discard if may_pull(seen) else set.add)(self.seats[index].hears_not, DeviceId(str(desk.index)))

    def _cancel(self, attempt: Attempt) -> None:
        seat = self.seats[attempt.box.index]
        if attempt.state in ("booked", "suspended") and attempt in seat.queue:
            seat.queue.remove(attempt)
        elif attempt.state == "running" and attempt.started is not None:
            elapsed = self.run.ran(attempt)
            if elapsed > attempt.expected:
                self._learn(seat, attempt, elapsed)
        was = attempt.state
        self.run.stop(attempt)
        if was == "running" and seat.box.up:
            self._freed(seat)

    def lost(self, attempt: Attempt) -> None:
        """It goes elsewhere, with its old age, unless another attempt lives."""
        desk = self.desks[self.run.world.jobs[attempt.job].origin]
        attempt.state = "dead"
        live = desk.booked.get(attempt.job)
        if live is None or attempt not in live:
            return
        live.remove(attempt)
        if not live and not self.run.done[attempt.job]:
            del desk.booked[attempt.job]
            self.submit(attempt.job)

    def _tell_pool(self, desk: Desk) -> None:
        if not desk.telling:
            desk.telling = True
            self.run.at(max(self.run.now + LATENCY_S, desk.told + self.switches.pools_s), self._told_pool, desk)

    def _told_pool(self, desk: Desk) -> None:
        """What a submitter holds and what it has waiting elsewhere is heard; free devices look at it."""
        desk.telling, desk.told = False, self.run.now
        self._publish(desk, self._held(desk), self._waiting(desk))
        for index in self.known(desk.index):
            seat = self.seats[index]
            if seat.box.up and self._free(seat) > 0:
                self._pump(seat)

    def _held(self, desk: Desk) -> dict[str, Heap]:
        found, jobs = {}, self.run.world.jobs
        for number, kind in enumerate(NAMES):
            at = sorted(jobs[j].at for j in desk.pool if jobs[j].kind == number)
            if at:
                found[kind] = Heap(kind, len(at), float(len(at)), len(at) * moved(kind), (1.0, at[0]), (1.0, at[-1]))
        return found

    def _waiting(self, desk: Desk) -> list[Waiting]:
        """The reserved job of each kind that has longest to go."""
        found: dict[str, Waiting] = {}
        alone = {job: a[0] for job, a in desk.booked.items() if len(a) == 1 and a[0].state == "booked"}
        seats = {attempt.box.index for attempt in alone.values()}
        left = {a: wait + a.expected for index in seats for a, wait in self._waits(self.seats[index])}
        for job, attempt in alone.items():
            kind = NAMES[self.run.world.jobs[job].kind]
            if attempt in left and (kind not in found or left[attempt] > found[kind].remaining_s):
                found[kind] = Waiting(kind, 1.0, self.asks[job].input_bytes, left[attempt])
        return list(found.values())

    def _publish(self, desk: Desk, held: dict[str, Heap], waiting: list[Waiting]) -> None:
        for board in self.boards(desk.index):
            board.hear(desk.index, held, waiting)
        if waiting and not desk.telling:  # how long it has to go changes by itself
            desk.telling = True
            self.run.after(1.0, self._told_pool, desk)

    def _remaining(self, attempt: Attempt) -> float | None:
        """Seconds until an attempt that waits will be done, as its executor says in each heartbeat."""
        seat = self.seats[attempt.box.index]
        return next((wait + a.expected for a, wait in self._waits(seat) if a is attempt), None)

    def _asked(self, desk: Desk, seat: Seat, boot: int, kind: str, *, newest: bool, steal: bool) -> None:
        """A free device asks for a job of a class."""
        number, jobs = NAMES.index(kind), self.run.world.jobs
        if steal:
            self._give_queued(desk, seat, boot, number)
            return
        held = [j for j in desk.pool if jobs[j].kind == number]
        if not held:
            self._tell_pool(desk)
            self.run.after(LATENCY_S, self._released, seat, boot)
            return
        job = (max if newest else min)(held, key=lambda j: jobs[j].at)
        desk.pool.remove(job)
        self._tell_pool(desk)
        self._give(desk, seat, boot, job)

    def _give(self, desk: Desk, seat: Seat, boot: int, job: int) -> None:
        expected = self._expected(seat, job)
        attempt = Attempt(job, self.run.tries[job], seat.box, expected, expected)
        self.run.tries[job] += 1
        desk.booked.setdefault(job, []).append(attempt)
        moved = self.run.transfer_s(self.asks[job].input_bytes, desk.index, seat.box.index)
        self.run.after(self._latency(desk, seat.box.index) + moved, self._given, desk, seat, boot, attempt)

    def _given(self, desk: Desk, seat: Seat, boot: int, attempt: Attempt) -> None:
        """The job is here with its input: it takes the slot that was kept for it."""
        if seat.box.boot != boot:
            self.run.after(ANSWER_S, self._unanswered, desk, attempt)
            return
        seat.held -= 1
        if attempt.state == "dead":
            self._pump(seat)
        else:
            self._begin(seat, attempt)

    def _give_queued(self, desk: Desk, seat: Seat, boot: int, number: int) -> None:
        """Withdraw the attempt that has longest to go, and move it once the old place has let it go."""
        jobs = self.run.world.jobs
        waiting = [
            a[0] for j, a in desk.booked.items()
            if jobs[j].kind == number and len(a) == 1 and a[0].state == "booked" and a[0] in self.seats[a[0].box.index].queue
        ]  # fmt: skip
        best = max(waiting, key=lambda a: self._remaining(a) or 0.0, default=None)
        if best is None or best.box is seat.box:
            self.run.after(LATENCY_S, self._released, seat, boot)
        else:
            self.run.after(self._latency(desk, best.box.index), self._withdrawn, desk, seat, boot, best)

    def _withdrawn(self, desk: Desk, seat: Seat, boot: int, attempt: Attempt) -> None:
        old = self.seats[attempt.box.index]
        if attempt.state != "booked" or attempt not in old.queue:
            self.run.after(2 * LATENCY_S, self._released, seat, boot)
            return
        old.queue.remove(attempt)
        attempt.state = "dead"
        desk.booked.pop(attempt.job)
        self._tell(old)
        self._give(desk, seat, boot, attempt.job)

    def _look_at(self, desk: Desk, attempt: Attempt) -> None:
        """The hedge clock of a running attempt."""
        live = desk.booked.get(attempt.job)
        if attempt.state not in ("running", "suspended") or live != [attempt]:
            return
        ran = self.run.ran(attempt)
        row = second(self.asks[attempt.job], ran, [DeviceId(str(attempt.box.index))], self._devices(desk))
        if row is not None and row.terms is not None and (free(ran, attempt.expected, begun=True) or desk.budget.spend()):
            self._reserve(desk, attempt.job, row)
        else:
            self.run.after(max(attempt.expected, 1.0), self._look_at, desk, attempt)

    # -- the executor --------------------------------------------------------------------------------------------------

    def _free(self, seat: Seat) -> int:
        """Slots for which nothing is meant."""
        return seat.box.machine.slots - len(seat.box.running) - seat.held - len(seat.queue)

    def _order(self, attempt: Attempt) -> float:
        s, at = self.switches, self.run.world.jobs[attempt.job].at
        if not s.size_order:
            return at
        return order_key(self._needs(attempt), self.run.now - at if s.ageing else 0.0)

    def _needs(self, attempt: Attempt) -> float:
        """Predicted seconds of service an attempt still needs."""
        return left_s(attempt.expected, self.run.ran(attempt))

    def _waits(self, seat: Seat) -> list[tuple[Attempt, float]]:
        running = [self._needs(a) for a in seat.box.running]
        queued = ((a, self._needs(a)) for a in sorted(seat.queue, key=self._order))
        return list(waits(running, len(running) + seat.held, seat.box.machine.slots, queued))

    def _pump(self, seat: Seat) -> None:
        """Start, pull or steal for each free slot; call for the input of what comes next."""
        box, now = seat.box, self.run.now
        if not box.up:
            return
        while len(box.running) + seat.held < box.machine.slots:
            ready = [a for a in seat.queue if a.ready <= now]
            best = min(ready, key=self._order, default=None)
            if self._pulls(seat, best):
                continue
            if best is None:
                break
            seat.queue.remove(best)
            self._begin(seat, best)
        if self.switches.suspending:
            self._make_room(seat)
        if len(box.running) + seat.held < box.machine.slots and not seat.queue and self.switches.stealing:
            self._steal(seat)
        self._call(seat)
        self._tell(seat)

    def _make_room(self, seat: Seat) -> None:
        """Suspend a long attempt for a short one that waits; each waits once for another."""
        ready = [a for a in seat.queue if a.ready <= self.run.now and a.state == "booked"]
        best = min(ready, key=self._order, default=None)
        if best is None or sum(a.state == "suspended" for a in seat.queue) >= seat.box.machine.slots:
            return
        found = [a for a in seat.box.running if worth_suspending(self._needs(a), self._needs(best))]
        if found:
            longest = max(found, key=self._needs)
            self.run.suspend(longest)
            seat.queue.append(longest)
            seat.queue.remove(best)
            self._begin(seat, best)

    def _call(self, seat: Seat) -> None:
        """Inputs travel when an attempt is within two seconds of the head."""
        for attempt, wait in self._waits(seat) if any(a.ready == math.inf for a in seat.queue) else ():
            if attempt.ready == math.inf and wait <= CALL_AHEAD_S:
                origin = self.run.world.jobs[attempt.job].origin
                moved = self.run.transfer_s(self.asks[attempt.job].input_bytes, origin, seat.box.index)
                attempt.ready = self.run.now + moved + (2 * LATENCY_S if moved else 0.0)
                self.run.at(attempt.ready, self._pump, seat)

    def _begin(self, seat: Seat, attempt: Attempt) -> None:
        fresh = attempt.state == "booked"
        blocked = self.run.begin(attempt)
        desk = self.desks[self.run.world.jobs[attempt.job].origin]
        if self.switches.hedging and fresh:
            self.run.after(blocked + hedge_after(attempt.expected), self._look_at, desk, attempt)
        self._tell(seat)

    def _pulls(self, seat: Seat, local: Attempt | None) -> bool:
        """Ask for a job that is held back, when one suits this device better than what waits here."""
        board = self.board(seat.box.index)
        if not any(board.heaps.values()) or (local is None and len(seat.queue) > 0):
            return False
        if local is not None and not self.switches.virtual_queue:
            return False
        s, now = self.switches, self.run.now
        key = None if local is None else self._order(local)
        heaps = {kind: heard for kind, told in board.heaps.items() if (heard := self._for(seat, told))}
        fields = {kind: self._field(kind, seat.box.index) for kind in heaps}
        idle = now - seat.free_since if s.patience else math.inf
        found = pull(self.views[seat.box.index], idle, key, heaps, fields, now)
        if isinstance(found, Take):
            desk = self.desks[int(found.submitter)]
            self._ask(seat, desk, found.kind, newest=found.newest, steal=False)
            held = board.heaps[found.kind].get(found.submitter)
            if held is not None and held.jobs == 1:  # what is asked for is not asked for again before more is heard
                del board.heaps[found.kind][found.submitter]
            return True
        if isinstance(found, float):
            self.run.after(found + 1e-6, self._pump, seat)
        return False

    def _for(self, seat: Seat, told: Mapping[DeviceId, Heap]) -> Mapping[DeviceId, Heap]:
        """Of what is held back, what is told to a device: those who do not believe it tell it nothing."""
        return {who: heap for who, heap in told.items() if who not in seat.hears_not} if seat.hears_not else told

    def _ask(self, seat: Seat, desk: Desk, kind: str, *, newest: bool, steal: bool) -> None:
        seat.held += 1
        delay = self._latency(desk, seat.box.index)
        self.run.after(delay, lambda: self._asked(desk, seat, seat.box.boot, kind, newest=newest, steal=steal))

    def _released(self, seat: Seat, boot: int) -> None:
        if seat.box.boot == boot:
            seat.held -= 1
            self._pump(seat)

    def _steal(self, seat: Seat) -> None:
        """Ask for the job that gains most from running here at once."""
        me, board = self.views[seat.box.index], self.board(seat.box.index)
        told = (one for one in board.longest() if DeviceId(str(one[0])) not in seat.hears_not)
        won, index, one = max(((gain(one, me), index, one) for index, one in told), default=(0.0, 0, None))
        if one is not None and won > 0:
            board.asked(index, one)
            self._ask(seat, self.desks[index], one.kind, newest=False, steal=True)

    def _freed(self, seat: Seat) -> None:
        seat.free_since = self.run.now
        self._pump(seat)

    def ended(self, attempt: Attempt, seconds: float) -> None:
        """Learn from it, and go on."""
        seat = self.seats[attempt.box.index]
        self.run.outcome.predicted.append((attempt.expected, seconds))
        self._learn(seat, attempt, seconds)
        self._freed(seat)

    def _learn(self, seat: Seat, attempt: Attempt, seconds: float) -> None:
        kind = self.run.world.jobs[attempt.job].kind
        known = seat.rates[kind]
        if known is not None:
            claimed = seconds / seat.box.machine.flattery
            seat.rates[kind], seat.capability = rates.observe(known, claimed, None, self.run.now), None

    def _expected(self, seat: Seat, job: int) -> float:
        rate = seat.rates[self.run.world.jobs[job].kind]
        return rate.mean if rate else math.inf

    def left(self, box: Box) -> None:
        """Its queue is lost with it; its peers see that after the detection time."""
        seat = self.seats[box.index]
        self.left_at[box.index] = self.run.now
        for attempt in seat.queue:
            self.run.stop(attempt)
            self.run.after(self.run.detection_s, self.lost, attempt)
        seat.queue, seat.held = [], 0
        self.run.after(self.run.detection_s, self._absent, seat, box.boot)

    def _absent(self, seat: Seat, boot: int) -> None:
        if seat.box.boot == boot and not seat.box.up:
            self._show(seat, replace(self.views[seat.box.index], present=False))

    def returned(self, box: Box) -> None:
        """It is there again, idle."""
        seat = self.seats[box.index]
        seat.free_since = self.run.now
        seat.told = -math.inf
        self._tell(seat)
        self._pump(seat)

    # -- documents -----------------------------------------------------------------------------------------------------

    def _tell(self, seat: Seat) -> None:
        if not seat.telling:
            seat.telling = True
            self.run.at(max(self.run.now, seat.told + self.switches.documents_s), self._told, seat)

    def _told(self, seat: Seat) -> None:
        seat.telling, seat.told = False, self.run.now
        if seat.box.up:
            self.run.after(LATENCY_S, self._show, seat, self._view(seat))

    def _show(self, seat: Seat, view: Device) -> None:
        self.views[seat.box.index] = view.after(self.views[seat.box.index])
        self.version[seat.box.index] += 1

    def _view(self, seat: Seat) -> Device:
        """The device as its newest documents show it."""
        seat.revision += 1
        seat.capability = seat.capability or capability(seat.box, seat.rates, seat.revision, cold=self.run.world.cold)
        index = DeviceId(str(seat.box.index))
        return Device(
            index, str(index), own=True, capability=seat.capability, dynamic=self._dynamic(seat),
            rtt_s=2 * LATENCY_S, bandwidth=seat.box.machine.bandwidth,
        )  # fmt: skip

    def _dynamic(self, seat: Seat) -> Dynamic:
        queue: dict[str, tuple[int, float]] = {}
        for attempt in seat.queue:
            kind = NAMES[self.run.world.jobs[attempt.job].kind]
            count, seconds = queue.get(kind, (0, 0.0))
            queue[kind] = (count + 1, seconds + self._needs(attempt))
        running = [self._needs(a) for a in seat.box.running]
        if not self.switches.displacing:  # all that waits is before a new job, and nothing is displaced
            running, queue = [*running, *(seconds for _, seconds in queue.values())], {}
        return Dynamic.model_construct(
            revision=seat.revision, valid_s=10.0, free_slots=max(0, self._free(seat)), power="ok", quiet=False,
            running=running, queue=queue, memory_free_mb=10**6, disk_free_mb=10**6,
            loaded=[NAMES[k] for k in seat.box.loaded] if self.run.world.cold else list(NAMES), start_s=0.0,
        )  # fmt: skip

    def _devices(self, desk: Desk) -> list[Device]:
        """The devices a submitter knows, as it knows them; what did not change since it looked last is not made again."""
        mine, known = self.run.boxes[desk.index].machine.bandwidth, self.known(desk.index)
        for i in known:
            if desk.seen.get(i) != self.version[i] or i == desk.index:
                desk.views[i] = self._seen_by(desk, i, mine).after(desk.views.get(i))
                desk.seen[i] = self.version[i]
        return [desk.views[i] for i in known]

    def _seen_by(self, desk: Desk, i: int, mine: float) -> Device:
        view = self.views[i]
        if i == desk.index:
            seat = self.seats[i]
            return replace(view, here=True, present=seat.box.up, dynamic=self._dynamic(seat))
        known, pending = desk.pending.get(i, (-1, 0.0))
        return changed(
            view, bandwidth=min(mine, view.bandwidth), correction=desk.corrections.get(i, 0.0),
            pending_s=pending if known == self.version[i] else 0.0,
            suspect=desk.suspect.get(i) == self.version[i],
        ).after(view)  # fmt: skip

    def _field(self, kind: str, index: int) -> Field:
        """The field of a class, as one device knows it."""
        return self.board(index).field(kind, self.run.now, lambda: map(self._dated, self.known(index)))

    def _dated(self, index: int) -> Device:
        """A device with how long it has been away, if it is."""
        view = self.views[index]
        return view if view.present else replace(view, absent_s=self.run.now - self.left_at[index])


def worth_suspending(left: float, service: float) -> bool:
    """Whether an attempt with so many seconds left gives its slot to one that needs so many."""
    return left > max(SUSPEND_RATIO * service, SUSPEND_LEAST_S)
