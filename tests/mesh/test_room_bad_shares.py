"""Attack 8: shares on no polynomial, and holders who say so of honest ones."""

from __future__ import annotations

import random
from collections.abc import Callable, Collection

import numpy as np
import pytest

from moodmesh.mesh.rooms import faults
from moodmesh.mesh.rooms import member as members
from moodmesh.mesh.rooms.holder import CHALLENGES
from moodmesh.mesh.rooms.transcript import Draw, Params
from moodmesh.mesh.rooms.wire import HASH, SIG, Message, Step, decode, encode, numbers, read_numbers
from moodmesh.privacy.sums.field import P, Residues, lift, uniform
from moodmesh.privacy.sums.shamir import combine, share

from .rooms import LATER, RUN, Room, Someone, moods

Bend = Callable[[Residues, int], Residues]


def wrong(count: int, seed: int = 8) -> Bend:
    """The shares of so many of the ten, by chance, but for the cheater's own."""

    def bend(shares: Residues, own: int) -> Residues:
        rows = random.Random(seed).sample([i for i in range(10) if i != own], count)
        shares[rows] = uniform((count, shares.shape[1]))
        return shares

    return bend


def cheated(monkeypatch: pytest.MonkeyPatch, bend: Bend, n: int = 10, cheat: int = 0) -> Room:
    """A room in which what the member at the place `cheat` shares is bent."""
    room = Room(n).set_up()

    def shares(secrets: Residues, t: int, m: int, p: int = P) -> Residues:
        honest = share(secrets, t, m, p)
        return bend(honest, room.members[cheat].index) if room.sharing == cheat else honest

    monkeypatch.setattr(members, "share", shares)
    room.open()
    monkeypatch.undo()
    return room


def test_bad_shares_to_one_of_ten_change_nothing_and_mark_the_pair(monkeypatch: pytest.MonkeyPatch) -> None:
    room = cheated(monkeypatch, wrong(1))
    cheat = room.members[0].index
    for m in room.members:
        assert m.opened is not None
        assert m.opened.sums == room.total(range(10))
        ((sender, holder),) = m.faults.disputes
        assert sender == cheat
        assert holder != cheat
        assert not m.excluded, "either of the two may have lied"


