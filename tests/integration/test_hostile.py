"""A whole daemon and what should never be sent to it: cut off, dripping, a gigabyte, in floods (pairing §9.8)."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections.abc import AsyncIterator, Iterator

import psutil
import pytest

from integration.daemons import Daemon, pair
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.frames import Caps, Frame, encode
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.pipe import SESSIONS, WebSocketDialler, WebSocketPipe
from moodmesh.mesh.rid import Rids
from moodmesh.mesh.seams import LinkClosed
from moodmesh.mesh.tls import PeerTls
from moodmesh.mesh.welcome import VERSIONS, Welcome
from moodmesh.nodes.pool.rundir import run_dir

GIB, MIB = 1 << 30, 1 << 20
MORE_MB = 50
TEXT = b"I love it. I hate it."
pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Daemon, Daemon]]:
    """A daemon, and a paired device whose protocol is spoken by the tests."""
    root = tmp_path_factory.mktemp("hostile")
    one, eve = Daemon(root / "one", "one", jobs__benchmark="false"), Daemon(root / "eve", "eve")
    pair(one, eve)
    one.start()
    one.ended(one.submit("emotion.text", TEXT, variant="tiny"))  # a worker and a model are there
    try:
        yield one, eve
    finally:
        one.kill()


@pytest.fixture(scope="module", autouse=True)
def strangers(scene: tuple[Daemon, Daemon]) -> Iterator[list[socket.socket]]:
    """Half a TLS handshake each, from the first test on."""
    one, _ = scene
    found = [socket.create_connection(("127.0.0.1", one.port)) for _ in range(20)]
    for stranger in found:
        stranger.sendall(b"\x16\x03\x01\x02")
    yield found
    for stranger in found:
        stranger.close()


@contextlib.contextmanager
def unharmed(one: Daemon) -> Iterator[None]:
    """It serves as before, in the same process, and has taken at most 50 MB more at any time."""
    assert one.process is not None
    process, worst = psutil.Process(one.process.pid), [0]
    before, done = process.memory_info().rss, False

    def watch() -> None:
        while not done:
            worst[0] = max(worst[0], process.memory_info().rss)
            time.sleep(0.005)

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        yield
    finally:
        done = True
        watching.join()
    assert (worst[0] - before) / MIB < MORE_MB
    assert one.ended(one.submit("emotion.text", TEXT, variant="tiny"))["status"] == "SUCCEEDED"
    assert one.process.is_alive()
    assert "Traceback" not in one.log.read_text()


@contextlib.asynccontextmanager
async def linked(one: Daemon, eve: Daemon) -> AsyncIterator[WebSocketPipe]:
    """A pipe of the paired device on which the daemon believes in a link; the test says what goes over it."""
    (row,) = eve.rows("SELECT * FROM peer")
    book, caps = Pairs(), Caps()
    known = Pair(row["device"], row["name"], row["certificate"], row["k_pair"])
    book.add(known)
    rids = Rids(SystemClock())
    dialler = WebSocketDialler(PeerTls(eve.identity, book, rids), caps)
    at = ("127.0.0.1", one.port)
    pipe = await dialler.open(known, at, await dialler.ask(at) or b"")
    assert isinstance(pipe, WebSocketPipe)
    try:
        hello = Welcome(versions=VERSIONS, rid=rids.current.hex(), port=eve.port, instance="0" * 16)
        await pipe.send(encode(hello.envelope(), caps))
        await pipe.receive()
        yield pipe
    finally:
        await pipe.close()
        await asyncio.gather(*SESSIONS)


async def ended(pipe: WebSocketPipe) -> None:
    """The daemon closes it, within a moment."""
    async with asyncio.timeout(10):
        with contextlib.suppress(LinkClosed):
            while True:
                await pipe.receive()


def head(opcode: int, size: int, fin: bool = True) -> bytes:
    """The start of a masked WebSocket frame that announces `size` bytes."""
    return struct.pack(">BBQ", (0x80 if fin else 0) | opcode, 0x80 | 127, size) + bytes(4)


async def pour(pipe: WebSocketPipe, first: bytes, piece: bytes, count: int) -> None:
    """Write until all is written, or the other side has had enough."""
    pipe._transport.write(first)
    for _ in range(count):
        if pipe._transport.is_closing():
            return
        pipe._transport.write(piece)
        while pipe._transport.get_write_buffer_size() and not pipe._transport.is_closing():
            await asyncio.sleep(0.001)


@pytest.mark.parametrize(
    ("first", "piece", "count"),
    [
        (head(1, GIB), bytes(MIB), 1024),
        (head(2, MIB, fin=False), bytes(MIB) + head(0, MIB, fin=False), 1024),
        (b'\x81\xfe\x10\x00\x00\x00\x00\x00{"kind":"reserve","jo', b"", 0),
    ],
    ids=["a text of 1 GiB", "1 GiB in fragments", "cut off"],
)
async def test_a_message_of_a_peer_that_is_too_long_or_cut_off_ends_its_link_alone(
    scene: tuple[Daemon, Daemon], first: bytes, piece: bytes, count: int
) -> None:
    one, eve = scene
    with unharmed(one):
        async with linked(one, eve) as pipe:
            await pour(pipe, first, piece, count)
            if count:
                await ended(pipe)


async def test_what_is_no_message_is_answered_with_its_fault_and_the_end(scene: tuple[Daemon, Daemon]) -> None:
    one, eve = scene
    with unharmed(one):
        for text in (
            b'{"kind":"reserve","job":7}',
            b'{"kind":"result","job":"../../etc"}',
            b'{"kind":"log","line":"' + b"x" * 20_000,
        ):
            async with linked(one, eve) as pipe:
                await pipe.send(Frame(False, text))
                await ended(pipe)
                assert "it refused a message" in str(pipe._why)


async def test_a_peer_that_drips_keeps_nobody_else_waiting(scene: tuple[Daemon, Daemon]) -> None:
    one, eve = scene
    with unharmed(one):
        async with linked(one, eve) as pipe:
            pipe._transport.write(head(1, 10_000))
            for _ in range(10):
                pipe._transport.write(b" ")
                began = time.monotonic()
                await asyncio.to_thread(one.client.get, "status")
                assert time.monotonic() - began < 2
                await asyncio.sleep(0.05)


async def test_a_peer_that_asks_and_does_not_read_is_cut_off(scene: tuple[Daemon, Daemon]) -> None:
    one, eve = scene
    asks = (b'{"kind":"from_the_future"}', b'{"kind":"fetch","artefact":"' + b"0" * 64 + b'"}')
    with unharmed(one):
        for ask in asks:
            many = 1000 * (bytes((0x81, 0x80 | len(ask), 0, 0, 0, 0)) + ask)
            async with linked(one, eve) as pipe:
                pipe._transport.pause_reading()  # type: ignore[attr-defined]
                pipe._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
                async with asyncio.timeout(30):
                    while one.client.get("status")["linked"]:
                        await pour(pipe, b"", many, 5)
    reasons = [line for line in one.log.read_text().splitlines() if "link down" in line][-2:]
    assert "it does not read what it is sent" in reasons[0]
    assert "closed on this side" in reasons[1] or "more questions" in reasons[1]


# -- the local API -----------------------------------------------------------------------------------------------------


async def local(one: Daemon, head: bytes) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A request of the owner, begun."""
    reader, writer = await asyncio.open_unix_connection(run_dir(one.home) / "api.sock")
    token = (one.home / "api.token").read_text()
    writer.write(b"POST /jobs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token.encode())
    writer.write(b"\r\nContent-Type: application/json\r\n" + head + b"\r\n\r\n")
    return reader, writer


async def test_a_request_of_a_gigabyte_is_refused_before_it_is_read(scene: tuple[Daemon, Daemon]) -> None:
    one, _ = scene
    with unharmed(one):
        reader, writer = await local(one, b"Content-Length: %d" % GIB)
        async with asyncio.timeout(5):
            assert b" 413 " in await reader.readline()
            assert b"split the input" in await reader.readuntil(b"}")
        writer.transport.abort()


async def test_a_request_without_an_end_is_refused_at_the_limit(scene: tuple[Daemon, Daemon]) -> None:
    one, _ = scene
    reader, writer = await local(one, b"Transfer-Encoding: chunked")
    answer = asyncio.create_task(reader.readline())
    with contextlib.suppress(ConnectionError):
        while not answer.done():
            writer.write(b"100000\r\n" + bytes(MIB) + b"\r\n")
            await writer.drain()
    assert b" 413 " in await answer
    writer.transport.abort()
    assert one.client.get("status")["ready"]


async def test_a_request_that_is_cut_off_or_drips_is_no_job_and_keeps_nobody_waiting(scene: tuple[Daemon, Daemon]) -> None:
    one, _ = scene
    jobs = len(one.client.get("jobs", limit=1000)["jobs"])
    with unharmed(one):
        for _ in range(5):
            _, writer = await local(one, b"Content-Length: 1000")
            writer.write(b'{"task": "emotion.te')
            await writer.drain()
            assert one.client.get("status")["ready"]
            writer.transport.abort()
    assert len(one.client.get("jobs", limit=1000)["jobs"]) == jobs + 1


def test_strangers_that_began_and_never_went_on_were_cut_off(
    scene: tuple[Daemon, Daemon], strangers: list[socket.socket]
) -> None:
    """A handshake has five seconds; theirs began with the first test of this file, and nobody waited for them since."""
    one, _ = scene
    for stranger in strangers:
        stranger.settimeout(10)
        with contextlib.suppress(ConnectionError):
            assert stranger.recv(1) == b""
    assert one.client.get("status")["linked"] == 0
