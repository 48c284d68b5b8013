"""The submitter: owns its jobs, places each attempt, and commits one result (routing §7, §8).

One coroutine drives one open job: place, reserve, start, follow, commit; or place again. Everything it hears of an attempt
arrives in that attempt's inbox; everything it decides is on disk before it is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import logging
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import NotFound, Refused, StoreError, UsageError
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.journal import After, Jobs
from moodmesh.nodes.jobs.model import ATTEMPT_LIVE, NOT_AGAIN_HERE, Attempt, Job, Spec
from moodmesh.nodes.jobs.network import Blobs, Network
from moodmesh.nodes.messages import (
    MAX_LIVE,
    Attempted,
    Blob,
    Cancel,
    CancelledAttempt,
    FailReason,
    Granted,
    Live,
    LogLine,
    ProgressNow,
    Provenance,
    RefusedReservation,
    Reserve,
    Result,
    ResultAck,
    Start,
    StartedAt,
)  # fmt: skip
from moodmesh.nodes.placement.explain import summary
from moodmesh.nodes.placement.score import Placement, place
from moodmesh.nodes.placement.view import Ask

RESERVE_TIMEOUT_S = 1.0
PUSH_AHEAD_S = 2.0
RESTART_WAIT_S = 5.0
MOST_WAITING = 1000
DISK_RETRY_S = 5.0
REFUSALS, LONGEST_PAUSE_S = 3, 600.0
LOG_ROOM, LOG_LINE = 16 * 2**20, 100
"""Of the log of one attempt: characters kept, and what a line costs beside its text."""
FOR_NOW = ("absent", "suspect", "documents", "backoff", "full", "model")
log = logging.getLogger(__name__)


class _Over(Exception):
    """An attempt ended without a result: its state, a reason, and words for `explain`."""

    def __init__(self, state: Any, message: str, reason: FailReason | None = None) -> None:
        super().__init__(message)
        self.state, self.reason = state, reason


@dataclass
class _Live:
    """An attempt in flight and what was heard of it."""

    job: Job
    attempt: Attempt
    claim: float  # seconds, by the executor's own rate
    inbox: asyncio.Queue[Attempted | _Over] = field(default_factory=asyncio.Queue)
    resumed: bool = False
    log_seq: int = 0
    log_room: int = LOG_ROOM
    sent: bool = False


class Submitter:
    """Jobs of this device."""

    def __init__(self, network: Network, blobs: Blobs, jobs: Jobs, events: Hub, clock: Clock, wait_for_device_s: float) -> None:
        self._net, self._blobs, self._jobs, self._events, self._clock = network, blobs, jobs, events, clock
        self._wait_for_device_s = wait_for_device_s
        self._open: dict[str, Job] = {}
        self._live: dict[tuple[str, int], _Live] = {}
        self._drivers: dict[str, asyncio.Task[None]] = {}
        self._changed = asyncio.Event()
        self._resumed = asyncio.Event()
        self._late_now: dict[tuple[str, int], asyncio.Task[None]] = {}

    # -- what the user asks --------------------------------------------------------------------------------------------

    async def submit(self, spec: Spec, data: bytes) -> Job:
        """Accept a job: once this returns it is on disk and will be answered once. Its first placement is made at once."""
        try:
            blob = await self._blobs.put(data)
        except OSError as error:
            raise StoreError(f"the input cannot be kept: {error}; free some disk space, nothing was accepted") from None
        job = Job(uuid.uuid4().hex, spec, blob, self._clock.wall())
        first = self._offer(job, self.placement(job))
        try:
            await self._jobs.accept(job)
        except BaseException:
            self._live.pop((job.id, 1), None)
            await self._blobs.drop(blob)
            raise
        self._drive(job, first)
        self._tell(job)
        for _ in range(2):  # the reservation is on the wire before anyone spends time on the answer
            await asyncio.sleep(0)
        return job

    async def cancel(self, job_id: str) -> Job:
        """Stop a job of this device; its worker is gone within 2 s. `Refused` when it already ended."""
        job = self._open.get(job_id)
        if job is None:
            raise Refused("this job has already ended", "ended")
        if not await self._jobs.status(job, "STOPPED", "by user", at=self._clock.wall()):
            raise Refused("this job has already ended", "ended")
        if driver := self._drivers.get(job_id):
            driver.cancel()
        self._tell(job)
        return job

    async def find(self, prefix: str) -> Job:
        """The job of an id or a unique prefix of one."""
        if not prefix or any(c not in "0123456789abcdef" for c in prefix):
            raise UsageError(f"{prefix!r} is not a job id; `moodmesh job list` shows them")
        found = await self._jobs.find(prefix)
        if len(found) != 1:
            raise NotFound(f"{'several jobs begin' if found else 'no job begins'} with {prefix!r}; see `moodmesh job list`")
        return self.fresh(found[0])

    def fresh(self, job: Job) -> Job:
        """The same job as it stands in memory while it is open."""
        return self._open.get(job.id, job)

    def placement(self, job: Job) -> Placement:
        """Where the job would go now."""
        devices = self._net.devices()
        if len(self._live) >= MAX_LIVE:
            held = Counter(live.attempt.device for live in self._live.values())
            devices = [replace(d, full=held[d.id] >= MAX_LIVE) for d in devices]
        return place(self._ask(job), devices)

    # -- what the node tells -------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """After a restart: wait for executors that may still hold an attempt, then schedule the rest again.

        What is heard before this is done waits: a result must not meet a submitter that has not read its journal yet.
        """
        for job in await self._jobs.load(only_open=True, limit=-1):
            held = [
                _Live(job, a, (a.explain.get("chosen") or {}).get("claim", 0.0), resumed=True)
                for a in job.attempts
                if a.state in ATTEMPT_LIVE
            ]
            self._live |= {(job.id, live.attempt.number): live for live in held}
            self._drive(job, held[-1] if held else None, held[:-1])
        self._resumed.set()

    async def hear(self, peer: DeviceId, message: Attempted) -> None:
        """A message about an attempt of ours. What concerns no live attempt is answered, so that the executor lets it go."""
        await self._resumed.wait()
        key = message.job, message.attempt
        live = self._live.get(key)
        if live is not None and live.attempt.device == peer:
            if live.inbox.qsize() < MOST_WAITING:  # beyond it is a flood; what matters is said again
                live.inbox.put_nowait(message)
        elif isinstance(message, Result):
            if key not in self._late_now:  # it may have to be fetched, over the link that this call holds up
                task = self._late_now[key] = asyncio.create_task(self._late(peer, message))
                task.add_done_callback(lambda _: self._late_now.pop(key, None))
        elif isinstance(message, Granted):
            self._net.send(peer, Cancel(job=message.job, attempt=message.attempt))

    def live(self, peer: DeviceId) -> list[Live]:
        """The attempts this device waits for at a peer, for the heartbeat."""
        return [
            Live(job=job, attempt=number, phase=live.attempt.state)
            for (job, number), live in self._live.items()
            if live.attempt.device == peer
        ]

    def names(self, peer: DeviceId, artefact: str) -> bool:
        """Whether a live attempt at the peer has this artefact as its input."""
        return any(live.attempt.device == peer and live.job.input.id == artefact for live in self._live.values())

    def reconcile(self, peer: DeviceId, held: list[Live]) -> None:
        """The peer's list of what it holds: an attempt it granted and no longer holds is lost."""
        theirs = {(h.job, h.attempt) for h in held}
        for key, live in self._live.items():
            answered = live.resumed or live.attempt.state in ("RESERVED", "STAGING", "RUNNING")
            if live.attempt.device == peer and answered and key not in theirs:
                live.inbox.put_nowait(_Over("LOST", f"{peer[:8]} no longer holds it"))

    def lost(self, peer: DeviceId, why: str) -> None:
        """The peer is gone: its attempts of ours are lost and go elsewhere."""
        for live in self._live.values():
            if live.attempt.device == peer:
                live.inbox.put_nowait(_Over("LOST", why))
        self.look_again()

    def look_again(self) -> None:
        """Documents or links changed: jobs without a candidate are placed again."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def close(self) -> None:
        """Stop driving; open jobs stay on disk for the next run."""
        tasks = [*self._drivers.values(), *self._late_now.values()]
        for task in tasks:
            task.cancel("closing")
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- driving one job -----------------------------------------------------------------------------------------------

    def _ask(self, job: Job) -> Ask:
        s = job.spec
        on = DeviceId(s.on) if s.on else None
        return Ask(
            job.id, s.task, s.version, s.units, s.input_bytes, s.result_bytes, s.personal, s.variant, on, s.quality, s.by_s,
            frozenset(a.device for a in job.attempts if a.state == "ERRORED" and a.message.startswith(NOT_AGAIN_HERE)),
            {a.device: a.message for a in job.attempts if self._refuses(job, a.device)},
        )  # fmt: skip

    def _refuses(self, job: Job, device: DeviceId) -> bool:
        """Whether a device that refused the job three times in a row is to be left alone for now: 8, 16, 32 ... 600 s."""
        row = list(itertools.takewhile(lambda a: a.state == "REFUSED", (a for a in job.attempts[::-1] if a.device == device)))
        if len(row) < REFUSALS:
            return False
        pause = min(LONGEST_PAUSE_S, 2.0 ** min(len(row), 10))
        return 0 <= self._clock.wall() - (row[0].finished or 0.0) < pause

    def _offer(self, job: Job, placement: Placement) -> _Live | None:
        """A new attempt at the chosen device, in memory; None, with the reason in the job, when there is none."""
        chosen = placement.chosen
        table = summary(placement)
        job.explain = table
        if chosen is None:
            job.substate, job.message = "scoring", missing(placement)
            return None
        assert chosen.variant is not None
        attempt = Attempt(job.id, job.next_number, chosen.device, chosen.variant, "OFFERED", table, self._clock.wall())
        job.attempts.append(attempt)
        job.substate, job.message = "reserved", ""
        live = self._live[job.id, attempt.number] = _Live(job, attempt, _claim(attempt))
        return live

    def _drive(self, job: Job, live: _Live | None, older: Sequence[_Live] = ()) -> None:
        """Take a job on, with the attempts it has already."""
        waited = max(0.0, self._clock.wall() - job.created)
        job.until = self._clock.now() + self._wait_for_device_s - waited
        self._open[job.id] = job
        self._blobs.keep(job.input)
        driver = self._drivers[job.id] = asyncio.create_task(self._driven(job, live, older))
        driver.add_done_callback(lambda task: self._left(job, task))

    def _left(self, job: Job, driver: asyncio.Task[None]) -> None:
        """However its driver ended, also before its first step: nothing of it stays in memory but an open job's name."""
        self._drivers.pop(job.id, None)
        for key in [key for key in self._live if key[0] == job.id]:
            del self._live[key]
        if not driver.cancelled() and (error := driver.exception()):
            log.error("a job is left until the next start", exc_info=error, extra={"job": job.id})
        if not job.open:
            self._open.pop(job.id, None)
            self._blobs.release(job.input)

    async def _driven(self, job: Job, live: _Live | None, older: Sequence[_Live]) -> None:
        for one in older:
            await self._end(one, _Over("LOST", "superseded before the restart"))
        broken = ""
        while job.open:
            try:
                if broken:
                    await self._fail(job, "internal", broken)
                elif live := live or await self._next(job):
                    await self._try(live)
            except StoreError as error:
                job.message = str(error)
                self._tell(job)
                await self._clock.sleep(DISK_RETRY_S)
            except Exception as error:  # a fault of ours: the job is answered, not left
                log.exception("a job cannot go on", extra={"job": job.id})
                broken = f"the node itself failed ({type(error).__name__}); its log says where. Submit the job again"
                await self._clock.sleep(DISK_RETRY_S)
            live = None

    async def _next(self, job: Job) -> _Live | None:
        """Place again and journal the attempt; waits for a change when nothing can run it."""
        if why := job.spent():
            await self._fail(job, "attempts_exhausted", f"{why}; the last: {job.attempts[-1].message}")
            return None
        changed = self._changed
        live = self._offer(job, self.placement(job))
        if live is not None:
            try:
                await self._jobs.offer(live.attempt)
            except StoreError:
                job.attempts.remove(live.attempt)
                self._live.pop((job.id, live.attempt.number), None)
                raise
            self._tell(job)
            return live
        errors = [a for a in job.attempts if a.state == "ERRORED" and a.message.startswith(NOT_AGAIN_HERE)]
        if errors and not any(row.gate and row.gate.name in FOR_NOW for row in self.placement(job).rows):
            await self._fail(job, "task_error", errors[-1].message)
            return None
        left = job.until - self._clock.now()
        if left <= 0:
            await self._fail(job, "no_capable_device", job.message)
            return None
        self._tell(job)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), min(left, 60.0))
        return None

    async def _try(self, live: _Live) -> None:
        """One attempt to its end, whatever that is."""
        try:
            if not live.resumed:
                self._reserve(live)
            await self._follow(live, RESTART_WAIT_S if live.resumed else RESERVE_TIMEOUT_S)
        except _Over as over:
            await self._end(live, over)
        except StoreError as error:
            await self._end(live, _Over("LOST", str(error)))
        except Exception as error:  # whatever a peer sent, or a fault of ours: this attempt is over, the job is not
            log.exception("an attempt could not be followed", extra={"job": live.job.id})
            await self._end(live, _Over("ERRORED", f"internal: {type(error).__name__}", "transient"))
        except asyncio.CancelledError as stop:
            if stop.args != ("closing",):
                await asyncio.shield(self._withdraw(live))
            raise
        finally:
            if self._live.pop((live.job.id, live.attempt.number), None) and len(self._live) == MAX_LIVE - 1:
                self.look_again()

    def _reserve(self, live: _Live) -> None:
        job, a = live.job, live.attempt
        message = Reserve(
            job=job.id, attempt=a.number, task=job.spec.task, version=job.spec.version, variant=a.variant, units=job.spec.units,
            input_bytes=job.spec.input_bytes, result_bytes=job.spec.result_bytes, personal=job.spec.personal,
            waited=max(0.0, self._clock.wall() - job.created),
        )  # fmt: skip
        if not self._net.send(a.device, message):
            raise _Over("LOST", "no link")

    async def _follow(self, live: _Live, first_s: float) -> None:
        """Act on everything heard of an attempt until it is committed; `_Over` when it ends, or is silent for `first_s`.

        After the first message the heartbeat of the link takes over: `lost` is called when it stops.
        """
        timeout: float | None = first_s
        while True:
            try:
                async with asyncio.timeout(timeout):
                    message = await live.inbox.get()
            except TimeoutError:
                raise _Over("LOST", f"no answer within {first_s:.0f} s") from None
            timeout = None
            if isinstance(message, _Over):
                raise message
            if await self._heard(live, message):
                return

    async def _heard(self, live: _Live, message: Attempted) -> bool:
        """One message; True once the job's result is committed (by this attempt or another)."""
        job, a, now = live.job, live.attempt, self._clock.wall()
        match message:
            case RefusedReservation():
                self._net.refused(a.device)
                raise _Over("REFUSED", f"{message.gate}: {message.detail}")
            case Granted():
                await self._granted(live, message)
            case StartedAt():
                await self._jobs.step(a, "RUNNING", started=now - message.ago_s)
                await self._jobs.status(job, "RUNNING", "running")
                self._tell(job)
            case ProgressNow():
                job.share = message.share
                self._tell(job)
            case LogLine():
                if message.seq > live.log_seq and live.log_room > 0:
                    live.log_seq, live.log_room = message.seq, live.log_room - len(message.line) - LOG_LINE
                    line = message.line if live.log_room > 0 else "the log is full: what follows is not kept"
                    await self._jobs.log(job.id, a.number, message.seq, now, line)
                    self._events.tell("log", job=job.id, attempt=a.number, line=line, at=now)
            case CancelledAttempt():
                raise _Over("LOST" if message.reason != "cancel" else "CANCELLED", f"given back: {message.reason}")
            case Result():
                return await self._result(live, message)
        return False

    async def _granted(self, live: _Live, message: Granted) -> None:
        job, a = live.job, live.attempt
        if a.state == "OFFERED":
            a.state, a.reserved = "RESERVED", self._clock.wall()
        if message.start_in_s > PUSH_AHEAD_S or a.state not in ("RESERVED", "STAGING"):
            return
        if job.spec.personal and not self._net.owns(a.device):  # the owner may have thought better of it since the reservation
            raise _Over("CANCELLED", "personal input goes to own devices only")
        a.state, live.sent = "STAGING", True
        start = Start(job=job.id, attempt=a.number, params=job.spec.params, input=job.input, seed=job.spec.seed)
        if not self._net.send(a.device, start):
            raise _Over("LOST", "the link closed before the start")

    async def _result(self, live: _Live, result: Result) -> bool:
        job, a = live.job, live.attempt
        if result.outputs is None or result.provenance is None:
            self._acknowledge(a)
            reason = result.reason or "task_error"
            raise _Over("LOST" if reason == "lost" else "ERRORED", f"{reason}: {result.message}", reason)
        try:
            result = await self._fetched(job, a, result)
        except OSError as error:
            raise _Over("LOST", f"its result could not be fetched: {error}") from None
        except ValueError as error:
            self._net.avoid(a.device)
            raise _Over("ERRORED", f"its result was not accepted: {error}", "transient") from None
        await self._commit(job, a, result)
        self._measure(live, result)
        self._acknowledge(a)
        return True

    async def _commit(self, job: Job, a: Attempt, result: Result) -> bool:
        """Make the result the visible one; a surplus one leaves nothing behind."""
        won = await self._jobs.commit(job, a, result, self._clock.wall())
        if won:
            self._tell(job)
        else:
            await self._drop(result)
        return won

    async def _drop(self, result: Result) -> None:
        for blob in (result.outputs or {}).values():
            await self._blobs.drop(blob)

    async def _fetched(self, job: Job, a: Attempt, result: Result) -> Result:
        """The result with every output on this device; ValueError when it is not what its executor signed for this attempt."""
        provenance, outputs = result.provenance, result.outputs
        if provenance is None or outputs is None or "value" not in outputs:
            raise ValueError("it is not whole")
        if not self._net.verify(a.device, signed_bytes(result), bytes.fromhex(result.signature)):
            raise ValueError("bad signature")
        asked = (a.device, job.spec.task, job.spec.version, a.variant, job.spec.seed)
        said = (provenance.device, provenance.task, provenance.version, provenance.variant, provenance.seed)
        if said != asked or set(provenance.output_sha256) != set(outputs):
            raise ValueError("the provenance is not that of this attempt")
        try:
            kept = {name: await self._checked(a, name, blob, provenance) for name, blob in outputs.items()}
        except (OSError, ValueError):
            await self._drop(result)
            raise
        return result.model_copy(update={"outputs": kept})

    async def _checked(self, a: Attempt, name: str, blob: Blob, provenance: Provenance) -> Blob:
        data = await self._blobs.get(blob, a.device)
        if hashlib.sha256(data).hexdigest() != provenance.output_sha256[name]:
            raise ValueError(f"{name} is not what was signed")
        if name == "value" and not _is_object(data):
            raise ValueError("its value is no JSON object")
        try:
            return await self._blobs.put(data)
        except OSError as error:
            raise StoreError(f"the result cannot be kept: {error}; free some disk space") from None

    def _measure(self, live: _Live, result: Result) -> None:
        if live.claim and result.provenance is not None:
            self._net.measured(live.attempt.device, live.claim, result.provenance.seconds)

    async def _late(self, peer: DeviceId, result: Result) -> None:
        """A result of an attempt that was given up: the first valid one still wins; all are acknowledged."""
        job = self._open.get(result.job)
        attempt = next((a for a in job.attempts if a.number == result.attempt and a.device == peer), None) if job else None
        if job is not None and attempt is not None and result.outputs is not None and not job.spec.effects:
            try:
                kept = await self._fetched(job, attempt, result)
                if await self._commit(job, attempt, kept) and (driver := self._drivers.get(job.id)):
                    driver.cancel("committed")
            except (StoreError, OSError) as error:  # not acknowledged: it is sent again
                log.warning("a late result has to wait: %s", error)
                return
            except ValueError:
                self._net.avoid(peer)
        self._net.send(peer, ResultAck(job=result.job, attempt=result.attempt))

    async def _end(self, live: _Live, over: _Over) -> None:
        """Journal how an attempt ended, however long the disk refuses: what follows for the job depends on it."""
        while True:
            try:
                return await self._ended(live, over)
            except StoreError as error:
                live.job.message = str(error)
                self._tell(live.job)
                await self._clock.sleep(DISK_RETRY_S)

    async def _ended(self, live: _Live, over: _Over) -> None:
        """The attempt's end, and what it means for the job."""
        job, a = live.job, live.attempt
        await self._jobs.end(job, a, over.state, str(over), self._clock.wall(), _after(live, over))
        if over.state in ("LOST", "CANCELLED"):
            self._net.send(a.device, Cancel(job=job.id, attempt=a.number))
        job.share = 0.0
        self._tell(job)

    async def _fail(self, job: Job, reason: str, message: str) -> None:
        await self._jobs.status(job, "FAILED", reason, message, at=self._clock.wall())
        self._tell(job)

    async def _withdraw(self, live: _Live) -> None:
        a = live.attempt
        try:
            await self._jobs.step(a, "CANCELLED", finished=self._clock.wall())
        except StoreError as error:  # the job's own end is on disk; the peer must hear of it all the same
            log.warning("a cancelled attempt is not on disk: %s", error)
        self._net.send(a.device, Cancel(job=a.job, attempt=a.number))

    def _acknowledge(self, a: Attempt) -> None:
        self._net.send(a.device, ResultAck(job=a.job, attempt=a.number))

    def _tell(self, job: Job) -> None:
        self._events.tell("job", job=job.id, task=job.spec.task, status=job.status, substate=job.substate,
                          message=job.message, share=job.share, attempts=len(job.attempts))  # fmt: skip


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except RecursionError:
        return False


