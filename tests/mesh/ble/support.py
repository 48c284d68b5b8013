"""Lines between lanes, in memory: what one end sends the other receives, unless somebody tampers with it on the way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from moodmesh.mesh.ble.frames import Framed, Kind, decode
from moodmesh.mesh.ble.lane import Lane

Tamper = Callable[[bytes], list[bytes]]
PORT = 5


@dataclass
class End:
    """The application's end of a stream."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def of(cls, sock: socket.socket) -> End:
        return cls(*await asyncio.open_connection(sock=sock))

    async def say(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def ended(self) -> bool:
        """Wait for what comes next: whether it is the end, also an abrupt one."""
        try:
            return await self.reader.read(1) == b""
        except ConnectionError:
            return True

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()


@dataclass
class Line:
    """A central's end and a peripheral's; `up`, `down` tamper with the frames of that direction."""

    most: int = 64
    up: Tamper = lambda frame: [frame]
    down: Tamper = lambda frame: [frame]
    accepted: asyncio.Queue[socket.socket] = field(default_factory=asyncio.Queue)
    central: Lane = field(init=False)
    peripheral: Lane = field(init=False)

    def __post_init__(self) -> None:
        async def to_peripheral(frame: bytes) -> None:
            await asyncio.sleep(0)
            for value in self.up(frame):
                self.peripheral.received(decode(value))

        async def to_central(frame: bytes) -> None:
            await asyncio.sleep(0)
            for value in self.down(frame):
                self.central.received(decode(value))

        def accept(port: int, sock: socket.socket) -> bool:
            if port == PORT:
                self.accepted.put_nowait(sock)
            return port == PORT

        self.central, self.peripheral = Lane(to_peripheral, self.most), Lane(to_central, self.most, accept, central=False)

    async def stream(self) -> tuple[End, End]:
        """Both ends of a new stream."""
        sock = await self.central.open(PORT)
        return await End.of(sock), await End.of(await self.accepted.get())


@contextlib.asynccontextmanager
async def line(most: int = 64, up: Tamper = lambda frame: [frame], down: Tamper = lambda frame: [frame]) -> AsyncIterator[Line]:
    """Closed with the block; what streams hold is let go."""
    made = Line(most, up, down)
    try:
        yield made
    finally:
        made.central.close("the end")
        made.peripheral.close("the end")
        while not made.accepted.empty():
            made.accepted.get_nowait().close()
        await settle(100)


async def settle(rounds: int = 20) -> None:
    """Let every task that can run do so."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def stuck(frame: bytes) -> None:
    """A radio that sends nothing."""
    await asyncio.get_running_loop().create_future()


@dataclass
class Numbered:
    """A far end that says whatever it likes, in frames rightly numbered: another number would end the lane at once."""

    lane: Lane
    seq: int = 0

    def say(self, kind: Kind, stream: int, body: bytes = b"") -> None:
        self.lane.received(Framed(kind, self.seq % 256, stream, body))
        self.seq += 1
