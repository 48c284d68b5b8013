"""What a release cost is told by who was in the sum: raised where this device helps to open it, since it may never read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from mesh.rooms import EPOCH, Room, Someone, moods, silent
from moodmesh.mesh.rooms.member import Declined, Opened
from moodmesh.mesh.rooms.sitting import Aborted
from moodmesh.mesh.rooms.transcript import Draw, Params, Run
from moodmesh.mesh.rooms.wire import Step, decode
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms.model import Descriptor, create
from moodmesh.nodes.rooms.person import Known, RoomPerson
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.budget import total
from moodmesh.privacy.release.ledger import Charge, Ledger
from moodmesh.privacy.release.ledger import Opened as Line
from moodmesh.privacy.sums.field import P

HALL, CAFE = create("hall", "ambient"), create("cafe", "on-demand", 4)
FELT = EmotionVector(0.4, -0.2, valence_sd=0.1, arousal_sd=0.1, at=0.0)
N, FRIENDS = 40, 9


class Stage:
    """A room in one process: this device at place 0, its friends at the places after it."""

    def __init__(self, folder: Path, room: Descriptor = HALL, n: int = N) -> None:
        self.claims: dict[DeviceId, bytes] = {}
        self.closed: list[int] = []
        self.ledger = Ledger(folder / "ledger", begun=False)
        me, close = DeviceId("m" * 52), self.closed.append
        self.me = RoomPerson(room, "verified", me, self.ledger, lambda: FELT, self.claims, Known(), close, lambda key: None)
        others = [_Other(value, self.me) for value in moods(n - 1)]
        self.room = Room(n, run=Run(room.id, EPOCH, 1), people=[self.me, *others])  # type: ignore[list-item]
        self.claims |= {DeviceId(f"{i:052}"): self.room.members[i].keys.e_pub for i in range(1, FRIENDS + 1)}

    def honest(self) -> list[int]:
        """For how many it was priced, line after line."""
        return [line.honest for line in self.ledger.lines() if isinstance(line, Charge | Line)]

    def opened_without_friends(self) -> frozenset[int]:
        """By a relay that leaves out all of them but one, and never tells this device the sum. Whose sum it was."""
        room = self.room.set_up()
        gone = [i for i in range(1, FRIENDS + 1) if room.members[i].index != room.draw.relays[0]][: FRIENDS - 1]
        room.said = silent(gone, Step.SHARES)
        room.passed = lambda place, data: [] if place == 0 and decode(data).step is Step.SUM else [data]
        room.open()
        assert room.members[0].opened is None
        return next(m.opened.contributors for m in room.members if m.opened is not None)


class _Other(Someone):
    def __init__(self, value: tuple[int, int], me: RoomPerson) -> None:
        super().__init__(value)
        self._me = me

    def params(self, n: int) -> Params:
        return self._me.params(n)


def test_a_relay_that_leaves_friends_out_and_tells_no_sum_does_not_get_it_cheaper(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    contributors = stage.opened_without_friends()
    assert stage.me.honest(stage.room.draw, sorted(contributors)) == 2
    assert stage.honest() == [10, 2]
    assert stage.ledger.spent(EPOCH)[0].room == pytest.approx(_price(stage, 2))


def test_without_the_vote_telling_whose_sum_it_would_be_cheap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: priced anew by whoever reads a sum alone."""
    monkeypatch.setattr(RoomPerson, "once", lambda self, draw, contributors: True)
    stage = Stage(tmp_path)
    stage.opened_without_friends()
    assert stage.honest() == [10]
    assert stage.ledger.spent(EPOCH)[0].room < _price(stage, 2) / 1.9


def _price(stage: Stage, honest: int) -> float:
    return total([stage.me.mechanism(N).price(honest)]).room


def _drawn(stage: Stage) -> Draw:
    return stage.room.set_up().draw


def test_it_is_entered_before_the_right_is_used_and_never_lowers_a_charge(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    draw = _drawn(stage)
    stage.me.release(draw)
    me = stage.room.members[0].index
    known_then: list[list[int]] = []
    stage.me.close = lambda epoch: known_then.append(stage.honest())
    assert stage.me.once(draw, [me])
    assert known_then == [[10, 1]]
    stage.me.reading(Opened((0, 0), frozenset(range(N)), draw))
    assert stage.honest() == [10, 1, 10]
    assert stage.ledger.spent(EPOCH)[0].room == pytest.approx(_price(stage, 1))


def test_what_was_entered_with_the_vote_is_not_entered_again_with_the_sum(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    draw = _drawn(stage)
    stage.me.release(draw)
    assert stage.me.once(draw, range(N))
    stage.me.reading(Opened((0, 0), frozenset(range(N)), draw))
    assert stage.honest() == [10, 10]


def test_with_a_ledger_that_cannot_be_believed_it_does_not_help_to_open(tmp_path: Path) -> None:
    stage = Stage(tmp_path)
    draw = _drawn(stage)
    stage.me.release(draw)
    (tmp_path / "ledger").write_text("nonsense")
    with pytest.raises(Declined, match="accept-full-day"):
        stage.me.once(draw, range(N))
    assert stage.closed == []


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_that_nobody_can_have_made_is_not_shown_and_is_priced_all_the_same(tmp_path: Path, axis: int, sign: int) -> None:
    """Attack 7: whoever sends y = 10^6 or p/2."""
    stage = Stage(tmp_path)
    draw = _drawn(stage)
    stage.me.release(draw)
    some = frozenset(range(30))
    most = int(stage.me.mechanism(N).bound(len(some)))
    for value in (most + 1, most + 10**6, P // 2):
        with pytest.raises(Aborted, match="cannot have made"):
            stage.me.reading(Opened(tuple(sign * value * (i == axis) for i in (0, 1)), some, draw))
    assert len(stage.honest()) == 2, "a lie has its price, once"
    shown = stage.me.reading(Opened((sign * most, sign * most), some, draw))
    assert shown.contributors == 30
    assert shown.valence**2 + shown.arousal**2 <= 1 + 1e-9


def test_without_the_bound_it_would_be_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation of attack 7."""
    stage = Stage(tmp_path, CAFE, 12)
    draw = _drawn(stage)
    stage.me.release(draw)
    lie = Opened((10**6, 0), frozenset(range(12)), draw)
    with pytest.raises(Aborted, match="cannot have made"):
        stage.me.reading(lie)
    monkeypatch.setattr(type(stage.me.mechanism(12)), "bound", lambda self, contributors: float("inf"))
    assert stage.me.reading(lie).valence == 1
