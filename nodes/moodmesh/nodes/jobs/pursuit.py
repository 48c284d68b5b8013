"""One job from `accepted` to its one visible result (routing §7, §8): place or hold, reserve, start, follow, hedge, commit.

Everything heard of the job's attempts arrives in one inbox, in order; everything decided is on disk before it is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.jobs.desk import STALL_S, Desk, Live
from moodmesh.nodes.jobs.expiry import left_s
from moodmesh.nodes.jobs.intake import MOST_UNREAD, forget_parts, held_parts, take_in, went_on
from moodmesh.nodes.jobs.journal import After
from moodmesh.nodes.jobs.model import NOT_AGAIN_HERE, RESTARTED, Attempt, Job
from moodmesh.nodes.jobs.said import reserve, start
from moodmesh.nodes.messages import (
    Attempted,
    Cancel,
    CancelledAttempt,
    FailReason,
    Granted,
    LogLine,
    ProgressNow,
    Provenance,
    RefusedReservation,
    Result,
    ResultAck,
    StartedAt,
    StreamedPart,
    Withdraw,
    Withdrawn,
)
from moodmesh.nodes.placement.afterwards import seconds
from moodmesh.nodes.placement.explain import summary
from moodmesh.nodes.placement.hedge import far_after, free, hedge_after, second
from moodmesh.nodes.placement.hold import Hold
from moodmesh.nodes.placement.queue import CALL_AHEAD_S, FAR_TOO_LATE
from moodmesh.nodes.placement.score import Placement, Row
from moodmesh.nodes.rates import MOST_HAND_S
from moodmesh.nodes.woken import woken

WITHDRAW_TIMEOUT_S = 10.0
RESTART_WAIT_S = 5.0
SAID_S = 0.3  # a word of a device that has just been linked takes a way there and back
MOST_WAITING = 1000
DISK_RETRY_S = 5.0
LOOK_S, LOOK_HELD_S = 0.2, 1.0
LOG_LINE = 100
LONG_WAY_S = 0.25
FOR_NOW = ("absent", "suspect", "documents", "backoff", "full", "model")
GIVEN_BACK = {"revoked": "revoked, this device may no longer run it there"}
Beside = ProgressNow | LogLine | StreamedPart  # no answer to a reservation
log = logging.getLogger(__name__)


class Over(Exception):
    """An attempt ended without a result: its state, a reason, and words for `explain`."""

    def __init__(self, state: Any, message: str, reason: FailReason | None = None) -> None:
        super().__init__(message)
        self.state, self.reason = state, reason


class Pursuit:
    """The life of one job on this device."""

    def __init__(self, desk: Desk, job: Job, lives: Sequence[Live]) -> None:
        self._desk, self.job, self.lives = desk, job, list(lives)
        self._inbox: asyncio.Queue[tuple[Live, Attempted | Over | None]] = asyncio.Queue()
        self._wake = asyncio.Event()
        self._taker: tuple[DeviceId, str] | None = None
        self._patience, self._until, self._settled = 0.0, math.inf, 0.0
        self._unread = 0

    # -- what happens to it --------------------------------------------------------------------------------------------

    def hear(self, live: Live, message: Attempted) -> None:
        """A message about one of its attempts; beyond a limit it is a flood, and what matters is said again."""
        part = isinstance(message, StreamedPart)
        if self._inbox.qsize() < MOST_WAITING and not (part and self._unread >= MOST_UNREAD):
            self._unread += part
            self._inbox.put_nowait((live, message))

    def over(self, live: Live, over: Over) -> None:
        """One of its attempts is over, for a reason outside of it."""
        self._inbox.put_nowait((live, over))

    def look_again(self) -> None:
        """Documents, links or the pool changed: where it waits for a device, it is placed again soon."""
        self._wake.set()

    def take(self, peer: DeviceId, variant: str) -> None:
        """A free device takes it."""
        self._taker = peer, variant
        self._wake.set()

    def move(self, live: Live, peer: DeviceId) -> None:
        """A free device would be done sooner with an attempt that waits: it is asked back, until it is answered for."""
        now = self._desk.clock.now()
        live.moving_to, live.answer_by, live.move_by = peer, now, now + WITHDRAW_TIMEOUT_S
        self._inbox.put_nowait((live, None))

    # -- its life ------------------------------------------------------------------------------------------------------

    async def run(self, patience: float, settled: float = 0.0) -> None:
        """To the job's end. `patience`: seconds for which no device may be able to run it; `settled`: until when, on the
        monotonic clock, it waits for devices known from before a restart. Cancelled, its attempts are withdrawn; where
        this node ends they go on (`Desk.closing`: what a cancel says is lost where a timer comes in the same moment)."""
        self._patience, self._settled = patience, settled
        try:
            await self._live()
        except asyncio.CancelledError:
            if not (self._desk.closing and self.job.open):
                await asyncio.shield(self._withdraw_all())
            raise

    async def _live(self) -> None:
        broken, unsaid = "", [live for live in self.lives if not live.resumed]
        while self.job.open:
            try:
                if broken:
                    await self._fail("internal", broken)
                    await self._withdraw_all()
                elif unsaid:
                    await self._reserve(unsaid.pop())
                elif self.lives:
                    await self._follow()
                else:
                    await self._settle()
                    await self._place()
            except StoreError as error:
                self.job.message = str(error)
                self._desk.tell(self.job)
                await self._desk.clock.sleep(DISK_RETRY_S)
            except Exception as error:  # a fault of ours: the job is answered, not left
                log.exception("a job cannot go on", extra={"job": self.job.id})
                broken = f"the node itself failed ({type(error).__name__}); its log says where. Submit the job again"
                await self._desk.clock.sleep(DISK_RETRY_S)

    async def _settle(self) -> None:
        """Until what is known from before a restart is linked again, and had a moment to say what its user did meanwhile."""
        while (left := self._settled - self._desk.clock.now()) > 0:
            self._wake.clear()
            if all(d.dynamic is not None for d in self._desk.devices() if d.capability is not None):
                await self._desk.clock.sleep(SAID_S)
                break
            await woken(self._wake, left)
        self._settled = 0.0

    # -- placing -------------------------------------------------------------------------------------------------------

    async def _place(self) -> None:
        """Offer the job to the best device, or to the one that takes it; waits for a change when it is held or nothing can."""
        job, desk = self.job, self._desk
        if why := job.spent():
            await self._fail("attempts_exhausted", f"{why}; the last: {job.attempts[-1].message}")
            return
        self._wake.clear()
        devices = desk.devices()
        placement = desk.placement(job, devices)
        taker, self._taker = self._taker, None
        if (row := _row_of(placement, taker)) is not None:
            desk.held.pop(job.id, None)
            await self._offered(placement, row, taken=True)
        elif (held := desk.hold(job, placement, devices)) is not None:
            self._until = math.inf
            job.explain, job.substate = summary(replace(placement, held=True)), "pooled"
            job.message = parked(placement, held)
            await self._wait(LOOK_HELD_S)
        elif placement.chosen is not None:
            await self._offered(placement, placement.chosen)
        else:
            await self._without_device(placement)

    async def _offered(self, placement: Placement, row: Row, *, taken: bool = False) -> None:
        """Journal the attempt, then reserve."""
        live = offer(self._desk, self.job, placement, row, taken=taken)
        self.lives.append(live)
        try:
            await self._desk.jobs.offer(live.attempt)
        except StoreError:
            self.job.attempts.remove(live.attempt)
            self._close(live)
            raise
        self._desk.tell(self.job)
        await self._reserve(live)

    async def _without_device(self, placement: Placement) -> None:
        job = self.job
        job.explain, job.substate, job.message = summary(placement), "scoring", missing(placement)
        errors = [a for a in job.attempts if a.state == "ERRORED" and a.message.startswith(NOT_AGAIN_HERE)]
        rows = [row for row in placement.rows if row.variant is None or job.spec.variant in (None, row.variant)]
        if errors and not any(row.gate and row.gate.name in FOR_NOW for row in rows):
            await self._fail("task_error", errors[-1].message)
        elif self._until <= (now := self._desk.clock.now()):
            await self._fail("no_capable_device", job.message)
        else:
            self._until = min(self._until, now + self._patience)
            await self._wait(LOOK_S)

    async def _wait(self, gap_s: float) -> None:
        """Until something changed, and never to look more often than every `gap_s`, unless a device takes the job."""
        self._desk.tell(self.job)
        if self.job.substate == "pooled":
            self._desk.net.pool_changed()
        before = self._desk.clock.now()
        left = min(self._until - before, self._desk.paused(self.job), 60.0)
        await woken(self._wake, max(0.0, left))
        self._wake.clear()
        rest = gap_s - (self._desk.clock.now() - before)
        if rest > 0 and self._taker is None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(rest):
                    while self._taker is None:
                        await self._wake.wait()
                        self._wake.clear()

    async def _reserve(self, live: Live) -> None:
        """Ask for a place."""
        job, a = self.job, live.attempt
        message = reserve(job, a, job.age_s(self._desk.clock.wall()), taken=live.taken)
        live.answer_by = self._desk.clock.now() + self._desk.net.patience(a.device)
        await self._handle(live, None if self._desk.net.send(a.device, message) else Over("LOST", "no link"))

    # -- following -----------------------------------------------------------------------------------------------------

    async def _follow(self) -> None:
        """The next thing that is heard of an attempt, or that is due.

        After the first message the heartbeat of the link takes over: the attempt is over when that stops.
        """
        due = [at for live in self.lives for at in (live.answer_by, live.hedge_at) if at is not None]
        before = self._desk.clock.now()
        wait = max(0.0, min(due) - before) if due else None
        try:
            async with asyncio.timeout(wait):
                live, message = await self._inbox.get()
        except TimeoutError:
            now = self._desk.clock.now()
            if now - before > (wait or 0.0) + STALL_S:  # what was said meanwhile is still unread: judge nobody, count anew
                for one in self.lives:
                    one.excuse(now + RESTART_WAIT_S)
            await self._overdue(now)
            return
        self._unread -= isinstance(message, StreamedPart)
        if live in self.lives:
            if live.moving_to is None and not (live.attempt.state == "OFFERED" and isinstance(message, Beside)):
                live.answer_by = None
            await self._handle(live, message)

    async def _overdue(self, now: float) -> None:
        for live in list(self.lives):
            if live.moving_to is not None and live.move_by <= now:
                await self._handle(live, Over("LOST", f"asked back, it did not answer within {WITHDRAW_TIMEOUT_S:.0f} s"))
            elif live.moving_to is not None and live.answer_by is not None and live.answer_by <= now:
                live.answer_by = now + self._desk.net.patience(live.attempt.device)
                self._desk.net.send(live.attempt.device, Withdraw(job=self.job.id, attempt=live.attempt.number))
            elif live.answer_by is not None and live.answer_by <= now:
                limit = RESTART_WAIT_S if live.resumed else self._desk.net.patience(live.attempt.device)
                self._desk.net.silent(live.attempt.device)
                await self._handle(live, Over("LOST", f"no answer within {limit:.0f} s"))
            elif live.hedge_at is not None and live.hedge_at <= now:
                await self._hedge(live, now)

    async def _handle(self, live: Live, message: Attempted | Over | None) -> None:
        """Act on one message; whatever it breaks ends the attempt, and never the job."""
        try:
            if isinstance(message, Over):
                raise message
            if message is not None and await self._heard(live, message):
                self._close(live)
                await forget_parts(self._desk, live)
                await self._withdraw_all()
        except Over as over:
            await self._end(live, over)
        except StoreError as error:
            await self._end(live, Over("LOST", str(error)))
        except Exception as error:  # whatever a peer sent, or a fault of ours: this attempt is over, the job is not
            log.exception("an attempt could not be followed", extra={"job": self.job.id})
            await self._end(live, Over("ERRORED", f"internal: {type(error).__name__}", "transient"))

    async def _heard(self, live: Live, message: Attempted) -> bool:
        """One message; True once the job's result is committed (by this attempt or another)."""
        job, a, now = self.job, live.attempt, self._desk.clock.wall()
        match message:
            case RefusedReservation():
                self._desk.net.refused(a.device)
                late = a.state != "OFFERED" or live.resumed  # it may have been granted, and begun
                raise Over("LOST" if late else "REFUSED", f"{message.gate}: {message.detail}")
            case Granted():
                await self._granted(live, message)
            case StartedAt():
                await self._started(live, message)
            case ProgressNow():
                job.share = message.share if len(self.lives) == 1 else max(job.share, message.share)
                self._desk.tell(job)
            case LogLine():
                await self._logged(live, message, now)
            case StreamedPart():
                try:
                    await take_in(self._desk, live, message)
                except ValueError as error:
                    self._desk.net.avoid(a.device)
                    self._desk.net.send(a.device, Cancel(job=job.id, attempt=a.number))
                    raise Over("ERRORED", f"its parts were not accepted: {error}", "transient") from None
            case Withdrawn():
                if live.moving_to is None:
                    raise Over("LOST", "given back, and nobody had asked for it")
                raise Over("WITHDRAWN", f"moved to {self._desk.name(live.moving_to)}")
            case CancelledAttempt():  # also of one that was cancelled here: it would not be followed any more
                raise Over("LOST", f"given back: {GIVEN_BACK.get(message.reason, message.reason)}")
            case Result():
                return await self._result(live, message)
        return False

    async def _granted(self, live: Live, message: Granted) -> None:
        job, a = self.job, live.attempt
        live.starts = self._desk.clock.now() + message.start_in_s
        if live.begin_by is None:
            live.begin_by = live.starts + far_after(message.start_in_s + live.service)
            self._watch(live)
        if a.state == "OFFERED":
            a.state, a.reserved, self._until = "RESERVED", self._desk.clock.wall(), math.inf
            self._desk.net.pool_changed()  # it waits there: others may offer to take it
        if message.start_in_s > CALL_AHEAD_S or a.state not in ("RESERVED", "STAGING") or live.moving_to is not None:
            return
        if job.spec.personal and not self._desk.net.trusted(a.device, shared=job.spec.shared):
            raise Over("CANCELLED", "personal input goes to own devices only")  # the owner may have thought better of it
        if not live.sent:  # from here on it is not put off any more
            live.begin_by = min(live.begin_by, live.starts)
            self._watch(live)
        a.state, live.sent = "STAGING", True
        left, live.parts = left_s(job, self._desk.clock.wall()), await held_parts(self._desk, job)
        if not self._desk.net.send(a.device, start(job, a, left, live.parts)):
            raise Over("LOST", "the link closed before the start")

    async def _started(self, live: Live, said: StartedAt) -> None:
        if live.moving_to is not None:  # too late to move it: whoever waits for it may go on
            live.moving_to = live.answer_by = None
            self._desk.net.pool_changed()
        began, self._until = self._desk.clock.now() - said.ago_s, math.inf  # it had a device
        live.started = began if live.started is None else min(began, live.started)
        live.cold = live.cold or said.load_s > 0
        self._watch(live)
        await self._desk.jobs.step(live.attempt, "RUNNING", started=self._desk.clock.wall() - said.ago_s)
        await self._desk.jobs.status(self.job, "RUNNING", "hedged" if len(self.lives) > 1 else "running")
        self._desk.tell(self.job)

    async def _hedge(self, live: Live, now: float) -> None:
        """It runs, or does not begin, suspiciously long: start a second attempt of the same variant where that would be done
        sooner than it has taken already; else, far too late, tell its owner, who alone can end it."""
        self._watch(live)
        if live.hedge_at is None or live.hedge_at > now:  # its queue has become longer
            return
        live.hedge_at = now + max(live.service, 1.0)
        if live.moving_to is not None:
            return
        took = live.ran(now)
        if took >= FAR_TOO_LATE * max(live.service, 1.0):
            self._tell_late(now)
        if not self._hedged() or not all(one is live or one.hangs(now) for one in self.lives):
            return
        ask, devices = replace(self._desk.ask(self.job), variant=live.attempt.variant), self._desk.devices()
        tried = frozenset(one.attempt.device for one in self.lives)
        row = second(ask, took, tried, devices)
        if row is not None and (free(took, live.service, live.started is not None) or self._desk.budget.spend()):
            await self._offered(Placement(ask, tuple(devices), row, beside=tried), row)

    def _tell_late(self, now: float) -> None:
        if self.job.message != (late := self._late(now)):
            self.job.message = late
            self._desk.tell(self.job)

    def _late(self, now: float) -> str:
        """Which attempts take far too long, in one line; empty when none does."""
        late = [
            f"attempt {one.attempt.number} takes far longer than the {seconds(one.service)} predicted"
            f" on {self._desk.name(one.attempt.device)}"
            for one in self.lives
            if one.hedge_at is not None and one.ran(now) >= FAR_TOO_LATE * max(one.service, 1.0)
        ]
        return f"{', '.join(late)}; `moodmesh job cancel` ends it" if late else ""

    def _watch(self, live: Live) -> None:
        """When to look whether it is late, as things are now."""
        live.hedge_at = live.began + hedge_after(live.service)

    def _hedged(self) -> bool:
        """Whether a second attempt may run beside the first."""
        return not self.job.spec.effects and not self.job.spec.streams and self.job.spec.on is None

    async def _logged(self, live: Live, message: LogLine, now: float) -> None:
        if missing := max(0, message.seq - live.log_seq - 1):
            await self._line(live, message.seq - 1, now, f"{missing} lines did not arrive")
        await self._line(live, message.seq, now, message.line)

    async def _line(self, live: Live, seq: int, now: float, line: str) -> None:
        """Keep one, unless it was kept before, while there is room."""
        if seq > live.log_seq and live.log_room > 0:
            live.log_seq, live.log_room = seq, live.log_room - len(line) - LOG_LINE
            line = line if live.log_room > 0 else "the log is full: what follows is not kept"
            await self._desk.jobs.log(self.job.id, live.attempt.number, seq, now, line)
            self._desk.events.tell("log", job=self.job.id, attempt=live.attempt.number, line=line, at=now)

    async def _result(self, live: Live, result: Result) -> bool:
        job, a, desk, took = self.job, live.attempt, self._desk, self._took(live)
        if result.outputs is None or result.provenance is None:
            acknowledge(desk, a)
            reason = result.reason or "task_error"
            raise Over("LOST" if reason == "lost" else "ERRORED", f"{reason}: {result.message}", reason)
        try:
            result = await desk.acceptance.fetched(job, a, result)
        except OSError as error:
            raise Over("LOST", f"its result could not be fetched: {error}") from None
        except ValueError as error:
            desk.net.avoid(a.device)
            discarded(a.device, result, str(error))
            raise Over("ERRORED", f"its result was not accepted: {error}", "transient") from None
        if await desk.acceptance.commit(job, a, result, desk.clock.wall()):
            desk.tell(job)
        else:
            discarded(a.device, result)
        if live.claim and result.provenance is not None:
            desk.net.measured(a.device, live.claim, max(took, result.provenance.seconds))
            self._learn_hand(live, result.provenance)
        acknowledge(desk, a)
        return True

    def _took(self, live: Live) -> float:
        """Seconds an attempt has worked by the clock of this device, less what messages may take: what its device signs for
        can be too little. One that was sent all it needs works from when its device last expected it to begin, whatever it says
        later; that its queue has become longer, or its model was not loaded, is believed as far as anything honest takes."""
        began = [] if live.started is None else [live.started]
        if live.sent and live.begin_by is not None:
            most = live.begin_by + live.load + far_after(live.claim)
            began.append(most if live.load or live.cold else min(live.starts, most))
        return self._desk.clock.now() - min(began, default=math.inf) - MOST_HAND_S

    def _learn_hand(self, live: Live, done: Provenance) -> None:
        """What the attempt took beside its work, where it had nothing to wait for: a cold start and a long way have their own
        terms, and are too large to leave a remainder that means anything."""
        a, chosen = live.attempt, live.attempt.explain.get("chosen") or {}
        if a.finished is None or live.resumed or chosen.get("queue") != 0 or done.load_s or chosen["load"]:
            return
        if (ways := chosen["transfer"] + chosen["back"]) < LONG_WAY_S:
            self._desk.net.handed(a.device, a.finished - a.created - done.seconds - ways)

    # -- ends ----------------------------------------------------------------------------------------------------------

    async def _end(self, live: Live, over: Over) -> None:
        """Journal how an attempt ended, however long the disk refuses: what follows for the job depends on it."""
        self._close(live)
        await forget_parts(self._desk, live)
        if over.state == "WITHDRAWN" and live.moving_to is not None:
            self._taker = live.moving_to, live.attempt.variant
        while True:
            try:
                return await self._ended(live, over)
            except StoreError as error:
                self.job.message = str(error)
                self._desk.tell(self.job)
                await self._desk.clock.sleep(DISK_RETRY_S)

    async def _ended(self, live: Live, over: Over) -> None:
        """The attempt's end, and what it means for the job: nothing while another attempt lives."""
        job, a = self.job, live.attempt
        then = self._still() if self.lives else _after(live, over)
        words = f"{RESTARTED}: {over}" if live.unheard and over.state == "LOST" else str(over)
        await self._desk.jobs.end(job, a, over.state, words, self._desk.clock.wall(), then)
        if over.state in ("LOST", "CANCELLED"):
            self._desk.net.send(a.device, Cancel(job=job.id, attempt=a.number))
        job.share = 0.0 if not self.lives else job.share
        self._desk.tell(job)

    def _still(self) -> After:
        """Where the job stands by the attempts that live."""
        begun, late = any(live.started is not None for live in self.lives), self._late(self._desk.clock.now())
        return After("RUNNING", "running", late) if begun else After("PENDING", "reserved", late)

    async def _fail(self, reason: str, message: str) -> None:
        await self._desk.jobs.status(self.job, "FAILED", reason, message, at=self._desk.clock.wall())
        self._desk.tell(self.job)

    async def _withdraw_all(self) -> None:
        """The attempts that are no longer wanted."""
        for live in list(self.lives):
            self._close(live)
            await forget_parts(self._desk, live)
            if live.claim and (took := self._took(live)) > live.claim:
                self._desk.net.measured(live.attempt.device, live.claim, took)
            try:
                await self._desk.jobs.step(
                    live.attempt, "CANCELLED", unwanted(self._desk, self.job), finished=self._desk.clock.wall()
                )
            except StoreError as error:  # the job's own end is on disk; the peer must hear of it all the same
                log.warning("a cancelled attempt is not on disk: %s", error)
            self._desk.net.send(live.attempt.device, Cancel(job=self.job.id, attempt=live.attempt.number))

    def _close(self, live: Live) -> None:
        """It is no longer followed."""
        if live in self.lives:
            self.lives.remove(live)
        self._desk.live.pop(live.key, None)


