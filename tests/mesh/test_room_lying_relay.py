"""A relay that drops, reorders, alters, doubles and invents at every step, and members who flood an honest one."""

from __future__ import annotations

import os
import random

import pytest

from moodmesh.mesh.rooms import holder, sitting
from moodmesh.mesh.rooms import member as members
from moodmesh.mesh.rooms import relay as relays
from moodmesh.mesh.rooms.relay import Out, Relay
from moodmesh.mesh.rooms.transcript import u16
from moodmesh.mesh.rooms.wire import (
    ENVELOPE_BYTES,
    Item,
    Malformed,
    Message,
    Step,
    decode,
    encode,
    numbers,
    pack,
    read_numbers,
    unpack,
)
from moodmesh.privacy.sums.shamir import weights

from .rooms import RUN, Room, Someone, batch, moods
from .sittings import sat


class Liar:
    """A `passed` that lies by chance about a share of what it passes on."""

    def __init__(self, chance: random.Random, share: float = 0.3) -> None:
        self._chance, self._share, self._kept = chance, share, list[bytes]()

    def __call__(self, place: int, data: bytes) -> list[bytes]:
        self._kept.append(data)
        if self._chance.random() > self._share:
            return [data]
        lie = self._chance.choice([self._drop, self._double, self._alter, self._cut, self._swap, self._old, self._invent])
        return lie(data)

    def _drop(self, data: bytes) -> list[bytes]:
        return []

    def _double(self, data: bytes) -> list[bytes]:
        return [data, data]

    def _alter(self, data: bytes) -> list[bytes]:
        at = self._chance.randrange(len(data))
        return [data[:at] + bytes([data[at] ^ self._chance.randint(1, 255)]) + data[at + 1 :], data]

    def _cut(self, data: bytes) -> list[bytes]:
        return [data[: self._chance.randrange(len(data))]]

    def _swap(self, data: bytes) -> list[bytes]:
        """What one said, as said by another."""
        items = unpack(data[ENVELOPE_BYTES:])
        bodies = [item.body for item in items]
        self._chance.shuffle(bodies)
        swapped = pack(Item(item.author, body) for item, body in zip(items, bodies, strict=True))
        return [data[:ENVELOPE_BYTES] + swapped]

    def _old(self, data: bytes) -> list[bytes]:
        """What was said before, perhaps to others, out of order."""
        return [self._chance.choice(self._kept), data]

    def _invent(self, data: bytes) -> list[bytes]:
        body = pack(Item(i, self._chance.randbytes(self._chance.choice([4, 52, 72, 80, 96, 160]))) for i in range(5))
        return [data[:ENVELOPE_BYTES] + body]


def lied_to(seed: int, n: int = 5) -> int:
    """How many know a sum of a room whose first relays lie and whose last does not; each of the promises is kept."""
    room, chance = Room(n), random.Random(seed)
    room.passed = Liar(chance, 0.05)
    room.set_up()
    if any(m.draw is None for m in room.members):
        assert len({m.draw.ctx for m in room.members if m.draw}) <= 1
        return 0
    for rank in range(2):
        room.passed = Liar(chance)
        room.open(rank, rounds=3)
    room.passed = lambda place, data: [data]
    room.open(2, rounds=4)
    told = {(m.opened.sums, m.opened.contributors) for m in room.members if m.opened}
    assert len(told) <= 1
    assert all(sums == room.total(contributors) for sums, contributors in told)
    assert all(person.charges == 1 for person in room.people)
    for step in (Step.SHARES, Step.VOTE, Step.SUM):
        for place in range(n):
            assert len({m.body for p, m in room.steps(step) if p == place}) <= 1, f"{step.name} was said in two ways"
    return sum(m.opened is not None for m in room.members)


def test_whatever_a_relay_does_a_sum_is_exact_or_not_known() -> None:
    known = [lied_to(seed) for seed in range(20)]
    assert sum(known) > 20, "and it is known where an honest one takes over in time"


