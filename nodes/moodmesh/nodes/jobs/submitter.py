"""The submitter: takes the jobs of this device, gives each its pursuit, leads what is heard to the right one."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import Sequence
from dataclasses import replace

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import NotFound, Refused, StoreError, UsageError
from moodmesh.nodes.jobs.acceptance import Acceptance
from moodmesh.nodes.jobs.desk import Desk, Live, kind
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.expiry import expire
from moodmesh.nodes.jobs.inputs import stored
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.model import ATTEMPT_LIVE, Attempt, Job, Spec
from moodmesh.nodes.jobs.network import Blobs, Network
from moodmesh.nodes.jobs.pursuit import RESTART_WAIT_S, Over, Pursuit, discarded, offer
from moodmesh.nodes.messages import MAX_LIVE, Attempted, Cancel, Granted, Result, ResultAck, StreamedPart, Take
from moodmesh.nodes.messages import Live as LiveDoc
from moodmesh.nodes.placement.score import Placement

log = logging.getLogger(__name__)


class Submitter:
    """Jobs of this device."""

    def __init__(self, network: Network, blobs: Blobs, jobs: Jobs, events: Hub, clock: Clock, wait_for_device_s: float) -> None:
        self._net, self._blobs, self._jobs, self._clock = network, blobs, jobs, clock
        self._wait_for_device_s = wait_for_device_s
        self.desk = Desk(network, blobs, jobs, events, clock, Acceptance(network, blobs, jobs))
        self._open: dict[str, Job] = {}
        self._pursuits: dict[str, Pursuit] = {}
        self._drivers: dict[str, asyncio.Task[None]] = {}
        self._expiring: dict[str, asyncio.Task[None]] = {}
        self._resumed = asyncio.Event()
        self._late_now: dict[tuple[str, int], asyncio.Task[None]] = {}

    # -- what the user asks --------------------------------------------------------------------------------------------

    async def submit(self, spec: Spec, data: bytes, id: str | None = None) -> Job:
        """Accept a job: once this returns it is on disk and will be answered once. Its first placement is made at once."""
        async with stored(self._blobs, data) as blob:
            job = Job(id or uuid.uuid4().hex, spec, blob, self._clock.wall())
            self.desk.budget.earn()
            try:
                first = self._first(job)
                await self._jobs.accept(job)
            except BaseException:
                self.desk.live.pop((job.id, 1), None)
                raise
        self._pursue(job, first)
        self.desk.tell(job)
        for _ in range(2):  # the reservation is on the wire before anyone spends time on the answer
            await asyncio.sleep(0)
        return job

    def _first(self, job: Job) -> list[Live]:
        """The first attempt, in memory; none when the job has to wait."""
        devices = self.desk.devices()
        placement = self.desk.placement(job, devices)
        held = self.desk.hold(job, placement, devices)
        self.desk.held.pop(job.id, None)  # it is held once it is on disk
        return [] if held or placement.chosen is None else [offer(self.desk, job, placement, placement.chosen)]

    async def cancel(self, job_id: str, why: str = "by user", words: str = "") -> Job:
        """Stop a job of this device; its worker is gone within 2 s. `Refused` when it already ended."""
        job = self._open.get(job_id)
        if job is None or not await self._jobs.status(job, "STOPPED", why, words, at=self._clock.wall()):
            raise Refused("this job has already ended", "ended")
        if driver := self._drivers.get(job_id):
            driver.cancel()
        self.desk.tell(job)
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
        """The job as it is now, where it is open."""
        return self._open.get(job.id, job)

    def placement(self, job: Job) -> Placement:
        """Where the job would go now, were it not held back."""
        found = self.desk.placement(job)
        return replace(found, held=job.substate == "pooled" and found.chosen is not None)

    # -- what the node tells -------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """After a restart: wait for executors that may still hold an attempt, then schedule the rest again.

        What is heard before this is done waits: a result must not meet a submitter that has not read its journal yet.
        """
        settled = self._clock.now() + RESTART_WAIT_S
        for job in await self._jobs.load(only_open=True, limit=-1):
            if job.spec.escalate is None:  # else it never runs itself: see `escalation`
                lives = [await self._known(job, a) for a in job.attempts if a.state in ATTEMPT_LIVE]
                self._pursue(job, lives, settled)
        self._resumed.set()

    async def _known(self, job: Job, attempt: Attempt) -> Live:
        """An attempt that was live before a restart."""
        chosen = attempt.explain.get("chosen") or {}
        live = Live(job, attempt, float(chosen.get("claim", 0.0)), float(chosen.get("service", 0.0)), resumed=True)
        live.log_seq = await self._jobs.last_line(job.id, attempt.number)
        live.answer_by = self._clock.now() + RESTART_WAIT_S
        self.desk.live[live.key] = live
        return live

    async def hear(self, peer: DeviceId, message: Attempted) -> None:
        """A message about an attempt of ours. What concerns no live attempt is answered, so that the executor lets it go."""
        await self._resumed.wait()
        key = message.job, message.attempt
        live = self.desk.live.get(key)
        if live is not None and live.attempt.device == peer:
            if pursuit := self._pursuits.get(message.job):
                pursuit.hear(live, message)
        elif isinstance(message, Result):
            if key not in self._late_now:  # it may have to be fetched, over the link that this call holds up
                task = self._late_now[key] = asyncio.create_task(self._late(peer, message))
                task.add_done_callback(lambda _: self._late_now.pop(key, None))
        elif isinstance(message, (Granted, StreamedPart)):
            self._net.send(peer, Cancel(job=message.job, attempt=message.attempt))

    def take(self, peer: DeviceId, message: Take) -> None:
        """A free device asks for a job of a class: one that is held back, or one that waits in another's queue. Without
        any, it hears anew what there is."""
        wanted = f"{message.task}/{message.variant}"
        if message.queued:
            live = max(
                (one for one in self.desk.movable(peer) if kind(one) == wanted), key=self.desk.remaining, default=None
            )  # fmt: skip
            if live is not None:
                self._pursuits[live.job.id].move(live, peer)
                return
        else:
            held = sorted((h for h in self.desk.takeable(peer) if h.kind == wanted), key=lambda h: h.since)
            if held:
                job = held[-1 if message.newest else 0].job
                del self.desk.held[job.id]
                self._pursuits[job.id].take(peer, message.variant)
                return
        self._net.tell_pool(peer)

    def live(self, peer: DeviceId) -> list[LiveDoc]:
        """The attempts this device waits for at a peer, for the heartbeat."""
        return [
            LiveDoc(job=job, attempt=number, phase=live.attempt.state)
            for (job, number), live in self.desk.live.items()
            if live.attempt.device == peer
        ]

    def names(self, peer: DeviceId, artefact: str) -> bool:
        """Whether a live attempt at the peer has this artefact as its input, or goes on after the parts in it."""
        lives = [live for live in self.desk.live.values() if live.attempt.device == peer]
        return any(artefact in (live.job.input.id, live.parts and live.parts.id) for live in lives)

    def gives(self, peer: DeviceId, artefact: str, whole: bool) -> None:
        """A peer takes an input: so it lacks it, until it may have had the whole once."""
        for live in self.desk.live.values():
            if live.attempt.device == peer and live.job.input.id == artefact and live.lacks_input is not False:
                live.lacks_input = not whole

    def reconcile(self, peer: DeviceId, held: list[LiveDoc]) -> None:
        """The peer's list of what it holds: an attempt it granted and no longer holds is lost; the rest has its place."""
        theirs = {(h.job, h.attempt): h for h in held}
        for key, live in list(self.desk.live.items()):
            if live.attempt.device != peer:
                continue
            if (known := theirs.get(key)) is not None and known.start_in_s is not None:
                live.starts = self._clock.now() + known.start_in_s
            answered = live.resumed or live.attempt.state in ("RESERVED", "STAGING", "RUNNING")
            asked_back = live.moving_to is not None and peer == self._net.me  # its answer is on the way, and none is lost here
            if answered and known is None and not asked_back:
                self._over(live, Over("LOST", f"{self.desk.name(peer)} no longer holds it"))

    def lost(self, peer: DeviceId, why: str) -> None:
        """The peer is gone: its attempts of ours are lost and go elsewhere."""
        for live in list(self.desk.live.values()):
            if live.attempt.device == peer:
                self._over(live, Over("LOST", why))
        self.look_again()

    def _over(self, live: Live, over: Over) -> None:
        if pursuit := self._pursuits.get(live.job.id):
            pursuit.over(live, over)

    def look_again(self) -> None:
        """Documents or links changed: jobs that wait for a device are placed again."""
        for pursuit in self._pursuits.values():
            pursuit.look_again()

    async def close(self) -> None:
        """Stop driving; open jobs stay on disk for the next run."""
        self.desk.closing = True
        tasks = [*self._drivers.values(), *self._late_now.values(), *self._expiring.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # -- pursuits ------------------------------------------------------------------------------------------------------

    def _pursue(self, job: Job, lives: Sequence[Live], settled: float = 0.0) -> None:
        """Take a job on, with the attempts it has already; without any it is placed once links are up, or at `settled`."""
        patience = self._wait_for_device_s if job.spec.wait_s is None else job.spec.wait_s
        self._open[job.id] = job
        self._blobs.keep(job.input)
        pursuit = self._pursuits[job.id] = Pursuit(self.desk, job, lives)
        driver = self._drivers[job.id] = asyncio.create_task(pursuit.run(patience, settled))
        driver.add_done_callback(lambda task: self._left(job, task))
        if job.spec.expire_s is not None:
            self._expiring[job.id] = asyncio.create_task(expire(job, self._clock, self.cancel))

    def _left(self, job: Job, driver: asyncio.Task[None]) -> None:
        """However its driver ended, also before its first step: nothing of it stays in memory but an open job's name."""
        self._drivers.pop(job.id, None)
        self._pursuits.pop(job.id, None)
        self.desk.held.pop(job.id, None)
        full = len(self.desk.live) >= MAX_LIVE
        for key in [key for key in self.desk.live if key[0] == job.id]:
            del self.desk.live[key]
        if not driver.cancelled() and (error := driver.exception()):
            log.error("a job is left until the next start", exc_info=error, extra={"job": job.id})
        if not job.open:
            self._open.pop(job.id, None)
            self._blobs.release(job.input)
            if expiring := self._expiring.pop(job.id, None):
                expiring.cancel()
        if full:
            self.look_again()

    async def _late(self, peer: DeviceId, result: Result) -> None:
        """A result of an attempt that was given up: the first valid one still wins; all are acknowledged."""
        job = self._open.get(result.job)
        attempt = next((a for a in job.attempts if a.number == result.attempt and a.device == peer), None) if job else None
        if job is not None and attempt is not None and result.outputs is not None and not job.spec.effects:
            try:
                kept = await self.desk.acceptance.fetched(job, attempt, result)
                if await self.desk.acceptance.commit(job, attempt, kept, self._clock.wall()):
                    self.desk.tell(job)
                    if driver := self._drivers.get(job.id):
                        driver.cancel()
                else:
                    discarded(peer, result)
            except (StoreError, OSError) as error:  # not acknowledged: it is sent again
                log.warning("a late result has to wait: %s", error)
                return
            except ValueError as error:
                self._net.avoid(peer)
                discarded(peer, result, str(error))
        elif result.outputs is not None:
            discarded(peer, result)
        self._net.send(peer, ResultAck(job=result.job, attempt=result.attempt))
