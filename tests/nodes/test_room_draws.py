"""Attack 13: aborting a room to get fresh draws of one mood. Attack 5 after a restart, and rooms that grow by attempts."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Sequence
from pathlib import Path

import pytest

from mesh.rooms import EPOCH, Room
from moodmesh.mesh.rooms.member import Declined, Member
from moodmesh.mesh.rooms.transcript import Draw, Roster, Run, Seat
from moodmesh.mesh.rooms.wire import Step
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms.model import Descriptor, create
from moodmesh.nodes.rooms.person import Known, RoomPerson
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.ledger import Charge, Ledger

AMBIENT, CAFE = create("hall", "ambient"), create("cafe", "on-demand", 4)
KITCHEN = create("kitchen", "circle", people=tuple(c * 64 for c in "abc"))
ME = DeviceId("a" * 64)


class Owner:
    """Of a device whose ledger and closed epochs survive it; feels something else each time."""

    def __init__(self, folder: Path) -> None:
        self.path, self.closed, self._asked = folder / "ledger", -1, 0

    def mood(self) -> EmotionVector:
        self._asked += 1
        return EmotionVector(0.01 * self._asked, 0.0, valence_sd=0.1, arousal_sd=0.1, at=0.0)

    def close(self, epoch: int) -> None:
        self.closed = epoch

    def device(self, room: Descriptor = AMBIENT) -> RoomPerson:
        """Started, for the first time or again."""
        ledger = Ledger(self.path, begun=self.path.exists())
        known = Known(closed=self.closed)
        return RoomPerson(room, "assumed", ME, ledger, self.mood, {}, known, self.close, lambda key: None)


@pytest.fixture
def owner(tmp_path: Path) -> Owner:
    return Owner(tmp_path)


def drawn(room: Descriptor, person: RoomPerson, attempt: int = 1, n: int = 0, epoch: int = EPOCH) -> Draw:
    """A draw of a room that others abort; made up, as its members are."""
    n = n or room.least
    seats = tuple(Seat(os.urandom(32), os.urandom(32), bytes(32), bytes(64)) for _ in range(n))
    return Draw(Roster(Run(room.id, epoch, attempt), seats, person.params(n)), (bytes(32),) * n)


def twenty(person: RoomPerson) -> list[Sequence[int]]:
    """What is given out to be shared in twenty attempts of an epoch, one after the other."""
    given = []
    for attempt in range(1, 21):
        with contextlib.suppress(Declined):
            given.append(tuple(person.release(drawn(person.room, person, attempt))))
    return given


@pytest.mark.parametrize("room", [AMBIENT, CAFE], ids=lambda room: room.kind)
def test_twenty_aborts_are_one_draw_and_one_charge(owner: Owner, room: Descriptor) -> None:
    person = owner.device(room)
    assert len(twenty(person)) == 1, "and shared once: two polynomials through one value need fewer holders each"
    assert sum(isinstance(line, Charge) for line in person.ledger.lines()) == 1


def test_a_circle_keeps_the_value_that_it_began_with(owner: Owner) -> None:
    given = twenty(owner.device(KITCHEN))
    assert (len(given), len(set(given))) == (20, 1)


def test_after_a_restart_there_is_no_second_draw(owner: Owner) -> None:
    person = owner.device()
    person.release(drawn(AMBIENT, person))
    again = owner.device()
    with pytest.raises(Declined, match="in this epoch"):
        again.release(drawn(AMBIENT, again, 2))
    assert sum(isinstance(line, Charge) for line in again.ledger.lines()) == 1
    again.release(drawn(AMBIENT, again, epoch=EPOCH + 1))


class Forgetful(RoomPerson):
    """Without the cache."""

    def release(self, draw: Draw) -> Sequence[int]:
        self._encoded = None
        return super().release(draw)


def forgetful(owner: Owner) -> Forgetful:
    person = owner.device()
    return Forgetful(person.room, "assumed", ME, person.ledger, person.mood, {}, Known(), person.close, person.claim)


def test_without_the_cache_the_ledger_still_stops_the_second(owner: Owner) -> None:
    person = forgetful(owner)
    assert len(twenty(person)) == 1
    with pytest.raises(Declined, match="in this epoch"):
        person.release(drawn(person.room, person, 21))


def test_with_neither_there_would_be_twenty(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    monkeypatch.setattr(RoomPerson, "_enter", lambda self, book, *told: None)
    assert len(set(twenty(forgetful(owner)))) == 20


@pytest.mark.parametrize("room", [AMBIENT, CAFE], ids=lambda room: room.kind)
def test_the_right_of_an_epoch_is_used_up_for_good(owner: Owner, room: Descriptor) -> None:
    """Attack 5, after a restart; the mutation is a device that does not write it down."""
    person = owner.device(room)
    assert person.once(drawn(room, person), range(5))
    assert not person.once(drawn(room, person, 2), range(5))
    again = owner.device(room)
    assert not again.once(drawn(room, again, 3), range(5))
    assert not again.once(drawn(room, again, epoch=EPOCH - 1), range(5)), "nor is that of an earlier one left"
    assert again.once(drawn(room, again, epoch=EPOCH + 1), range(5))
    owner.closed = -1
    assert owner.device(room).once(drawn(room, again, epoch=EPOCH + 1), range(5))


def test_of_five_runs_of_one_epoch_one_has_shares_and_one_is_charged(owner: Owner, monkeypatch: pytest.MonkeyPatch) -> None:
    """Through the protocol: this device and four others, who begin again and again; also had it not looked before it joins."""
    monkeypatch.setattr(RoomPerson, "_ready", lambda self, epoch: None)
    person, shared = owner.device(CAFE), []
    for attempt in range(1, 6):
        room = Room(5, run=Run(CAFE.id, EPOCH, attempt))
        for other in room.people:
            other.params = person.params  # type: ignore[method-assign]
        room.members[0] = Member(room.run, person)
        room.people[0] = person  # type: ignore[call-overload]
        room.set_up().open(rounds=0)
        shared += [attempt for place, m in room.steps(Step.SHARES) if place == 0]
    assert shared == [1]
    assert person.known.closed == EPOCH
    assert sum(isinstance(line, Charge) for line in person.ledger.lines()) == 1


def test_attempts_that_come_to_nothing_do_not_let_a_room_grow(owner: Owner) -> None:
    """A gatherer that shows ever larger rosters, four in an epoch."""
    person = owner.device(CAFE)
    person.known.size = 20
    sizes = [25, 31, 38, 47]
    person.accepts(drawn(CAFE, person, 1, sizes[0]).roster)
    for attempt, n in enumerate(sizes[1:], start=2):
        with pytest.raises(Declined, match="grew from 20"):
            person.accepts(drawn(CAFE, person, attempt, n).roster)
    person.release(drawn(CAFE, person, 4, 25))
    person.accepts(drawn(CAFE, person, 1, 31, EPOCH + 1).roster)


def test_claims_that_come_while_a_roster_is_looked_at_are_no_failure(owner: Owner) -> None:
    """They come on the event loop; rosters are looked at in a thread."""
    person, going = owner.device(CAFE), threading.Event()
    claims = {DeviceId(f"{k:064x}"): os.urandom(32) for k in range(2000)}
    person.claims = claims
    draw, before = drawn(CAFE, person), sys.getswitchinterval()

    def claim() -> None:
        for k in range(20_000):
            if going.is_set():
                return
            claims[DeviceId(str(k))] = b""

    writer = threading.Thread(target=claim)
    sys.setswitchinterval(1e-6)
    writer.start()
    try:
        assert {person.verified(draw, range(5)) for _ in range(30)} == {1}
    finally:
        going.set()
        writer.join()
        sys.setswitchinterval(before)
