"""`TaskPool` on the event loop itself, with turnable time: for tests and simulation."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable

from moodmesh.mesh.clock import Clock
from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Started, Work
from moodmesh.nodes.pool.slots import Model, Slots

Perform = Callable[[Work, Callable[[Event], None]], Done]


class MemoryPool:
    """`perform` answers an attempt at once (a `Session.run`, or any function); `seconds` of `clock` pass before it does."""

    engine = "memory"

    def __init__(self, slots: int, clock: Clock, perform: Perform, seconds: Callable[[Work], float] = lambda work: 0.0) -> None:
        self.slots = slots
        self._slots, self._clock, self._perform, self._seconds = Slots(slots), clock, perform, seconds
        self._running: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Nothing to do."""

    def start_s(self) -> float:
        """Nothing has to start."""
        return 0.0

    def loaded(self) -> frozenset[Model]:
        """The (task, variant) pairs that idle slots ran last."""
        return self._slots.loaded()

    async def run(self, work: Work, emit: Callable[[Event], None]) -> Done:
        """`Started`, the service time, then whatever `perform` reports and returns."""
        with self._slots.taken(work) as slot:
            emit(Started(os.getpid(), self._clock.now(), 0.0))
            await self._serve(work)
            done = self._perform(work, lambda event: None if isinstance(event, Started) else emit(event))
            slot.loaded = work.task, work.variant
            return done

    async def _serve(self, work: Work) -> None:
        service = asyncio.create_task(self._clock.sleep(self._seconds(work)))
        self._running.add(service)
        try:
            await asyncio.wait({service})
            if service.cancelled():
                raise AttemptFailed("worker_lost", "the pool was stopped")
        finally:
            service.cancel()
            self._running.discard(service)

    async def stop(self) -> None:
        """End every attempt with `worker_lost`."""
        for service in self._running:
            service.cancel()
