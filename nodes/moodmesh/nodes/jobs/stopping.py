"""Stopping a job whose owner is away (routing §8): what runs of it within reach is ended, and the owner told when it is back.

The owner alone ends its job. But with each replica for an own device it signs a *warrant*: that this device may stop this job
while the owner is away. Who runs the job knows the owner's key, so it can check that; nobody has to be believed. A warrant
holds for one job, in the hands of one device, and only where the owner is not linked: else the owner itself is to be asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.background import Background
from moodmesh.nodes.errors import Refused, StoreError
from moodmesh.nodes.jobs.asking import Asking
from moodmesh.nodes.jobs.model import ATTEMPT_LIVE, ROLES, Job, part_id
from moodmesh.nodes.jobs.network import Neighbourhood, Running
from moodmesh.nodes.jobs.replicas import Elsewhere, Replicas
from moodmesh.nodes.messages import SeenAttempt

AGAIN_S = 5.0
log = logging.getLogger(__name__)
Refusal = Literal["", "permission", "ended"]
Outcome = Refusal | Literal["silent"]
OUTCOMES: dict[Outcome, str] = {
    "": "ended on {}",
    "ended": "nothing of it runs on {}",
    "silent": "not confirmed by {} (no answer): there it may run on until its lease ends",
    "permission": "not confirmed by {} (refused: the owner is linked there, or not known): there it may run on",
}


def warranted(job: str, holder: DeviceId) -> bytes:
    """What the owner of a job signs: that the holder may stop it while the owner is away."""
    return f"moodmesh/job/v1/stop {job} {holder}".encode()


def warrant(peers: Neighbourhood, job: Job, holder: DeviceId) -> str | None:
    """The warrant of this device for a job of its own, for a device that it would let stop it; none once it has ended."""
    return peers.sign(warranted(job.id, holder)).hex() if job.open else None


def covered(job: str) -> frozenset[str]:
    """The jobs that are stopped with one: itself, and its parts."""
    return frozenset((job, *(part_id(job, role) for role in ROLES)))


class Stopping:
    """Cancels of jobs whose owner is away."""

    def __init__(self, peers: Neighbourhood, replicas: Replicas, asking: Asking, running: Running, clock: Clock) -> None:
        self._peers, self._replicas, self._asking, self._running, self._clock = peers, replicas, asking, running, clock
        self._delivering: set[DeviceId] = set()
        self._background = Background()

    async def cancel(self, there: Elsewhere, attempts: Iterable[SeenAttempt]) -> Elsewhere:
        """Keep the cancel for the owner, then end what runs of the job here and at linked devices. `Refused` without a
        warrant."""
        me, owner, job, said = self._peers.me, there.owner, there.job.id, there.job.warrant or ""
        if not self._signed(me, owner, job, said) or not await self._replicas.stop(owner, job):
            raise Refused(self._not_ours(there), "permission")
        names = self._peers.names()
        found: dict[str, list[str]] = {}
        ended = set(there.ended)
        for device in sorted({DeviceId(a.device) for a in attempts if a.state in ATTEMPT_LIVE} - {owner}):
            outcome = await self._ended_at(device, owner, job, said)
            found.setdefault(outcome, []).append(names.get(device, device[:8]))
            if outcome == "":
                ended.add(device)
                await self._keep(owner, job, device)
        self.deliver(owner)  # it may be here all the same, and only slow
        words = "; ".join(OUTCOMES[outcome].format(", ".join(found[outcome])) for outcome in OUTCOMES if outcome in found)
        return replace(there, live=False, stop=self._clock.wall(), words=words, ended=frozenset(ended))

    async def _ended_at(self, device: DeviceId, owner: DeviceId, job: str, said: str) -> Outcome:
        """What became of it there: as `end` says, or no answer."""
        if device == self._peers.me:
            return await self.end(device, owner, job, said)
        answer = await self._asking.ask_to_stop(device, owner, job, said)
        return "silent" if answer is None else answer.refused

    async def end(self, asker: DeviceId, owner: DeviceId, job: str, said: str) -> Refusal:
        """End what runs here of a job, where its owner is away and has let the asker stop it; else the reason why not."""
        if self._here(owner) or not self._signed(asker, owner, job, said):
            return "permission"
        if not await self._running.stop(owner, covered(job)):
            return "ended"
        await self._keep(owner, job, self._peers.me)
        return ""

    async def _keep(self, owner: DeviceId, job: str, device: DeviceId) -> None:
        """So that who looks at it meanwhile sees that it has ended there; it has, also where the disk is full."""
        try:
            await self._replicas.ended(owner, covered(job), device)
        except StoreError as error:
            log.warning("that an attempt was ended is not on disk: %s", error)

    def deliver(self, owner: DeviceId) -> None:
        """An owner is here again: hand it what waits for it, over and over while it is here and does not answer."""
        if owner not in self._delivering:
            self._background.spawn(self._deliver(owner))

    async def close(self) -> None:
        """Stop delivering; what waits stays on disk."""
        await self._background.finish(cancel=True)

    async def _deliver(self, owner: DeviceId) -> None:
        self._delivering.add(owner)
        try:
            while self._here(owner) and (waiting := await self._replicas.stops(owner)):
                for job in waiting:
                    if await self._asking.ask(owner, "cancel", job) is not None:  # it has decided, however
                        await self._replicas.answered(owner, job)
                await self._clock.sleep(AGAIN_S)
        finally:
            self._delivering.discard(owner)

    def _here(self, owner: DeviceId) -> bool:
        return owner == self._peers.me or any(n.id == owner for n in self._peers.neighbours())

    def _signed(self, asker: DeviceId, owner: DeviceId, job: str, said: str) -> bool:
        """Whether the owner let the asker stop the job; a peer that is not paired here has no key."""
        return self._peers.verify(owner, warranted(job, asker), bytes.fromhex(said))

    def _not_ours(self, there: Elsewhere) -> str:
        name, short = self._peers.names().get(there.owner, there.owner[:8]), there.job.id[:8]
        if self._here(there.owner):
            return f"{name} does not answer, and has not let this device stop {short}: try again"
        return (
            f"{name}, which submitted {short}, is absent, and lets own devices alone stop its jobs: when it is back, there, "
            f"`moodmesh peers allow NAME --preset own`"
        )
