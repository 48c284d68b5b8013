"""A room in which more have come than its members take in at once opens with those it may have, and grows epoch by epoch."""

from __future__ import annotations

import pytest

from moodmesh.mesh.rooms.member import Declined, Opened
from moodmesh.mesh.rooms.sitting import Timing
from moodmesh.mesh.rooms.transcript import Roster

from .rooms import Someone, moods
from .sittings import sat

MOST, COME = 7, 9


class Careful(Someone):
    """Takes part in rooms of up to `MOST`."""

    gathers = MOST

    def most(self) -> int:
        return self.gathers

    def accepts(self, roster: Roster) -> None:
        if roster.n > MOST:
            raise Declined("grew too fast")


class Careless(Careful):
    """Gathers whoever comes, and accepts no such roster: the mutation."""

    gathers = COME


def opened(kind: type[Careful]) -> list[Opened]:
    return [one for one in sat([kind(value) for value in moods(COME)]).opened if isinstance(one, Opened)]


def test_the_first_who_came_are_gathered_when_there_are_too_many_at_once() -> None:
    found = opened(Careful)
    assert len(found) == MOST
    assert {len(one.contributors) for one in found} == {MOST}


@pytest.mark.parametrize("kind", [Careless])
def test_a_gatherer_that_takes_in_all_has_a_room_that_never_opens(kind: type[Careful]) -> None:
    assert not opened(kind)


@pytest.mark.parametrize(
    ("come", "by_radio", "least"),
    [(10, range(3), 10), (14, range(3, 6), 11), (12, range(12), 10), (12, range(3, 4), 11), (12, (), 12)],
)
def test_who_is_there_by_radio_is_in_small_rooms_alone(come: int, by_radio: range, least: int) -> None:
    """Up to ten: all of them; more: those on the network, or the first ten."""
    told = sat([Someone(value) for value in moods(come)], by_radio=by_radio)
    found = [one for one in told.opened if isinstance(one, Opened)]
    assert {len(one.contributors) for one in found} == {len(found)}
    assert len(found) == least


def told_by_radio() -> set[int]:
    """How many are told of, where two of five are by radio, and a message takes two seconds there."""
    told = sat([Someone(value) for value in moods(5)], by_radio=(1, 3), late=2.0)
    return {len(o.draw.roster.seats) if isinstance(o, Opened) else 0 for o in told.opened}


def test_everybody_has_patience_with_those_by_radio() -> None:
    assert told_by_radio() == {5}


def test_mutation_with_the_patience_of_a_network_they_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Timing, "by_radio", lambda timing: timing)
    assert 5 not in told_by_radio()
