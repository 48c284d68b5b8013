"""Links over real sockets: revocation, duplicates, versions, hostile messages (pairing §7, §10; routing §12)."""

from __future__ import annotations

import asyncio
import socket
import struct
from itertools import pairwise

import pytest
from aiohttp import ClientSession, web
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh import pipe
from moodmesh.mesh.acceptor import Acceptor
from moodmesh.mesh.dialling import backoff, jitter, ordered
from moodmesh.mesh.errors import BadMessage, DialFailed, DuplicateIdentity, Incompatible, NotPaired
from moodmesh.mesh.frames import Caps, Frame, encode
from moodmesh.mesh.links import Links, choose
from moodmesh.mesh.pipe import WebSocketPipe
from moodmesh.mesh.seams import Envelope, LinkClosed
from moodmesh.mesh.tls import server_context
from moodmesh.mesh.welcome import Welcome

from .support import LOOPBACK, Device, device, new_identity, paired


async def raw(dialler: Device, listener: Device) -> WebSocketPipe:
    """A pipe under the control of the test: TLS is done, nobody has said `welcome`."""
    pair = dialler.pairs.get(listener.identity.id)
    assert pair is not None
    opened = await dialler.endpoint.links._dialler.open(pair, listener.address, listener.endpoint.rids.current)
    assert isinstance(opened, WebSocketPipe)
    return opened


async def welcomed(dialler: Device, listener: Device) -> WebSocketPipe:
    """A raw pipe on which the listener believes in a link."""
    opened = await raw(dialler, listener)
    await opened.send(Frame(False, b'{"kind":"welcome",' + greeting(dialler)[1:]))
    await opened.receive()
    await listener.events.up.get()
    return opened


def greeting(one: Device, **change: object) -> bytes:
    return one.endpoint.links._welcome().model_copy(update=change).model_dump_json().encode()


async def test_forgetting_closes_a_live_link_at_once_and_the_forgotten_cannot_come_back() -> None:
    async with paired() as (ann, bob):
        link = await ann.dial(bob)
        await bob.events.up.get()
        bob.pairs.remove(ann.identity.id)
        async with asyncio.timeout(1):  # the bound of pairing §7
            assert await ann.events.down.get() == (bob.identity.id, "it has forgotten this device")
            assert await bob.events.down.get() == (ann.identity.id, "forgotten")
        assert "pair again" in ann.endpoint.links.trouble(bob.identity.id)
        with pytest.raises(LinkClosed):
            await link.send(Envelope("late", b"{}"))
        assert bob.endpoint.tls.client(ann.identity.id) is None
        for rid in (bob.endpoint.rids.current, None):
            with pytest.raises(DialFailed):
                await ann.dial(bob, rid)
        assert bob.events.up.empty()
        assert "it has forgotten" in ann.endpoint.links.trouble(bob.identity.id), "its own word outlives what dials see"
        ann.befriend(bob)
        assert ann.endpoint.links.trouble(bob.identity.id) == ""
        await ann.dial(bob)


async def test_who_was_forgotten_while_away_hears_that_a_stranger_answers() -> None:
    async with paired() as (ann, bob):
        bob.pairs.remove(ann.identity.id)
        with pytest.raises(DialFailed):
            await ann.dial(bob)
        assert "if it is the peer, pair again" in ann.endpoint.links.trouble(bob.identity.id)
        with pytest.raises(DialFailed):
            await ann.endpoint.links.dial(bob.identity.id, [("127.0.0.1", 1)])
        assert ann.endpoint.links.trouble(bob.identity.id) == "", "nobody answers any more"


async def test_a_device_that_stops_says_so() -> None:
    async with paired() as (ann, bob):
        for _ in range(5):  # the goodbye is said before the connection is taken down
            await ann.dial(bob)
            await bob.events.up.get()
            await ann.endpoint.links.close()
            assert await bob.events.down.get() == (ann.identity.id, "it stopped")
            await ann.events.down.get()


@pytest.mark.parametrize(
    ("code", "said", "words"),
    [
        (1000, "", "it closed the link"),
        (1000, "1000", "it closed the link"),
        (1006, "", "connection lost"),
        (4000, "malformed reserve", "it refused a message: malformed reserve"),
        (4003, "anything", "no common protocol version"),
        (4004, "", "it has forgotten this device"),
        (4999, "\x1b[2J\u202ehello", "[2Jhello"),
        (4999, "\n", "connection lost"),
    ],
)
def test_a_close_is_told_in_our_words(code: int, said: str, words: str) -> None:
    assert pipe.in_words(code, said) == words


