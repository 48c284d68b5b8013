"""Addresses behind a radio: the same TLS, links, windows and rooms over its streams; a network is taken once there is one.

The radio of these tests is a socket pair for each stream, in the place of Bluetooth: `tests/mesh/ble` has the real one.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import socket
from collections.abc import Callable, Iterator

import pytest

from moodmesh.mesh import pipe
from moodmesh.mesh.ble import lane
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.dialling import ordered
from moodmesh.mesh.errors import DialFailed, NoWindow
from moodmesh.mesh.frames import CHUNK, CHUNK_BYTES
from moodmesh.mesh.links import choose
from moodmesh.mesh.pairing.code import parse
from moodmesh.mesh.pairing.join import join
from moodmesh.mesh.pieces import PIECE
from moodmesh.mesh.pipe import WebSocketPipe
from moodmesh.mesh.reach import PEER, ROOM, WINDOW, by_radio, reachable
from moodmesh.mesh.rooms.doors import Doors, PipePlace, enter
from moodmesh.mesh.seams import Envelope, LinkClosed
from moodmesh.mesh.tls import read_rid

from .support import Device, paired
from .test_pairing import COST, Kept, make_window, me

SECOND = 12_000  # bytes, as placement takes a radio for
Adopt = Callable[[socket.socket, str], None]


class Wires:
    """Streams to whoever is plugged in, by device and port."""

    def __init__(self) -> None:
        self.plugged: dict[tuple[str, int], Adopt] = {}
        self.made: list[socket.socket] = []

    async def stream(self, device: str, port: int) -> socket.socket:
        if (device, port) not in self.plugged:
            raise OSError("the device is out of reach")
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self.plugged[device, port](theirs, "wire/someone")
        return ours


class Narrow(Wires):
    """Streams through a lane's sockets, and 512 bytes a millisecond; nothing passes while `open` is not set."""

    def __init__(self) -> None:
        super().__init__()
        self.open, self.passed = asyncio.Event(), 0
        self.open.set()
        self.pumps: list[asyncio.Task[None]] = []

    async def stream(self, device: str, port: int) -> socket.socket:
        (ours, near), (far, theirs) = lane._pair(), lane._pair()
        self.plugged[device, port](theirs, "wire/someone")
        self.pumps += [asyncio.create_task(self._pump(*ends)) for ends in ((near, far), (far, near))]
        return ours

    async def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with source, contextlib.suppress(OSError):
            while data := await loop.sock_recv(source, 512):
                await self.open.wait()
                await asyncio.sleep(0.001)
                self.passed += len(data)
                await loop.sock_sendall(sink, data)


@pytest.fixture
def wires() -> Iterator[Wires]:
    found = Wires()
    with reachable("wire", found):
        yield found


def plug(wires: Wires, device: Device) -> tuple[str, int]:
    name = device.identity.id[:8]
    wires.plugged[name, PEER] = device.endpoint.acceptor.adopt
    return f"wire/{name}", PEER


async def up(device: Device) -> bool:
    """Whether the link that comes up is by radio."""
    async with asyncio.timeout(5):
        return by_radio((await device.events.up.get()).address[0])


async def test_a_link_is_dialled_by_radio_with_the_rid_read_there(wires: Wires) -> None:
    async with paired() as (ann, bob):
        at = plug(wires, bob)
        assert await read_rid(at) == bob.endpoint.rids.current
        link = await ann.endpoint.links.dial(bob.identity.id, [at])
        assert link.address == at
        assert await up(bob)
        await link.send(Envelope("word", b'{"a":1}'))
        assert (await bob.events.got.get()).body == b'{"a":1}'


