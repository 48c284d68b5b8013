"""Who may have a part in a room, and what a paired device can do to it: circles, invitations, floods (room-mood §2.1, §12)."""

from __future__ import annotations

import asyncio
import base64
import os
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moodmesh.mesh.rooms.member import Declined
from moodmesh.mesh.rooms.sitting import room_tag
from moodmesh.mesh.rooms.transcript import Keys, Roster, Run, seated
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import Refused, UsageError
from moodmesh.nodes.messages import RoomMember, RoomWord
from moodmesh.nodes.rooms import ways
from moodmesh.nodes.rooms.live import Rooms, Seat
from moodmesh.nodes.rooms.model import PREFIX, Room, create, read_code
from moodmesh.nodes.rooms.person import Known, RoomPerson
from moodmesh.nodes.rooms.ways import Way, Ways
from moodmesh.privacy.release.budget import Caps, Spent
from moodmesh.privacy.release.mechanism import Ambient

ME, BEN, CLEO, DAN = (DeviceId(name * 52) for name in "abcd")
CIRCLE = create("us", "circle", people=(ME, BEN, CLEO))
RUN = Run(CIRCLE.id, 7, 1)


def person(claims: dict[DeviceId, bytes]) -> RoomPerson:
    nobody, ledger = cast(Any, None), cast(Any, SimpleNamespace(caps=Caps()))
    return RoomPerson(CIRCLE, "verified", ME, ledger, lambda: None, claims, Known(), nobody, nobody)


def circle(size: int) -> tuple[Roster, RoomPerson]:
    """So many join, of whom two claim their keys; what this device makes of it."""
    own = [Keys(RUN, os.urandom(32)) for _ in range(size)]
    anna = person({BEN: own[1].e_pub, CLEO: own[2].e_pub})
    return Roster(RUN, seated(keys.join() for keys in own), anna.params(size)), anna


def test_whom_nobody_named_is_in_no_circle() -> None:
    """An uninvited fourth who claims nothing would read the mean, and subtract its own."""
    roster, anna = circle(3)
    anna.accepts(roster)
    roster, anna = circle(4)
    with pytest.raises(Declined, match="not the people it was agreed on"):
        anna.accepts(roster)


def served(circles_are_for_all: bool, monkeypatch: pytest.MonkeyPatch) -> set[DeviceId | None]:
    """Who gets as far as the sitting of a circle: three by their links, a stranger by the open listener."""
    if circles_are_for_all:
        monkeypatch.setattr(Rooms, "_meant_for", lambda self, seat, peer: True)
    came: set[DeviceId | None] = set()

    async def story() -> None:
        nobody, clock = cast(Any, None), cast(Any, SimpleNamespace(wall=lambda: 7 * 600.0 + 30, sleep=asyncio.sleep))
        peers = cast(Any, SimpleNamespace(send=lambda *said: True))
        rooms = Rooms(ME, nobody, cast(Any, set()), nobody, lambda: None, peers, nobody, nobody, clock)
        rooms.seats[CIRCLE.room] = seat = Seat(Room(CIRCLE, "verified", 1.0), Known(), [])

        async def sitting(place: Any, first: bytes) -> None:
            came.add(getattr(place, "peer", None))

        seat.sitting = cast(Any, SimpleNamespace(serve=sitting))
        word = Keys(RUN, os.urandom(32))
        hello = bytes([1, 10, 1, 0]) + (7).to_bytes(8, "little") + CIRCLE.id + word.e_pub[:4]
        for peer in (BEN, CLEO, DAN):
            way = Way(cast(Any, SimpleNamespace(end=lambda key: None, slow=lambda peer: False)), (peer, True, 1))
            way.heard(hello)
            await rooms._serve(way)
        stranger = SimpleNamespace(receive=way.receive, close=lambda: None)
        way.heard(hello)
        await rooms._serve(cast(Any, stranger))
        claim = RoomMember(tag=room_tag(CIRCLE.id, 7).hex(), epoch=7, key=word.e_pub.hex(), proof=word.claim(DAN).hex())
        rooms.hear(DAN, claim)
        assert (DAN in seat.claims) == circles_are_for_all

    asyncio.run(story())
    return came


