"""One attempt held by an executor, and what an executor asks of the rest of its node."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Protocol

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.journal import Held
from moodmesh.nodes.messages import Live, LogLine, Reserve, Start, bounded_s
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.placement.queue import AGEING, KEY_CAP_S, left_s, order_key
from moodmesh.nodes.pool.seam import Started

MOST_WAITED_S = KEY_CAP_S / AGEING
LINES_AGAIN = 200  # of the last lines, which its submitter may not have heard


class Offers(Protocol):
    """What this device offers, to whom, and how fast it is."""

    def admit(self, peer: DeviceId, ask: Reserve) -> Gate | None:
        """The gate that bars an attempt here now; None when it may run."""

    def closed(self, peer: DeviceId, ask: Reserve) -> Gate | None:
        """The gate that has closed for an attempt that was let in; None while it may go on."""

    async def units(self, start: Start, ask: Reserve, data: bytes) -> float:
        """What a request comes to by its own task; `AttemptFailed` when it is none."""

    def longest_s(self, peer: DeviceId, task: str) -> float | None:
        """The longest attempt that the peer may run here; None without a limit."""

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
    expires: float = math.inf
    data: bytes | None = None
    task: asyncio.Task[None] | None = None
    given: float | None = None
    started: Started | None = None
    started_now: float = 0.0
    started_wall: float = 0.0
    load_s: float = 0.0
    journalled: asyncio.Task[None] | None = None
    seq: int = 0
    lines: deque[LogLine] = field(default_factory=lambda: deque(maxlen=LINES_AGAIN))
    called: bool = False
    said: float = 0.0  # when `granted` was last said
    awaited: asyncio.Task[None] | None = None  # until its input is here
    promised: bool = False
    limit: asyncio.Timeout | None = None
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
        """Queue key: short first, with ageing (routing §7); what it waited elsewhere, by its submitter's word, counts for no
        more than it takes to come before everything fresh."""
        return order_key(self.expected_s, min(self.ask.waited, MOST_WAITED_S) + now - self.since)

    def remaining(self, now: float) -> float:
        """Predicted seconds of service left."""
        if self.started_now:
            return bounded_s(left_s(self.expected_s, now - self.started_now))
        waited = 0.0 if self.given is None else left_s(0.0, now - self.given)
        return bounded_s(self.expected_s + waited)

    def live(self, start_in_s: float | None) -> Live:
        """As a heartbeat lists it."""
        return Live(job=self.held.job, attempt=self.held.number, phase=self.held.phase, start_in_s=start_in_s)


def load(held: Iterable[Execution], now: float) -> tuple[list[float], dict[str, tuple[int, float]]]:
    """Seconds left of each attempt that has a slot; per class the count and seconds of the others."""
    running: list[float] = []
    queue: dict[str, tuple[int, float]] = {}
    for e in held:
        kind = f"{e.ask.task}/{e.ask.variant}"
        count, so_far = queue.get(kind, (0, 0.0))
        if e.busy:
            running.append(e.remaining(now))
        else:
            queue[kind] = (count + 1, bounded_s(so_far + e.expected_s))
    return running, queue
