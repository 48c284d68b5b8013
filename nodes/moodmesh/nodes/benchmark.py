"""The prior of each task: its own benchmark request, run for at most 5 s a task in a worker like any job's (routing §5)."""

from __future__ import annotations

import asyncio
import logging
import time

from moodmesh.nodes.capabilities import Capabilities
from moodmesh.nodes.pool.seam import AttemptFailed, Event, Started, TaskPool, Work

TASK_BUDGET_S = 5.0
ENOUGH = 10
log = logging.getLogger(__name__)


async def measure(capabilities: Capabilities, pool: TaskPool) -> None:
    """Measure every (task, variant) that was never measured here, in a pool that is started and stopped for it."""
    todo = capabilities.unmeasured()
    if todo:
        try:
            await _measure(capabilities, pool, todo)
        finally:
            await pool.stop()


async def warm(capabilities: Capabilities, pool: TaskPool) -> None:
    """Start an eager pool and leave the best variant of each task in the memory of a worker; measure it on the way."""
    await pool.start()
    best = dict(capabilities.runnable())
    await _measure(capabilities, pool, list(best.items()))


async def _measure(capabilities: Capabilities, pool: TaskPool, todo: list[tuple[str, str]]) -> None:
    for task, variant in todo:
        share = TASK_BUDGET_S / sum(t == task for t, _ in todo)
        try:
            async with asyncio.timeout(4 * TASK_BUDGET_S):
                await _measure_one(capabilities, pool, task, variant, share)
        except (AttemptFailed, TimeoutError, OSError) as error:
            log.warning("benchmark of %s %s failed: %s", task, variant, error)


async def _measure_one(capabilities: Capabilities, pool: TaskPool, task: str, variant: str, budget_s: float) -> None:
    """Once with the load of the model, then again, warm, while the budget lasts."""
    request = capabilities.tasks[task].benchmark_request()
    units = capabilities.tasks[task].units(request)
    load: list[float] = []

    def hear(event: Event) -> None:
        if isinstance(event, Started):
            load.append(event.load_s)

    work = Work(f"benchmark-{task}-{variant}", task, variant, request.params, request.input, request.seed)
    end = time.monotonic() + budget_s
    await pool.run(work, hear)
    for _ in range(ENOUGH):
        done = await pool.run(work, hear)
        await capabilities.observe(task, variant, units, done.seconds, max(load))
        if time.monotonic() + done.seconds > end:
            return