async def test_a_reader_that_does_not_read_cannot_delay_forgetting() -> None:
    async with paired() as (ann, bob):
        stuck = await welcomed(ann, bob)
        link = bob.endpoint.links.get(ann.identity.id)
        assert link is not None
        flood = asyncio.create_task(send_forever(link.send))
        await asyncio.sleep(0.2)
        assert not flood.done(), "the pipe is full"
        async with asyncio.timeout(1):
            bob.pairs.remove(ann.identity.id)
            await bob.events.down.get()
            await flood
        await stuck.close()


async def send_forever(send: object) -> None:
    try:
        while True:
            await send(Envelope("chunk", bytes(1 << 20)))  # type: ignore[operator]
    except LinkClosed:
        pass


async def test_mutation_forgetting_only_the_trust_leaves_the_live_link_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Links, "_pair_changed", lambda self, peer, pair: None)
    async with paired() as (ann, bob):
        await ann.dial(bob)
        await bob.events.up.get()
        bob.pairs.remove(ann.identity.id)
        await asyncio.sleep(0.1)
        assert bob.endpoint.links.get(ann.identity.id) is not None


async def test_forgotten_between_handshake_and_welcome() -> None:
    async with paired() as (ann, bob):
        opened = await raw(ann, bob)
        bob.pairs.remove(ann.identity.id)
        await opened.send(Frame(False, b'{"kind":"welcome",' + greeting(ann)[1:]))
        with pytest.raises(LinkClosed):
            await drain(opened)
        assert bob.events.up.empty()


async def drain(opened: WebSocketPipe) -> None:
    while True:
        await opened.receive()


async def test_not_paired_says_how_to_pair() -> None:
    async with paired() as (ann, bob):
        ann.pairs.remove(bob.identity.id)
        with pytest.raises(NotPaired, match="moodmesh pair"):
            await ann.dial(bob)


async def test_both_ends_dialling_leaves_one_link_dialled_by_the_lower_id() -> None:
    async with paired() as (ann, bob):
        await asyncio.gather(ann.dial(bob), bob.dial(ann), return_exceptions=True)
        async with asyncio.timeout(5):
            while not linked_once(ann, bob):
                await asyncio.sleep(0.01)
        assert ann.events.duplicates == bob.events.duplicates == []


def linked_once(ann: Device, bob: Device) -> bool:
    ours, theirs = ann.endpoint.links.get(bob.identity.id), bob.endpoint.links.get(ann.identity.id)
    return ours is not None and theirs is not None and ours.dialler == theirs.dialler


async def test_dialling_twice_at_once_is_one_link() -> None:
    async with paired() as (ann, bob):
        first, second = await asyncio.gather(ann.dial(bob), ann.dial(bob))
        assert first is second
        assert bob.events.duplicates == []


async def test_a_copied_identity_is_refused_and_both_sides_are_told() -> None:
    async with paired() as (ann, bob), device(ann.identity) as copy:
        copy.pairs.add(ann.pairs.get(bob.identity.id))  # type: ignore[arg-type]
        copy.endpoint.links._instance = "c" * 16  # another process
        live = await ann.dial(bob)
        await bob.events.up.get()
        with pytest.raises(DuplicateIdentity):
            await copy.dial(bob)
        assert bob.events.duplicates == [(ann.identity.id, "peer")]
        assert copy.events.duplicates == [(bob.identity.id, "us")]
        async with asyncio.timeout(5):
            while not ann.events.duplicates:
                await asyncio.sleep(0.01)
        assert not live.closed
        assert bob.events.up.empty()


async def test_a_restarted_device_comes_back_on_the_same_port() -> None:
    async with paired() as (ann, bob):
        await ann.dial(bob)
        await bob.events.up.get()
        port, identity = bob.endpoint.port, bob.identity
        bob.endpoint.links.seek(ann.identity.id, [ann.address])
        async with device() as nobody:
            assert nobody.endpoint.port != port
        await bob.endpoint.links.close()
        await ann.events.down.get()
        await bob.endpoint.acceptor.close()
        async with device(identity, port) as again:
            again.befriend(ann)
            ann.endpoint.links.seek(identity.id, [again.address], bob.endpoint.rids.current)  # a rid of the dead process
            async with asyncio.timeout(10):
                link = await again.events.up.get()
            assert link.peer == ann.identity.id


