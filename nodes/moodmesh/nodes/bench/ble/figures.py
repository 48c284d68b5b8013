"""What a link of Bluetooth gives: measured through a `Central` and a `Peripheral`, whichever radios they drive.

The far side is a `Site`; `measure` compares streams with bare GATT over the same radios in the same run.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from enum import IntEnum

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from moodmesh.mesh.ble.central import Central
from moodmesh.mesh.ble.frames import LARGEST
from moodmesh.mesh.ble.lanes import Lanes
from moodmesh.mesh.ble.radio import LANE_UUIDS, Hooks, Peripheral
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.tls import client_context, server_context

ECHO_BYTES = 1024
LOST_S = 3.0
RAW_LANE = len(LANE_UUIDS) - 1
_RAW = 0xFF  # begins no frame of ours
_COUNT, _GIVE, _TOTAL = b"\xffC", b"\xffG", b"\xffT"
_OURS, _THEIRS = (Identity.of(Ed25519PrivateKey.from_private_bytes(bytes(31) + bytes((n,)))) for n in (1, 2))
"""Both ends of the handshake that is timed: nothing secret."""


class Port(IntEnum):
    """What a site does with a stream."""

    ECHO = 1
    SINK = 2
    """Reads so many bytes as the first four say, and answers with one."""
    SOURCE = 3
    """Sends so many bytes as the first four say."""
    TLS = 4
    """Echoes through the mutual TLS of the mesh."""


class Site:
    """The side that is measured against: it is shown, and serves streams and bare writes."""

    def __init__(self, peripheral: Peripheral) -> None:
        self._peripheral = peripheral
        self.lanes = Lanes(peripheral.notify, self._accept, SystemClock())
        self._tasks: set[asyncio.Task[None]] = set()
        self._counted = 0

    @contextlib.asynccontextmanager
    async def shown(self, data: bytes) -> AsyncIterator[float]:
        """Offer the service and show this service data until the block ends; monotonic seconds just before it was shown."""
        async with self._peripheral.open(Hooks(self._written, self.lanes.gone)):
            began = time.monotonic()
            await self._peripheral.advertise(data)
            try:
                yield began
            finally:
                self.lanes.close()
                for task in self._tasks:
                    task.cancel()
                await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, device: str, port: int, sock: socket.socket) -> bool:
        if port not in set(Port):
            return False
        self._spawn(self._serve(Port(port), sock))
        return True

    async def _serve(self, port: Port, sock: socket.socket) -> None:
        context = server_context(_THEIRS.credential, _OURS.credential.certificate) if port is Port.TLS else None
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            transport, _ = await asyncio.get_running_loop().connect_accepted_socket(lambda: protocol, sock, ssl=context)
            writer = asyncio.StreamWriter(transport, protocol, reader, asyncio.get_running_loop())
            try:
                await _answer(port, reader, writer)
            finally:
                writer.close()

    def _written(self, lane: int, device: str, value: bytes) -> None:
        if value[:1] != bytes((_RAW,)):
            self.lanes.written(lane, device, value)
        elif value.startswith(_TOTAL):
            self._spawn(self._peripheral.notify(lane, _TOTAL + self._counted.to_bytes(4, "little")))
            self._counted = 0
        elif value.startswith(_GIVE):
            self._spawn(self._give(lane, int.from_bytes(value[2:4], "little"), int.from_bytes(value[4:6], "little")))
        else:
            self._counted += len(value)

    async def _give(self, lane: int, count: int, size: int) -> None:
        for _ in range(count):
            await self._peripheral.notify(lane, _COUNT + bytes(size - 2))

    def _spawn(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _answer(port: Port, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    if port in (Port.ECHO, Port.TLS):
        while data := await reader.read(4096):
            writer.write(data)
            await writer.drain()
        return
    while True:
        size = int.from_bytes(await reader.readexactly(4), "little")
        if port is Port.SINK:
            await reader.readexactly(size)
        writer.write(b"x" if port is Port.SINK else bytes(size))
        await writer.drain()


@dataclass
class Figures:
    """Seconds, and kB (1000 bytes) a second, of each time it was done."""

    connect: list[float] = field(default_factory=list)
    stream: list[float] = field(default_factory=list)
    """From the wish to the echo of a byte, connection and greeting in it."""
    handshake: list[float] = field(default_factory=list)
    """To the echo of a byte through TLS, over a lane that is there."""
    rtt: list[float] = field(default_factory=list)
    tls_rtt: list[float] = field(default_factory=list)
    up: list[float] = field(default_factory=list)
    down: list[float] = field(default_factory=list)
    raw_up: list[float] = field(default_factory=list)
    raw_down: list[float] = field(default_factory=list)
    raw_rtt: list[float] = field(default_factory=list)
    """A bare write, and the one notification that answers it."""
    raw_lost: float = 0.0
    """Shares of the bare notifications that got lost, added up."""
    frame: int = 0
    """Bytes of a bare write and notification: as large as the link takes."""


async def measure(central: Central, address: str, runs: int, echoes: int, size: int) -> Figures:
    """Connect `runs` times; `echoes` of 1 KiB each time; `size` bytes each way over a stream and over bare GATT.

    `central` is scanning, and has heard the site at `address`. OSError when the link fails.
    """
    found = Figures()
    for _ in range(runs):
        began = time.monotonic()
        async with _connection(central, address, Port.ECHO) as (reader, writer):
            await _echo(reader, writer, b"x")
            found.stream.append(time.monotonic() - began)
            found.rtt += await _echoes(reader, writer, echoes)
        await _handshakes(central, address, echoes, found)
        async with _connection(central, address, Port.SINK) as (reader, writer):
            seconds = await _timed(_echo(reader, writer, size.to_bytes(4, "little") + bytes(size), 1))
            found.up.append(size / seconds / 1000)
        async with _connection(central, address, Port.SOURCE) as (reader, writer):
            seconds = await _timed(_echo(reader, writer, size.to_bytes(4, "little"), size))
            found.down.append(size / seconds / 1000)
        await central.hang_up(address)
        await _bare(central, address, echoes, size, found)
    return found


async def _handshakes(central: Central, address: str, echoes: int, found: Figures) -> None:
    context = client_context(_OURS.credential, _THEIRS.credential.certificate)
    sock = await central.stream(address, Port.TLS)
    began = time.monotonic()
    async with _speaking(sock, context) as (reader, writer):
        await _echo(reader, writer, b"x")
        found.handshake.append(time.monotonic() - began)
        found.tls_rtt += await _echoes(reader, writer, echoes)


async def _bare(central: Central, address: str, echoes: int, size: int, found: Figures) -> None:
    """The link's own limit: writes without response, and notifications, as fast as the stack takes them."""
    began = time.monotonic()
    client = await central.connect(address)
    found.connect.append(time.monotonic() - began)
    try:
        lane = next(c for s in client.services for c in s.characteristics if c.uuid == LANE_UUIDS[RAW_LANE])
        found.frame = min(LARGEST, lane.max_write_without_response_size)
        total: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        count, came, news = -(-size // found.frame), [0, 0.0], asyncio.Event()

        def notified(_: object, value: bytearray) -> None:
            if value.startswith(_TOTAL) and not total.done():
                total.set_result(int.from_bytes(value[2:6], "little"))
            elif value.startswith(_COUNT):
                came[:] = came[0] + len(value), time.monotonic()
                news.set()

        async def given(count: int) -> float:
            """kB a second: of what came, for bare notifications may get lost."""
            came[0], began = 0, time.monotonic()
            order = _GIVE + count.to_bytes(2, "little") + found.frame.to_bytes(2, "little")
            await client.write_gatt_char(lane, order, response=False)
            with contextlib.suppress(TimeoutError):
                while came[0] < count * found.frame:
                    news.clear()
                    async with asyncio.timeout(LOST_S):
                        await news.wait()
            if not came[0]:
                raise OSError("the link lost every notification")
            found.raw_lost += 1 - came[0] / (count * found.frame) if count > 1 else 0.0
            return came[0] / (came[1] - began) / 1000

        await client.start_notify(lane, notified)
        began = time.monotonic()
        for _ in range(count):
            await client.write_gatt_char(lane, _COUNT + bytes(found.frame - 2), response=False)
        await client.write_gatt_char(lane, _TOTAL, response=False)
        if await total != count * found.frame:
            raise OSError("the link lost a write")
        found.raw_up.append(count * found.frame / (time.monotonic() - began) / 1000)
        found.raw_down.append(await given(count))
        found.raw_rtt += [await _timed(given(1)) for _ in range(echoes)]
    finally:
        await client.disconnect()


@contextlib.asynccontextmanager
async def _connection(
    central: Central, address: str, port: Port
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    async with _speaking(await central.stream(address, port)) as both:
        yield both


@contextlib.asynccontextmanager
async def _speaking(
    sock: socket.socket, context: ssl.SSLContext | None = None
) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
    name = {} if context is None else {"ssl": context, "server_hostname": "site"}
    reader, writer = await asyncio.open_connection(sock=sock, **name)  # type: ignore[arg-type]
    try:
        yield reader, writer
    finally:
        writer.close()


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, data: bytes, size: int | None = None) -> bytes:
    writer.write(data)
    return await reader.readexactly(len(data) if size is None else size)


async def _echoes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, count: int) -> list[float]:
    return [await _timed(_echo(reader, writer, bytes(ECHO_BYTES))) for _ in range(count)]


async def _timed(work: Awaitable[object]) -> float:
    began = time.monotonic()
    await work
    return time.monotonic() - began


async def echoed(central: Central, address: str, data: bytes) -> bytes:
    """What a site echoes over a stream of its own."""
    async with _connection(central, address, Port.ECHO) as (reader, writer):
        return await _echo(reader, writer, data)