def offer(desk: Desk, job: Job, placement: Placement, row: Row, *, taken: bool = False) -> Live:
    """A new attempt at a device, in memory: the caller journals it before it is said."""
    assert row.variant is not None
    assert row.terms is not None
    chosen = replace(placement, chosen=row, taken=taken)
    job.explain = went_on(summary(chosen), job.parts)
    attempt = Attempt(job.id, job.next_number, row.device, row.variant, "OFFERED", job.explain, desk.clock.wall())
    job.attempts.append(attempt)
    if job.status == "PENDING":
        job.substate, job.message = "reserved", ""
    claim = 0.0 if job.parts else row.terms.claim  # of the whole: nothing is learnt of what only goes on
    live = Live(job, attempt, claim, row.terms.service, row.terms.load, partial(placement.able, row.variant), taken)
    desk.live[live.key] = live
    return live


def unwanted(desk: Desk, job: Job) -> str:
    """Why no attempt of a job is wanted any more, in one line."""
    done = next((a for a in job.attempts if a.number == job.winner), None)
    if done is not None:
        return f"attempt {done.number} on {desk.name(done.device)} was done first"
    return "stopped by its user" if job.substate == "by user" else ": ".join(filter(None, (job.substate, job.message)))


def acknowledge(desk: Desk, a: Attempt) -> None:
    """The executor may forget it."""
    desk.net.send(a.device, ResultAck(job=a.job, attempt=a.number))


