"""The rooms of a node over its store: which conditions hold, who sits once, what is closed for good (room-mood §2, §3)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.rooms.member import Declined
from moodmesh.mesh.rooms.sitting import Aborted
from moodmesh.mesh.rooms.transcript import Draw, Keys, Roster, Run, seated
from moodmesh.mesh.rooms.wire import Message, Step, encode
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import NotFound, Refused
from moodmesh.nodes.messages import RoomMember
from moodmesh.nodes.rooms import book as books
from moodmesh.nodes.rooms import live
from moodmesh.nodes.rooms.barred import Barred
from moodmesh.nodes.rooms.book import RoomBook
from moodmesh.nodes.rooms.live import Rooms, Seat
from moodmesh.nodes.rooms.model import Descriptor, create
from moodmesh.nodes.rooms.person import RoomPerson
from moodmesh.nodes.rooms.ways import Way
from moodmesh.nodes.store import Store
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.ledger import Charge, Ledger

ANNA, BEN, CLEO = (DeviceId(name * 52) for name in "abc")
US = create("us", "circle", people=(ANNA, BEN, CLEO))
CAFE = create("cafe", "on-demand", 4, open=True)
EPOCH, FELT = 7, EmotionVector(0.4, -0.2, valence_sd=0.1, arousal_sd=0.1, at=0.0)


class Still(SystemClock):
    """Half a minute into an epoch, for ever; what waits for it waits."""

    def wall(self) -> float:
        return EPOCH * 600.0 + 30

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class Node:
    """The rooms of one device, whose linked peers are other such nodes."""

    def __init__(self, folder: Path, me: DeviceId = ANNA, *, circles: bool = True) -> None:
        self.me, self.others = me, dict[DeviceId, Node]()
        self.store = Store(folder / f"{me[0]}.db")
        self.store.open()
        self.ledger = Ledger(folder / f"{me[0]}.ledger", begun=False)
        self.said: list[Any] = []
        linked = {p: SimpleNamespace(id=p, link=object(), rights=()) for p in (ANNA, BEN, CLEO) if p != me}
        peers = SimpleNamespace(
            send=self._send, names=lambda: {p: p[0] for p in (ANNA, BEN, CLEO)}, peers=linked, linked=linked.values
        )
        discovery = SimpleNamespace(show_rooms=lambda tags, port, adopt=None: None, in_room=lambda tag: [])
        endpoint = SimpleNamespace(rids=SimpleNamespace(current=b"r" * 16))
        clock, book = Still(), RoomBook(self.store)
        self.rooms = Rooms(
            me, book, Barred(self.store, clock), self.ledger, lambda: FELT,
            *cast(Any, (peers, endpoint, discovery, clock)), circles=circles, hosts=["127.0.0.1"],
        )  # fmt: skip
        self.book = book
        self.rooms._loop = asyncio.get_running_loop()

    def _send(self, peer: DeviceId, message: Any) -> bool:
        self.said.append(message)
        if (other := self.others.get(peer)) is not None:
            asyncio.get_running_loop().call_soon(other.rooms.hear, self.me, message)
        return peer != self.me

    async def close(self) -> None:
        await self.rooms._rise(list(self.rooms.seats.values()))
        if self.rooms._doors is not None:
            await self.rooms._doors.close()
        self.store.close()


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Callable[..., Node]]:
    made: list[Node] = []

    def build(*args: Any, **more: Any) -> Node:
        made.append(Node(tmp_path, *args, **more))
        return made[-1]

    yield build
    for one in made:
        await one.close()


# -- a room is what was agreed to --------------------------------------------------------------------------------------


def same_id(room: Descriptor) -> Descriptor:
    """Another room of this id, as its maker may hand it out."""
    return create("calm", "on-demand", 1).model_copy(update={"room": room.room})


@pytest.mark.parametrize("room", [CAFE, US])
async def test_another_room_of_a_known_id_is_refused_before_and_after_it_is_agreed_to(
    node: Callable[..., Node], room: Descriptor
) -> None:
    """Else its user agreed to epsilon 1 and sends with 4, or agreed to a blur and sends the exact mood."""
    anna = node()
    await anna.rooms.leave(await anna.rooms.join(room, "verified"))
    for refused in (anna.rooms.possible(same_id(room)), anna.rooms.join(same_id(room), "verified")):
        with pytest.raises(Refused, match="other conditions"):
            await refused
    assert anna.rooms.seats == {}
    assert await anna.book.rooms() == []
    await anna.rooms.possible(room)
    assert (await anna.rooms.join(room, "verified")).room.descriptor == room


async def test_without_the_look_at_what_is_known_the_other_room_would_be_joined(
    node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation."""
    monkeypatch.setattr(books, "_fits", lambda db, new: None)
    anna = node()
    await anna.rooms.leave(await anna.rooms.join(CAFE, "verified"))
    assert (await anna.rooms.join(same_id(CAFE), "verified")).room.descriptor != CAFE


