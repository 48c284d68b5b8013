"""A room in which more have come than its members take in at once opens with those it may have, and grows epoch by epoch."""

from __future__ import annotations

import pytest

from moodmesh.mesh.rooms.member import Declined, Opened
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
