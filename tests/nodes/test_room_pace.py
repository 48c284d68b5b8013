"""Attack 16: taking part in a way that depends on the mood. Whoever listens sees the same whatever people feel."""

from __future__ import annotations

import random
from types import SimpleNamespace

import pytest

from mesh.rooms import keys_of
from mesh.sittings import Sent, sat
from moodmesh.mesh.rooms import member as members
from moodmesh.mesh.rooms import sitting
from moodmesh.mesh.rooms.member import Declined, Opened
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.rooms.model import create
from moodmesh.nodes.rooms.person import Known, RoomPerson
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.budget import Caps

SAD, GLAD = -0.8, 0.8


def person(name: str, valence: float) -> RoomPerson:
    """With a book that takes any charge."""
    mood = EmotionVector(valence, -valence / 3, valence_sd=0.1, arousal_sd=0.1, at=0.0)
    book = SimpleNamespace(caps=Caps(), allows=lambda entry: None, charge=lambda entry: None, opened=lambda *told: None)
    room = create("cafe", "on-demand", 4)
    return RoomPerson(room, "verified", DeviceId(name), book, lambda: mood, {}, Known(), lambda e: None, lambda k: None)


def listened(valences: list[float], monkeypatch: pytest.MonkeyPatch) -> tuple[list[Sent], int]:
    """What is seen of one epoch, with the same keys and the same jitter each time; how many devices know the sum."""
    chance, count = random.Random(16), iter(range(10_000))
    monkeypatch.setattr(sitting, "randbelow", chance.randrange)
    monkeypatch.setattr(members, "Keys", lambda run, nonce: keys_of(run, str(next(count))))
    told = sat([person(str(i), v) for i, v in enumerate(valences)])
    return told.log, sum(isinstance(o, Opened) for o in told.opened)


def seen(monkeypatch: pytest.MonkeyPatch) -> bool:
    """Whether swapped moods look different."""
    one, know = listened([SAD, GLAD, GLAD, SAD, GLAD, GLAD], monkeypatch)
    other, also = listened([GLAD, SAD, SAD, GLAD, SAD, SAD], monkeypatch)
    assert len(one) > 60
    return one != other or know != also


def test_times_order_and_sizes_are_the_same_for_other_moods(monkeypatch: pytest.MonkeyPatch) -> None:
    assert not seen(monkeypatch)
    assert listened([SAD] * 6, monkeypatch)[1] == 6


def test_sitting_out_when_sad_would_be_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: skip when valence < 0."""
    release = RoomPerson.release

    def skipping(self: RoomPerson, draw):
        if self.mood().valence < 0:
            raise Declined("not in the mood")
        return release(self, draw)

    monkeypatch.setattr(RoomPerson, "release", skipping)
    assert seen(monkeypatch)
