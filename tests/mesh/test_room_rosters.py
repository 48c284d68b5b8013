"""Attack 10: two rosters of one run. Keys that nobody can share a secret with, doubled keys, too many members."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence

import pytest

from moodmesh.mesh.rooms import member as members
from moodmesh.mesh.rooms import relay, transcript
from moodmesh.mesh.rooms.member import Member
from moodmesh.mesh.rooms.relay import Gathering
from moodmesh.mesh.rooms.transcript import Keys, Seat, seated
from moodmesh.mesh.rooms.wire import HASH, KEY, MOST_MEMBERS, S1_BYTES, Item, Malformed, Step, decode

from .rooms import LATER, RUN, Room, Someone, batch, moods

SMALL = [*transcript._SMALL_ORDER, transcript._PRIME, transcript._PRIME + 1]


def joined(n: int) -> list[Member]:
    return [Member(RUN, Someone(value)) for value in moods(n)]


def shown(member: Member, group: Sequence[Member]) -> list[bytes]:
    """What a member says to a roster of these."""
    seats = seated(m.keys.join() for m in group)
    return member.hear(decode(batch(RUN, Step.JOIN, [Item(i, seat.body) for i, seat in enumerate(seats)])))


def two_rosters() -> list[bytes]:
    """R1 of five honest members, three of whom a lying gatherer showed one roster and two another. Its three own members
    sign whatever it likes, and in each half it passes off the S2 of the other half."""
    honest, false = joined(5), [Keys(RUN, bytes([k]) * 32) for k in range(4)]
    left: list[bytes] = []
    signed: dict[bytes, bytes] = {}
    rosters = [
        [k.join() for k in [*(m.keys for m in honest), *false[:3]]],
        [k.join() for k in [*(m.keys for m in honest), *false[1:]]],
    ]
    halves = (honest[:3], honest[3:])
    for bodies, half in zip(rosters, halves, strict=True):
        seats = seated(bodies)
        for member in half:
            (said,) = member.hear(decode(batch(RUN, Step.JOIN, [Item(i, s.body) for i, s in enumerate(seats)])))
            signed[member.keys.e_pub] = decode(said).body
    for half in halves:
        roster = half[0].roster
        assert roster is not None
        own = {k.e_pub: k.reveal(roster.hash) for k in false}
        items = [Item(i, {**signed, **own}[seat.e_pub]) for i, seat in enumerate(roster.seats)]
        for member in half:
            try:
                member.hear(decode(batch(RUN, Step.REVEAL, items)))
            except Malformed:
                continue
            left += member.contribute()
    return left


def test_with_two_rosters_no_byte_of_a_share_leaves() -> None:
    assert two_rosters() == []


def test_without_checking_s2_shares_would_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    monkeypatch.setattr(members, "verified", lambda *_: True)
    assert len(two_rosters()) == 5


def unsigned() -> list[bytes]:
    """R1 of five honest members, in whose roster a gatherer put keys that their owner signed for another run alone."""
    honest, false = joined(5), Keys(RUN, bytes(HASH))
    other = Seat.read(Keys(LATER, bytes(HASH), false.x, false._e).join())
    body = Seat.read(false.join())._replace(sig=other.sig).body
    seats = seated([*(m.keys.join() for m in honest), body])
    said: dict[bytes, bytes] = {}
    for member in honest:
        (reveal,) = member.hear(decode(batch(RUN, Step.JOIN, [Item(i, s.body) for i, s in enumerate(seats)])))
        said[member.keys.e_pub] = decode(reveal).body
    assert honest[0].roster is not None
    said[false.e_pub] = false.reveal(honest[0].roster.hash)
    left: list[bytes] = []
    for member in honest:
        with contextlib.suppress(Malformed):
            member.hear(decode(batch(RUN, Step.REVEAL, [Item(i, said[s.e_pub]) for i, s in enumerate(seats)])))
        left += member.contribute()
    return left


def test_with_keys_that_their_owner_did_not_sign_for_this_run_no_byte_of_a_share_leaves() -> None:
    assert unsigned() == []


def test_without_checking_s1_shares_would_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    monkeypatch.setattr(Seat, "genuine", lambda self, run: True)
    assert len(unsigned()) == 5


def test_a_gatherer_takes_in_no_such_keys() -> None:
    """In a roster, they would cost everybody else the attempt."""
    keys = Keys(RUN, bytes(HASH))
    body = Seat.read(keys.join())._replace(sig=Seat.read(Keys(LATER, bytes(HASH), keys.x, keys._e).join()).sig).body
    gathering = Gathering(RUN, dict.fromkeys(range(5), b""), 1.0)
    with pytest.raises(Malformed, match="did not sign"):
        gathering.hear(0, members.Message(Step.JOIN, False, RUN.attempt, RUN.epoch, RUN.room, body), 0.0)


def small(order: int) -> Keys:
    """Signed keys whose secret with anybody is zero."""
    keys = Keys(RUN, bytes(32))
    keys.x_pub = order.to_bytes(32, "little")
    return keys


@pytest.mark.parametrize("order", SMALL)
@pytest.mark.parametrize("high", [0, 1 << 255])
def test_a_key_of_small_order_is_in_no_roster(order: int, high: int) -> None:
    bad, honest = small(order | high), joined(4)
    with pytest.raises(Malformed, match="small order"):
        honest[0].hear(decode(batch(RUN, Step.JOIN, [Item(0, bad.join()), Item(1, honest[0].keys.join())])))
    assert honest[0].roster is None
    gathering = Gathering(RUN, dict.fromkeys(range(5), b""), 1.0)
    with pytest.raises(Malformed, match="small order"):
        gathering.hear(4, decode(members.encode(members.Message(Step.JOIN, False, 1, RUN.epoch, RUN.room, bad.join()))), 0.0)


def test_without_that_one_member_stops_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: its key gets into the roster, and nobody can seal a share for it."""
    monkeypatch.setattr(transcript, "_SMALL_ORDER", set())
    room = Room(5, keys=[small(0) if k == 0 else Keys(RUN, bytes([k]) * 32) for k in range(5)])
    with pytest.raises(ValueError, match="shared key"):
        room.set_up().open()


