"""What this device tells of its jobs, so that others can look when it is gone: to at most three that may (routing §8)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.access import OWN, Access
from moodmesh.nodes.errors import NotFound, StoreError
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.model import Job
from moodmesh.nodes.jobs.network import Neighbour, Neighbourhood, OwnJobs
from moodmesh.nodes.jobs.replicas import GAP_S, KEPT_S, MOST_JOBS
from moodmesh.nodes.jobs.seen import seen
from moodmesh.nodes.jobs.stopping import warrant
from moodmesh.nodes.messages import SEEN_LINES, Replica, Seen
from moodmesh.nodes.woken import woken

INSPECT = "jobs.inspect.all"
MOST_HOLDERS = 3
SOON_S, MINOR_S = 0.05, 5.0
"""Until a step of a job is told: after the messages that run it; and until progress or a log line is."""
BACKLOG = 2**20
"""Bytes that wait for a holder, beyond which it is told nothing more for now."""
RECENT, ONE_ROUND = 200, 8
"""Jobs that a new holder is told of, and jobs told of in one round: the journal has other work, too."""
assert RECENT <= MOST_JOBS
log = logging.getLogger(__name__)


@dataclass
class _Holder:
    """A peer that holds replicas of our jobs, on one link: the jobs it is to be told of, and from when (monotonic)."""

    since: float
    due: dict[str, float]


def holders(before: Collection[DeviceId], candidates: Iterable[Neighbour]) -> list[Neighbour]:
    """At most three, the same for the same peers: who holds replicas already, then who has power, then the longest link."""
    return sorted(candidates, key=lambda n: (n.id not in before, not n.steady, n.since, n.id))[:MOST_HOLDERS]


class Replication:
    """Tells each holder how the jobs of this device stand: a job at most once in 0.2 s."""

    def __init__(self, peers: Neighbourhood, access: Access, jobs: Jobs, own: OwnJobs, clock: Clock) -> None:
        self._peers, self._access, self._jobs, self._own, self._clock = peers, access, jobs, own, clock
        self._holders: dict[DeviceId, _Holder] = {}
        self._steps: dict[str, tuple[Any, ...]] = {}
        self._wake = asyncio.Event()

    def changed(self, kind: str, facts: dict[str, Any]) -> None:
        """An event of this device; those that are of no job, as of a room, are passed over."""
        if "job" not in facts:
            return
        job, at = facts["job"], self._clock.now() + SOON_S
        step = (facts["status"], facts["substate"], facts["message"], facts["attempts"]) if kind == "job" else None
        if step is None or step == self._steps.get(job):
            at += MINOR_S
        elif facts["status"] in ("PENDING", "RUNNING"):
            self._steps[job] = step
        else:
            self._steps.pop(job, None)
        for holder in self._holders.values():
            holder.due[job] = min(at, holder.due.get(job, at))
            if len(holder.due) > MOST_JOBS:  # more than it would keep
                del holder.due[next(iter(holder.due))]
        if self._holders:
            self._wake.set()

    def look(self) -> None:
        """Links or permissions changed: others may be the holders now."""
        self._wake.set()

    async def run(self) -> None:
        """Tell until cancelled."""
        while True:
            try:
                await self._round()
            except StoreError as error:  # what was due is told with the next change, or the next link
                log.warning("%s", error)
            await self._clock.sleep(GAP_S)
            due = min((at for holder in self._holders.values() for at in holder.due.values()), default=None)
            wait = None if due is None else max(0.0, due - self._clock.now())
            await woken(self._wake, wait)
            self._wake.clear()

    async def _round(self) -> None:
        """Choose the holders anew, and tell them of the jobs that are due: each is read once for all of them."""
        chosen = holders(self._holders, [n for n in self._peers.neighbours() if self._entitled(n)])
        kept = {n.id: self._holders[n.id] for n in chosen if n.id in self._holders and self._holders[n.id].since == n.since}
        for new in [n for n in chosen if n.id not in kept]:
            recent = await self._jobs.recent(self._clock.wall() - KEPT_S, RECENT)
            kept[new.id] = _Holder(new.since, dict.fromkeys(recent, self._clock.now()))
        self._holders = kept
        ready, now = [n.id for n in chosen if n.waiting < BACKLOG], self._clock.now()
        due = [job for holder in ready for job, at in kept[holder].due.items() if at <= now]
        for job in list(dict.fromkeys(due))[:ONE_ROUND]:
            await self._tell(job, ready)

    def _entitled(self, n: Neighbour) -> bool:
        """Whether it may see our jobs, and would keep them: we are an own device of its owner."""
        return self._access.may(n.id, INSPECT) and OWN in n.rights

    async def _tell(self, job_id: str, ready: Sequence[DeviceId]) -> None:
        """Tell of one job those of the holders for whom it is due."""
        try:
            job = await self._own.find(job_id)
        except NotFound:  # it is older than jobs are kept
            job = None
        now = self._clock.now()
        for holder in [h for h in ready if self._holders[h].due.get(job_id, now + 1) <= now]:
            del self._holders[holder].due[job_id]
            if job is not None:
                await self._send(holder, job)

    async def _send(self, holder: DeviceId, job: Job) -> None:
        try:
            found = await told(job, holder, self._peers, self._access, self._jobs)
            if self._access.may(holder, INSPECT):
                self._peers.send(holder, Replica(job=found))
        except StoreError:
            raise
        except Exception:  # a fault of ours with this job: the others are told all the same
            log.exception("a job cannot be shown to other devices", extra={"job": job.id})


async def told(job: Job, peer: DeviceId, peers: Neighbourhood, access: Access, jobs: Jobs, *, brief: bool = False) -> Seen:
    """What a peer is told of a job of this device, with what the journal adds; an own device may also stop it."""
    _, provenance = (await jobs.output(job.id) if job.spec.escalate is not None else None) or ({}, {})
    lines = [] if brief else await jobs.tail(job.id, SEEN_LINES)
    own = access.owns(peer)  # as it is now: reading took its time
    stop = warrant(peers, job, peer) if own and not brief else None
    return seen(job, peers.names(), own=own, lines=lines, brief=brief, provenance=provenance, warrant=stop)
