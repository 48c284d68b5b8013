"""Strangers at the listener: counted at `accept`, timed from `accept`, bounded in memory (pairing §3, §9.8)."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import socket
import ssl
from asyncio.sslproto import SSLProtocol
from collections import deque
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.acceptor import Acceptor, Patience, settle
from moodmesh.mesh.admission import Admission, Limits, is_loopback
from moodmesh.mesh.binding import bind
from moodmesh.mesh.certificates import window_credential
from moodmesh.mesh.errors import PortTaken
from moodmesh.mesh.tls import blind_context, window_context

from .support import LOOPBACK, paired

STRANGER = "192.0.2.7"
HEAD = b"GET / HTTP/1.1\r\nHost: x\r\n"


@dataclass
class Open:
    """A listener that takes anybody's TLS, as a pairing window does; `/in` authenticates, `/out` does not."""

    acceptor: Acceptor
    admission: Admission
    requests: list[str]

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.acceptor.port, ssl=blind_context(), server_hostname="x")

    async def tcp(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.acceptor.port)

    async def inside(self, count: int) -> None:
        """Wait until that many strangers are counted."""
        async with asyncio.timeout(5):
            while self.admission.inside != count:
                await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def opened(
    address_key: Callable[[str], str] = str, patience: Patience | None = None, limits: Limits | None = None
) -> AsyncIterator[Open]:
    requests: list[str] = []

    async def handle(request: web.Request) -> web.StreamResponse:
        requests.append(request.path)
        if request.path == "/in":
            settle(request)
        if request.path == "/stay":
            await asyncio.Event().wait()
        return web.Response(text="ok")

    app = web.Application()
    app.router.add_get("/{path:.*}", handle)
    context, admission = window_context(window_credential()), Admission(limits)
    acceptor = Acceptor(app, lambda: context, admission, patience=patience, address_key=address_key)
    await acceptor.start(0, LOOPBACK)
    try:
        yield Open(acceptor, admission, requests)
    finally:
        await acceptor.close()
        await asyncio.sleep(0)
        assert admission.inside == 0


async def refused(reader: asyncio.StreamReader) -> bool:
    """Whether the other side hung up."""
    async with asyncio.timeout(5):
        try:
            return await reader.read(1) == b""
        except ConnectionError:
            return True


@pytest.mark.parametrize(("address", "allowed"), [(STRANGER, 4), ("127.0.0.1", 32)])
async def test_places_per_address_are_counted_at_accept(address: str, allowed: int) -> None:
    async with opened(lambda host: address) as server:
        inside = [await server.tcp() for _ in range(allowed)]
        await server.inside(allowed)
        reader, writer = await server.tcp()
        assert await refused(reader)
        assert server.admission.inside == allowed
        for _, each in [*inside, (reader, writer)]:
            each.close()
        await server.inside(0)


async def test_places_in_all_are_64() -> None:
    serial = iter(range(1000))
    async with opened(lambda host: f"192.0.2.{next(serial)}") as server:
        inside = [await server.tcp() for _ in range(64)]
        await server.inside(64)
        reader, late = await server.tcp()
        assert await refused(reader)
        for _, each in [*inside, (reader, late)]:
            each.close()
        await server.inside(0)


