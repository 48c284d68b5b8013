"""Looking into jobs of any device, without a master: the owner is asked while it is linked, else what it told is shown.

Whoever asks is checked by the owner at each request; without `jobs.inspect.all` there is no answer at all (pairing §6).
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.access import Access
from moodmesh.nodes.background import Background
from moodmesh.nodes.errors import NotFound, Refused
from moodmesh.nodes.jobs.asking import Asking, What
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.model import OPEN, ROLES, Job, Role, part_id
from moodmesh.nodes.jobs.network import Neighbourhood, OwnJobs, Running
from moodmesh.nodes.jobs.replicas import Elsewhere, Replicas
from moodmesh.nodes.jobs.replication import INSPECT, Replication, told
from moodmesh.nodes.jobs.stopping import Refusal, Stopping
from moodmesh.nodes.messages import SEEN_JOBS, Inspect, Inspected, Replica, Rights, Seen

AT_ONCE = 8
"""Requests of one peer that are answered at the same time; what comes beyond is a flood."""
NAMED = 4
"""So many of several jobs are named."""
_PREFIX = re.compile("[0-9a-f]{1,32}")
log = logging.getLogger(__name__)


def newest_of(jobs: Iterable[Elsewhere], limit: int) -> list[Elsewhere]:
    """At most so many of each owner, its newest; the newest first."""
    taken = Counter[DeviceId]()
    found = []
    for job in sorted(jobs, key=lambda e: -e.job.created):
        taken[job.owner] += 1
        if taken[job.owner] <= limit:
            found.append(job)
    return found


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
        running: Running,
        clock: Clock,
    ) -> None:
        self._peers, self._access, self._jobs, self._own, self._clock = peers, access, jobs, own, clock
        self.replicas = replicas
        self._replication = Replication(peers, access, jobs, own, clock)
        events.watch = self._replication.changed
        self.asking = Asking(peers)
        self.stopping = Stopping(peers, replicas, self.asking, running, clock)
        self._answering: Counter[DeviceId] = Counter()
        self._background = Background()

    async def run(self) -> None:
        """Serve until cancelled."""
        try:
            await self._replication.run()
        finally:
            await self._background.finish(cancel=True)
            await self.stopping.close()
            await self.replicas.close()

    # -- what the user asks --------------------------------------------------------------------------------------------

    async def find(self, prefix: str) -> Job | Elsewhere:
        """The job of an id or a unique prefix, of this device or another: from its owner while that one answers. For less than
        a whole id every owner is asked, too: what one of several jobs begins with is not acted on."""
        if not _PREFIX.fullmatch(prefix):
            return await self._own.find(prefix)  # which says what an id is
        own = await self._jobs.find(prefix)
        if own and own[0].id == prefix:
            return self._own.fresh(own[0])
        there = await self._elsewhere(prefix)
        if len(own) + len(there) > 1:
            names = self._peers.names()
            found = [f"{job.id} (here)" for job in own] + [f"{e.job.id} ({names.get(e.owner, e.owner[:8])})" for e in there]
            raise NotFound(f"several jobs begin with {prefix!r}: {', '.join(found[:NAMED])}; give more of the id")
        return there[0] if there else await self._own.find(prefix)

    async def newest(self, limit: int) -> list[Elsewhere]:
        """The newest jobs of other devices, `limit` of each: what linked owners say, and what is kept of the others."""
        kept = await self.replicas.newest(limit)
        found = {(e.owner, e.job.id): e for e in kept}
        said = await self._ask_all("list", "")
        return newest_of((found | {(e.owner, e.job.id): e for e in said}).values(), limit)

    async def parts(self, there: Elsewhere) -> list[tuple[Role, Elsewhere]]:
        """The parts of a job that two variants answer, as far as its owner told."""
        if there.job.escalation is None:
            return []
        found = [(role, await self._of(there.owner, part_id(there.job.id, role))) for role in ROLES]
        return [(role, part) for role, part in found if part is not None]

    async def cancel(self, there: Elsewhere) -> Elsewhere:
        """Have the owner stop it; while that one is away, or does not answer, as far as its warrant goes (`stopping`).
        `Refused` when this device may not, or the job has ended."""
        name, short = self._peers.names().get(there.owner, there.owner[:8]), there.job.id[:8]
        answer = await self._ask(there.owner, "cancel", there.job.id)
        if answer is None and there.job.status in OPEN:
            jobs = [there.job, *(part.job for _, part in await self.parts(there))]
            return await self.stopping.cancel(there, [a for job in jobs for a in job.attempts])
        if answer is not None and answer.refused == "permission":
            raise Refused(
                f"{name} lets own devices alone stop its jobs: there, `moodmesh peers allow NAME --preset own`", "permission"
            )
        if answer is None or answer.refused or not answer.jobs:
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
                self.asking.hear(peer, message)
            case Inspect():
                if (message.what == "stop" or self._access.may(peer, INSPECT)) and self._answering[peer] < AT_ONCE:
                    self._answering[peer] += 1
                    self._background.spawn(self._answer(peer, message))
            case Rights():
                if INSPECT not in message.actions:
                    self._background.spawn(self.replicas.forget(peer))
                self._replication.look()
                self.stopping.deliver(peer)

    def permissions_changed(self, peer: DeviceId) -> None:
        """The owner of this device allowed or denied something: who may not be kept here is dropped, at once."""
        if not self._access.owns(peer):
            self._background.spawn(self.replicas.forget(peer))
        self._replication.look()

    async def _answer(self, peer: DeviceId, request: Inspect) -> None:
        try:
            if request.what == "stop":
                refused = await self.stopping.end(peer, DeviceId(request.owner), request.job, request.warrant)
                self._peers.send(peer, Inspected(ask=request.ask, jobs=[], refused=refused))
            elif (found := await self._looked_up(peer, request)) is not None and self._access.may(peer, INSPECT):
                self._peers.send(peer, Inspected(ask=request.ask, jobs=found[0], refused=found[1]))
        finally:
            self._answering[peer] -= 1

    async def _looked_up(self, peer: DeviceId, request: Inspect) -> tuple[list[Seen], Refusal] | None:
        """The answer; None where there is none yet."""
        if request.what == "list":
            found = await self._jobs.load(parts=False, limit=SEEN_JOBS)
            return [s for job in found if (s := await self._brief(self._own.fresh(job), peer)) is not None], ""
        jobs = [self._own.fresh(job) for job in (await self._jobs.find(request.job) if request.job else [])]
        if request.what == "cancel":
            if not self._access.owns(peer):
                return [], "permission"
            try:
                jobs = [await self._own.cancel(request.job)]
            except Refused:
                if any(job.open for job in jobs):  # not read from the journal yet: it is asked for again
                    return None
                return [], "ended"
        return [await self._seen(job, peer) for job in jobs], ""

    async def _brief(self, job: Job, peer: DeviceId) -> Seen | None:
        """A job in a list; None for one that fits no message: the others are shown all the same."""
        try:
            return await self._seen(job, peer, brief=True)
        except ValueError:
            log.exception("a job cannot be shown to other devices", extra={"job": job.id})
            return None

    async def _seen(self, job: Job, peer: DeviceId, *, brief: bool = False) -> Seen:
        return await told(job, peer, self._peers, self._access, self._jobs, brief=brief)

    # -- asking --------------------------------------------------------------------------------------------------------

    async def _elsewhere(self, prefix: str) -> list[Elsewhere]:
        """Jobs of other devices that begin with a prefix, each from its owner if that one answers."""
        kept = await self.replicas.find(prefix)
        if len(kept) == 1 and kept[0].job.id == prefix:
            return [await self._of(kept[0].owner, prefix) or kept[0]]
        found = {(e.owner, e.job.id): e for e in kept}
        for e in await self._ask_all("show", prefix):
            before = found.get((e.owner, e.job.id))
            found[e.owner, e.job.id] = replace(e, stop=before.stop if before else None)
        return list(found.values())

    async def _of(self, owner: DeviceId, job: str) -> Elsewhere | None:
        """A job of one owner: from that one if it answers, else as it is kept."""
        kept = next((e for e in await self.replicas.find(job) if e.owner == owner), None)
        said = self._said(owner, await self._ask(owner, "show", job), job)
        return replace(said[0], stop=kept.stop if kept else None) if said else kept

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
        return await self.asking.ask(owner, what, job)