def discarded(peer: DeviceId, result: Result, wrong: str = "") -> None:
    """Log that a result was not taken: another was first, its job had ended, or what is `wrong` with it."""
    more = {"job": result.job, "attempt": result.attempt, "peer": peer[:8]} | ({"why": wrong} if wrong else {})
    log.info("bad result discarded" if wrong else "stale result discarded", extra=more)


def missing(placement: Placement) -> str:
    """What keeps a job waiting, in one line."""
    ask = placement.ask
    if ask.on is not None and all(device.id != ask.on for device in placement.devices):
        gone = f"the device it asks for with --on ({ask.on[:8]}) is no longer paired"
        return f"{gone}: `moodmesh pair` with it again, or `moodmesh job cancel {ask.job[:8]}` and submit it anew"
    closed = [
        f"{row.name}{f' ({row.variant})' if row.variant else ''}: {row.gate.detail}" for row in placement.rows if row.gate
    ]
    return "no device can run it now: " + "; ".join(closed) if closed else "no device is known"


def parked(placement: Placement, held: Hold) -> str:
    """Why a job is held back, in one line."""
    best = placement.chosen
    where = best.name if best is not None else "the best one present"
    if held.why == "unbound":
        return f"held back: for the first device that is free, {where} is busy"
    if held.why == "parked":
        how = f"away for {seconds(held.away_s)}" if held.away_s else "busy"
        faster = f"parked: {held.name} ({how}) is {held.ratio:.0f} x faster than {where}"
        return f"{faster}; will run on {where} if that stays idle for {seconds(held.idle_s)}"
    return f"held back: faster devices will be through with it in about {held.ahead_s:.1f} s, sooner than {where}"


def _row_of(placement: Placement, taker: tuple[DeviceId, str] | None) -> Row | None:
    return None if taker is None else placement.at(*taker)


def _after(live: Live, over: Over) -> After:
    """What the end of a job's only attempt means for it: another attempt, or the end."""
    may_have_run = (live.sent and not live.lacks_input) or live.resumed  # what was sent before a restart is not known
    if over.reason == "invalid_input":
        return After("FAILED", "invalid_input", str(over).removeprefix("invalid_input: "))  # said beside it
    if live.job.spec.effects and may_have_run and over.state == "LOST":
        return After("FAILED", "unknown_outcome", "its device was lost while it may have run, and it may not run twice")
    if live.job.spec.effects and may_have_run and over.state == "ERRORED":
        return After("FAILED", "task_error", f"{over}; it may not run twice")
    return After("PENDING", "scoring", f"attempt {live.attempt.number}: {over}")