async def test_the_first_good_address_wins_whatever_the_others_do() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # the system accepts, and nobody ever answers
        await first_good_address(silent.getsockname())


async def first_good_address(tarpit: tuple[str, int]) -> None:
    async with paired(3) as (ann, bob, eve):
        closed = ("127.0.0.1", 1)
        rid = bob.endpoint.rids.current
        link = await ann.endpoint.links.dial(bob.identity.id, [closed, tarpit, eve.address, bob.address], rid)
        assert link.address == bob.address
        with pytest.raises(DialFailed, match=f"127.0.0.1 port 1: .*127.0.0.1 port {eve.address[1]}: .*paired certificate"):
            await eve.endpoint.links.dial(bob.identity.id, [closed, eve.address], eve.endpoint.rids.current)


async def test_a_half_paired_peer_is_confirmed_by_the_first_link() -> None:
    async with paired() as (ann, bob):
        pair = bob.pairs.get(ann.identity.id)
        assert pair is not None
        bob.pairs.add(type(pair)(pair.peer, pair.name, pair.certificate, pair.k_pair, half=True))
        await ann.dial(bob)
        await bob.events.up.get()
        assert bob.events.confirmed == [ann.identity.id]
        assert ann.events.confirmed == []


async def test_a_new_rid_is_told_on_the_live_link() -> None:
    async with paired() as (ann, bob):
        link = await ann.dial(bob)
        bob.endpoint.rids.rotate()
        bob.endpoint.rids.rotate()
        async with asyncio.timeout(5):
            while link.rid != bob.endpoint.rids.current:
                await asyncio.sleep(0.01)


@pytest.mark.parametrize(("theirs", "older"), [((2,), "us"), ((1,), "peer")])
async def test_no_common_major_names_the_older_side_on_both(theirs: tuple[int, ...], older: str) -> None:
    async with paired() as (ann, bob):
        ann.endpoint.links._versions = (1,) if theirs == (2,) else (2, 3)
        bob.endpoint.links._versions = theirs
        with pytest.raises(Incompatible) as refused:
            await ann.dial(bob)
        assert refused.value.older == older
        assert ann.endpoint.links.troubles[bob.identity.id].older == older
        assert bob.endpoint.links.troubles[ann.identity.id].older == ("peer" if older == "us" else "us")
        assert bob.events.up.empty()


def frame_head(opcode: int, size: int, fin: bool = True) -> bytes:
    """The start of a masked WebSocket frame that announces `size` bytes."""
    return struct.pack(">BBQ", (0x80 if fin else 0) | opcode, 0x80 | 127, size) + b"\x00\x00\x00\x00"


@pytest.mark.parametrize(
    "hostile",
    [
        frame_head(1, 1 << 30),
        frame_head(2, 1 << 30),
        frame_head(2, (1 << 20) + 37),
        frame_head(1, 1 << 20, fin=False) + bytes(1 << 20) + frame_head(0, 1 << 20),
        b"\xff" * 4,
        b"\x89\x80\x00\x00\x00\x00",  # ping
        b"\x81\x80\x00\x00\x00\x00",  # empty text
    ],
    ids=["1 GiB text", "1 GiB chunk", "one byte too many", "fragments beyond the cap", "no frame", "ping", "empty"],
)
async def test_a_hostile_frame_closes_the_link_without_being_read(hostile: bytes) -> None:
    async with paired() as (ann, bob):
        opened = await welcomed(ann, bob)
        opened._transport.write(hostile)
        async with asyncio.timeout(5):
            assert (await bob.events.down.get())[0] == ann.identity.id
        await opened.close()


@pytest.mark.parametrize(
    "text",
    [
        b"[]",
        b'{"a":1,"kind":"late"}',
        b'{"kind":"chunk","a":1}',
        b'{"kind":"log","line":"' + b"x" * (16 * 1024) + b'"}',
        b'{"kind":"welcome"}',
        b"\xff\xfe",
    ],
)
async def test_a_message_outside_the_protocol_closes_the_link(text: bytes) -> None:
    async with paired() as (ann, bob):
        opened = await welcomed(ann, bob)
        await opened.send(Frame(False, text))
        async with asyncio.timeout(5):
            await bob.events.down.get()
        assert bob.events.got.empty()
        await opened.close()


