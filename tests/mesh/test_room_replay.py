"""Attack 5: words of one run said again in another, where even the keys are the same."""

from __future__ import annotations

from dataclasses import replace

import pytest

from moodmesh.mesh.rooms.holder import genuine_report
from moodmesh.mesh.rooms.transcript import Channel, Draw, Keys, Params, Roster, Run, Seat, label, seated, u16
from moodmesh.mesh.rooms.wire import Item, Step, decode, encode

from .rooms import RUN, Room, keys_of

OTHERS = {
    "attempt": RUN._replace(attempt=2),
    "epoch": RUN._replace(epoch=RUN.epoch + 1),
    "room": RUN._replace(room=bytes(32)),
}
NAMES = "abcde"


def old_keys(run: Run) -> list[Keys]:
    """Those of `RUN` in another run, as no device should have them."""
    found = [keys_of(RUN, name) for name in NAMES]
    for keys in found:
        keys.run = run
    return found


def draw_of(run: Run, nonce: int = 0, n_min: int = 3) -> Draw:
    seats = seated(keys.join() for keys in old_keys(run))
    return Draw(Roster(run, seats, Params("on-demand", n_min, 5, 4)), (bytes([nonce]) * 32,) * 5)


WORLDS = {
    **{name: draw_of(run) for name, run in OTHERS.items()},
    "beacon": draw_of(RUN, nonce=1),
    "parameters": draw_of(RUN, n_min=4),
}


def opened_elsewhere() -> set[str]:
    """In which other worlds a sealed share is taken for one of theirs."""
    first, (a, b, c, *_) = draw_of(RUN), old_keys(RUN)
    place = {name: first.roster.index(keys.e_pub) for name, keys in zip("abc", (a, b, c), strict=True)}
    sealed = Channel(a, first, place["a"], place["b"]).seal(b"shares")
    assert Channel(b, first, place["b"], place["a"]).open(sealed) == b"shares"
    found = {name for name, draw in WORLDS.items() if Channel(b, draw, place["b"], place["a"]).open(sealed) is not None}
    ways = {
        "its sender": Channel(a, first, place["a"], place["b"]),
        "another recipient": Channel(c, first, place["c"], place["a"]),
        "as from another sender": Channel(b, first, place["b"], place["c"]),
    }
    return found | {name for name, channel in ways.items() if channel.open(sealed) is not None}


def test_a_share_opens_in_its_own_run_and_nowhere_else() -> None:
    assert opened_elsewhere() == set()


def without_context(self: Channel, sender: int, recipient: int) -> bytes:
    return label("R1") + u16(sender) + u16(recipient)


def test_a_share_that_is_not_bound_to_its_context_opens_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: AAD without ctx. Room and epoch are in the key as well."""
    monkeypatch.setattr(Channel, "_aad", without_context)
    assert opened_elsewhere() == {"attempt", "beacon", "parameters"}


def said_again(run: Run, step: Step) -> Room:
    """A second run in which, from a step on, the member at place 0 says what it said in the first."""
    first = Room(5, keys=old_keys(RUN)).set_up().open()
    old = {m.step: m for place, m in first.heard if place == 0}
    second = Room(5, run=run, keys=old_keys(run))

    def said(place: int, data: bytes) -> list[bytes]:
        message = decode(data)
        return [encode(message._replace(body=old[step].body))] if place == 0 and message.step is step else [data]

    second.said = said
    second.people[0].value = (1, 1)
    return second.set_up().open() if step not in (Step.JOIN, Step.REVEAL) else second.set_up()


@pytest.mark.parametrize("run", OTHERS.values(), ids=list(OTHERS))
@pytest.mark.parametrize("step", [Step.SHARES, Step.REPORT, Step.VOTE, Step.SUM])
def test_words_of_another_run_count_for_nothing(run: Run, step: Step) -> None:
    room = said_again(run, step)
    own = room.members[0].index
    for m in room.members[1:]:
        assert m.opened is not None
        assert m.opened.sums == room.total(m.opened.contributors)
        assert (own in m.opened.contributors) == (step is not Step.SHARES)
        assert m.holder is not None
        assert (own in m.holder._openings) == (step not in (Step.VOTE, Step.REPORT))
    assert (0 in room.thrown) == (step is Step.REPORT)


@pytest.mark.parametrize("run", OTHERS.values(), ids=list(OTHERS))
@pytest.mark.parametrize("step", [Step.JOIN, Step.REVEAL])
def test_joining_with_words_of_another_run_is_refused(run: Run, step: Step) -> None:
    room = said_again(run, step)
    assert room.thrown == {0}


def test_an_old_share_would_be_summed_if_it_were_not_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation, end to end: the second run opens a sum with the old value of a member in it."""
    monkeypatch.setattr(Channel, "_aad", without_context)
    room = said_again(OTHERS["attempt"], Step.SHARES)
    assert room.members[1].holder is not None
    assert room.members[0].index in room.members[1].holder._reported.popitem()[1]


def test_what_is_signed_names_its_run() -> None:
    draws = [draw_of(RUN), *WORLDS.values()]
    keys = old_keys(RUN)[0]
    for draw in draws:
        seat = Seat.read(keys.join())
        assert seat.genuine(draw.roster.run) == (draw.roster.run == RUN)
    report = bytes(33) + keys.sign("R2a", draws[0].ctx, bytes(33))
    own = draws[0].roster.index(keys.e_pub)
    assert [genuine_report(draw, Item(own, report)) for draw in draws] == [True, *(False for _ in WORLDS)]


def test_words_with_another_envelope_are_not_heard() -> None:
    room = Room(5).set_up().open()
    fresh = Room(5).set_up()
    for _, message in room.heard:
        for run in OTHERS.values():
            changed = message._replace(batch=True, room=run.room, epoch=run.epoch, attempt=run.attempt)
            assert fresh.members[0].hear(changed) == []


def test_every_field_of_the_context_counts() -> None:
    """A draw with anything different has another ctx."""
    one = draw_of(RUN)
    others = [*WORLDS.values(), Draw(replace(one.roster, seats=one.roster.seats[:4]), one.nonces[:4])]
    assert len({one.ctx, *(draw.ctx for draw in others)}) == 1 + len(others)
