"""Bytes that are no message of a room, into everything that reads them: refused as malformed, and nothing else happens."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator

import pytest

from moodmesh.mesh.rooms import wire
from moodmesh.mesh.rooms.holder import Proposal, genuine_report
from moodmesh.mesh.rooms.member import Declined, Member
from moodmesh.mesh.rooms.relay import Gathering, Relay
from moodmesh.mesh.rooms.transcript import Seat, seated
from moodmesh.mesh.rooms.wire import ENVELOPE_BYTES, Item, Malformed, Message, Step, decode, encode, pack
from moodmesh.privacy.sums.field import P

from .rooms import RUN, Room, bodies


def changed(data: bytes, chance: random.Random) -> bytes:
    """One thing about it is different, or a few are."""
    at, other = chance.randrange(len(data) + 1), chance.randrange(len(data) + 1)
    match chance.randrange(6):
        case 0:
            return data[:at]
        case 1:
            return data[:at] + chance.randbytes(chance.choice([1, 2, 4, 64])) + data[at:]
        case 2:
            return data[: min(at, other)] + data[max(at, other) :]
        case 3:
            return data + data[at:]
        case 4:
            return data[:at] + b"\xff" * min(4, len(data) - at) + data[at + 4 :]
        case _:
            for _ in range(chance.choice([1, 1, 3, 9])):
                at = chance.randrange(len(data)) if data else 0
                data = data[:at] + bytes([chance.randrange(256)]) + data[at + 1 :]
            return data


@pytest.fixture(scope="module")
def room() -> Room:
    """One that has been through everything."""
    return Room(5).set_up().open()


def readers(room: Room) -> Iterator[tuple[str, bytes, Callable[[bytes], object]]]:
    """Every function that reads what a stranger sent, with something that it would take."""
    draw, said = room.draw, {m.step: (place, m) for place, m in room.heard}
    seats = [seat.body for seat in draw.roster.seats]
    items = pack(Item(i, body) for i, body in enumerate(seats))
    proposed = next(iter(room.members[0]._proposals.values()))
    reports = bodies(room, Step.REPORT)
    yield "message", encode(said[Step.SUM][1]), decode
    yield "batch", items, wire.unpack
    yield "numbers", wire.numbers([0, P - 1, 5]), lambda data: wire.read_numbers(data, P)
    yield "bitmap", b"\x1f", lambda data: wire.members_of(data, 5)
    yield "seat", seats[0], Seat.read
    yield "genuine seat", seats[0], lambda data: Seat.read(data).genuine(RUN)
    yield "roster", b"".join(seats), lambda data: seated(data[k : k + 160] for k in range(0, len(data), 160))
    yield "reveal", said[Step.REVEAL][1].body, lambda data: draw.roster.reveal(0, data)
    yield "report", reports[0], lambda data: genuine_report(draw, Item(0, data))
    head = proposed.bits + proposed.bits + proposed.list_hash + bytes(64)
    yield "proposal", head + b"".join(proposed.reports.values()), lambda data: Proposal(draw, Item(proposed.author, data))


@pytest.mark.parametrize("runs", [1000, pytest.param(100_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_every_reader_takes_any_bytes(room: Room, runs: int) -> None:
    """Ten readers: 10^4 by default, 10^6 when there is time."""
    chance, refused = random.Random(1), 0
    for name, good, read in readers(room):
        for _ in range(runs if name not in ("report", "genuine seat", "proposal") else runs // 5):
            data = changed(good, chance)
            try:
                read(data)
            except Malformed:
                refused += 1
            except Exception as error:
                raise AssertionError(f"{name} breaks with {error!r} on {data.hex()}") from error
    assert refused > runs


def fuzzed(seed: int, copies: int) -> tuple[int, int]:
    """A whole run in which, after the draw, every member hears changed copies before each word of the relay; in the end a sum
    is exact or not known. How many copies were heard, and how many members know."""
    room, chance, count = Room(5).set_up(), random.Random(seed), 0

    def passed(place: int, data: bytes) -> list[bytes]:
        nonlocal count
        count += copies
        return [*(data[:ENVELOPE_BYTES] + changed(data[ENVELOPE_BYTES:], chance) for _ in range(copies)), data]

    room.passed = passed
    room.open(rounds=4)
    assert {m.opened.sums == room.total(m.opened.contributors) for m in room.members if m.opened} <= {True}
    assert set(map(type, room.errors.values())) <= {Malformed}
    return count, sum(m.opened is not None for m in room.members)


@pytest.mark.parametrize("runs", [6, pytest.param(500, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_members_take_any_bytes(runs: int) -> None:
    copies, know = (sum(column) for column in zip(*(fuzzed(seed, 8) for seed in range(runs)), strict=True))
    assert copies > 150 * runs
    assert know > 4 * runs, "what came unchanged counts"


@pytest.mark.parametrize("runs", [300, pytest.param(50_000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_no_bytes_of_a_gatherer_make_a_share_leave(runs: int) -> None:
    """A changed roster, then a changed draw: a member follows only where every committee member signed what it sees."""
    room, chance, heard = Room(5), random.Random(3), dict[Step, bytes]()
    room.passed = lambda place, data: heard.setdefault(decode(data).step, data) and [data]
    room.set_up()
    for _ in range(runs):
        member = Member(RUN, room.people[0], room.members[0].keys)
        for step, most in ((Step.JOIN, 5), (Step.REVEAL, 9)):
            try:
                good = heard[step]
                copy = good[:ENVELOPE_BYTES] + changed(good[ENVELOPE_BYTES:], chance)
                member.hear(decode(copy if chance.randrange(10) < most else good))
            except (Malformed, Declined):
                pass
        if member.draw is not None:
            assert member.draw.ctx == room.draw.ctx
        else:
            assert not member.contribute()


@pytest.mark.parametrize("runs", [60, pytest.param(6000, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])])
def test_relays_take_any_bytes(room: Room, runs: int) -> None:
    chance, refused = random.Random(2), 0
    for _, message in list(room.heard):
        relay, own = Relay(room.members[0], 0.0), room.members[0].index
        assert own is not None
        for place, member in enumerate(room.members):
            relay.hear(place, decode(member.greet(own)[0]), 0.0)
        gathering = Gathering(RUN, dict.fromkeys(range(5), b""), 1.0, room.people[0].params)
        for _ in range(runs // 6):
            body = changed(message.body, chance)
            for hear in (relay.hear, gathering.hear):
                try:
                    hear(chance.randrange(6), message._replace(body=body), 0.0)
                except Malformed:
                    refused += 1
    assert refused > 5 * runs


def test_another_error_would_be_noticed(room: Room, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: lengths that are not checked."""
    monkeypatch.setattr(wire, "ENVELOPE_BYTES", 0)
    with pytest.raises(AssertionError, match="breaks with"):
        test_every_reader_takes_any_bytes(room, 200)


def test_a_step_that_nobody_knows_is_refused() -> None:
    good = encode(Message(Step.SUM, False, 1, RUN.epoch, RUN.room, b""))
    for at, value in ((0, 2), (1, 0), (1, 13), (1, 63), (1, 64), (1, 255), (3, 1)):
        with pytest.raises(Malformed):
            decode(good[:at] + bytes([value]) + good[at + 1 :])
