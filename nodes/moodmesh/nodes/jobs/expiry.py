"""`--expire T`: a job without a result so long after its submission is stopped, also over a restart (routing §8)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from moodmesh.mesh.clock import Clock
from moodmesh.nodes.errors import Refused, StoreError
from moodmesh.nodes.jobs.model import Job

EXPIRED = "expired"
RETRY_S = 5.0


def left_s(job: Job, wall: float) -> float | None:
    """Seconds until a job expires, 0 when it has; None when it never does."""
    if job.spec.expire_s is None:
        return None
    return max(0.0, job.spec.expire_s - job.age_s(wall))


async def expire(job: Job, clock: Clock, stop: Callable[[str, str, str], Awaitable[object]]) -> None:
    """Wait for a job's time to be over, then `stop` it (its id, a substate and words), however long the disk refuses."""
    left = left_s(job, clock.wall())
    if left is None:
        return
    await clock.sleep(left)
    while job.open:
        try:
            await stop(job.id, EXPIRED, f"it had no result {job.spec.expire_s:g} s after its submission (--expire)")
        except Refused:  # it ended in this moment
            return
        except StoreError:
            await clock.sleep(RETRY_S)
