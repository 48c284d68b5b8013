"""A bad network without root: loopback relays between daemons that cut, hold back or delay what passes, and never look into it.

A wire joins two devices; each of them dials the other through a relay of its own. What a wire is like can change at any time.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections import defaultdict
from itertools import permutations
from typing import Literal

Mode = Literal["pass", "hold", "cut"]
HEARD_EVERY_S = 0.02
CHUNK = 65536


class Wire:
    """Between two devices: `pass`, `hold` (nothing arrives, nobody is told) or `cut` (connections break, none is made)."""

    def __init__(self) -> None:
        self.delay_s = 0.0
        self.mode: Mode = "pass"
        self.heard: defaultdict[str, list[float]] = defaultdict(list)
        """For each end, monotonic seconds at which something reached it."""
        self.changed = asyncio.Event()
        self.open: set[asyncio.WriteTransport] = set()

    def become(self, mode: Mode, delay_s: float) -> None:
        """Change; runs in the relays' loop."""
        self.mode, self.delay_s = mode, delay_s
        self.changed.set()
        self.changed = asyncio.Event()
        if mode == "cut":
            for transport in list(self.open):
                transport.abort()

    def note(self, end: str) -> None:
        """Something reached an end now."""
        heard, now = self.heard[end], time.monotonic()
        if not heard or now - heard[-1] > HEARD_EVERY_S:
            heard.append(now)


class Relays:
    """Every wire of a group of devices, served by a thread; `close` ends it."""

    def __init__(self, ports: dict[str, int]) -> None:
        self._wires = {frozenset(pair): Wire() for pair in permutations(ports, 2)}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="relays", daemon=True)
        self._thread.start()
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self.routes: dict[str, dict[int, int]] = {
            us: {port: self._serve(us, them, port) for them, port in ports.items() if them != us} for us in ports
        }
        """For each device, the port to dial instead of another one's."""

    def set(self, one: str, other: str, mode: Mode = "pass", delay_s: float = 0.0) -> None:
        """What the wire between two devices is like from now on."""
        self._loop.call_soon_threadsafe(self._wires[frozenset((one, other))].become, mode, delay_s)

    def heal(self) -> None:
        """Every wire is good."""
        for wire in self._wires.values():
            self._loop.call_soon_threadsafe(wire.become, "pass", 0.0)

    def heard(self, by: str, of: str) -> list[float]:
        """When something of a device reached another one: monotonic seconds, ascending, to 20 ms."""
        return list(self._wires[frozenset((by, of))].heard[by])

    def forget(self) -> None:
        """Start the record of `heard` anew, with the present moment."""
        for wire in self._wires.values():
            for times in wire.heard.values():
                del times[:-1]

    def close(self) -> None:
        """Break every connection."""
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        for server in self._servers:
            server.close()
        await asyncio.sleep(0.05)  # what was accepted just now has its task
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await asyncio.sleep(0.05)  # transports close in steps of the loop

    def _serve(self, us: str, them: str, port: int) -> int:
        wire = self._wires[frozenset((us, them))]

        async def passed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
            with contextlib.suppress(OSError):
                await _joined(wire, (us, reader, writer), (them, port))

        async def listen() -> int:
            server = await asyncio.start_server(passed, "127.0.0.1", 0)
            self._servers.append(server)
            return int(server.sockets[0].getsockname()[1])

        return asyncio.run_coroutine_threadsafe(listen(), self._loop).result()


async def _joined(wire: Wire, near: tuple[str, asyncio.StreamReader, asyncio.StreamWriter], far: tuple[str, int]) -> None:
    """One connection, from its dialler to the port behind the relay, until either end or the wire breaks it."""
    us, reader, writer = near
    them, port = far
    transports = [writer.transport]
    try:
        while wire.mode == "hold":
            await wire.changed.wait()
        if wire.mode == "cut":
            return
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", port)
        transports.append(far_writer.transport)
        wire.open.update(transports)
        async with asyncio.TaskGroup() as group:
            ways = [group.create_task(_pumped(wire, reader, far_writer, them)),
                    group.create_task(_pumped(wire, far_reader, writer, us))]  # fmt: skip
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
            for way in ways:
                way.cancel()
    finally:
        wire.open.difference_update(transports)
        for transport in transports:
            transport.abort()


async def _pumped(wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, end: str) -> None:
    """One direction, in order, each piece when the wire lets it; returns once the end of the stream has passed too."""
    late: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def read() -> None:
        data = b"more"
        while data:
            try:
                data = await reader.read(CHUNK)
            except OSError:
                data = b""
            late.put_nowait((time.monotonic(), data))

    reading = asyncio.ensure_future(read())
    try:
        while True:
            came, data = await late.get()
            await _until_due(wire, came)
            if not data:
                return
            writer.write(data)
            wire.note(end)
            await writer.drain()
    except OSError:
        return
    finally:
        reading.cancel()


async def _until_due(wire: Wire, came: float) -> None:
    while wire.mode == "hold" or (wait := came + wire.delay_s - time.monotonic()) > 0:
        changed = wire.changed
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(None if wire.mode == "hold" else wait):
                await changed.wait()
