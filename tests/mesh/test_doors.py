"""The open listener: strangers come and go, and are never many or believed (pairing §3, room-mood §12.20)."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator

import pytest

from moodmesh.mesh.admission import Limits
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.rooms import doors
from moodmesh.mesh.rooms.doors import Doors, PipePlace, ask, enter
from moodmesh.mesh.rooms.wire import Malformed
from moodmesh.mesh.seams import LinkClosed


@contextlib.asynccontextmanager
async def listening(serve: object, listing: list[str] | None = None) -> AsyncIterator[bytes]:
    found = Doors(os.urandom(16), serve, lambda: listing or [], SystemClock())  # type: ignore[arg-type]
    port = await found.open(("127.0.0.1",))
    try:
        yield port.to_bytes(2, "little") + b"127.0.0.1"
    finally:
        await found.close()


async def echo(place: PipePlace) -> None:
    place.known()
    with contextlib.suppress(LinkClosed):
        while True:
            place.post((await place.receive())[::-1])
    place.close()


async def test_bytes_go_both_ways_in_their_order() -> None:
    async with listening(echo) as address:
        place = await enter(address)
        for k in range(20):
            place.post(bytes([k, 1]))
        assert [await place.receive() for _ in range(20)] == [bytes([1, k]) for k in range(20)]
        assert place.address((4711).to_bytes(2, "little")) == (4711).to_bytes(2, "little") + b"127.0.0.1"
        with pytest.raises(Malformed):
            place.address(b"abc")
        place.close()
        with pytest.raises(LinkClosed):
            await place.receive()


@pytest.mark.parametrize(
    "address", [b"", b"\x01\x00", b"\x01\x00kitchen.example", b"\x01\x00127.0.0.1", b"\x01\x00" + b"\xff" * 20]
)
async def test_an_address_that_leads_nowhere_is_a_closed_way(address: bytes) -> None:
    with pytest.raises(LinkClosed):
        await enter(address)


async def test_strangers_that_name_no_room_are_few_at_a_time() -> None:
    """Attack 20; the mutation calls every connection known at once, and all get in."""
    limit, most = Limits().per_loopback, 0

    async def silent(place: PipePlace) -> None:
        nonlocal most
        most += 1
        with contextlib.suppress(LinkClosed):
            await place.receive()

    async def welcoming(place: PipePlace) -> None:
        place.known()
        await silent(place)

    for serve, all_in in ((silent, False), (welcoming, True)):
        most = 0
        async with listening(serve) as address:
            came = await asyncio.gather(*(enter(address) for _ in range(limit + 8)), return_exceptions=True)
            if all_in:
                came += await asyncio.gather(*(enter(address) for _ in range(8)), return_exceptions=True)
            assert (most > limit) == all_in
            for place in came:
                if isinstance(place, PipePlace):
                    place.close()


async def test_a_reader_that_does_not_read_loses_its_way_and_no_memory_grows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doors, "UNREAD", 10_000)
    pressed: list[PipePlace] = []

    async def press(place: PipePlace) -> None:
        place.known()
        pressed.append(place)
        for _ in range(100):
            place.post(bytes(1000))
        with contextlib.suppress(LinkClosed):
            await place.receive()

    async with listening(press) as address:
        place = await enter(address)
        heard = 0
        with contextlib.suppress(LinkClosed):
            while True:
                heard += len(await place.receive())
        assert heard <= 10_000
        assert pressed


async def test_open_rooms_are_listed_for_whoever_asks() -> None:
    async with listening(echo, ["moodroom1:abc", "x" * 10]) as address:
        port = int.from_bytes(address[:2], "little")
        assert await ask(("127.0.0.1", port)) == ["moodroom1:abc", "x" * 10]
    assert await ask(("127.0.0.1", port)) == []


async def test_a_listing_that_never_ends_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    async with listening(echo, ["x" * 200_000]) as address:
        assert await ask(("127.0.0.1", int.from_bytes(address[:2], "little"))) == []


async def test_text_is_not_spoken_in_rooms() -> None:
    closed, heard = asyncio.Event(), []

    async def serve(place: PipePlace) -> None:
        place.known()
        with contextlib.suppress(LinkClosed):
            heard.append(await place.receive())
        closed.set()

    async with listening(serve) as address:
        place = await enter(address)
        await place._pipe.send(doors.Frame(False, b"hello"))
        async with asyncio.timeout(5):
            await closed.wait()
        assert heard == []
