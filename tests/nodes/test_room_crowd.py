"""Attack 20: somebody holds the open listener of a room with connections of one address. Others still come in."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.rooms.doors import PipePlace
from moodmesh.mesh.rooms.wire import Message, Step, encode
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms import live
from moodmesh.nodes.rooms.live import MOST_OF_ONE, Rooms, Seat
from moodmesh.nodes.rooms.model import Room, create
from moodmesh.nodes.rooms.person import Known


class Comer(PipePlace):
    """A way in from an address, which names the room."""

    def __init__(self, host: str, first: bytes) -> None:
        self.host, self._first, self.closed = host, first, False
        self.known = lambda: None

    async def receive(self) -> bytes:
        return self._first

    def close(self) -> None:
        self.closed = True


async def let_in(hosts: list[str]) -> list[str]:
    """Of those who come, each from its address, whoever is served."""
    served: list[str] = []

    async def serve(place: Comer, first: bytes) -> None:
        served.append(place.host)
        await asyncio.Event().wait()

    clock = SystemClock()
    endpoint = SimpleNamespace(rids=SimpleNamespace(current=b"r" * 16))
    peers, nobody = SimpleNamespace(send=lambda *said: True), cast(Any, None)
    barred, discovery = cast(Any, set()), nobody
    rooms = Rooms(DeviceId("m" * 52), nobody, barred, nobody, lambda: None, *cast(Any, (peers, endpoint, discovery, clock)))
    room = create("cafe", "on-demand", 4)
    seat = rooms.seats[room.room] = Seat(Room(room, "assumed", 1.0), Known(), [])
    seat.sitting = cast(Any, SimpleNamespace(serve=serve))
    first = encode(Message(Step.HERE, False, 0, rooms.epoch, room.id, b"\x00\x00"))
    tasks = [asyncio.create_task(rooms._serve(Comer(host, first))) for host in hosts]
    await asyncio.sleep(0.05)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    return served


CROWD = ["203.0.113.9"] * 40


async def test_one_address_has_a_few_places_and_others_still_come_in() -> None:
    served = await let_in([*CROWD, "203.0.113.10"])
    assert served.count("203.0.113.9") == MOST_OF_ONE
    assert served[-1] == "203.0.113.10"


async def test_without_a_limit_one_address_would_have_them_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: an address may hold as many places as there are."""
    monkeypatch.setattr(live, "MOST_OF_ONE", live.MOST_HERE)
    assert (await let_in(CROWD)).count("203.0.113.9") == len(CROWD)