async def test_a_short_word_overtakes_a_long_one(wires: Wires, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes: list[int] = []
    send = WebSocketPipe.send

    async def noted(self: WebSocketPipe, frame: object) -> None:
        sizes.append(len(frame.data))  # type: ignore[attr-defined]
        await send(self, frame)  # type: ignore[arg-type]

    monkeypatch.setattr(WebSocketPipe, "send", noted)
    async with paired() as (ann, bob):
        link = await ann.endpoint.links.dial(bob.identity.id, [plug(wires, bob)])
        chunk = os.urandom(36) + os.urandom(CHUNK_BYTES)
        sending = asyncio.create_task(link.send(Envelope(CHUNK, chunk)))
        await asyncio.sleep(0.01)
        await link.send(Envelope("word", b"{}"))
        assert not sending.done()
        first, second = await bob.events.got.get(), await bob.events.got.get()
        assert (first.kind, second.kind) == ("word", CHUNK)
        assert second.body == chunk
        assert max(sizes) == PIECE + 1


async def ahead_of_a_word() -> int:
    """Bytes that a slow radio passes before a short word that is sent when a long one has been on its way for a while."""
    wires = Narrow()
    with reachable("wire", wires):
        async with paired() as (ann, bob), asyncio.timeout(10):
            link = await ann.endpoint.links.dial(bob.identity.id, [plug(wires, bob)])
            wires.open.clear()
            sending = asyncio.create_task(link.send(Envelope(CHUNK, os.urandom(36) + os.urandom(CHUNK_BYTES))))
            await asyncio.sleep(0.1)
            before, word = wires.passed, asyncio.create_task(link.send(Envelope("word", b"{}")))
            wires.open.set()
            assert (await bob.events.got.get()).kind == "word"
            passed = wires.passed - before
            await word
        await asyncio.gather(sending, *wires.pumps, return_exceptions=True)
    return passed


async def test_a_slow_radio_has_a_second_of_bytes_ahead_of_a_word_at_most() -> None:
    assert await ahead_of_a_word() < 2 * SECOND


async def test_mutation_looking_at_the_buffer_of_tls_alone_has_it_wait_for_five(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe, "_unwritten", lambda transport: transport.get_write_buffer_size())
    assert await ahead_of_a_word() > 5 * SECOND


async def test_what_nobody_waits_for_fails_in_silence(wires: Wires) -> None:
    loop, complaints = asyncio.get_running_loop(), []
    loop.set_exception_handler(lambda loop, context: complaints.append(context))
    async with paired() as (ann, bob):
        link = await ann.endpoint.links.dial(bob.identity.id, [plug(wires, bob)])
        sending = asyncio.create_task(link.send(Envelope(CHUNK, os.urandom(36) + os.urandom(CHUNK_BYTES))))
        await asyncio.sleep(0.01)
        sending.cancel()
        await link.close()
    del sending
    await asyncio.sleep(0.02)
    gc.collect()
    assert not complaints


async def test_a_link_moves_to_a_network_and_stays_there(wires: Wires) -> None:
    async with paired() as (ann, bob):
        at = plug(wires, bob)
        ann.endpoint.links.seek(bob.identity.id, [at])
        assert await up(ann)
        assert await up(bob)
        ann.endpoint.links.seek(bob.identity.id, [bob.address])
        assert not await up(ann)
        assert not await up(bob)
        for device in (ann, bob):
            assert "replaced" in (await device.events.down.get())[1]
        held = ann.endpoint.links.get(bob.identity.id)
        ann.endpoint.links.seek(bob.identity.id, [at])
        back = plug(wires, ann)
        assert await bob.endpoint.links.dial(ann.identity.id, [back]) is bob.endpoint.links.get(ann.identity.id)
        assert ann.endpoint.links.get(bob.identity.id) is held
        assert not ann.events.duplicates
        assert not bob.events.duplicates


async def test_where_the_network_is_gone_the_radio_is_taken_again(wires: Wires) -> None:
    async with paired() as (ann, bob):
        at = plug(wires, bob)
        ann.endpoint.links.seek(bob.identity.id, [("127.0.0.1", 1), at])
        assert await up(ann), "nobody answered on the network"


async def test_a_network_does_not_wait_for_a_radio_that_takes_long(wires: Wires) -> None:
    async with paired() as (ann, bob):
        asked = asyncio.Event()

        async def never(device: str, port: int) -> socket.socket:
            asked.set()
            await asyncio.Event().wait()
            raise AssertionError

        wires.stream = never  # type: ignore[method-assign]
        ann.endpoint.links.seek(bob.identity.id, [("wire/bob", PEER)])
        await asked.wait()
        ann.endpoint.links.seek(bob.identity.id, [bob.address])
        assert not await up(ann)


async def test_a_frame_that_its_sender_gave_up_spoils_none(wires: Wires) -> None:
    async with paired() as (ann, bob):
        link = await ann.endpoint.links.dial(bob.identity.id, [plug(wires, bob)])
        first, second = os.urandom(36) + b"1" * CHUNK_BYTES, os.urandom(36) + b"2" * 50_000
        sending = asyncio.create_task(link.send(Envelope(CHUNK, first)))
        await asyncio.sleep(0.01)
        sending.cancel()
        await link.send(Envelope(CHUNK, second))
        got = [(await bob.events.got.get()).body for _ in range(2)]
        assert got == [first, second]


async def test_long_text_crosses_in_pieces_and_short_text_between(wires: Wires) -> None:
    async with paired() as (ann, bob):
        link = await ann.endpoint.links.dial(bob.identity.id, [plug(wires, bob)])
        long = b'{"a":"' + b"x" * 12_000 + b'"}'
        sending = asyncio.create_task(link.send(Envelope("word", long)))
        await asyncio.sleep(0)
        await link.send(Envelope("beat", b"{}"))
        await sending
        got = [await bob.events.got.get() for _ in range(2)]
        assert {e.kind: e.body for e in got} == {"word": long, "beat": b"{}"}


@pytest.mark.parametrize(("slower", "verdict"), [(1, "keep"), (-1, "replace"), (0, "probe")])
def test_of_the_same_two_runs_the_network_wins(slower: int, verdict: str) -> None:
    assert choose("a", "1", "a", "1", slower) == verdict
    assert choose("a", "1", "a", "2", slower) == "probe", "another run is no better for being on a network"


def test_what_is_by_radio_is_tried_last() -> None:
    assert ordered([("wire/x", 1), ("10.0.0.1", 2), ("fe80::1%2", 3)]) == (("fe80::1%2", 3), ("10.0.0.1", 2), ("wire/x", 1))


async def test_two_devices_pair_by_radio(wires: Wires) -> None:
    window, kept, _ = make_window()
    stored = Kept()
    async with window.open(["127.0.0.1"]):
        wires.plugged["host", WINDOW] = window.adopt
        pair = await join(me("guest"), parse(window.code), ("wire/host", WINDOW), stored, COST)
        assert (await window.paired).k_pair == pair.k_pair
    assert [p.name for p in kept.pairs] == ["guest"]


async def test_rooms_are_entered_by_radio(wires: Wires) -> None:
    async def echo(place: PipePlace) -> None:
        place.known()
        with contextlib.suppress(LinkClosed):
            while True:
                place.post((await place.receive())[::-1])

    doors = Doors(os.urandom(16), echo, list, SystemClock())
    port = await doors.open(("127.0.0.1",))
    try:
        wires.plugged["relay", ROOM] = doors.adopt
        place = await enter(port.to_bytes(2, "little") + b"wire/relay")
        place.post(b"abc")
        assert await place.receive() == b"cba"
        place.close()
    finally:
        await doors.close()


async def test_who_is_out_of_reach_is_said_so(wires: Wires) -> None:
    async with paired() as (ann, bob):
        with pytest.raises(DialFailed, match="nobody shows a rid"):
            await ann.endpoint.links.dial(bob.identity.id, [("wire/nobody", PEER)])
        with pytest.raises(DialFailed, match="out of reach"):
            await ann.endpoint.links.dial(bob.identity.id, [("wire/nobody", PEER)], bob.endpoint.rids.current)
        with pytest.raises(DialFailed, match="the radio nothing is off"):
            await ann.endpoint.links.dial(bob.identity.id, [("nothing/x", PEER)], bob.endpoint.rids.current)
    with pytest.raises(NoWindow):
        await join(me("guest"), parse("37-482915"), ("wire/nobody", WINDOW), Kept(), COST)