async def test_mutation_counting_after_the_handshake_lets_silent_strangers_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Strangers who never start TLS are exactly those a later count would miss."""
    monkeypatch.setattr(Admission, "enter", lambda self, address, now: True)
    monkeypatch.setattr(Admission, "leave", lambda self, address, now, failed: None)
    async with opened(lambda host: STRANGER) as server:
        strangers = [await server.tcp() for _ in range(100)]
        async with asyncio.timeout(5):
            while len(server.acceptor._connections) < 100:
                await asyncio.sleep(0.005)
        for _, each in strangers:
            each.close()


async def test_an_authenticated_connection_no_longer_counts() -> None:
    async with opened(lambda host: STRANGER) as server:
        writers = []
        for _ in range(10):
            reader, writer = await server.connect()
            writer.write(b"GET /in HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await reader.readline()).startswith(b"HTTP/1.1 200")
            await server.inside(0)
            writers.append(writer)
        assert server.requests == ["/in"] * 10
        for each in writers:
            each.close()


async def test_a_slow_handshake_is_cut() -> None:
    async with opened(patience=Patience(handshake_s=0.1)) as server:
        reader, writer = await server.tcp()
        writer.write(b"\x16\x03\x01")
        assert await refused(reader)
        await server.inside(0)
        writer.close()


async def test_a_slow_request_head_is_cut() -> None:
    async with opened(patience=Patience(head_s=0.3)) as server:
        reader, writer = await server.connect()
        for byte in HEAD:
            writer.write(bytes([byte]))
            await asyncio.sleep(0.001)
        assert await refused(reader)
        await server.inside(0)
        assert server.requests == []
        writer.transport.abort()


async def test_a_long_request_head_is_cut_at_8_kib() -> None:
    async with opened() as server:
        reader, writer = await server.connect()
        writer.write(HEAD + b"".join(b"X-%d: %s\r\n" % (line, b"y" * 100) for line in range(100)))
        assert await refused(reader)
        assert server.requests == []
        writer.transport.abort()


async def test_one_request_a_connection_and_no_name_of_the_software() -> None:
    async with opened() as server:
        reader, writer = await server.connect()
        writer.write(b"GET /out HTTP/1.1\r\nHost: x\r\n\r\n" * 2)
        answer = await reader.read()
        assert answer.count(b"HTTP/1.1 200") == 1
        assert b"Server:" not in answer
        writer.transport.abort()


@pytest.mark.parametrize("noise", [b"\0" * 64 + b"\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /out HTTP/1.1\r\nA b: c\r\n\r\n"])
async def test_what_is_no_request_learns_nothing_of_the_software_either(noise: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async with opened() as server:
        reader, writer = await server.connect()
        writer.write(noise)
        answer = (await reader.read()).lower()
        assert b"python" not in answer
        assert b"aiohttp" not in answer
        assert server.requests == []
        writer.transport.abort()
    assert not caplog.records


async def test_the_shipped_limits() -> None:
    assert Limits() == Limits(total=64, per_address=4, per_loopback=32, failures=5, window_s=60.0)
    assert Patience() == Patience(handshake_s=5.0, head_s=10.0, head_bytes=8192)


def test_an_address_that_fails_more_than_5_times_a_minute_waits() -> None:
    admission = Admission()
    for attempt in range(6):
        assert admission.enter(STRANGER, attempt)
        admission.leave(STRANGER, attempt, failed=True)
    assert not admission.enter(STRANGER, 6)
    assert admission.enter("192.0.2.8", 6)
    assert admission.enter(STRANGER, 60.1), "the first failure is more than a minute ago"
    for attempt in range(100):
        assert admission.enter("127.0.0.1", attempt)
        admission.leave("127.0.0.1", attempt, failed=True)


def test_success_is_no_failure_and_the_memory_of_failures_is_bounded() -> None:
    admission = Admission()
    for attempt in range(50):
        assert admission.enter(STRANGER, attempt)
        admission.leave(STRANGER, attempt, failed=False)
    for number in range(10_000):
        admission.leave(f"2001:db8::{number:x}", 0, failed=True)
    assert len(admission._failures) <= 4096


@given(st.lists(st.tuples(st.sampled_from(["192.0.2.1", "192.0.2.2", "::1"]), st.booleans()), max_size=200))
def test_places_taken_and_given_back_agree(steps: list[tuple[str, bool]]) -> None:
    admission, inside = Admission(Limits(total=6, per_address=2, per_loopback=3)), []
    for address, enter in steps:
        if enter and admission.enter(address, 0):
            inside.append(address)
        elif not enter and address in inside:
            inside.remove(address)
            admission.leave(address, 0, failed=False)
        assert admission.inside == len(inside) <= 6
        assert inside.count("192.0.2.1") <= 2
        assert inside.count("::1") <= 3


def test_loopback_is_known_in_every_spelling() -> None:
    assert all(is_loopback(address) for address in ("127.0.0.1", "127.9.9.9", "::1"))
    assert not any(is_loopback(address) for address in ("192.0.2.1", "fe80::1%eth0", "unknown", ""))


def test_both_families_share_one_port_and_a_taken_port_is_said() -> None:
    sockets = bind(0, LOOPBACK)
    ports = {sock.getsockname()[1] for sock in sockets}
    assert len(ports) == 1
    port = ports.pop()
    with pytest.raises(PortTaken, match=f"TCP port {port} is taken.*mesh.port"):
        bind(port, LOOPBACK)
    for sock in sockets:
        sock.close()
    for sock in bind(port, LOOPBACK):
        sock.close()


def test_a_port_taken_in_the_other_family_only_is_not_half_used() -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as other:
        try:
            other.bind(("::1", 0))
        except OSError:
            pytest.skip("no IPv6 on this machine")
        other.listen()
        with pytest.raises(PortTaken):
            bind(other.getsockname()[1], LOOPBACK)


def test_an_address_of_another_machine_is_said() -> None:
    with pytest.raises(OSError, match="none of"):
        bind(0, ["192.0.2.1"])


def resident_mib() -> float:
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096 / 2**20


def flood(port: int, strangers: int, half: bytes) -> None:
    """Connect again and again, each time leaving a TLS handshake half done, with 200 open at any time."""
    waiting: deque[socket.socket] = deque()
    for _ in range(strangers):
        sock = socket.create_connection(("127.0.0.1", port))
        with contextlib.suppress(OSError):
            sock.sendall(half)
        waiting.append(sock)
        if len(waiting) > 200:
            waiting.popleft().close()
    for sock in waiting:
        sock.close()


@pytest.mark.parametrize("strangers", [2_000, pytest.param(10_000, marks=pytest.mark.slow)])
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads memory from /proc")
async def test_strangers_cost_bounded_memory_and_a_pair_still_gets_in(strangers: int) -> None:
    async with paired() as (ann, bob):
        before, worst, most = resident_mib(), 0.0, 0
        attack = asyncio.create_task(asyncio.to_thread(flood, bob.endpoint.port, strangers, b"\x16\x03\x01\x02"))
        while not attack.done():
            await asyncio.sleep(0.02)
            worst = max(worst, resident_mib() - before)
            most = max(most, len(bob.endpoint.acceptor._connections))
        await attack
        assert 0 < most <= 32
        assert worst < 50, f"{worst:.0f} MiB"
        async with asyncio.timeout(10):
            while bob.endpoint.acceptor._admission.inside >= 32:
                await asyncio.sleep(0.01)
            link = await ann.dial(bob)
        assert link.peer == bob.identity.id


async def test_a_failed_handshake_leaves_no_cycle_that_only_the_collector_would_find() -> None:
    """Its 300 KiB of TLS buffers go with it at once, however seldom the collector runs."""
    async with paired() as (_, bob):
        gc.collect()
        gc.disable()
        try:
            await asyncio.to_thread(flood, bob.endpoint.port, 20, b"\x16\x03\x01\x02")
            async with asyncio.timeout(5):
                while bob.endpoint.acceptor._connections or bob.endpoint.acceptor._handshakes:
                    await asyncio.sleep(0.01)
            assert not [o for o in gc.get_objects() if type(o) is SSLProtocol]
        finally:
            gc.enable()


async def test_the_context_is_asked_for_at_every_connection() -> None:
    contexts: list[ssl.SSLContext] = []

    def fresh() -> ssl.SSLContext:
        contexts.append(window_context(window_credential()))
        return contexts[-1]

    acceptor = Acceptor(web.Application(), fresh)
    await acceptor.start(0, LOOPBACK)
    for _ in range(2):
        _, writer = await asyncio.open_connection("127.0.0.1", acceptor.port, ssl=blind_context(), server_hostname="x")
        writer.transport.abort()
    await acceptor.close()
    assert len(contexts) == 2
