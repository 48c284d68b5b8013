"""One attempt held by an executor, and what an executor asks of the rest of its node."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Protocol

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.journal import Held
from moodmesh.nodes.messages import Reserve, Start, bounded_s
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.placement.queue import left_s, order_key
from moodmesh.nodes.pool.seam import Started


class Offers(Protocol):
    """What this device offers, to whom, and how fast it is."""

    def admit(self, peer: DeviceId, ask: Reserve) -> Gate | None:
        """The gate that bars an attempt here now; None when it may run."""

    def predicted_s(self, task: str, variant: str, units: float) -> float:
        """The service seconds this device expects."""

    def version(self, task: str) -> int:
        """The installed version of a task; 0 when it is not installed."""

    def detached_s(self, remaining_s: float) -> float:
        """How long an attempt may run on without its submitter: not at all on battery (routing §8)."""

    def effects(self, task: str) -> bool:
        """Whether the task may run at most once."""

    def model(self, task: str, variant: str) -> tuple[str, str]:
        """Name and SHA-256 of the variant's weights; empty without weights."""

    async def prepare(self, task: str, variant: str) -> None:
        """Have the weights here, fetched by hash when they are not; raises OSError."""

    async def charge(self, peer: DeviceId, ask: Reserve, seconds: float, *, running: bool) -> None:
        """Count an attempt against the peer's quota; called again with the true seconds at its end."""

    async def observe(self, task: str, variant: str, units: float, seconds: float, load_s: float | None) -> None:
        """Learn from one successful attempt."""


@dataclass
class Execution:
    """One attempt held here."""

    held: Held
    ask: Reserve
    expected_s: float
    since: float
    start: Start | None = None
    data: bytes | None = None
    task: asyncio.Task[None] | None = None
    given: float | None = None
    started: Started | None = None
    started_now: float = 0.0
    started_wall: float = 0.0
    load_s: float = 0.0
    journalled: asyncio.Task[None] | None = None
    seq: int = 0
    called: bool = False
    promised: bool = False
    detached: asyncio.Task[None] | None = None
    worked: bool = False
    delivered: bool = False

    @property
    def key(self) -> tuple[str, str, int]:
        """Requester, job, fence."""
        return self.held.requester, self.held.job, self.held.number

    @property
    def busy(self) -> bool:
        """Whether it has a slot, or one is kept for it."""
        return self.promised or (self.task is not None and self.data is not None)

    def order(self, now: float) -> float:
        """Queue key: short first, with ageing (routing §7)."""
        return order_key(self.expected_s, self.ask.waited + now - self.since)

    def remaining(self, now: float) -> float:
        """Predicted seconds of service left."""
        if self.started_now:
            return bounded_s(left_s(self.expected_s, now - self.started_now))
        waited = 0.0 if self.given is None else left_s(0.0, now - self.given)
        return bounded_s(self.expected_s + waited)