@pytest.mark.parametrize("count", [2, 5])
def test_bad_shares_to_more_open_nothing_and_name_the_cheater(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    room = cheated(monkeypatch, wrong(count))
    cheat = room.members[0].keys.e_pub
    assert not room.steps(Step.SUM)
    for m in room.members:
        assert m.opened is None
        assert m.excluded == {cheat}
    kept = [p for m, p in zip(room.members, room.people, strict=True) if m.keys.e_pub not in room.members[1].excluded]
    for person in kept:
        person.used = False
    again = Room(9, run=LATER, people=kept).set_up().open()
    assert {m.opened.sums for m in again.members if m.opened} == {again.total(range(9))}


class Sampled(Someone):
    """Of a room whose committee is seven of ten."""

    def params(self, n: int) -> Params:
        return Params(self.kind, 3, 7, 4)


def test_who_is_no_holder_learns_of_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    room = Room(10, people=[Sampled(value) for value in moods(10)]).set_up()
    reader = next(m for m in room.members if m.holder is None)

    def shares(secrets: Residues, t: int, m: int, p: int = P) -> Residues:
        honest = share(secrets, t, m, p)
        return uniform(honest.shape) if room.sharing == 0 else honest

    monkeypatch.setattr(members, "share", shares)
    room.open()
    assert reader.excluded == {room.members[0].keys.e_pub}


def disputing(room: Room, holder: int, senders: Collection[int]) -> None:
    """The holder with this index finds fault with these, falsely."""

    def said(place: int, data: bytes) -> list[bytes]:
        if decode(data).step is Step.REPORT and room.members[place].index == holder:
            for sender in senders:
                own = room.members[place].holder
                own._shares[sender] = (own._shares[sender] + 1) % P
        return [data]

    room.said = said


def test_a_holder_who_accuses_one_is_marked_with_it() -> None:
    room = Room(10).set_up()
    disputing(room, 3, [5])
    room.open()
    for m in room.members:
        assert m.opened is not None
        assert m.opened.sums == room.total(range(10))
        assert m.faults.disputes == {(5, 3)}
        assert not m.excluded


def test_a_holder_who_accuses_two_is_excluded_and_they_are_not() -> None:
    room = Room(10).set_up()
    disputing(room, 3, [5, 6])
    room.open()
    assert {m.excluded for m in room.members} == {frozenset({room.draw.roster.seats[3].e_pub})}


def test_in_a_small_room_one_holder_cannot_have_everybody_excluded() -> None:
    """Of five it cannot be told who lies, the holder or those it accuses: one of them might, all of them not."""
    room = Room(5).set_up()
    disputing(room, 3, range(5))
    room.open()
    assert not any(m.opened for m in room.members)
    assert not any(m.excluded for m in room.members)


def test_behind_a_holder_who_accuses_everyone_a_cheater_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """More are accused than are looked into at a time."""
    monkeypatch.setattr(faults, "MOST_JUDGED", 4)
    room = Room(10).set_up()
    disputing(room, 3, range(10))
    cheat = room.place(9)

    def shares(secrets: Residues, t: int, m: int, p: int = P) -> Residues:
        honest = share(secrets, t, m, p)
        return uniform(honest.shape) if room.sharing == cheat else honest

    monkeypatch.setattr(members, "share", shares)
    room.open()
    assert {m.excluded for m in room.members} == {frozenset(room.draw.roster.seats[i].e_pub for i in (3, 9))}


def unmasked() -> bool:
    """Whether R2d, sent because somebody disputed sender 5, shows the value of that sender to whoever reads it."""
    room = Room(10).set_up()
    disputing(room, 3, [5])
    room.open()
    assert room.steps(Step.SUM)
    proposed = next(iter(room.members[0]._proposals.values()))
    told = {room.members[place].index: read_numbers(m.body[:-SIG], P) for place, m in room.steps(Step.IDENTIFY)}
    honest = sorted(set(told) - {3})[:7]
    rows = np.array([told[h][5 * 4 : 5 * 4 + 2] for h in honest], dtype=np.int64)
    inverse = pow(room.draw.challenge(proposed.list_hash, 5, 0, P), -1, P)
    seen = combine([h + 1 for h in honest], rows) * inverse % P
    return tuple(lift(seen).tolist()) == room.total([5])


def test_what_identifies_shows_nothing_that_was_not_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not unmasked()
    monkeypatch.setattr(members, "uniform", lambda shape, p: np.zeros(shape, dtype=np.int64))
    assert unmasked(), "the mutation: without masks it would"


def foresight(monkeypatch: pytest.MonkeyPatch, known: bool) -> Room:
    """A cheater who bends values for half of the members, and masks so that a challenge of 7 + r would not show it."""
    if known:
        monkeypatch.setattr(Draw, "challenge", lambda self, list_hash, sender, r, p: 7 + r)
    room = Room(10).set_up()

    def shares(secrets: Residues, t: int, m: int, p: int = P) -> Residues:
        honest = share(secrets, t, m, p)
        if room.sharing == 0:
            bent = uniform((5, 2))
            honest[:5] = (honest[:5] + np.hstack([bent, -7 * bent % P, -8 * bent % P])) % P
        return honest

    monkeypatch.setattr(members, "share", shares)
    return room.open()


def test_a_challenge_known_before_the_shares_finds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: with chi known before R1 the checks fit, R3 leaves, and nobody can be named."""
    room = foresight(monkeypatch, known=True)
    assert room.steps(Step.SUM)
    assert not any(m.excluded for m in room.members)


def test_a_challenge_that_comes_after_the_shares_finds_the_same_cheater(monkeypatch: pytest.MonkeyPatch) -> None:
    room = foresight(monkeypatch, known=False)
    assert not room.steps(Step.SUM)
    assert {m.excluded for m in room.members} == {frozenset({room.members[0].keys.e_pub})}


def hindsight(monkeypatch: pytest.MonkeyPatch) -> Room:
    """A cheater who knows all but the reports when it shares, and bends values so that the challenge of any other list of them
    would not show it."""
    room = Room(10).set_up()
    draw, cheat = room.draw, room.members[0].index

    def shares(secrets: Residues, t: int, m: int, p: int = P) -> Residues:
        honest = share(secrets, t, m, p)
        if room.sharing == 0:
            bent = uniform((5, 2))
            masks = [-draw.challenge(bytes(HASH), cheat, r, P) * bent % P for r in range(CHALLENGES)]
            honest[:5] = (honest[:5] + np.hstack([bent, *masks])) % P
        return honest

    monkeypatch.setattr(members, "share", shares)
    return room.open()


def test_a_challenge_rests_on_the_reports_too(monkeypatch: pytest.MonkeyPatch) -> None:
    room = hindsight(monkeypatch)
    assert not room.steps(Step.SUM)
    assert {m.excluded for m in room.members} == {frozenset({room.members[0].keys.e_pub})}


def test_a_challenge_without_the_reports_is_known_when_shares_are_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: the draw and the sender alone decide on it."""
    challenge = Draw.challenge
    monkeypatch.setattr(Draw, "challenge", lambda self, list_hash, *rest: challenge(self, b"", *rest))
    room = hindsight(monkeypatch)
    assert room.steps(Step.SUM)
    assert not any(m.excluded for m in room.members)


def test_a_sum_share_beyond_the_field_is_its_authors_fault_alone() -> None:
    room = Room(10).set_up()

    def said(place: int, data: bytes) -> list[bytes]:
        message = decode(data)
        if message.step is not Step.SUM or place != 0:
            return [data]
        statement = next(iter(room.members[0]._proposals.values())).statement
        body = numbers([P, P])
        signed = body + room.members[0].keys.sign("R3", room.draw.ctx, statement, body)
        return [encode(message._replace(body=signed))]

    room.said = said
    room.open()
    assert not room.errors
    assert {m.opened.sums for m in room.members if m.opened} == {room.total(range(10))}


def test_votes_that_come_after_the_wait_still_open() -> None:
    """A member may give up waiting a moment before the relay does."""
    room = Room(10).set_up()
    gone = room.place(room.draw.relays[-1])

    def passed(place: int, data: bytes) -> list[bytes]:
        if decode(data).step is Step.VOTE:
            assert not room.members[place].lapse(), "nothing was heard yet"
        return [data]

    room.passed = passed
    room.said = lambda place, data: [] if place == gone and decode(data).step is Step.VOTE else [data]
    for m in room.members:
        m.lapse()
    room.open(rounds=3)
    assert all(m.opened for m in room.members)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_thousand_runs_with_bad_shares_open_no_wrong_sum(monkeypatch: pytest.MonkeyPatch) -> None:
    chance = random.Random(8)
    for k in range(1000):
        room = cheated(monkeypatch, wrong(chance.randint(1, 9), k))
        told = {m.opened.sums for m in room.members if m.opened}
        assert told <= {room.total(range(10))}
        assert told or room.members[1].excluded == {room.members[0].keys.e_pub}


def test_the_first_words_of_a_holder_count() -> None:
    """R2d a second time is not passed on: whoever sent it would have it sent to everyone."""
    room = Room(10).set_up()
    disputing(room, 3, [5])
    room.open()
    (place, message), *_ = room.steps(Step.IDENTIFY)
    assert room.relay.hear(place, message, room.now) == []
    flood = Message(Step.IDENTIFY, False, RUN.attempt, RUN.epoch, RUN.room, bytes(1 << 20))
    with pytest.raises(ValueError, match="in this step"):
        room.relay.hear(place, flood, room.now)


def test_a_report_of_members_that_there_are_not_is_its_authors_fault_alone() -> None:
    """Signed, and with a bit beyond the roster: taken up, it would stop every relay that proposes."""
    room = Room(10).set_up()
    liar = room.place(room.draw.relays[1])

    def said(place: int, data: bytes) -> list[bytes]:
        message = decode(data)
        if message.step is not Step.REPORT or place != liar:
            return [data]
        fields = message.body[:1] + bytes([message.body[1] | 0x80]) + message.body[2:-SIG]
        return [encode(message._replace(body=fields + room.members[liar].keys.sign("R2a", room.draw.ctx, fields)))]

    room.said = said
    room.open()
    assert room.thrown == {liar}
    honest = [m for place, m in enumerate(room.members) if place != liar]
    assert {m.opened.sums for m in honest if m.opened} == {room.total(range(10))}