def test_a_circle_talks_with_those_it_names_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    assert served(False, monkeypatch) == {BEN, CLEO}


def test_a_circle_open_to_any_pair_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    assert served(True, monkeypatch) == {BEN, CLEO, DAN, None}


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"people": (ME, BEN, BEN)}, "each named once"), ({"open": True}, "cannot be open"), ({"people": (ME, BEN)}, "3 to 16"),
        ({"kind": "on-demand", "people": ()}, "epsilon is 1, 2 or 4"), ({"eps": 2}, "only on-demand"),
        ({"kind": "ambient", "hour_room": 4.0, "hour_alone": 16.0}, "only a circle names"), ({"hour_room": 1.0}, "no other"),
    ],
)  # fmt: skip
def test_an_invitation_to_a_room_that_cannot_be_is_refused_with_its_reason(change: dict[str, Any], why: str) -> None:
    """Two people as three, a circle whose people any stranger may list, a report without noise."""
    told = CIRCLE.model_copy(update=change).model_dump_json().encode()
    code = PREFIX + base64.b32encode(told).decode().rstrip("=").lower()
    with pytest.raises(UsageError, match=why):
        read_code(code)
    assert read_code(CIRCLE.code()) == CIRCLE


def flooded() -> tuple[int, bool]:
    """What waits after a peer sent 64 MiB that nobody reads, on as many ways as it likes; whether it was told off."""
    said: list[RoomWord] = []

    async def story() -> int:
        async def serve(way: Way) -> None:
            await asyncio.Event().wait()

        found = Ways(lambda peer, word: said.append(word) or True, serve)
        data = base64.b64encode(bytes(1 << 18)).decode()
        for k in range(256):
            found.hear(BEN, RoomWord(way=1 + k % 80, opened=True, data=data))
        waits = sum(way.unread for way in found._ways.values())
        await found.finish()
        return waits

    return asyncio.run(story()), any(word.end for word in said)


def test_what_a_peer_sends_and_nobody_reads_is_bounded() -> None:
    waits, ended = flooded()
    assert waits <= ways.UNREAD + (1 << 18)
    assert ended


def test_without_the_bound_it_would_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    monkeypatch.setattr(ways, "UNREAD", 1 << 40)
    assert flooded()[0] > 40 << 20


def test_an_invitation_that_would_be_dropped_is_refused_here() -> None:
    nobody, sent = cast(Any, None), list[Any]()
    peer = SimpleNamespace(rights=())
    peers = cast(
        Any, SimpleNamespace(send=lambda *said: sent.append(said) or True, peers={BEN: peer}, names=lambda: {BEN: "ben"})
    )
    clock = cast(Any, SimpleNamespace(wall=lambda: 0.0))
    rooms = Rooms(ME, nobody, nobody, nobody, lambda: None, peers, nobody, nobody, clock)
    seat = Seat(Room(CIRCLE, "verified", 1.0), Known(), [])
    with pytest.raises(Refused, match="ben takes no invitations"):
        rooms.invite(seat, BEN)
    peer.rights = ("room.invite",)
    rooms.invite(seat, BEN)
    assert len(sent) == 1


def test_members_with_other_budgets_agree_on_the_noise_of_a_room() -> None:
    """It had followed from each device's own settings: whoever changed them was in no room, and was not told why."""
    hall, found = create("hall", "ambient", hour=Spent(2.0, 8.0)), []
    for caps in (Caps(), Caps(hour=Spent(1.0, 4.0))):
        ledger = cast(Any, SimpleNamespace(caps=caps))
        nobody = cast(Any, None)
        found.append(RoomPerson(hall, "verified", ME, ledger, lambda: None, {}, Known(), nobody, nobody).params(40))
    assert found[0] == found[1]
    assert found[0].sigma > Ambient.within(40).sigma
