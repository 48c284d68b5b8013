"""A process with one virtual radio in the air of another: `python -m moodmesh.nodes.bench.ble.worker PORT ADDRESS`.

It listens all the time, and does what lines of JSON on its input ask for, one answer a line.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import sys
import time
from typing import Any

from moodmesh.mesh.ble.central import Central
from moodmesh.mesh.ble.radio import Heard
from moodmesh.nodes.bench.ble.bumble import Radio, radio
from moodmesh.nodes.bench.ble.figures import Site, echoed, measure


class Worker:
    """One radio: each public coroutine is something that can be asked for, and answers with JSON."""

    def __init__(self, radio: Radio) -> None:
        self._site = Site(radio.peripheral)
        self.central = Central("virtual", radio.scanner, radio.client, self._site.lanes.lane)
        self._shown = contextlib.AsyncExitStack()
        self._first: dict[str, tuple[float, str]] = {}
        self._news = asyncio.Event()

    def heard(self, heard: Heard) -> None:
        """An advertisement."""
        if heard.data.hex() not in self._first:
            self._first[heard.data.hex()] = time.monotonic(), heard.address
            self._news.set()

    async def show(self, data: str) -> float:
        """Begin to advertise, also when it did before; monotonic seconds just before."""
        await self.hide()
        return await self._shown.enter_async_context(self._site.shown(bytes.fromhex(data)))

    async def hide(self) -> None:
        """Be silent."""
        await self._shown.aclose()

    async def when(self, data: str) -> tuple[float, str]:
        """When this was first heard, and from which address; waits for it."""
        while data not in self._first:
            self._news.clear()
            await self._news.wait()
        return self._first[data]

    async def echo(self, address: str, data: str) -> str:
        """What a device echoes."""
        return (await echoed(self.central, address, bytes.fromhex(data))).hex()

    async def measure(self, address: str, runs: int, echoes: int, size: int) -> dict[str, Any]:
        """The figures of a link."""
        return dataclasses.asdict(await measure(self.central, address, runs, echoes, size))


async def main(port: int, address: str) -> None:
    """Until the input ends."""
    lines = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async with radio(port, address) as made:
        worker = Worker(made)
        async with worker.central.scanning(worker.heard):
            print(json.dumps("ready"), flush=True)
            while line := await lines.readline():
                wish = json.loads(line)
                try:
                    answer = await getattr(worker, wish.pop("do"))(**wish)
                except OSError as error:
                    answer = {"error": str(error)}
                print(json.dumps(answer), flush=True)
            await worker.hide()


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), sys.argv[2]))
