"""Rooms are an optional part of a node: what they cannot have does not end it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms import live
from moodmesh.nodes.rooms.live import Rooms, Seat
from moodmesh.nodes.rooms.model import Room, create
from moodmesh.nodes.rooms.person import Known


@pytest.mark.parametrize("fails", [True, False])
async def test_without_a_listener_no_room_is_shown_and_the_node_goes_on(monkeypatch: pytest.MonkeyPatch, fails: bool) -> None:
    shown: list[tuple[int, int | None]] = []

    class Doors:
        def __init__(self, rid: bytes, *more: Any) -> None:
            self.rid = rid

        async def open(self, hosts: Any) -> int:
            if fails:
                raise OSError("too many open files")
            return 4711

        def adopt(self, sock: Any, host: str) -> None:
            raise AssertionError("nobody comes by radio")

    monkeypatch.setattr(live, "Doors", Doors)
    endpoint = SimpleNamespace(rids=SimpleNamespace(current=b"r" * 16))
    discovery = SimpleNamespace(show_rooms=lambda tags, port, adopt: shown.append((len(tags), port)))
    peers, clock = SimpleNamespace(send=lambda *said: True), SimpleNamespace(wall=lambda: 0.0)
    nobody = cast(Any, None)
    rooms = Rooms(DeviceId("m" * 52), nobody, nobody, nobody, lambda: None, *cast(Any, (peers, endpoint, discovery, clock)))
    room = create("cafe", "on-demand", 4)
    rooms.seats[room.room] = Seat(Room(room, "verified", 1.0), Known(), [])
    await rooms._show()
    assert shown == [(0, None) if fails else (1, 4711)]