async def test_a_room_that_cannot_be_any_more_is_left_and_joined_anew_with_what_was_closed(node: Callable[..., Node]) -> None:
    anna = node()
    await anna.rooms.leave(await anna.rooms.join(US, "verified"))
    await anna.rooms.join(US, "verified")
    await anna.book.close(US.room, EPOCH)
    old = json.dumps({**json.loads(US.model_dump_json()), "people": [ANNA]})
    await anna.store.write("x", lambda db: db.execute("UPDATE room SET descriptor=? WHERE id=?", (old, US.room)))
    assert await anna.book.rooms() == []
    await anna.rooms._rise(list(anna.rooms.seats.values()))
    anna.rooms.seats.clear()
    seat = await anna.rooms.join(US, "verified")
    assert (seat.room.descriptor, seat.known.closed) == (US, EPOCH)
    assert [room.descriptor for room in await anna.book.rooms()] == [US]


# -- circles that are off ----------------------------------------------------------------------------------------------


async def heard_by_a_circle(node: Callable[..., Node]) -> tuple[Seat, list[Any], bool]:
    """A circle that was joined before circles were switched off: its seat, what is said, and whether it serves."""
    before = node()
    await before.rooms.join(US, "verified")
    anna = node(circles=False)
    seat = await anna.rooms._seat((await anna.book.rooms())[0])
    anna.rooms._sit(seat)
    anna.rooms.up(BEN)
    anna.rooms.hear(BEN, RoomMember(tag=anna.rooms._tag(seat).hex(), epoch=EPOCH))
    served: list[Any] = []
    if seat.sitting is not None:
        await anna.rooms._rise([replace(seat)])  # its task alone

        async def serve(place: Any, first: bytes) -> None:
            served.append(first)

        seat.sitting.serve = serve  # type: ignore[method-assign, assignment]
    way = Way(cast(Any, SimpleNamespace(end=lambda key: None, slow=lambda peer: False)), (BEN, True, 1))
    way.heard(encode(Message(Step.HERE, False, 0, EPOCH, US.id, bytes(4))))
    await anna.rooms._serve(way)
    said = [m for m in anna.said if isinstance(m, RoomMember)]
    if seat.sitting is None:
        with pytest.raises(Refused, match=r"privacy\.circle"):
            anna.rooms.ask(seat)
        await anna.rooms.leave(seat)
        assert anna.said == []
    return seat, said, bool(served)


async def test_circles_that_are_off_sit_no_more_serve_nobody_and_say_why(node: Callable[..., Node]) -> None:
    seat, said, served = await heard_by_a_circle(node)
    assert (seat.sitting, seat.task, said, served) == (None, None, [], False)
    assert "privacy.circle" in seat.state


