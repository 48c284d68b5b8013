"""Who is taken for whom in a room: claims of paired devices; and who is left out: those found out cheating (room-mood §5.1)."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moodmesh.mesh.rooms.relay import Gathering
from moodmesh.mesh.rooms.sitting import room_tag
from moodmesh.mesh.rooms.transcript import Keys, Run
from moodmesh.mesh.rooms.wire import Message, Step, decode, unpack
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.messages import RoomMember
from moodmesh.nodes.rooms import live
from moodmesh.nodes.rooms.barred import DAY_S, Barred
from moodmesh.nodes.rooms.live import Rooms, Seat
from moodmesh.nodes.rooms.model import Room, create
from moodmesh.nodes.rooms.person import Known
from moodmesh.nodes.store import Store

ANNA, BEN = DeviceId("a" * 52), DeviceId("b" * 52)
CAFE = create("cafe", "on-demand", 4)
RUN = Run(CAFE.id, 7, 1)


class Hands:
    """A clock whose hands are turned."""

    def __init__(self) -> None:
        self.at = 7 * 600.0 + 30

    def wall(self) -> float:
        return self.at


@pytest.fixture
async def store(tmp_path: Path) -> AsyncIterator[Store]:
    opened = Store(tmp_path / "moodmesh.db")
    opened.open()
    yield opened
    opened.close()


def keys() -> Keys:
    return Keys(RUN, os.urandom(32))


def rooms_of(barred: Barred, clock: Hands) -> tuple[Rooms, Seat]:
    nobody, peers = cast(Any, None), cast(Any, SimpleNamespace(send=lambda *said: True))
    rooms = Rooms(DeviceId("m" * 52), nobody, barred, nobody, lambda: None, peers, nobody, nobody, cast(Any, clock))
    rooms.seats[CAFE.room] = seat = Seat(Room(CAFE, "verified", 1.0), Known(), [])
    return rooms, seat


def word(own: Keys, claimant: DeviceId) -> RoomMember:
    tag = room_tag(CAFE.id, RUN.epoch).hex()
    return RoomMember(tag=tag, epoch=RUN.epoch, key=own.e_pub.hex(), proof=own.claim(claimant).hex())


def counted(rooms: Rooms, seat: Seat) -> int:
    """How many devices are taken for people when Ben claims Anna's key in every way he has."""
    annas, bens = keys(), keys()
    rooms.hear(ANNA, word(annas, ANNA))
    stolen = word(annas, ANNA)
    others = Keys(RUN._replace(epoch=8), os.urandom(32), annas.x, annas._e).claim(BEN)  # of another epoch, had she said so
    for proof in (stolen.proof, bens.claim(BEN).hex(), "", others.hex()):
        rooms.hear(BEN, stolen.model_copy(update={"proof": proof}))
    return len(seat.claims)


async def test_a_key_is_claimed_by_its_owner_alone(store: Store) -> None:
    """Else one paired device would count a stranger, or a friend twice, as honest people."""
    rooms, seat = rooms_of(Barred(store, cast(Any, Hands())), Hands())
    assert counted(rooms, seat) == 1
    rooms.hear(BEN, word(keys(), BEN))
    assert set(seat.claims) == {ANNA, BEN}


async def test_a_claim_without_proof_would_count_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    monkeypatch.setattr(live, "claimed", lambda *_: True)
    assert counted(*rooms_of(Barred(store, cast(Any, Hands())), Hands())) == 2


async def test_who_was_found_out_is_left_out_for_a_day_also_after_a_restart(store: Store) -> None:
    clock = Hands()
    barred = Barred(store, cast(Any, clock))
    rooms, seat = rooms_of(barred, clock)
    annas, bens, strangers = keys(), keys(), keys()
    rooms.hear(ANNA, word(annas, ANNA))
    rooms.hear(BEN, word(bens, BEN))
    caught = frozenset({bens.e_pub, strangers.e_pub})
    seat.sitting = cast(Any, SimpleNamespace(excluded=caught, excluded_places=[]))
    await rooms._bar(seat)
    assert BEN in barred
    assert ANNA not in barred
    again = Barred(store, cast(Any, clock))
    await again.load()
    later, seat = rooms_of(again, clock)
    theirs = keys()
    later.hear(BEN, word(theirs, BEN))
    assert (seat.claims, seat.unwelcome) == ({}, {theirs.e_pub})
    clock.at += DAY_S + 1
    rooms.epoch = later.epoch = RUN.epoch
    later.hear(BEN, word(theirs, BEN))
    assert set(seat.claims) == {BEN}


def gathered(welcome: Any) -> int:
    """How many sit in the room that is gathered of three, one of whom is not welcome."""
    three = [keys() for _ in range(3)]
    gathering = Gathering(RUN, dict.fromkeys(range(3), b""), 1.0, None, welcome(three[1].e_pub))
    outs = [
        out
        for place, own in enumerate(three)
        for out in gathering.hear(place, Message(Step.JOIN, False, 1, RUN.epoch, RUN.room, own.join()), 0.0)
    ]
    assert {out.place for out in outs} <= {0, 1, 2}
    return len(unpack(decode(outs[0].data).body))


def test_who_is_not_welcome_gets_no_seat() -> None:
    assert gathered(lambda key: lambda e_pub: e_pub != key) == 2
    assert gathered(lambda key: lambda e_pub: True) == 3
