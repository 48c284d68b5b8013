"""One request answered by two jobs: the small model here, then the large one for what it is unsure of (systems S29).

The user's job is a *parent* that never runs itself. Its parts are ordinary jobs of the submitter, their ids made from its own,
so that a restart finds them again: every step below is repeated from the top until the parent has ended, and a step that was
done before is not done twice. The parent's answer is one conditional update, as any job's is.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import math
import uuid
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from fractions import Fraction
from typing import Any, Literal

from pydantic import ValidationError

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import Refused, StoreError
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.expiry import expire
from moodmesh.nodes.jobs.inputs import stored
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.model import ROLES, Job, Role, Spec, part_id
from moodmesh.nodes.jobs.network import Blobs
from moodmesh.nodes.jobs.pursuit import DISK_RETRY_S
from moodmesh.nodes.jobs.sizes import sizes
from moodmesh.nodes.jobs.submitter import Submitter
from moodmesh.nodes.messages import Blob
from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.task import Escalation, Request, Rest, Task

PATIENCE_S = 5.0
"""So long a large part may be without any device that can run it; then the small answers stand."""
LOOK_S = 1.0
GIVEN_UP = "given up"
Value = dict[str, Any]
log = logging.getLogger(__name__)


def part_spec(spec: Spec, parent: str, variant: str, **more: Any) -> Spec:
    """What a part asks: as its parent, personal or not, but of one variant."""
    return replace(spec, escalate=None, parent=parent, variant=variant, quality="best", by_s=None, expire_s=None, **more)


def given_up(parent: Job, large: Job, stuck_s: float, wall: float) -> str:
    """Why the large part is waited for no longer; empty while it is."""
    name, by = large.spec.variant, parent.spec.by_s
    if by is not None and parent.age_s(wall) >= by:
        return f"{name} was not done within {by:g} s"
    if stuck_s >= PATIENCE_S:
        return f"{large.message or 'no device can run it now'} ({name})"
    return ""


def unsent(way: Escalation, share: float, whole: Rest | None) -> str:
    """Why nothing went to the large model at all; `whole`: what would, were the share everything."""
    few = whole is not None and math.floor(Fraction(str(share)) * len(whole.items)) == 0  # rounded as `uncertain` does
    why = (
        f"at most {share:.3g} of so few is less than one" if few else f"{way.small} is expected to be no worse on what there is"
    )
    return f"nothing was sent to {way.large}: {why}"


def reached(way: Escalation | None, sent: int, rest: Rest | None) -> dict[str, float]:
    """What both variants together are worth by what was sent, not by what might have been; empty where that is not known."""
    value = way.expected(sent / rest.of if rest and rest.of else 0.0) if way is not None else None
    return {} if way is None or value is None else {f"{way.small}+{way.large}": value}


@dataclass(frozen=True)
class Answered:
    """A part that succeeded: the job, its value, and who made it."""

    job: Job
    value: Value
    provenance: Value


class _Ended(Exception):
    """The parent has ended while its parts were at work."""


class _Gone(Exception):
    """Bytes that this device kept are no longer there."""


class Escalations:
    """The parents of this device. `aside` runs what takes long off the loop."""

    def __init__(
        self, submitter: Submitter, jobs: Jobs, blobs: Blobs, events: Hub, clock: Clock, tasks: Mapping[str, Task],
        me: DeviceId, aside: Callable[..., Awaitable[Any]] = asyncio.to_thread,
    ) -> None:  # fmt: skip
        self._submitter, self._jobs, self._blobs, self._events, self._clock = submitter, jobs, blobs, events, clock
        self._tasks, self._me, self._aside = tasks, me, aside
        self._open: dict[str, Job] = {}
        self._drivers: set[asyncio.Task[None]] = set()

    # -- what the user asks --------------------------------------------------------------------------------------------

    async def submit(self, spec: Spec, data: bytes) -> Job:
        """Accept a job that two variants answer: once this returns it is on disk and will be answered once."""
        async with stored(self._blobs, data) as blob:
            parent = Job(uuid.uuid4().hex, spec, blob, self._clock.wall(), substate="small")
            await self._jobs.accept(parent)
        self._take(parent)
        return parent

    async def cancel(self, parent_id: str, why: str = "by user", words: str = "") -> Job:
        """Stop a job; of a parent, both its parts. `Refused` when it already ended."""
        parent = self._open.get(parent_id)
        if parent is None and (await self._submitter.find(parent_id)).spec.escalate is None:
            return await self._submitter.cancel(parent_id)
        if parent is None or not await self._jobs.status(parent, "STOPPED", why, words, at=self._clock.wall()):
            raise Refused("this job has already ended", "ended")
        self._tell(parent)  # its driver hears this, and stops the part
        return parent

    def fresh(self, job: Job) -> Job:
        """The job as it is now, where it is open."""
        return self._open.get(job.id) or self._submitter.fresh(job)

    async def find(self, prefix: str) -> Job:
        """The job of an id or a unique prefix of one."""
        return self.fresh(await self._submitter.find(prefix))

    async def parts(self, parent: Job) -> dict[Role, Job]:
        """The parts that there are."""
        found = {role: await self._find(part_id(parent.id, role)) for role in ROLES}
        return {role: job for role, job in found.items() if job is not None}

    # -- what the node tells -------------------------------------------------------------------------------------------

    async def resume(self) -> None:
        """After a restart, once the submitter has read its journal: go on; stop parts whose parent has ended."""
        jobs = await self._jobs.load(only_open=True, limit=-1)
        for job in jobs:
            if job.spec.escalate is not None and job.id not in self._open:
                self._take(job)
        for job in jobs:
            if job.spec.parent is not None and job.spec.parent not in self._open:
                await self._stop_with(await self._find(job.spec.parent), job)

    async def close(self) -> None:
        """Stop driving; open parents stay on disk for the next run."""
        for driver in self._drivers:
            driver.cancel()
        await asyncio.gather(*self._drivers, return_exceptions=True)

    # -- driving one parent --------------------------------------------------------------------------------------------

    def _take(self, parent: Job) -> None:
        self._open[parent.id] = parent
        self._blobs.keep(parent.input)
        self._tell(parent)
        driver = asyncio.create_task(self._driven(parent))
        expiring = asyncio.create_task(expire(parent, self._clock, self.cancel))
        self._drivers |= {driver, expiring}
        driver.add_done_callback(lambda done: self._left(parent, done, expiring))

    def _left(self, parent: Job, driver: asyncio.Task[None], expiring: asyncio.Task[None]) -> None:
        self._drivers -= {driver, expiring}
        expiring.cancel()
        if not parent.open:
            self._open.pop(parent.id, None)
            self._blobs.release(parent.input)

    async def _driven(self, parent: Job) -> None:
        """Repeat the steps until the parent has ended, whatever the disk says meanwhile; then no part of it is left at work."""
        while parent.open:
            try:
                await self._answer(parent)
            except _Ended:
                break
            except _Gone as error:
                await self._end(parent, "FAILED", "internal", f"{error}; submit it again")
            except (StoreError, OSError) as error:
                parent.message = str(error)
                self._tell(parent)
                await self._clock.sleep(DISK_RETRY_S)
            except Exception as error:  # a fault of ours or of the task: the job is answered, not left
                log.exception("an escalation cannot go on", extra={"job": parent.id})
                words = f"the node itself failed ({type(error).__name__}); its log says where. Submit it without --escalate"
                with contextlib.suppress(StoreError):
                    await self._end(parent, "FAILED", "internal", words)
        await self._sweep(parent)

    async def _sweep(self, parent: Job) -> None:
        """Stop what is left of the parts, however long the disk refuses."""
        while True:
            try:
                for part in (await self.parts(parent)).values():
                    await self._stop_with(parent, part)
                return
            except StoreError:
                await self._clock.sleep(DISK_RETRY_S)

    async def _answer(self, parent: Job) -> None:
        """All steps, from the small part to the one visible answer."""
        way, data = self._way(parent), await self._bytes(parent.input)
        if way is None:
            return await self._end(
                parent, "FAILED", "no_capable_device", f"{parent.spec.task} escalates no more on this device"
            )
        request = Request(parent.spec.params, data, parent.spec.seed)
        small = await self._small(parent, way, data)
        if small is None:
            return None
        share = parent.spec.escalate or 0.0
        rest: Rest | None = await self._aside(way.uncertain, request, small.value, share)
        if rest is None:
            whole = await self._aside(way.uncertain, request, small.value, 1.0)
            return await self._commit(parent, small, None, None, unsent(way, share, whole))
        large, why = await self._large(parent, way, rest)
        if large is not None:
            try:
                merged = await self._aside(self._merged, parent, way, small, large, rest)
                return await self._commit(parent, replace(small, value=merged), large, rest, "")
            except (ValueError, LookupError, TypeError, AttributeError) as error:
                log.warning("an answer of the large part does not fit", extra={"job": parent.id})
                why = f"the answer of {way.large} does not fit ({type(error).__name__})"
        return await self._commit(parent, small, None, rest, f"the answers of {way.small} stand: {why}")

    async def _small(self, parent: Job, way: Escalation, data: bytes) -> Answered | None:
        """The answer of the small part, on this device; None once the parent has ended with it."""
        part = await self._part(parent, "small", part_spec(parent.spec, parent.id, way.small, on=self._me), data)
        ended, _ = await self._wait(parent, part)
        if ended.status == "SUCCEEDED":
            return await self._read(ended)
        if ended.status == "STOPPED":
            await self._end(parent, "STOPPED", "by user", f"its part {ended.id[:8]} was stopped")
        else:
            await self._end(parent, "FAILED", ended.substate, ended.message)
        return None

    async def _large(self, parent: Job, way: Escalation, rest: Rest) -> tuple[Answered | None, str]:
        """The answer of the large part, wherever it returns it soonest; or why there is none."""
        task, request = self._tasks[parent.spec.task], rest.request
        try:
            units, size = sizes(task, request)
        except InvalidInput as error:
            return None, str(error)
        spec = part_spec(
            parent.spec, parent.id, way.large, params=dict(request.params), units=units, input_bytes=len(request.input),
            result_bytes=size,
        )  # fmt: skip
        ended, why = await self._wait(parent, await self._part(parent, "large", spec, request.input), patient=False)
        if ended.status == "SUCCEEDED":
            return await self._read(ended), ""
        return None, why or ended.message or "it was stopped"

    async def _part(self, parent: Job, role: Role, spec: Spec, data: bytes) -> Job:
        """The part, handed in unless it was before."""
        found = await self._find(part_id(parent.id, role))
        if not parent.open:
            raise _Ended
        if found is None:
            found = await self._submitter.submit(spec, data, id=part_id(parent.id, role))
        if (parent.status, parent.substate) != ("RUNNING", role):
            await self._jobs.status(parent, "RUNNING", role)
        return found

    async def _wait(self, parent: Job, part: Job, *, patient: bool = True) -> tuple[Job, str]:
        """The part once it has ended; and why it was given up, if it was. An impatient wait ends as `given_up` says."""
        since, why = self._clock.now(), ""
        async with self._events.listen() as queue:
            while True:
                part = await self._find(part.id) or part
                if not parent.open:
                    raise _Ended
                if not part.open:
                    return part, why
                now = self._clock.now()
                if (part.status, part.substate) != ("PENDING", "scoring"):
                    since = now
                self._follow(parent, part)
                if not patient and (why := given_up(parent, part, now - since, self._clock.wall())):
                    await self._stop(part, GIVEN_UP, why)
                    continue
                await _next_of(queue, {parent.id, part.id}, self._clock)

    def _follow(self, parent: Job, part: Job) -> None:
        """Show on the parent how its part is getting on."""
        share = part.share / 2 + (0.5 if parent.substate == "large" else 0.0)
        if (parent.share, parent.message) != (share, part.message):
            parent.share, parent.message = share, part.message
            self._tell(parent)

    async def _stop_with(self, parent: Job | None, part: Job) -> None:
        """Stop what is left of a job that has ended, for the reason that this had."""
        if parent is not None and parent.status == "STOPPED":
            await self._stop(part, parent.substate, parent.message)
        else:
            await self._stop(part, GIVEN_UP, "its job has ended without it")

    async def _stop(self, part: Job, why: str, words: str) -> None:
        if part.open:
            with contextlib.suppress(Refused):
                await self._submitter.cancel(part.id, why, words)

    async def _find(self, job_id: str) -> Job | None:
        found = await self._jobs.find(job_id)
        return self._submitter.fresh(found[0]) if found else None

    async def _read(self, part: Job) -> Answered:
        outputs, provenance = await self._jobs.output(part.id) or ({}, {})
        if "value" not in outputs:
            raise _Gone(f"the answer of part {part.id[:8]} is no longer on this disk")
        value: Value = await self._aside(json.loads, await self._bytes(outputs["value"]))
        return Answered(part, value, provenance)

    async def _bytes(self, blob: Blob) -> bytes:
        try:
            return await self._blobs.get(blob, self._me)
        except OSError as error:
            raise _Gone(f"what it needs is no longer on this disk ({error})") from None

    def _way(self, parent: Job) -> Escalation | None:
        task = self._tasks.get(parent.spec.task)
        return task.spec.escalation if task is not None else None

    def _merged(self, parent: Job, way: Escalation, small: Answered, large: Answered, rest: Rest) -> Value:
        """Both answers in one, by the task's own result schema; ValueError when they do not make one."""
        merged = way.merge(small.value, large.value, rest.items)
        try:
            self._tasks[parent.spec.task].spec.result.model_validate(merged)
        except ValidationError as error:
            raise ValueError(f"{error.error_count()} faults") from None
        return merged

    async def _commit(self, parent: Job, answer: Answered, large: Answered | None, rest: Rest | None, why: str) -> None:
        """The one conditional update that makes the answer visible; where the parent was stopped, nothing is left behind."""
        blob = await self._blobs.put((await self._aside(json.dumps, answer.value)).encode())
        parts = {"small": answer.provenance} | ({"large": large.provenance} if large else {})
        seconds = sum(float(found.get("seconds", 0.0)) for found in parts.values())
        sent, way = len(rest.items) if rest and large else 0, self._way(parent)
        told = {"sent": sent, "of": rest.of if rest else None, "why": why, "figures": reached(way, sent, rest)}
        provenance = {"seconds": seconds, "parts": parts, "escalation": told}
        if await self._jobs.answer(parent, {"value": blob}, provenance, self._clock.wall()):
            self._tell(parent)
        else:
            await self._blobs.drop(blob)

    async def _end(self, parent: Job, status: Literal["FAILED", "STOPPED"], reason: str, message: str) -> None:
        await self._jobs.status(parent, status, reason, message, at=self._clock.wall())
        self._tell(parent)

    def _tell(self, parent: Job) -> None:
        self._events.tell("job", job=parent.id, task=parent.spec.task, status=parent.status, substate=parent.substate,
                          message=parent.message, share=parent.share, attempts=0)  # fmt: skip


async def _next_of(queue: asyncio.Queue[dict[str, Any]], jobs: set[str], clock: Clock) -> None:
    """Until one of the jobs has news, `LOOK_S` at most: an event may have been lost, and patience ends without one."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(LOOK_S):
            while (await queue.get()).get("job") not in jobs:
                pass
