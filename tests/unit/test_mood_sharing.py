"""Two people who let each other know: one of nine words, with permission, until it is taken back (room-mood §2)."""

from __future__ import annotations

import pytest

from moodmesh.mesh.seams import DeviceId, Envelope
from moodmesh.nodes.kinds import parse
from moodmesh.nodes.messages import MoodTold
from moodmesh.nodes.moods import sharing
from moodmesh.nodes.moods.sharing import Sharing
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.coarse import coarse

ANNA, BEN = DeviceId("a" * 52), DeviceId("b" * 52)


class Two:
    """Anna's device, which tells Ben; `wire`: every byte that leaves."""

    def __init__(self) -> None:
        self.felt: EmotionVector | None = feeling(0.8, -0.7)
        self.may = {BEN}
        self.linked = True
        self.wire: list[str] = []
        self.sharing = Sharing(lambda: self.felt, lambda peer: peer in self.may, self.send)

    def send(self, peer: DeviceId, message: MoodTold) -> bool:
        if self.linked:
            self.wire.append(message.mood)
        return self.linked


def feeling(valence: float, arousal: float) -> EmotionVector:
    return EmotionVector(valence, arousal, valence_sd=0.1, arousal_sd=0.1, at=0.0)


@pytest.mark.parametrize(
    ("valence", "arousal", "cell"),
    [(-1, 1, (0, 2)), (-0.34, 0.34, (0, 2)), (0, 0, (1, 1)), (0.33, -0.33, (1, 1)), (1, -1, (2, 0))],
)
def test_a_cell_is_a_third_of_each_axis(valence: float, arousal: float, cell: tuple[int, int]) -> None:
    found = coarse(feeling(valence, arousal))
    assert (found.valence, found.arousal) == cell


def test_it_is_told_once_and_anew_when_it_changes() -> None:
    two = Two()
    for felt in (feeling(0.8, -0.7), feeling(0.6, -0.9), feeling(-0.8, -0.7), None):
        two.felt = felt
        two.sharing.look([BEN])
    assert two.wire == ['{"valence":2,"arousal":0}', '{"valence":0,"arousal":0}', ""]


def secrets(two: Two) -> set[str]:
    """What goes out to a peer that may not know, or not any more, whatever happens meanwhile."""
    two.may.clear()
    two.wire.clear()
    for felt in (feeling(-0.9, 0.9), feeling(0.1, 0.1)):
        two.felt = felt
        two.sharing.look([ANNA, BEN])
        two.sharing.down(BEN)
        two.sharing.look([BEN])
    return set(two.wire) - {""}


def test_without_permission_nothing_is_told_and_what_was_is_taken_back() -> None:
    two = Two()
    assert not secrets(two)
    two.may.add(BEN)
    two.sharing.look([BEN])
    assert two.wire == ['{"valence":1,"arousal":1}']
    two.may.clear()
    two.sharing.look([BEN])
    assert two.wire[1:] == [""]
    assert not secrets(two)


def test_a_permission_that_nobody_asks_for_would_leak() -> None:
    """The mutation."""
    two = Two()
    two.sharing = Sharing(lambda: two.felt, lambda peer: True, two.send)
    assert secrets(two)


def test_finer_cells_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: told to within a hundredth."""
    two = Two()
    monkeypatch.setattr(
        sharing, "coarse", lambda mood: type("M", (), {"to_json": lambda self: f'{{"valence":{mood.valence}}}'})()
    )
    with pytest.raises(ValueError, match="mood"):
        two.sharing.look([BEN])


def test_what_is_lost_with_a_link_is_told_again() -> None:
    two = Two()
    two.linked = False
    two.sharing.look([BEN])
    two.linked = True
    two.sharing.look([BEN])
    two.sharing.down(BEN)
    two.sharing.look([BEN])
    assert two.wire == ['{"valence":2,"arousal":0}'] * 2


def test_a_peers_mood_is_of_now_alone() -> None:
    two = Two()
    two.sharing.hear(BEN, MoodTold(mood='{"valence":0,"arousal":2}'))
    assert (two.sharing.heard[BEN].valence, two.sharing.heard[BEN].arousal) == (0, 2)
    two.sharing.hear(BEN, MoodTold(mood=""))
    assert not two.sharing.heard
    two.sharing.hear(BEN, MoodTold(mood='{"valence":0,"arousal":2}'))
    two.sharing.down(BEN)
    assert not two.sharing.heard


@pytest.mark.parametrize(
    "text", ['{"valence":3,"arousal":0}', '{"valence":0.5,"arousal":0}', "[1,2]", '{"arousal":0,"valence":1}', "x"]
)
def test_anything_finer_or_else_is_no_message(text: str) -> None:
    with pytest.raises(ValueError, match="mood"):
        parse(Envelope("mood", ('{"kind":"mood","mood":' + repr(text).replace("'", '"') + "}").encode()))
