"""Who may not or cannot send joins no run of a room: others would pay for a sum that cannot come about (room-mood §2)."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import pytest

from mesh.rooms import EPOCH, ROOM
from mesh.sittings import Told, sat
from moodmesh.mesh.rooms.member import Declined, Opened
from moodmesh.mesh.rooms.transcript import Keys, Run
from moodmesh.mesh.rooms.wire import Step, decode
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms.model import Descriptor, create
from moodmesh.nodes.rooms.person import Known, RoomPerson
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.ledger import Charge, Ledger

FELT = EmotionVector(0.3, 0.1, valence_sd=0.1, arousal_sd=0.1, at=0.0)
CAFE = create("cafe", "on-demand", 4).model_copy(update={"room": ROOM.hex()})
HALL = create("hall", "ambient").model_copy(update={"room": ROOM.hex()})
US = create("us", "circle", people=("0", "1", "2")).model_copy(update={"room": ROOM.hex()})
OTHER = "ab" * 32


def spend(ledger: Ledger) -> None:
    """The hour's budget goes to another room."""
    ledger.charge(Charge(epoch=EPOCH - 1, room=OTHER, kind="on-demand", n=5, eps=4, honest=1))


class Five:
    """Five people of one room, of whom some may not or cannot send."""

    def __init__(self, folder: Path, room: Descriptor = CAFE) -> None:
        self.books = [Ledger(folder / str(i) / "ledger", begun=False) for i in range(5)]
        self.known = [Known() for _ in range(5)]
        self.claimed: list[int] = []
        self.people = [self._person(i, room) for i in range(5)]
        self.folder = folder

    def _person(self, i: int, room: Descriptor) -> RoomPerson:
        return RoomPerson(
            room, "verified", DeviceId(str(i)), self.books[i], lambda: FELT, {}, self.known[i], lambda epoch: None,
            lambda keys: self.claimed.append(i), company=lambda: 1,
        )  # fmt: skip

    def unfelt(self, i: int) -> None:
        self.people[i].mood = lambda: None

    def spent(self, i: int) -> None:
        spend(self.books[i])

    def broken(self, i: int) -> None:
        (self.folder / str(i) / "ledger").write_text("nonsense")

    def closed(self, i: int) -> None:
        self.known[i].closed = EPOCH

    def charged(self) -> list[int]:
        """What each of the first three paid in this epoch."""
        lines = [book.lines() for book in self.books[:3]]
        return [sum(isinstance(line, Charge) and line.epoch == EPOCH for line in found) for found in lines]


def said(told: Told, i: int) -> set[Step]:
    return {decode(data).step for data in told.sittings[i].said}


KINDS = [
    (Five.unfelt, "moodmesh feel"),
    (Five.spent, "eps_room of the hour"),
    (Five.broken, "damaged"),
    (Five.closed, "again in"),
]


def paid_for_nothing(folder: Path, unready: Callable[[Five, int], None]) -> tuple[list[int], set[Step]]:
    """Two of five are not ready: what the others pay, and what the two say."""
    five = Five(folder)
    for i in (3, 4):
        unready(five, i)
    told = sat(five.people)
    assert not any(isinstance(one, Opened) for one in told.opened)
    return five.charged(), said(told, 3) | said(told, 4)


@pytest.mark.parametrize(("unready", "why"), KINDS)
def test_who_cannot_send_says_no_more_than_that_it_is_here(
    tmp_path: Path, unready: Callable[[Five, int], None], why: str
) -> None:
    assert paid_for_nothing(tmp_path / "room", unready) == ([0, 0, 0], {Step.HERE})
    five = Five(tmp_path / "alone")
    unready(five, 3)
    with pytest.raises(Declined, match=why):
        five.people[3].joining(Keys(Run(ROOM, EPOCH, 1), bytes(32)))
    assert five.claimed == [], "and no paired device is told a key of it"


@pytest.mark.parametrize("unready", [Five.unfelt, Five.spent])
def test_without_the_look_before_the_others_would_pay(
    tmp_path: Path, unready: Callable[[Five, int], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mutation: mood, budget and ledger are looked at when shares are due."""
    monkeypatch.setattr(RoomPerson, "_ready", lambda self, epoch: None)
    paid, spoke = paid_for_nothing(tmp_path, unready)
    assert paid == [1, 1, 1]
    assert spoke > {Step.HERE, Step.JOIN, Step.REVEAL}


def test_five_who_are_ready_are_told(tmp_path: Path) -> None:
    five = Five(tmp_path)
    told = sat(five.people).opened
    assert all(isinstance(one, Opened) for one in told), told
    assert five.charged() == [1, 1, 1]


@pytest.mark.parametrize(("company", "trust", "joins"), [(1, "verified", False), (2, "verified", True), (1, "assumed", True)])
def test_among_strangers_alone_a_device_joins_no_ambient_room(tmp_path: Path, company: int, trust: str, joins: bool) -> None:
    """It would count as the only honest one, which no default budget pays for: known before the roster is."""
    person = Five(tmp_path, HALL).people[0]
    person.trust, person.company = trust, lambda: company  # type: ignore[assignment]
    with nullcontext() if joins else pytest.raises(Declined, match="eps_room of the hour"):
        person.joining(Keys(Run(ROOM, EPOCH, 1), bytes(32)))


def test_what_may_be_sent_at_its_cheapest_is_never_declined_before(tmp_path: Path) -> None:
    """Whatever the roster will be: the price that is looked at first is the lowest there is."""
    person = Five(tmp_path, HALL).people[0]
    person.trust, looked = "assumed", []
    person.ledger.allows = looked.append  # type: ignore[method-assign]
    person.joining(Keys(Run(ROOM, EPOCH, 1), bytes(32)))
    for n in (30, 31, 64, 300, 1000):
        real = person.mechanism(n).price(n // 2)
        assert looked[0].price.room <= real.room
        assert looked[0].price.alone <= real.alone


def test_a_circle_that_would_give_somebody_away_is_not_joined(tmp_path: Path) -> None:
    person = Five(tmp_path, US).people[0]
    pair = Charge(epoch=EPOCH, room=OTHER, kind="circle", n=4, honest=1, people=["0", "1", "2", "3"])
    person.ledger.charge(pair)
    with pytest.raises(Declined, match="solve for another"):
        person.joining(Keys(Run(ROOM, EPOCH, 1), bytes(32)))


def test_what_a_circle_sends_is_entered_before_it_leaves(tmp_path: Path) -> None:
    """A circle is charged for when it opens: what left for one that did not is told all the same."""
    five = Five(tmp_path, US)
    keys: dict[DeviceId, bytes] = {}
    for person in five.people:
        person.claims, person.claim = keys, lambda own, me=person.me: keys.update({me: own.e_pub})  # type: ignore[misc]
    told = sat(five.people[:3], lambda by, data: decode(data).step is Step.REPORT)
    assert not any(isinstance(one, Opened) for one in told.opened)
    assert [[line.what for line in book.lines()] for book in five.books[:3]] == [["sent"]] * 3