def test_doubled_keys_are_out_all_of_them() -> None:
    keys = [Keys(RUN, bytes([k]) * 32) for k in range(6)]
    keys[1].x_pub = keys[0].x_pub
    assert {seat.e_pub for seat in seated(k.join() for k in keys)} == {k.e_pub for k in keys[2:]}


def test_a_roster_of_a_thousand_and_one_is_refused() -> None:
    chance, member = random.Random(10), joined(1)[0]
    items = [Item(i, chance.randbytes(S1_BYTES)) for i in range(MOST_MEMBERS)]
    with pytest.raises(Malformed, match="too many"):
        member.hear(decode(batch(RUN, Step.JOIN, [*items, Item(MOST_MEMBERS, member.keys.join())])))
    assert member.roster is None


def test_a_gatherer_takes_in_no_more_than_a_thousand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MOST_MEMBERS", 6)
    room = Room(8).set_up()
    assert sum(m.draw is not None for m in room.members) == 6


def test_a_roster_without_this_member_is_refused() -> None:
    group = joined(6)
    with pytest.raises(Malformed, match="without this member"):
        shown(group[0], group[1:])


def test_a_roster_with_its_commitment_changed_is_refused() -> None:
    group = joined(6)
    seat = Seat.read(group[0].keys.join())
    bodies = [m.keys.join() for m in group[1:]] + [seat._replace(commit=bytes(HASH)).body]
    with pytest.raises(Malformed, match="without this member"):
        group[0].hear(decode(batch(RUN, Step.JOIN, [Item(i, b) for i, b in enumerate(bodies)])))


@pytest.mark.parametrize(
    "change", [lambda s2: bytes(HASH) + s2[HASH:], lambda s2: s2[:HASH] + bytes(2 * KEY), lambda s2: s2[:-1]]
)
def test_a_reveal_that_does_not_fit_costs_its_author_its_place_and_nobody_else(change) -> None:
    """Passed on, it would spoil the draw of everybody: one member could stop any room."""
    room = Room(6)

    def said(place: int, data: bytes) -> list[bytes]:
        message = decode(data)
        if place != 2 or message.step is not Step.REVEAL:
            return [data]
        return [members.encode(message._replace(body=change(message.body)))]

    room.said = said
    room.set_up()
    assert room.thrown == room.withheld == {2}
    assert not room.errors
    assert not any(m.draw for m in room.members), "everybody starts over"


def test_a_reveal_left_out_is_no_draw(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack 11: a gatherer cannot drop one and go on."""
    room = Room(6)
    kept: list[bytes] = []
    room.passed = lambda place, data: kept.append(data) or [] if decode(data).step is Step.REVEAL else [data]
    room.set_up()
    items = members.unpack(decode(kept[0]).body)
    for member in room.members:
        with pytest.raises(Malformed, match="missing"):
            member.hear(decode(batch(RUN, Step.REVEAL, items[:-1])))
        assert not member.contribute()
