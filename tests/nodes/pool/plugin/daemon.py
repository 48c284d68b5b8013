"""A stand-in for the daemon, to be killed: opens a pool, begins native attempts, tells their pids, and waits."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from moodmesh.nodes.pool import ray
from moodmesh.nodes.pool.open import open_pool
from moodmesh.nodes.pool.seam import Event, Started, Work


def told(event: Event) -> None:
    if isinstance(event, Started):
        print(event.pid, flush=True)


async def main(kind: str, home: Path) -> None:
    pool, reason = open_pool(kind, home, home / "models", slots=2, nice=0)
    assert not reason
    work = (Work(f"a{number}", "test.probe", "small", {"mode": "native"}) for number in range(2))
    await asyncio.gather(*(pool.run(each, told) for each in work))


if __name__ == "__main__":
    if sys.argv[3:] == ["public"]:
        ray.LOOPBACK_ONLY.clear()
    asyncio.run(main(sys.argv[1], Path(sys.argv[2])))
