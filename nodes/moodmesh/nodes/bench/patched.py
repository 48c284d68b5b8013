"""`python -m moodmesh.nodes.bench.patched up ...`: the daemon in a world that a harness turns the knobs of.

It dials through relays, reads a wall clock that jumps and waits for a disk that is slow, as its knobs say. The code of the
daemon itself has no such hooks. A full disk needs none: `prlimit` forbids the process to write files.
"""

from __future__ import annotations

import asyncio
import json
import mmap
import os
import struct
import time
from pathlib import Path
from socket import socket
from typing import Any

KNOBS = "BENCH_KNOBS"
ROUTES = "BENCH_ROUTES"
_LAYOUT = struct.Struct("dd")


class Knobs:
    """What the harness and one daemon share: a file of two numbers, mapped by both."""

    def __init__(self, file: Path) -> None:
        if not file.exists():
            file.write_bytes(_LAYOUT.pack(0.0, 0.0))
        with file.open("r+b") as opened:
            self._map = mmap.mmap(opened.fileno(), _LAYOUT.size)

    def set(self, clock_s: float | None = None, disk_s: float | None = None) -> None:
        """Seconds that the wall clock is ahead; seconds that each commit takes longer."""
        clock, disk = self.get()
        self._map[:] = _LAYOUT.pack(clock if clock_s is None else clock_s, disk if disk_s is None else disk_s)

    def get(self) -> tuple[float, float]:
        """Both."""
        clock, disk = _LAYOUT.unpack(self._map[:])
        return float(clock), float(disk)


def patch(knobs: Knobs, routes: dict[int, int]) -> None:
    """Change this process: where it dials to, what time it is, how long a commit takes."""
    from moodmesh.mesh.clock import SystemClock
    from moodmesh.nodes.store.store import Store

    connect, run = asyncio.SelectorEventLoop.sock_connect, Store._run

    async def dialled(self: Any, sock: socket, address: Any) -> None:
        if isinstance(address, tuple):
            address = (address[0], routes.get(address[1], address[1]), *address[2:])
        await connect(self, sock, address)

    def slowly(self: Store, calls: Any) -> None:
        if (wait := knobs.get()[1]) > 0 and any(call.step for call in calls):
            time.sleep(wait)
        run(self, calls)

    asyncio.SelectorEventLoop.sock_connect = dialled  # type: ignore[method-assign]
    SystemClock.wall = lambda self: time.time() + knobs.get()[0]  # type: ignore[method-assign]
    Store._run = slowly  # type: ignore[method-assign]


def main() -> None:
    """Run the command line, patched as the environment says."""
    from moodmesh.nodes.cli.main import main as command

    routes = {int(port): relay for port, relay in json.loads(os.environ.get(ROUTES, "{}")).items()}
    patch(Knobs(Path(os.environ[KNOBS])), routes)
    command()


if __name__ == "__main__":
    main()