async def test_a_message_that_never_ends_closes_the_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe.adopt, "__defaults__", (0.3,))
    async with paired() as (ann, bob):
        opened = await welcomed(ann, bob)
        opened._transport.write(frame_head(1, 1000))
        slow = asyncio.create_task(drip(opened))
        async with asyncio.timeout(5):
            assert "no whole message" in (await bob.events.down.get())[1]
        slow.cancel()
        await opened.close()
    assert pipe.SILENCE_S == 30


async def drip(opened: WebSocketPipe) -> None:
    while True:
        opened._transport.write(b"x")
        await asyncio.sleep(0.02)


async def test_an_unknown_kind_is_passed_up_and_a_truncated_message_ends_the_link() -> None:
    async with paired() as (ann, bob):
        opened = await welcomed(ann, bob)
        await opened.send(Frame(False, b'{"kind":"from_the_future","x":1}'))
        assert await bob.events.got.get() == Envelope("from_the_future", b'{"x":1}')
        opened._transport.write(frame_head(1, 1000) + b"half")
        opened._transport.abort()
        async with asyncio.timeout(5):
            await bob.events.down.get()
        await opened.close()


async def test_nothing_before_welcome_reaches_the_node() -> None:
    async with paired() as (ann, bob):
        opened = await raw(ann, bob)
        await opened.send(Frame(False, b'{"kind":"reserve"}'))
        with pytest.raises(LinkClosed):
            await opened.receive()
        assert bob.events.up.empty()
        assert bob.events.got.empty()


async def test_a_redirect_is_not_followed() -> None:
    elsewhere: list[str] = []

    async def note(request: web.Request) -> web.Response:
        elsewhere.append(request.path)
        return web.Response()

    target = web.Application()
    target.router.add_get("/{path:.*}", note)
    runner = web.AppRunner(target)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    url = f"http://127.0.0.1:{runner.addresses[0][1]}/secret"

    async def redirect(request: web.Request) -> web.Response:
        raise web.HTTPFound(url)

    async with paired() as (ann, bob):
        hostile = web.Application()
        hostile.router.add_get("/link", redirect)
        context = server_context(bob.identity.credential, ann.identity.credential.certificate)
        acceptor = Acceptor(hostile, lambda: context)
        port = await acceptor.start(0, LOOPBACK)
        with pytest.raises(DialFailed, match="redirect"):
            await ann.endpoint.links.dial(bob.identity.id, [("127.0.0.1", port)], bytes(16))
        await acceptor.close()
    async with ClientSession() as session:  # the target does work
        await session.get(url)
    assert elsewhere == ["/secret"]
    await runner.cleanup()


async def test_a_message_too_large_to_send_leaves_the_link_up() -> None:
    async with paired() as (ann, bob):
        link = await ann.dial(bob)
        with pytest.raises(BadMessage):
            await link.send(Envelope("log", b'{"line":"' + b"x" * (16 * 1024) + b'"}'))
        await link.send(Envelope("log", b"{}"))
        assert (await bob.events.got.get()).kind == "log"


def test_the_lower_id_keeps_the_link_and_doubt_means_probing() -> None:
    assert choose("a", "run1", "b", "run1") == "keep"
    assert choose("b", "run1", "a", "run1") == "replace"
    assert choose("a", "run1", "b", "run2") == choose("a", "run1", "a", "run1") == "probe"


@given(st.integers(1, 10_000), st.floats(0, 1, exclude_max=True))
def test_backoff_grows_from_half_a_second_to_a_minute(failures: int, draw: float) -> None:
    assert 0.5 <= backoff(failures, draw) <= 60
    assert backoff(failures, draw) <= backoff(failures + 1, draw)
    assert backoff(1, 0) == 0.5


def test_jitter_is_small_and_differs_between_the_ends() -> None:
    ids = [new_identity().id for _ in range(20)]
    for one, other in pairwise(ids):
        assert 0 <= jitter(one, other) <= 0.15
        assert jitter(one, other) == jitter(one, other) != jitter(other, one)


def test_link_local_addresses_come_first_and_eight_are_kept() -> None:
    many = [(f"192.0.2.{number}", 1) for number in range(10)]
    assert ordered([many[0], ("fe80::1%eth0", 1), many[0]]) == (("fe80::1%eth0", 1), many[0])
    assert len(ordered(many)) == 8


def test_a_welcome_fits_its_cap() -> None:
    largest = Welcome(
        versions=tuple(range(1, 17)),
        features=("f" * 32,) * 64,
        rid="0" * 32,
        port=65535,
        instance="0" * 16,
    )
    assert len(encode(largest.envelope(), Caps()).data) < Caps().of("welcome")