def test_without_signatures_it_would_show_wrong_sums(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: whatever a relay says that somebody said, counts."""
    monkeypatch.setattr(members, "verified", lambda *_: True)
    monkeypatch.setattr(holder, "verified", lambda *_: True)
    with pytest.raises(AssertionError):
        [lied_to(seed) for seed in range(200)]


def bent(n: int = 10) -> Room:
    """A relay of the committee passes as many sum shares as are needed and no more, its own among them, and bends that one."""
    room = Room(n).set_up()
    draw, me = room.draw, room.draw.relays[0]
    member, params = room.members[room.place(me)], draw.roster.params

    def passed(place: int, data: bytes) -> list[bytes]:
        message = decode(data)
        if message.step is not Step.SUM:
            return [data]
        items = unpack(message.body)
        others = [item for item in items if item.author != me][: params.t - 1]
        at = [draw.committee.index(item.author) + 1 for item in others] + [draw.committee.index(me) + 1]
        own = next(item for item in items if item.author == me)
        inverse = pow(int(weights(at, 0, params.p)[-1]), -1, params.p)
        values = [(int(v) + 30000 * inverse) % params.p for v in read_numbers(own.body[: 4 * params.d], params.p)]
        statement = next(iter(member._proposals.values())).statement
        body = numbers(values) + member.keys.sign("R3", draw.ctx, statement, numbers(values))
        return [batch(RUN, Step.SUM, sorted([*others, Item(me, body)]))]

    room.passed = passed
    return room.open()


def test_a_sum_of_no_more_shares_than_needed_is_unchecked() -> None:
    room = bent()
    told = [m.opened for m in room.members if m.opened]
    assert told
    assert {o.sums for o in told} != {room.total(range(10))}, "the relay showed what it liked"
    assert all(o.unchecked for o in told)


def test_by_the_votes_alone_it_would_count_as_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: it does not matter how many sum shares came."""
    monkeypatch.setattr(
        members.Member, "_unchecked", lambda self, proposal, authors: self.holder.heard <= self.draw.roster.params.t
    )
    assert not any(m.opened.unchecked for m in bent().members if m.opened)


class Dripping(Relay):
    """The first relay of a draw: once it has every vote, it only says its proposal again, every two seconds."""

    def _advance(self, now: float) -> list[Out]:
        if self._member.index == self._draw.relays[0] and self._step is Step.VOTE:
            self._until = now + 2.0
            return self._to_all(Step.PROPOSAL, self._through[Step.PROPOSAL])  # type: ignore[arg-type]
        return super()._advance(now)

    def _whole(self) -> bool:
        return not (self._member.index == self._draw.relays[0] and self._step is Step.VOTE) and super()._whole()


def test_a_relay_that_says_the_same_again_buys_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitting, "Relay", Dripping)
    told = sat([Someone(v) for v in moods(7)])
    assert sum(isinstance(o, members.Opened) for o in told.opened) == 7
    assert max(sent.at for sent in told.log) < 40, "the next relay brought it to an end"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_thousand_lying_relays() -> None:
    assert sum(lied_to(1000 + seed) for seed in range(1000)) > 1000


@pytest.fixture
def room() -> Room:
    return Room(5).set_up().open()


@pytest.mark.parametrize("step", [Step.SHARES, Step.REPORT, Step.VOTE, Step.IDENTIFY, Step.SUM])
@pytest.mark.parametrize("size", [0, 63, 1 << 20])
def test_a_flood_ends_at_the_relay(room: Room, step: Step, size: int) -> None:
    """Of a size that no such word has: nobody else gets it, and it is not kept."""
    before = dict(room.relay._said[step])
    message = Message(step, False, RUN.attempt, RUN.epoch, RUN.room, bytes(size))
    with pytest.raises(Malformed):
        room.relay.hear(0, message, room.now)
    assert room.relay._said[step] == before


def taken(room: Room) -> None:
    """A member comes to the relay as another one, with all that is public of that one, at first and once that one is there."""
    relay, own, victim, thief = Relay(room.members[0], 9.0), room.members[0].index, room.members[1], room.members[2]
    assert own is not None
    assert victim.index is not None
    seat = decode(thief.greet(own)[0])
    claims = [
        seat._replace(body=u16(victim.index) + seat.body[2:]),
        decode(victim.greet(victim.index)[0]),  # signed for another relay
        seat._replace(step=Step.JOIN, body=victim.keys.join()),
    ]
    for _ in range(2):
        for claim in claims:
            with pytest.raises(Malformed):
                relay.hear("thief", claim, 0.0)
        relay.hear("victim", decode(victim.greet(own)[0]), 0.0)
    assert relay._places == {victim.index: "victim"}


def test_a_seat_is_taken_by_nobody_else(room: Room) -> None:
    taken(room)


def test_a_seat_without_a_signature_would_be_taken(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: whoever names a seat has it."""
    monkeypatch.setattr(relays, "verified", lambda *_: True)
    with pytest.raises(pytest.fail.Exception, match="DID NOT RAISE"):
        taken(room)


def test_a_stranger_says_nothing(room: Room) -> None:
    for step in Step:
        with pytest.raises(Malformed):
            room.relay.hear("elsewhere", Message(step, False, 1, RUN.epoch, RUN.room, os.urandom(160)), room.now)


def test_a_thousand_batches_of_shares_are_one_report_and_bounded(room: Room) -> None:
    """A relay that floods a holder: what does not open is not held, what is held is held once."""
    member = room.members[0]
    assert member.holder is not None
    held = len(member.holder._shares)
    for k in range(200):
        items = [Item(author, random.Random(k).randbytes(52)) for author in range(5)]
        member.hear(decode(encode(Message(Step.SHARES, True, 1, RUN.epoch, RUN.room, pack(items)))))
    assert len(member.holder._shares) == held
    assert len(member.holder._reported) == 1
    assert len(member.said) == 6
