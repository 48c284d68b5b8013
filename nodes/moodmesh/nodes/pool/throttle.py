"""A slower device on the same machine: workers stopped and continued on a fixed period, so that rates are really measured."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from moodmesh.nodes.pool.seam import Event, Started

PERIOD_S = 0.05


@asynccontextmanager
async def throttled(duty: float, emit: Callable[[Event], None]) -> AsyncIterator[Callable[[Event], None]]:
    """An `emit` that, from `Started` on, lets that worker's process group run for `duty` (0 to 1] of the time only."""
    tasks: list[asyncio.Task[None]] = []

    def watch(event: Event) -> None:
        if isinstance(event, Started) and duty < 1:
            tasks.append(asyncio.create_task(_pulse(event.pid, duty)))
        emit(event)

    try:
        yield watch
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pulse(pid: int, duty: float) -> None:
    """Stop and continue on the loop's clock: a late stop is made up for by the pause that follows it."""
    loop = asyncio.get_running_loop()
    begun = loop.time()
    with suppress(ProcessLookupError):
        try:
            while True:
                await _until(begun, duty)
                os.killpg(pid, signal.SIGSTOP)
                await _until(begun, 1)
                os.killpg(pid, signal.SIGCONT)
                begun += PERIOD_S
        finally:
            os.killpg(pid, signal.SIGCONT)


async def _until(begun: float, share: float) -> None:
    await asyncio.sleep(begun + share * PERIOD_S - asyncio.get_running_loop().time())
