"""Looking into jobs of any device, without a master: the owner is asked while it is linked, else what it told is shown.

Whoever asks is checked by the owner at each request; without `jobs.inspect.all` there is no answer at all (pairing §6).
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
from collections import Counter
from typing import Literal

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.access import Access
from moodmesh.nodes.background import Background
from moodmesh.nodes.errors import NotFound, Refused
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.model import Job
from moodmesh.nodes.jobs.network import Neighbourhood, OwnJobs
from moodmesh.nodes.jobs.replicas import Elsewhere, Replicas
from moodmesh.nodes.jobs.replication import INSPECT, Replication
from moodmesh.nodes.jobs.seen import seen
from moodmesh.nodes.messages import SEEN_JOBS, SEEN_LINES, Inspect, Inspected, Replica, Rights, Seen

ANSWER_S = 2.0
AT_ONCE = 8
"""Requests of one peer that are answered at the same time; what comes beyond is a flood."""
What = Literal["show", "list", "cancel"]
Refusal = Literal["", "permission", "ended"]
_PREFIX = re.compile("[0-9a-f]{1,32}")
log = logging.getLogger(__name__)


class Inspection:
    """Jobs of this device for others, and jobs of others for this device."""

    def __init__(
        self,
        peers: Neighbourhood,
        access: Access,
        jobs: Jobs,
        own: OwnJobs,
        events: Hub,
        replicas: Replicas,
        clock: Clock,
    ) -> None:
        self._peers, self._access, self._jobs, self._own, self._clock = peers, access, jobs, own, clock
        self.replicas = replicas
        self._replication = Replication(peers, access, jobs, own, clock)
        events.watch = self._replication.changed
        self._asked: dict[tuple[DeviceId, int], asyncio.Future[Inspected]] = {}
        self._numbers = itertools.count(1)
        self._answering: Counter[DeviceId] = Counter()
        self._background = Background()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            await self._replication.run()
        finally:
            await self._background.finish(cancel=True)
            await self.replicas.close()

    # -- what the user asks --------------------------------------------------------------------------------------------

    async def find(self, prefix: str) -> Job | Elsewhere:
        """The job of an id or a unique prefix, of this device or another: from its owner while that one answers."""
        if not _PREFIX.fullmatch(prefix):
            return await self._own.find(prefix)  # which says what an id is
        own = await self._jobs.find(prefix)
        if own and own[0].id == prefix:
            return self._own.fresh(own[0])
        there = await self._elsewhere(prefix, asking=not own)
        if not there:
            return await self._own.find(prefix)
        if own or len(there) > 1:
            raise NotFound(f"several jobs begin with {prefix!r}; see `moodmesh job list`")
        return there[0]

    async def newest(self, limit: int) -> list[Elsewhere]:
        """The newest jobs of other devices, `limit` of each: what linked owners say, and what is kept of the others."""
        kept = await self.replicas.newest(limit)
        found = {(e.owner, e.job.id): e for e in kept}
        said = await self._ask_all("list", "")
        return list((found | {(e.owner, e.job.id): e for e in said}).values())

    async def cancel(self, there: Elsewhere) -> Elsewhere:
        """Have the owner stop it; `Refused` when that cannot be, or it has ended."""
        name, short = self._peers.names().get(there.owner, there.owner[:8]), there.job.id[:8]
        if not self.linked(there.owner):
            raise Refused(
                f"{name}, which submitted {short}, is absent, and no other device can stop its job: bring {name} back, "
                f"or forget the job; `moodmesh job adopt {short}` runs it anew here", "owner_absent",
            )  # fmt: skip
        answer = await self._ask(there.owner, "cancel", there.job.id)
        if answer is None:
            raise Refused(f"{name} does not answer, the job may go on there: try again", "no_answer")
        if answer.refused == "permission":
            raise Refused(
                f"{name} lets own devices alone stop its jobs: there, `moodmesh peers allow NAME --preset own`", "permission"
            )
        if answer.refused or not answer.jobs:
            raise Refused(f"job {short} of {name} has already ended", "ended")
        return Elsewhere(there.owner, answer.jobs[0], self._clock.wall(), live=True)

    def look(self, peer: DeviceId) -> None:
        """The link of a peer, or what it may do, has changed."""
        self._replication.look()

    def linked(self, owner: DeviceId) -> bool:
        """Whether the owner is here."""
        return any(n.id == owner for n in self._peers.neighbours())

    # -- what peers say ------------------------------------------------------------------------------------------------

    def hear(self, peer: DeviceId, message: Replica | Inspect | Inspected | Rights) -> None:
        """A message of a linked peer; the owner of what it tells is that peer, whatever it says."""
        match message:
            case Replica():
                if self._access.owns(peer):  # pairing alone permits nothing, not even this much of the disk
                    self.replicas.put(peer, message.job)
            case Inspected():
                if (waiting := self._asked.get((peer, message.ask))) is not None and not waiting.done():
                    waiting.set_result(message)
            case Inspect():
                if self._access.may(peer, INSPECT) and self._answering[peer] < AT_ONCE:
                    self._answering[peer] += 1
                    self._background.spawn(self._answer(peer, message))
            case Rights():
                if INSPECT not in message.actions:
                    self._background.spawn(self.replicas.forget(peer))
                self._replication.look()

    def permissions_changed(self, peer: DeviceId) -> None:
        """The owner of this device allowed or denied something: who may not be kept here is dropped, at once."""
        if not self._access.owns(peer):
            self._background.spawn(self.replicas.forget(peer))
        self._replication.look()

    async def _answer(self, peer: DeviceId, request: Inspect) -> None:
        try:
            jobs, refused = await self._looked_up(peer, request)
            if self._access.may(peer, INSPECT):
                self._peers.send(peer, Inspected(ask=request.ask, jobs=jobs, refused=refused))
        finally:
            self._answering[peer] -= 1

    async def _looked_up(self, peer: DeviceId, request: Inspect) -> tuple[list[Seen], Refusal]:
        own = self._access.owns(peer)
        if request.what == "list":
            found = await self._jobs.load(limit=SEEN_JOBS)
            return [s for job in found if (s := self._brief(self._own.fresh(job), own)) is not None], ""
        jobs = [self._own.fresh(job) for job in (await self._jobs.find(request.job) if request.job else [])]
        if request.what == "cancel":
            if not own:
                return [], "permission"
            try:
                jobs = [await self._own.cancel(request.job)]
            except Refused:
                return [], "ended"
        return [await self._whole(job, own) for job in jobs], ""

    def _brief(self, job: Job, own: bool) -> Seen | None:
        """A job in a list; None for one that fits no message: the others are shown all the same."""
        try:
            return seen(job, self._peers.names(), own=own, brief=True)
        except ValueError:
            log.exception("a job cannot be shown to other devices", extra={"job": job.id})
            return None

    async def _whole(self, job: Job, own: bool) -> Seen:
        return seen(job, self._peers.names(), own=own, lines=await self._jobs.tail(job.id, SEEN_LINES))

    # -- asking --------------------------------------------------------------------------------------------------------

    async def _elsewhere(self, prefix: str, *, asking: bool) -> list[Elsewhere]:
        """Jobs of other devices that begin with a prefix, each from its owner if that one answers."""
        kept = await self.replicas.find(prefix) if prefix else []
        if len(kept) == 1:
            answer = await self._ask(kept[0].owner, "show", kept[0].job.id)
            said = self._said(kept[0].owner, answer, kept[0].job.id)
            return said or kept
        return kept if kept or not asking or not prefix else await self._ask_all("show", prefix)

    async def _ask_all(self, what: What, prefix: str) -> list[Elsewhere]:
        owners = [n.id for n in self._peers.neighbours() if INSPECT in n.rights]
        answers = await asyncio.gather(*(self._ask(owner, what, prefix) for owner in owners))
        return [e for owner, answer in zip(owners, answers, strict=True) for e in self._said(owner, answer, prefix)]

    def _said(self, owner: DeviceId, answer: Inspected | None, prefix: str) -> list[Elsewhere]:
        """What an owner answered about jobs that were asked for."""
        at = self._clock.wall()
        jobs = answer.jobs if answer is not None else []
        return [Elsewhere(owner, job, at, live=True) for job in jobs if job.id.startswith(prefix)]

    async def _ask(self, owner: DeviceId, what: What, job: str) -> Inspected | None:
        """One request; None when the owner is not here, lets us see nothing, or does not answer in time."""
        if not any(n.id == owner and INSPECT in n.rights for n in self._peers.neighbours()):
            return None
        number = next(self._numbers)
        waiting: asyncio.Future[Inspected] = asyncio.get_running_loop().create_future()
        self._asked[owner, number] = waiting
        try:
            self._peers.send(owner, Inspect(ask=number, what=what, job=job))
            async with asyncio.timeout(ANSWER_S):
                return await waiting
        except TimeoutError:
            return None
        finally:
            del self._asked[owner, number]
