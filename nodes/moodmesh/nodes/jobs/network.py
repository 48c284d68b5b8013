"""What submitter and executor need of the rest of the node: a way to send, a view of the devices, a place for bytes."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.model import Job
from moodmesh.nodes.messages import Blob, Message
from moodmesh.nodes.placement.pull import Heap, Waiting
from moodmesh.nodes.placement.view import Device

ANSWER_S, ANSWER_RADIO_S = 1.0, 10.0


class Network(Protocol):
    """Messages to peers and to this device itself; what it knows of each."""

    me: DeviceId

    def send(self, peer: DeviceId, message: Message) -> bool:
        """Queue a message, in order; False without a link. What is queued may still be lost with the link."""

    def devices(self) -> Sequence[Device]:
        """This device and every paired one, as known now."""

    def names(self) -> Mapping[DeviceId, str]:
        """What this device and every paired one is called."""

    def trusted(self, peer: DeviceId, *, shared: bool) -> bool:
        """Whether personal input may go there: here, to whom its owner gave `own.device`, or, `shared`, `mood.share`."""

    def heaps(self) -> Mapping[DeviceId, Sequence[Heap]]:
        """What each linked peer holds back and would let this device run."""

    def waiting(self) -> Mapping[DeviceId, Sequence[Waiting]]:
        """What each linked peer has waiting in others' queues and would let this device run."""

    def pool_changed(self) -> None:
        """What this device holds back, or has waiting elsewhere, changed: tell the peers soon."""

    def tell_pool(self, peer: DeviceId) -> None:
        """Tell one peer now."""

    def patience(self, peer: DeviceId) -> float:
        """Seconds within which a message there is answered."""

    def silent(self, peer: DeviceId) -> None:
        """A reservation there was not answered: no further ones until something is heard."""

    def measured(self, peer: DeviceId, claim_s: float, actual_s: float) -> None:
        """Learn how far a peer's own claim was from what happened."""

    def handed(self, peer: DeviceId, seconds: float) -> None:
        """Learn what an attempt there took beside its work: messages, journals."""

    def refused(self, peer: DeviceId) -> None:
        """Count a refusal; three in 10 s make the peer back off for 10 s."""

    def avoid(self, peer: DeviceId) -> None:
        """Its result was forged or broken: leave it out for 10 minutes."""

    def verify(self, peer: DeviceId, data: bytes, signature: bytes) -> bool:
        """Whether the peer's device key signed these bytes."""

    def sign(self, data: bytes) -> bytes:
        """Sign with this device's key."""


class Blobs(Protocol):
    """Bytes larger than a message, by content (routing §11). Who may fetch one follows from the live attempts that name it."""

    async def put(self, data: bytes) -> Blob:
        """Keep bytes: inline when small, else as an artefact; raises OSError when the disk cannot take them."""

    async def get(self, blob: Blob, source: DeviceId) -> bytes:
        """The bytes, fetched from `source` when they are not here; ConnectionError when the link breaks meanwhile, OSError or
        ValueError when they cannot be had."""

    async def drop(self, blob: Blob) -> None:
        """The blob is no longer needed here; what a job of this device names is kept."""

    def keep(self, blob: Blob) -> None:
        """Keep it from eviction until `release`, or the end of the process."""

    def release(self, blob: Blob) -> None:
        """It may be evicted when room is needed."""


@dataclass(frozen=True)
class Neighbour:
    """A linked peer: what this device may do there, since when it is linked (monotonic seconds), whether it has power to
    spare, and the bytes that wait to be written to it."""

    id: DeviceId
    rights: frozenset[str]
    since: float
    steady: bool
    waiting: int


class Neighbourhood(Protocol):
    """Who is linked, what each paired device is called, and what it signed."""

    me: DeviceId

    def send(self, peer: DeviceId, message: Message) -> bool:
        """Queue a message, in order; False without a link."""

    def neighbours(self) -> Sequence[Neighbour]:
        """Every linked peer."""

    def names(self) -> Mapping[DeviceId, str]:
        """This device and every paired one."""

    def verify(self, peer: DeviceId, data: bytes, signature: bytes) -> bool:
        """Whether the peer's device key signed these bytes."""

    def sign(self, data: bytes) -> bytes:
        """Sign with this device's key."""


class Running(Protocol):
    """What this device runs for others."""

    async def stop(self, requester: DeviceId, jobs: Collection[str]) -> bool:
        """End what is held here of some jobs of a submitter, results that wait for it too; False when nothing was."""


class OwnJobs(Protocol):
    """The jobs of this device, whoever leads them."""

    def fresh(self, job: Job) -> Job:
        """The job as it is now, where it is open."""

    async def find(self, prefix: str) -> Job:
        """The job of an id or a unique prefix of one; `NotFound` without one."""

    async def cancel(self, job_id: str) -> Job:
        """Stop a job; `Refused` when it already ended."""
