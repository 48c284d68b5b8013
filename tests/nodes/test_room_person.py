"""A device as a member of a room: what it agrees to, what it sends, what it refuses (room-mood §2, §6, §8)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from moodmesh.mesh.rooms.member import Declined
from moodmesh.mesh.rooms.transcript import Draw, Keys, Roster, Run, seated
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.rooms import person as persons
from moodmesh.nodes.rooms.model import Descriptor, create, read_code
from moodmesh.nodes.rooms.person import Known, RoomPerson, rehearsal
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.ledger import Charge, Ledger, Refusal

ME = DeviceId("m" * 52)
FELT = EmotionVector(0.4, -0.2, valence_sd=0.1, arousal_sd=0.1, at=0.0)


class Room:
    """A room of `n` members drawn for one epoch, of whom this device knows some."""

    def __init__(self, n: int, room: Descriptor, epoch: int = 100) -> None:
        run = Run(room.id, epoch, 1)
        self.keys = [Keys(run, os.urandom(32)) for _ in range(n)]
        self.room, self.run = room, run

    def draw(self, person: RoomPerson) -> Draw:
        roster = Roster(self.run, seated(k.join() for k in self.keys), person.params(len(self.keys)))
        return Draw(roster, tuple(os.urandom(32) for _ in self.keys))

    def claims(self, known: int) -> dict[DeviceId, bytes]:
        return {DeviceId(f"{i:052}"): k.e_pub for i, k in enumerate(self.keys[1 : known + 1])}


@pytest.fixture
def member(tmp_path: Path) -> Callable[..., RoomPerson]:
    closed: list[int] = []

    def build(room: Descriptor, **more: object) -> RoomPerson:
        known: dict[str, object] = {
            "trust": "verified", "mood": lambda: FELT, "claims": {}, "known": Known(), "close": closed.append,
            "claim": lambda key: None, "ledger": Ledger(tmp_path / "ledger", begun=False),
        }  # fmt: skip
        return RoomPerson(room, me=ME, **(known | more))  # type: ignore[arg-type]

    return build


AMBIENT, RARE = create("hall", "ambient"), create("cafe", "on-demand", 4)


@pytest.mark.parametrize(("room", "least"), [(AMBIENT, 30), (RARE, 5), (create("trio", "circle", people=("a", "b", "c")), 3)])
def test_a_room_too_small_sends_nothing_and_says_why(member: Callable[..., RoomPerson], room: Descriptor, least: int) -> None:
    with pytest.raises(Declined, match=f"too small to know: {least - 1} are here, {least} are needed"):
        member(room).params(least - 1)
    assert member(room).params(least).n_min == least


def test_two_people_never_get_a_room() -> None:
    with pytest.raises(UsageError, match="3 to 16 people"):
        create("us", "circle", people=("a", "b"))


def test_it_is_charged_before_anything_is_encoded(member: Callable[..., RoomPerson]) -> None:
    person, room = member(RARE), Room(6, RARE)
    draw = room.draw(person)
    first = person.release(draw)
    assert [line.what for line in person.ledger.lines()] == ["charge"]
    assert person.release(draw) == first, "the same numbers again in the same epoch"
    assert len(person.ledger.lines()) == 1


def test_an_empty_budget_sends_nothing(member: Callable[..., RoomPerson]) -> None:
    first = member(RARE)
    first.release(Room(6, RARE).draw(first))
    second = member(RARE, ledger=first.ledger)
    with pytest.raises(Declined, match="eps_room of the hour"):
        second.release(Room(6, RARE, 101).draw(second))
    assert isinstance(first.ledger.lines()[-1], Refusal)


def test_a_device_that_knows_nobody_counts_as_the_only_honest_one(member: Callable[..., RoomPerson]) -> None:
    """Attack 6: with a roster of fakes around it, the default budget refuses; the mutation h_A = h would send."""
    person, room = member(AMBIENT), Room(30, AMBIENT)
    draw = room.draw(person)
    with pytest.raises(Declined, match="eps_room"):
        person.release(draw)
    assumed = member(AMBIENT, trust="assumed", ledger=person.ledger)
    assumed.release(draw)
    charge = next(line for line in person.ledger.lines() if isinstance(line, Charge))
    assert charge.honest == 15


@pytest.mark.parametrize("known", [1, 5, 29])
def test_verified_members_are_what_a_release_is_priced_for(member: Callable[..., RoomPerson], known: int) -> None:
    room = Room(30, AMBIENT)
    person = member(AMBIENT, claims=room.claims(known))
    draw = room.draw(person)
    assert person.verified(draw, range(30)) == known + 1
    assert person.honest(draw, range(30)) == min(15, known + 1)
    person.release(draw)
    assert person.ledger.spent(100)[0].room < 4


def test_a_key_that_is_not_in_the_roster_verifies_nobody(member: Callable[..., RoomPerson]) -> None:
    room, other = Room(30, AMBIENT), Room(30, AMBIENT)
    person = member(AMBIENT, claims=other.claims(20))
    assert person.verified(room.draw(person), range(30)) == 1


def test_a_room_does_not_grow_by_strangers_in_number(member: Callable[..., RoomPerson]) -> None:
    known = Known(size=40)
    person = member(AMBIENT, known=known, trust="assumed")
    with pytest.raises(Declined, match="grew from 40 to 60"):
        person.accepts(Room(60, AMBIENT).draw(person).roster)
    assert person.most() == 50, "and it gathers no more than that"
    draw = Room(50, AMBIENT).draw(person)
    person.accepts(draw.roster)
    assert known.size == 40, "an attempt that comes to nothing lets no room grow"
    person.release(draw)
    assert known.size == 50


def test_a_circle_is_of_the_people_named_and_of_nobody_else(member: Callable[..., RoomPerson]) -> None:
    others = tuple(f"{i:052}" for i in range(2))
    circle = create("trio", "circle", people=(ME, *others))
    room = Room(3, circle)
    person = member(circle, claims=room.claims(2))
    person.accepts(room.draw(person).roster)
    for claims in (room.claims(1), {**room.claims(1), DeviceId("x" * 52): room.keys[2].e_pub}):
        with pytest.raises(Declined, match="not the people"):
            member(circle, claims=claims).accepts(room.draw(person).roster)


def test_the_right_to_open_is_used_once_in_an_epoch_and_on_disk_first(member: Callable[..., RoomPerson]) -> None:
    closed: list[int] = []
    person = member(RARE, close=closed.append)
    draw = Room(6, RARE).draw(person)
    assert [person.once(draw, range(6)), person.once(draw, range(6))] == [True, False]
    assert closed == [100]
    assert not member(RARE, known=Known(closed=100)).once(draw, range(6)), "also after a restart"


def test_a_circle_that_gives_somebody_away_is_not_opened(member: Callable[..., RoomPerson]) -> None:
    others = tuple(f"{i:052}" for i in range(3))
    three, four = create("trio", "circle", people=(ME, *others[:2])), create("four", "circle", people=(ME, *others))
    person = member(three)
    assert person.once(Room(3, three).draw(person), range(3))
    larger = member(four, ledger=person.ledger)
    with pytest.raises(Declined, match="solve for another"):
        larger.once(Room(4, four, 101).draw(larger), range(4))


def test_without_a_mood_nothing_is_sent(member: Callable[..., RoomPerson]) -> None:
    person = member(RARE, mood=lambda: None)
    with pytest.raises(Declined, match="moodmesh feel"):
        person.release(Room(6, RARE).draw(person))
    assert person.ledger.lines() == ()


def test_a_budget_that_does_not_fit_the_field_is_refused(
    member: Callable[..., RoomPerson], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(persons, "P", 100_003)
    with pytest.raises(Declined, match="does not fit"):
        member(AMBIENT).params(30)


def test_a_code_is_the_room_and_nothing_else_is() -> None:
    assert read_code(AMBIENT.code()) == AMBIENT
    for wrong in ("", "moodroom1:", AMBIENT.code()[:-9], AMBIENT.code().replace("a", "b"), "x" * 5000):
        with pytest.raises(UsageError, match="no invitation"):
            read_code(wrong)


@pytest.mark.parametrize(
    ("kind", "eps", "more", "why"),
    [
        ("on-demand", 3, {}, "1, 2 or 4"), ("ambient", 1, {}, "only on-demand"), ("circle", 0, {"people": ("a",)}, "3 to 16"),
        ("circle", 0, {"people": ("a", "b", "c"), "open": True}, "cannot be open"),
        ("ambient", 0, {"people": ("a",)}, "only a circle"),
    ],
)  # fmt: skip
def test_rooms_that_cannot_be_are_refused_with_a_reason(kind: str, eps: int, more: dict[str, object], why: str) -> None:
    with pytest.raises(UsageError, match=why):
        create("x", kind, eps, **more)  # type: ignore[arg-type]


def test_a_rehearsal_has_the_size_of_the_real_thing() -> None:
    said = rehearsal(RARE)
    assert [len(data) for data in said] == [44 + 160, 44 + 96, 44 + 66, 44 + 4 * 52]
