"""Attack 12: members vanish at every step. The exact sum of those who are in it, or nothing; and one charge."""

from __future__ import annotations

import pytest

from moodmesh.mesh.rooms.relay import Relay
from moodmesh.mesh.rooms.wire import Step

from .rooms import Room, Someone, moods, silent

AFTER_DRAW = (Step.SHARES, Step.REPORT, Step.VOTE, Step.SUM)


def dropped(n: int, gone: int, since: Step, kind: str = "on-demand") -> Room:
    """So many are gone from a step on; not the relay, which others take over from elsewhere."""
    room = Room(n, kind).set_up()
    room.said = silent([room.place(i) for i in room.draw.relays[1 : gone + 1]], since)
    return room.open(rounds=6)


def exact(room: Room) -> int:
    """How many know the sum, which is exact; everybody was charged once."""
    told = {(m.opened.sums, m.opened.contributors) for m in room.members if m.opened}
    assert len(told) <= 1
    for sums, contributors in told:
        assert sums == room.total(contributors)
    assert all(person.charges == 1 for person in room.people)
    return sum(m.opened is not None for m in room.members)


@pytest.mark.parametrize("since", AFTER_DRAW)
@pytest.mark.parametrize(("n", "gone"), [(7, 1), (10, 3)])
def test_as_many_as_may_vanish_do_and_the_sum_is_exact(n: int, gone: int, since: Step) -> None:
    room = dropped(n, gone, since)
    assert exact(room) == n, "those who only fell silent still hear"
    opened = room.members[0].opened
    assert opened is not None
    assert len(opened.contributors) == (n - gone if since is Step.SHARES else n)


@pytest.mark.parametrize("since", AFTER_DRAW)
def test_one_more_and_nothing_is_opened(since: Step) -> None:
    assert exact(dropped(10, 4, since)) == 0


def test_nine_of_thirty() -> None:
    assert exact(dropped(30, 9, Step.SHARES)) == 30


def test_a_circle_opens_with_everyone_or_not_at_all() -> None:
    assert exact(dropped(5, 0, Step.SHARES, "circle")) == 5
    assert all(exact(dropped(5, 1, since, "circle")) == 0 for since in AFTER_DRAW)


def test_who_vanishes_before_the_draw_is_left_out_of_the_next_attempt() -> None:
    room = Room(10)
    room.said = silent([3, 7], Step.REVEAL)
    room.set_up()
    assert room.withheld == {3, 7}
    assert not any(person.charges for person in room.people)
    again = Room(8, people=[p for i, p in enumerate(room.people) if i not in room.withheld])
    assert exact(again.set_up().open()) == 8


def test_a_wait_for_shares_without_an_end_would_never_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    tick = Relay.tick
    monkeypatch.setattr(Relay, "tick", lambda self, now: [] if self._step is Step.SHARES else tick(self, now))
    assert exact(dropped(10, 1, Step.SHARES)) == 0


def test_the_next_relay_goes_on_where_one_vanished() -> None:
    """With the same bytes: nobody shares, votes or is charged a second time."""
    room = Room(10).set_up()
    first = room.place(room.draw.relays[0])
    room.passed = lambda place, data: []
    room.open(0, rounds=1)
    room.passed, room.said = lambda place, data: [data], silent([first], Step.JOIN)
    room.open(1)
    assert exact(room) == 9
    for place in range(10):
        assert len({m.body for p, m in room.steps(Step.SHARES) if p == place}) == 1


def test_a_report_of_nothing_does_not_empty_the_set() -> None:
    """One of the committee says that it holds nothing: it is left out, not everybody."""
    room = Room(10).set_up()
    silent_one = room.members[room.place(room.draw.relays[3])]
    assert silent_one.holder is not None
    silent_one.holder.take = lambda items, channel: silent_one.holder.report()  # type: ignore[method-assign]
    room.open()
    opened = room.members[0].opened
    assert opened is not None
    assert opened.sums == room.total(range(10))


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("n", [10, 30])
@pytest.mark.parametrize("since", AFTER_DRAW)
def test_any_number_at_any_step(n: int, since: Step) -> None:
    for gone in range((n - 1) // 3 + 2):
        assert exact(dropped(n, gone, since)) == (n if gone <= n - Room(n).people[0].params(n).t else 0)


def test_people_are_charged_by_what_they_send() -> None:
    """A member that never shares is never asked for its mood."""
    person = Someone(moods(1)[0])
    room = Room(5, people=[person, *(Someone(v) for v in moods(4))])
    room.said = silent([0], Step.REVEAL)
    room.set_up()
    assert person.charges == 0


@pytest.mark.parametrize("since", [Step.REPORT, Step.VOTE])
@pytest.mark.parametrize("more", [0, 1])
def test_every_reader_is_told_that_lying_senders_could_not_have_been_told(since: Step, more: int) -> None:
    """Also outside the committee, where no vote is heard: when exactly as many reported, or voted, as open the sum."""
    room = Room(100).set_up()
    draw, t = room.draw, room.draw.roster.params.t
    holders = [room.place(i) for i in draw.committee if i != draw.relays[0]]
    room.said = silent(holders[: len(draw.committee) - t - more], since)
    room.open()
    readers = [m.opened.unchecked for m in room.members if m.opened and m.holder is None]
    assert len(readers) == 100 - len(draw.committee)
    assert {m.opened.unchecked for m in room.members if m.opened} == {more == 0}