def _after(live: _Live, over: _Over) -> After:
    """What the end of an attempt means for its job: another attempt, or the end."""
    may_have_run = live.sent or live.resumed  # what was sent before a restart is not known
    if over.reason == "invalid_input":
        return After("FAILED", "invalid_input", str(over))
    if live.job.spec.effects and may_have_run and over.state == "LOST":
        return After("FAILED", "unknown_outcome", "its device was lost while it may have run, and it may not run twice")
    if live.job.spec.effects and may_have_run and over.state == "ERRORED":
        return After("FAILED", "task_error", f"{over}; it may not run twice")
    return After("PENDING", "scoring", f"attempt {live.attempt.number}: {over}")


def signed_bytes(result: Result) -> bytes:
    """What an executor signs: job, attempt, and the whole provenance (task, model hash, input and output hashes, times)."""
    assert result.provenance is not None
    what = {"job": result.job, "attempt": result.attempt, "provenance": result.provenance.model_dump()}
    return b"moodmesh/job/v1/result" + json.dumps(what, sort_keys=True, separators=(",", ":")).encode()


def missing(placement: Placement) -> str:
    """What keeps a job waiting, in one line."""
    closed = [
        f"{row.name}{f' ({row.variant})' if row.variant else ''}: {row.gate.detail}" for row in placement.rows if row.gate
    ]
    return "no device can run it now: " + "; ".join(closed) if closed else "no device is known"


def _claim(attempt: Attempt) -> float:
    """Seconds that the chosen device claimed for the service, as the explanation kept with the attempt says."""
    return float((attempt.explain.get("chosen") or {}).get("claim", 0.0))
