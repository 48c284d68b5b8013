"""The executor: grants places, runs attempts in the pool, and keeps each result until it is acknowledged (routing §8).

Its side of an attempt: RESERVED -> STAGING -> RUNNING -> DELIVERING -> forgotten. A lapsed lease ends what has not started;
what runs is detached for a while.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Collection, Coroutine, Iterator
from dataclasses import replace

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.background import Background
from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.jobs import staging
from moodmesh.nodes.jobs.bounds import LATE, check_size, check_units, full, near
from moodmesh.nodes.jobs.delivery import REPEAT_S, Delivery
from moodmesh.nodes.jobs.execution import Execution, Offers, load
from moodmesh.nodes.jobs.journal import Executions, Held
from moodmesh.nodes.jobs.network import Blobs, Network
from moodmesh.nodes.jobs.outgoing import hand_on
from moodmesh.nodes.jobs.outputs import Outputs
from moodmesh.nodes.jobs.pulling import Pulling
from moodmesh.nodes.messages import (
    Attempted,
    Cancel,
    CancelledAttempt,
    FailReason,
    Granted,
    Live,
    LogLine,
    PartAck,
    ProgressNow,
    RefusedReservation,
    Reserve,
    Result,
    ResultAck,
    Start,
    StartedAt,
    Withdraw,
    Withdrawn,
    bounded_s,
)
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.placement.queue import CALL_AHEAD_S, waits
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Log, Part, Progress, Started, TaskPool, Work

LEASE_S = 5.0
GRACE_S = 2.0
"""A worker is gone so long after the end of its lease, and what a dead daemon left so long after its end; `bench faults`
takes both bounds from here."""
GATES_S = 0.5
"""Between two looks at the gates: with readings a second old, what one closes for is given back within two (routing §6)."""
NOT_YET_S = 2 * CALL_AHEAD_S
START_S = 15.0
"""A place that was called for, or a promised slot, is kept so long for its input: `granted` is said three times meanwhile."""
log = logging.getLogger(__name__)


class Executor:
    """Attempts of this device and of its peers that run here."""

    def __init__(
        self,
        network: Network,
        blobs: Blobs,
        executions: Executions,
        pool: TaskPool,
        offers: Offers,
        clock: Clock,
        changed: Callable[[], None],
    ) -> None:
        self._net, self._blobs, self._journal, self._pool, self._offers = network, blobs, executions, pool, offers
        self._clock, self._changed = clock, changed
        self._held: dict[tuple[str, str, int], Execution] = {}
        self._borrowed = 0
        self._stopping = 0
        self._free_since, self._none_free = clock.now(), False  # since when any slot is free; whether none was at the last look
        self._background = Background()
        self._outputs = Outputs(network, blobs)
        self.results = Delivery(network, executions, self._outputs, clock)
        self._pulling = Pulling(network, clock, self._admits, self._pump)

    # -- messages ------------------------------------------------------------------------------------------------------

    async def hear(self, peer: DeviceId, message: Attempted) -> None:
        """A message of a submitter about one attempt."""
        key = (peer, message.job, message.attempt)
        match message:
            case Reserve():
                await self._reserve(peer, message)
            case Start():
                self._start(key, message)
            case Cancel():
                await self._end(key, "cancel")
                self._net.send(peer, CancelledAttempt(job=message.job, attempt=message.attempt))
            case Withdraw():
                await self._withdraw(key)
            case ResultAck():
                await self.results.forget(key)
            case PartAck():
                if (held := self._held[key].held if key in self._held else self.results.waiting.get(key)) is not None:
                    self.results.acknowledged(held, message)

    async def _reserve(self, peer: DeviceId, ask: Reserve) -> None:
        key = (peer, ask.job, ask.attempt)
        if key in self._held or key in self.results.waiting:
            self._repeat_one(key)
            return
        try:
            gate = self._full(peer) or self._offers.admit(peer, ask) or await self._obey(key, ask)
        except StoreError as error:
            gate = Gate("disk", str(error))
        if gate is None:
            self._grant(self._held[key], self._start_in(self._held[key]))
            self._changed()
        else:
            detail = gate.detail[:2000]
            self._net.send(peer, RefusedReservation(job=ask.job, attempt=ask.attempt, gate=gate.name, detail=detail))

    def _admits(self, peer: DeviceId, kind: str, units: float) -> bool:
        """Whether a job of a class would be granted now."""
        task, _, variant = kind.partition("/")
        ask = Reserve(
            job="0" * 32, attempt=1, task=task, version=self._offers.version(task), variant=variant, units=units, input_bytes=0,
            result_bytes=0, personal=False, waited=0.0,
        )  # fmt: skip
        return self._full(peer) is None and self._offers.admit(peer, ask) is None

    def _full(self, peer: DeviceId) -> Gate | None:
        return full(peer, (*self._held, *self.results.waiting))

    async def _obey(self, key: tuple[DeviceId, str, int], ask: Reserve) -> Gate | None:
        """Journal the place and hold it, and drop lower attempts of the job; the fence is the gate that bars a repeated one."""
        held = Held(
            key[0], ask.job, ask.attempt, ask.task, ask.variant, "RESERVED", ask.personal, ask.units, None,
            self._clock.wall(),
        )  # fmt: skip
        if barred := await self._journal.grant(held, effects=self._offers.effects(ask.task)):
            return Gate("fence", barred)
        for lower in [k for k in self._held if k[:2] == key[:2] and k[2] < ask.attempt]:
            self._background.spawn(self._end(lower, "superseded"))
        expected = bounded_s(self._offers.predicted_s(ask.task, ask.variant, ask.units))
        promised = ask.taken and self._pulling.answered(key[0], reserved=True)
        self._held[key] = Execution(held, ask, expected, self._clock.now(), promised=promised)
        return None

    def _grant(self, e: Execution, wait: float) -> None:
        if not e.called and near(e, wait, self._held.values(), self._pool.slots):
            e.called = True
            e.awaited = asyncio.create_task(self._kept(e))
        e.said = self._clock.now()
        start_in_s = min(wait, CALL_AHEAD_S) if e.called else max(wait, NOT_YET_S)  # what was called for stays called for
        self._net.send(e.held.requester, Granted(job=e.held.job, attempt=e.held.number, start_in_s=start_in_s))

    async def _kept(self, e: Execution) -> None:
        """Who was called and sends no `start` loses its place; who was promised a slot and has no input there yet waits for
        one like everybody."""
        await self._clock.sleep(START_S)
        if e.promised or e.start is None:
            self._pulling.disappointed(e.held.requester, START_S)
        if e.start is None:
            self._net.send(e.held.requester, CancelledAttempt(job=e.held.job, attempt=e.held.number, reason="not started"))
            self._background.spawn(self._end(e.key, "not started"))
        elif e.promised:
            e.promised = False
            self._pump()

    def _start(self, key: tuple[str, str, int], start: Start) -> None:
        e = self._held.get(key)
        if e is None or e.start is not None or not e.called:  # what was not called for is not kept: it will be called for
            return
        e.start = start
        e.expires = math.inf if start.expire_s is None else self._clock.now() + start.expire_s
        e.task = asyncio.create_task(self._guarded(e, lambda: self._stage(e, start)))

    async def _stage(self, e: Execution, start: Start) -> None:
        """Have the input here; one that is too large for a message is fetched."""
        check_size(e.ask, start)
        if not staging.inline(start):
            await self._journal.phase(e.held, "STAGING")
        data = await staging.input_of(start, self._blobs, e.held.requester)
        e.held.parts = await staging.parts_of(start, self._blobs, e.held.requester)
        if e.held.requester != self._net.me:
            check_units(e.ask, await self._offers.units(start, e.ask, data))
        e.data, e.task = data, None
        if e.awaited is not None:
            e.awaited.cancel()
        if e.ask.taken:
            self._pulling.kept_word(e.held.requester)
        self._pump()

    # -- running -------------------------------------------------------------------------------------------------------

    def pool_heard(self, peer: DeviceId) -> None:
        """A peer said what it holds back: what it was asked for is answered with that."""
        if self._pulling.answered(peer, reserved=False):
            self._pump()
        else:
            self.look_again()

    def look_again(self) -> None:
        """Documents, links or pools changed: a free slot may have something to take."""
        if self._pulling.anything() and self._free() > 0:
            self._pump()

    def _free(self) -> int:
        """Slots that nothing has and nothing is kept for."""
        busy = sum(e.busy for e in self._held.values())
        return max(0, self._pool.slots - self._borrowed - self._stopping - self._pulling.kept - busy)

    def _pump(self) -> None:
        """Start what can start, shortest first with ageing, or take better from the mesh; call for what comes next."""
        now, free = self._clock.now(), self._free()
        if free > 0 and self._none_free:
            self._free_since = now
        promised = [e for e in self._held.values() if e.promised and e.data is not None and e.task is None]
        for e in promised:
            e.given = now
            e.task = asyncio.create_task(self._run(e))
        ready = sorted((e for e in self._held.values() if e.data is not None and e.task is None), key=lambda e: e.order(now))
        while free > 0 and (ready or free > self._expected()):
            if self._pulling.ask(ready[0].order(now) if ready else None, now - self._free_since):
                free -= 1
            elif ready:
                e, free = ready.pop(0), free - 1
                e.given = now
                e.task = asyncio.create_task(self._run(e))
            elif not self._pulling.steal():
                break
            else:
                free -= 1
        for e, wait in self._queue():
            if e.called:
                continue
            if not near(e, wait, self._held.values(), self._pool.slots):
                break
            self._grant(e, wait)
        self._none_free = self._free() == 0
        self._changed()

    def _expected(self) -> int:
        """How many attempts here have yet to get a slot."""
        return sum(not e.busy for e in self._held.values())

    async def _run(self, e: Execution) -> None:
        try:
            await self._guarded(e, lambda: self._attempt(e))
        finally:
            self._held.pop(e.key, None)
            self._pump()

    async def _guarded(self, e: Execution, work: Callable[[], Coroutine[None, None, None]]) -> None:
        """Whatever goes wrong in an attempt is its result, unless it had one before."""
        try:
            await work()
        except AttemptFailed as failed:
            await self._deliver_failure(e, failed.reason, str(failed))
        except StoreError as error:
            await self._deliver_failure(e, "transient", str(error))
        except Exception as error:
            log.exception("attempt failed in the node itself")
            await self._deliver_failure(e, "transient", f"internal: {type(error).__name__}")

    async def _attempt(self, e: Execution) -> None:
        assert e.start is not None
        assert e.data is not None
        if gate := self._offers.admit(e.held.requester, e.ask):
            raise AttemptFailed("transient", f"gate {gate.name}: {gate.detail}")
        await self._offers.charge(e.held.requester, e.ask, e.expected_s, running=True)
        try:
            done = await self._work(e, e.start, e.data)
            e.worked = True
            await self._deliver_outputs(e, await self._result(e, done))
        finally:  # also of an attempt that was killed: the peer pays for what it took, and no longer counts as running
            took = self._clock.now() - e.started_now if e.started else 0.0  # not how long its engine took to start
            await self._offers.charge(e.held.requester, e.ask, took, running=False)
        if e.start.parts is None or not e.start.parts.size:  # what goes on after parts takes less than the whole
            await self._observe(e, done.seconds, e.load_s)

    async def _work(self, e: Execution, start: Start, data: bytes) -> Done:
        e.journalled = asyncio.create_task(self._journal_running(e))
        if self._offers.effects(e.ask.task):
            await e.journalled
        try:
            await self._offers.prepare(e.ask.task, e.ask.variant)
        except OSError as error:
            raise AttemptFailed("transient", f"its model is not here: {error}") from None
        name = f"{e.held.requester[:8]}-{e.held.job}-{e.held.number}"
        parts = e.held.parts.parts if e.held.parts else ()
        work = Work(name, e.ask.task, e.ask.variant, start.params, data, start.seed, parts)
        try:
            async with asyncio.timeout(None) as e.limit:
                return await self._tried(e, work)
        except TimeoutError:
            if e.limit is None or not e.limit.expired():
                raise
            await self._learn_overrun(e)
            raise AttemptFailed("transient", "it took far longer than this device's rule for its submitter allows") from None

    async def _tried(self, e: Execution, work: Work) -> Done:
        try:
            return await self._pool.run(work, lambda event: self._emit(e, event))
        except AttemptFailed as failed:
            if failed.reason != "worker_lost" or self._offers.effects(e.ask.task):
                raise
        work = replace(work, parts=e.held.parts.parts if e.held.parts else ())
        return await self._pool.run(work, lambda event: self._emit(e, event))  # once more inside this device (routing §9)

    async def _journal_running(self, e: Execution) -> None:
        try:
            await self._journal.phase(e.held, "RUNNING")
        except StoreError as error:
            log.warning("RUNNING is not on disk: %s", error)
            if self._offers.effects(e.ask.task):
                raise

    def _emit(self, e: Execution, event: Event) -> None:
        job, attempt, peer = e.held.job, e.held.number, e.held.requester
        match event:
            case Started():
                e.started, e.load_s = event, event.load_s
                e.started_now, e.started_wall = self._clock.now(), self._clock.wall()
                longest = self._offers.longest_s(peer, e.ask.task)
                if longest is not None and e.limit is not None and not e.limit.expired():
                    e.limit.reschedule(asyncio.get_running_loop().time() + LATE * longest)
                assert e.journalled is not None
                e.journalled.add_done_callback(lambda _: self._tell_started(e))
                self._changed()
            case Progress():
                share = min(1.0, max(0.0, event.share))
                self._net.send(peer, ProgressNow(job=job, attempt=attempt, share=share))
            case Log():
                e.seq += 1
                e.lines.append(LogLine(job=job, attempt=attempt, seq=e.seq, line=event.line[:2000]))
                self._net.send(peer, e.lines[-1])
            case Part() if e.held.parts is not None:
                e.held.parts.add(event.index, event.data)
                hand_on(self._net, e.key, e.held.parts, self._clock.now())

    def _tell_started(self, e: Execution) -> None:
        """Said once RUNNING is on disk. A pure task need not wait for that: a restart loses it in either phase."""
        assert e.started is not None
        ago = max(0.0, self._clock.now() - e.started.at)
        message = StartedAt(job=e.held.job, attempt=e.held.number, load_s=e.load_s, ago_s=ago)
        self._net.send(e.held.requester, message)

    async def _result(self, e: Execution, done: Done) -> Result:
        """The outputs as blobs, with signed provenance."""
        assert e.data is not None
        assert e.start is not None
        model, digest = self._offers.model(e.ask.task, e.ask.variant)
        made = {
            "engine": self._pool.engine, "pid": e.started.pid if e.started else 0, "task": e.ask.task, "version": e.ask.version,
            "variant": e.ask.variant, "model": model, "model_sha256": digest, "seed": e.start.seed, "started": e.started_wall,
            "finished": self._clock.wall(), "load_s": e.load_s,
        }  # fmt: skip
        return await self._outputs.result(e.held.job, e.held.number, done, e.data, made)

    async def _deliver_outputs(self, e: Execution, result: Result) -> None:
        try:
            await self._deliver(e, result)
        except (StoreError, AttemptFailed):
            await self._outputs.drop(result)
            raise

    async def _deliver(self, e: Execution, result: Result) -> None:
        if e.journalled is not None:
            await asyncio.wait({e.journalled})  # or its RUNNING would come after our DELIVERING
        if len(result.envelope().body) > Result.cap:
            raise AttemptFailed("task_error", f"its small files together have more than {Result.cap >> 20} MiB")
        await self._journal.deliver(e.held, result)
        e.delivered = True
        self._held.pop(e.key, None)
        self.results.offer(e.held)

    async def _deliver_failure(self, e: Execution, reason: FailReason, message: str) -> None:
        if e.delivered:
            return
        try:
            await self._deliver(e, Result(job=e.held.job, attempt=e.held.number, reason=reason, message=message[:2000]))
        except StoreError as error:
            log.warning("attempt dropped: %s", error)
            self._held.pop(e.key, None)
            self.results.waiting[e.key] = e.held
            self._net.send(e.held.requester, CancelledAttempt(job=e.held.job, attempt=e.held.number, reason="disk"))

    # -- ends ----------------------------------------------------------------------------------------------------------

    async def _end(self, key: tuple[str, str, int], why: str) -> None:
        """Kill what runs, give the slot back, forget the attempt and its data."""
        e = self._held.pop(key, None)
        for timer in (e.detached, e.awaited) if e is not None else ():
            if timer is not None and timer is not asyncio.current_task():
                timer.cancel()
        if e is not None and e.task is not None:
            await self._stop(e, e.task)
        held = e.held if e is not None else self.results.waiting.get(key)
        try:
            if held is not None:
                log.info("attempt ended", extra={"job": held.job, "attempt": held.number, "why": why})
                self.results.waiting.setdefault(key, held)
                await self.results.forget(key)
        finally:  # its slot is free, whatever the disk says
            self._pump()

    async def _withdraw(self, key: tuple[str, str, int]) -> None:
        """Give an attempt back that has not started; one that has says so again."""
        e = self._held.get(key)
        if key in self.results.waiting or (e is not None and e.task is not None and e.data is not None):
            self._repeat_one(key)
        else:
            # Said first: it is true whatever the disk does, for a reservation does not outlive this process.
            self._net.send(DeviceId(key[0]), Withdrawn(job=key[1], attempt=key[2]))
            await self._end(key, "withdrawn")

    async def _stop(self, e: Execution, task: asyncio.Task[None]) -> None:
        """Its slot stays taken until its worker is gone; past the worker it ends by itself, or its outputs would stay."""
        self._stopping += e.busy
        try:
            if not e.worked:
                task.cancel()
            await asyncio.gather(task, return_exceptions=True)
        finally:
            self._stopping -= e.busy
        if not e.worked:
            await self._learn_overrun(e)

    async def _learn_overrun(self, e: Execution) -> None:
        """An ended attempt that ran longer than predicted counts as one observation, else stragglers are never seen."""
        elapsed = self._clock.now() - e.started_now if e.started_now else 0.0
        if elapsed > e.expected_s:
            await self._observe(e, elapsed, None)

    async def _observe(self, e: Execution, seconds: float, load_s: float | None) -> None:
        """Learn from an attempt; what is held here is expected to take what is known now, and is moved if others are faster.
        On a full disk nothing is learned, and all goes on: the end of an attempt leads here, too."""
        try:
            await self._offers.observe(e.ask.task, e.ask.variant, e.ask.units, seconds, load_s)
        except StoreError as error:
            log.warning("what an attempt took is not learned: %s", error)
        for other in self._held.values():
            other.expected_s = bounded_s(self._offers.predicted_s(other.ask.task, other.ask.variant, other.ask.units))
        self._changed()

    async def lapse(self, peer: DeviceId) -> None:
        """The lease of a peer's attempts lapsed: reservations are dropped, what runs is detached, finished results are kept."""
        now = self._clock.now()
        for key, e in list(self._held.items()):
            lease = min(self._offers.detached_s(e.remaining(now)), e.expires - now) if e.started is not None else 0.0
            if key[0] == peer and lease > 0 and e.detached is None:
                log.info("attempt detached", extra={"job": key[1], "attempt": key[2], "lease_s": round(lease)})
                e.detached = asyncio.create_task(self._detached(key, lease))
        await self._end_all([k for k, e in self._held.items() if k[0] == peer and e.detached is None], "lease lapsed")

    async def _detached(self, key: tuple[str, str, int], lease_s: float) -> None:
        """Runs on without its submitter; a sleeping phone must not cost the job. At the end of this lease it is killed."""
        await self._clock.sleep(lease_s)
        if key in self._held:  # else its result waits for the submitter
            self._background.spawn(self._end(key, "detached lease lapsed"))

    async def stop(self, requester: DeviceId, jobs: Collection[str]) -> bool:
        """End what is held here of some jobs of a submitter, results that wait for it too; False when nothing was."""
        keys = [k for k in (*self._held, *self.results.waiting) if k[0] == requester and k[1] in jobs]
        await self._end_all(keys, "stopped for its user")
        return bool(keys)

    async def drop_peer(self, peer: DeviceId, keep: Callable[[str], bool] = lambda task: False) -> None:
        """The peer was forgotten, or may no longer use the tasks that `keep` denies: nothing of those attempts stays."""
        running = [k for k, e in self._held.items() if k[0] == peer and not keep(e.ask.task)]
        done = [k for k, held in self.results.waiting.items() if k[0] == peer and not keep(held.task)]
        for _, job, number in running + done:  # before its heartbeat misses them, and does not say why
            self._net.send(peer, CancelledAttempt(job=job, attempt=number, reason="revoked"))
        await self._end_all(running + done, "revoked")

    async def watch(self) -> None:
        """Until cancelled: look whether a gate has closed."""
        while True:
            await self._clock.sleep(GATES_S)
            self.give_back()

    def give_back(self) -> None:
        """End the attempts for which a gate has closed (power, hours, the user, the peer's rule), of this device too.
        One of a task with effects that was called for goes on: it may not run twice, so its job would fail by it."""
        for key, e in list(self._held.items()):
            kept = e.worked or (e.called and self._offers.effects(e.ask.task))
            if not kept and (gate := self._offers.closed(e.held.requester, e.ask)) is not None:
                said = CancelledAttempt(job=e.held.job, attempt=e.held.number, reason=gate.detail[:64])
                self._net.send(e.held.requester, said)  # before its heartbeat misses it, and does not say why
                self._background.spawn(self._end(key, f"gate {gate.name}"))

    def reconcile(self, peer: DeviceId, wanted: list[Live]) -> None:
        """The peer's list of what it waits for: the rest is ended or, where a full disk kept it, forgotten at last; and what
        it did not answer for long is said again."""
        keep = {(w.job, w.attempt) for w in wanted}
        for key, known in self._held.items():
            if key[0] == peer and key[1:] in keep and known.detached is not None:  # its submitter is back
                known.detached.cancel()
                known.detached = None
        for key in [k for k in self._held if k[0] == peer and k[1:] not in keep]:
            self._background.spawn(self._end(key, "no longer wanted"))  # takes up to 2 s: the link does not wait for it
        self.results.reconcile(peer)
        before = self._clock.now() - REPEAT_S
        for key, e in list(self._held.items()):
            if key[0] == peer and e.called and e.start is None and e.said < before:
                self._repeat_one(key)
            elif key[0] == peer and e.held.parts is not None and e.held.parts.at < before:
                hand_on(self._net, e.key, e.held.parts, self._clock.now(), again=True)

    async def close(self) -> None:
        """Give every running attempt back before the link closes."""
        keys = list(self._held)
        await self._end_all(keys, "shutdown")
        for requester, job, number in keys:
            self._net.send(DeviceId(requester), CancelledAttempt(job=job, attempt=number, reason="shutdown"))
        await self._pulling.close()
        await self._background.finish()
        await self.results.close()

    async def _end_all(self, keys: list[tuple[str, str, int]], why: str) -> None:
        await asyncio.gather(*(self._end(key, why) for key in keys))

    # -- state ---------------------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """After a restart: workers are gone, so what ran is lost; what was finished is offered again."""
        for held in await self._journal.load():
            if held.phase in ("RESERVED", "STAGING"):
                await self._journal.forget(held)
                continue
            if held.phase == "RUNNING":
                lost = Result(job=held.job, attempt=held.number, reason="lost", message="the device restarted")
                await self._journal.deliver(held, lost)
            self.results.offer(held, unless=self._net.me)

    def repeat(self, peer: DeviceId) -> None:
        """A link came up: say again where each attempt of the peer stands."""
        for key in [k for k in (*self._held, *self.results.waiting) if k[0] == peer]:
            self._repeat_one(key)

    def _repeat_one(self, key: tuple[str, str, int]) -> None:
        if (held := self.results.waiting.get(key)) is not None and held.result is not None:
            self.results.offer(held)
        elif (e := self._held.get(key)) is not None:
            if e.started is not None:
                self._tell_started(e)
                for line in e.lines:
                    self._net.send(e.held.requester, line)
                hand_on(self._net, e.key, e.held.parts, self._clock.now(), again=True)
            else:
                self._grant(e, self._start_in(e))

    def live(self, peer: DeviceId) -> list[Live]:
        """The attempts of a peer held here, for the heartbeat; one that ended without a result is none, forgotten or not."""
        waits = {e.key: wait for e, wait in self._queue()}
        running = [e.live(waits.get(k)) for k, e in self._held.items() if k[0] == peer]
        return running + self.results.live(peer)

    def load(self) -> tuple[list[float], dict[str, tuple[int, float]], int]:
        """Seconds left of each running attempt; per class the queued count and seconds; free slots."""
        running, queue = load(self._held.values(), self._clock.now())
        return running, queue, max(0, self._free() - self._expected())

    @contextlib.contextmanager
    def borrowed_slot(self) -> Iterator[None]:
        """A slot of the pool for the node's own use: no attempt starts in it meanwhile."""
        self._borrowed += 1
        try:
            yield
        finally:
            self._borrowed -= 1
            self._pump()

    def busy(self) -> bool:
        """Whether any attempt is held."""
        return bool(self._held)

    def _queue(self) -> list[tuple[Execution, float]]:
        """What waits, in its order, with the predicted seconds until each has a slot."""
        now = self._clock.now()
        running = [e.remaining(now) for e in self._held.values() if e.busy]
        taken = len(running) + self._stopping + self._borrowed + self._pulling.kept
        queued = sorted((e for e in self._held.values() if not e.busy), key=lambda e: e.order(now))
        found = waits(running, taken, self._pool.slots, ((e, e.expected_s) for e in queued))
        return [(e, bounded_s(wait)) for e, wait in found]

    def _start_in(self, e: Execution) -> float:
        return next((wait for other, wait in self._queue() if other is e), 0.0)
