"""Sitting out by a schedule: by the count of epochs alone, which everybody knows (room-mood §2.2)."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.rooms.barred import Barred
from moodmesh.nodes.rooms.book import RoomBook
from moodmesh.nodes.rooms.live import Rooms
from moodmesh.nodes.rooms.model import Room, create
from moodmesh.nodes.store import Store

HALL = create("hall", "ambient")
CIRCLE = create("us", "circle", people=("a", "b", "c"))


@pytest.mark.parametrize("every", [1, 2, 6, 144])
def test_it_takes_part_in_one_epoch_of_so_many_with_those_who_do_the_same(every: int) -> None:
    here = [
        epoch
        for epoch in range(3_000_000, 3_000_000 + 5 * every)
        if not Room(HALL, "verified", 0.0, every=every).out_for(epoch)
    ]
    assert len(here) == 5
    assert {b - a for a, b in itertools.pairwise(here)} == {every}
    assert here == [epoch for epoch in here if not Room(HALL, "assumed", 5.0, every=every).out_for(epoch)]


async def test_a_schedule_survives_and_nothing_is_shown_while_it_sits_out(tmp_path: Path) -> None:
    store = Store(tmp_path / "moodmesh.db")
    store.open()
    shown: list[int] = []
    nobody, peers = cast(Any, None), cast(Any, SimpleNamespace(send=lambda *said: True))
    discovery = cast(Any, SimpleNamespace(show_rooms=lambda tags, port, adopt: shown.append(len(tags))))
    clock = cast(Any, SimpleNamespace(wall=lambda: 601 * 600.0 + 30))
    endpoint = cast(Any, SimpleNamespace(rids=SimpleNamespace(current=b"r" * 16)))
    book = RoomBook(store)
    rooms = Rooms(DeviceId("m" * 52), book, Barred(store, clock), nobody, lambda: None, peers, endpoint, discovery, clock)
    seat = await rooms.join(HALL, "verified", 3)
    assert seat.task is None
    assert "one epoch of 3: again in 20 minutes" in seat.state
    assert shown == [0]
    await rooms.pace(seat, 6)
    assert [room.every for room in await book.rooms()] == [6]
    store.close()


async def test_a_circle_has_no_schedule() -> None:
    nobody, peers = cast(Any, None), cast(Any, SimpleNamespace(send=lambda *said: True))
    clock = cast(Any, SimpleNamespace(wall=lambda: 0.0))
    rooms = Rooms(DeviceId("a"), nobody, nobody, nobody, lambda: None, peers, nobody, nobody, clock)
    rooms._peers = cast(Any, SimpleNamespace(names=lambda: {"a": "a", "b": "b", "c": "c"}))
    with pytest.raises(UsageError, match="needs everybody"):
        await rooms.join(CIRCLE, "verified", 2)


async def test_a_room_of_another_version_is_left_out_and_the_node_goes_on(tmp_path: Path) -> None:
    store = Store(tmp_path / "moodmesh.db")
    store.open()
    book = RoomBook(store)
    cafe = create("cafe", "on-demand", 4)
    for number, one in enumerate((HALL, cafe), start=1):
        await book.join(Room(one, "verified", float(number)))
    old = HALL.model_dump_json(exclude={"hour_room", "hour_alone"})
    await store.write("x", lambda db: db.execute("UPDATE room SET descriptor=? WHERE id=?", (old, HALL.room)))
    assert [room.name for room in await book.rooms()] == ["cafe"]
    store.close()