async def test_off_for_what_is_joined_from_now_on_alone_would_be_noticed(
    node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: looked at when a circle is joined."""
    monkeypatch.setattr(Rooms, "_is_off", lambda self, seat: False)
    seat, said, served = await heard_by_a_circle(node)
    assert seat.sitting is not None
    assert said
    assert served


# -- one device sits once ----------------------------------------------------------------------------------------------


async def sittings(node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> tuple[int, int, int]:
    """How many of eight who join at once are let in, how many sittings there ever were, and how many outlive a leave."""
    made: list[Any] = []

    class Counted(live.Sitting):
        def __init__(self, *args: Any, **more: Any) -> None:
            super().__init__(*args, **more)
            made.append(asyncio.current_task())

    monkeypatch.setattr(live, "Sitting", Counted)
    anna = node()
    told = await asyncio.gather(*(anna.rooms.join(CAFE, "verified") for _ in range(8)), return_exceptions=True)
    seats = [seat for seat in told if isinstance(seat, Seat)]
    assert all(isinstance(one, Refused | Seat) for one in told)
    await anna.rooms.leave(anna.rooms.seats[CAFE.room])
    alive = sum(seat.task is not None for seat in seats)
    await anna.rooms._rise(seats)
    return len(seats), len(made), alive


async def test_who_joins_many_times_at_once_is_one_person(node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """Else two people are a room of nine."""
    assert await sittings(node, monkeypatch) == (1, 1, 0)


async def test_without_the_lock_it_would_be_many(node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    monkeypatch.setattr(asyncio, "Lock", contextlib.nullcontext)
    accepted, made, alive = await sittings(node, monkeypatch)
    assert accepted == made > 1
    assert alive > 0


async def test_who_leaves_twice_at_once_is_told(node: Callable[..., Node]) -> None:
    anna = node()
    seat = await anna.rooms.join(CAFE, "verified")
    told = await asyncio.gather(*(anna.rooms.leave(seat) for _ in range(3)), return_exceptions=True)
    assert [type(one) for one in told] == [type(None), NotFound, NotFound]


async def test_what_is_stored_is_seated_before_anybody_joins(node: Callable[..., Node]) -> None:
    """A node that starts: the API is there while the store is still read."""
    await (before := node()).rooms.join(CAFE, "verified")
    anna = node()
    anna.rooms._endpoint.rids = cast(Any, SimpleNamespace(current=b"r" * 16, watch=lambda turned: None))
    running = asyncio.ensure_future(anna.rooms.run())
    await asyncio.sleep(0)
    with pytest.raises(Refused, match="already"):
        await anna.rooms.join(CAFE, "verified")
    running.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await running
    assert before.rooms.seats.keys() == anna.rooms.seats.keys()


# -- what is closed stays closed ---------------------------------------------------------------------------------------


def draw_of(room: Descriptor, person: RoomPerson, n: int) -> Draw:
    run = Run(room.id, EPOCH, 1)
    keys = [Keys(run, os.urandom(32)) for _ in range(n)]
    roster = Roster(run, seated(k.join() for k in keys), person.params(n))
    return Draw(roster, tuple(os.urandom(32) for _ in keys))


async def rights(node: Callable[..., Node], room: Descriptor, n: int) -> list[bool]:
    """Whether a device that is killed, and one that leaves and comes back, takes its right of the epoch again."""
    taken = []
    for k in range(3):
        anna = node()
        if k == 0:
            seat = await anna.rooms.join(room, "verified")
        else:
            seat = await anna.rooms._seat((await anna.book.rooms())[0])
            if k == 2:
                await anna.rooms.leave(seat)
                seat = await anna.rooms.join(room, "verified")
            else:
                anna.rooms._sit(seat)
        assert seat.sitting is not None
        person = cast(RoomPerson, seat.sitting._person)
        if k == 0 and room.kind != "circle":
            await asyncio.to_thread(person.release, draw_of(room, person, n))
        taken.append(await asyncio.to_thread(person.once, draw_of(room, person, n), range(n)))
    return taken


@pytest.mark.parametrize(("room", "n"), [(US, 3), (CAFE, 6)])
async def test_the_one_right_of_an_epoch_is_used_up_on_disk(node: Callable[..., Node], room: Descriptor, n: int) -> None:
    assert await rights(node, room, n) == [True, False, False]


async def test_a_right_that_is_not_written_down_would_be_used_again(
    node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: of a circle nothing else stands against a second set."""
    monkeypatch.setattr(RoomBook, "close", lambda self, room, epoch: asyncio.sleep(0))
    assert await rights(node, US, 3) == [True, True, True]


# -- what left is told -------------------------------------------------------------------------------------------------


async def entered(anna: Node, said: list[bytes], error: Exception) -> str:
    """The state of a seat after an attempt that came to nothing, when this had been said."""
    seat = await anna.rooms.join(CAFE, "verified")
    await anna.rooms._rise([seat])

    async def fails() -> Any:
        raise error

    seat.sitting = cast(Any, SimpleNamespace(take_part=fails, said=said, excluded=(), excluded_places=()))
    await anna.rooms._once(seat, cast(Any, None))
    seat.sitting = None
    return seat.state


def words(*steps: Step) -> list[bytes]:
    return [encode(Message(step, False, 1, EPOCH, CAFE.id, b"")) for step in steps]


SPOKE = (Step.HERE, Step.JOIN, Step.REVEAL)


@pytest.mark.parametrize("error", [Aborted("no relay brought it to an end"), Declined("a full day is spent")])
@pytest.mark.parametrize(("said", "what"), [(SPOKE, "refused"), ((*SPOKE, Step.SEAT, Step.SHARES), "sent")])
async def test_after_shares_left_the_ledger_never_says_that_nothing_was_sent(
    node: Callable[..., Node], error: Exception, said: tuple[Step, ...], what: str
) -> None:
    anna = node()
    assert await entered(anna, words(*said), error) == str(error)
    assert [line.what for line in await asyncio.to_thread(anna.ledger.lines)] == [what]


async def test_a_ledger_that_is_closed_is_the_reason_told_and_no_failure(node: Callable[..., Node]) -> None:
    anna = node()
    await asyncio.to_thread(anna.ledger._path.write_text, "nonsense")
    assert await entered(anna, [], Declined("the ledger is damaged")) == "the ledger is damaged"


async def previewed(node: Callable[..., Node]) -> list[tuple[bool, bool, int]]:
    """(sent, forgotten, messages): before anything left, and after it did and the node started again; of another room."""
    anna, other = node(), create("other", "on-demand", 4)
    found = []
    for room in (CAFE, CAFE, other):
        told = await anna.rooms.preview(room)
        found.append((told["sent"], told["forgotten"], len(told["messages"])))
        charge = Charge(epoch=EPOCH, room=CAFE.room, kind="on-demand", n=5, honest=1, eps=1)
        with contextlib.suppress(Exception):
            await asyncio.to_thread(anna.ledger.charge, charge)
    return found


async def test_a_preview_never_denies_what_left_before_the_node_started_again(node: Callable[..., Node]) -> None:
    assert await previewed(node) == [(False, False, 4), (True, True, 0), (False, False, 4)]


async def test_a_preview_that_forgets_would_be_noticed(node: Callable[..., Node], monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: it had asked the sitting alone."""
    monkeypatch.setattr(Rooms, "_entered", lambda self, room: False)
    assert (await previewed(node))[1] == (False, False, 4)


async def test_with_a_ledger_that_is_closed_nothing_is_claimed_of_what_left(node: Callable[..., Node]) -> None:
    anna = node()
    await asyncio.to_thread(anna.ledger._path.write_text, "nonsense")
    with pytest.raises(Refused, match="nothing is sent until"):
        await anna.rooms.preview(CAFE)


# -- coming and going --------------------------------------------------------------------------------------------------


async def test_whoever_leaves_a_circle_and_comes_back_is_seen_by_all_and_sees_all(node: Callable[..., Node]) -> None:
    """Nobody was told of the leaving, and so nobody answered the one who came back: 2 are here, 3 are needed."""
    trio = [node(me) for me in (ANNA, BEN, CLEO)]
    for one in trio:
        one.others = {other.me: other for other in trio}
    for one in trio:
        await one.rooms.join(US, "verified")
    await asyncio.sleep(0.01)

    def present(one: Node) -> set[DeviceId]:
        return one.rooms.seats[US.room].present - {one.me}

    anna, ben, cleo = trio
    assert present(anna) == {BEN, CLEO}
    await anna.rooms.leave(anna.rooms.seats[US.room])
    await asyncio.sleep(0.01)
    assert present(ben) == {CLEO}
    await anna.rooms.join(US, "verified")
    await asyncio.sleep(0.01)
    assert [present(one) for one in trio] == [{BEN, CLEO}, {ANNA, CLEO}, {ANNA, BEN}]
    assert present(cleo) == {ANNA, BEN}
