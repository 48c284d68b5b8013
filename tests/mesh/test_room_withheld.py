"""Attack 11, whole devices: whoever keeps a reveal back makes everybody start over with new nonces, without it."""

from __future__ import annotations

import pytest

from moodmesh.mesh.rooms import member as members
from moodmesh.mesh.rooms.member import Opened
from moodmesh.mesh.rooms.relay import MOST_AGAIN
from moodmesh.mesh.rooms.sitting import gatherers
from moodmesh.mesh.rooms.transcript import Keys
from moodmesh.mesh.rooms.wire import Step, decode

from .rooms import EPOCH, ROOM, Someone, moods
from .sittings import sat


def withheld(by: dict[int, set[int]], n: int = 8):
    """Devices, and the attempts in which each keeps its reveal back."""
    people = [Someone(value) for value in moods(n)]

    def lost(device: int, data: bytes) -> bool:
        message = decode(data)
        return not message.batch and message.step is Step.REVEAL and message.attempt in by.get(device, ())

    return sat(people, lost), people


def test_one_who_withholds_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Keys] = []
    monkeypatch.setattr(members, "Keys", lambda run, nonce: made.append(Keys(run, nonce)) or made[-1])
    told, people = withheld({3: {1}})
    opened = [o for o in told.opened if isinstance(o, Opened)]
    assert {o.draw.roster.n for o in opened} == {7}
    assert {o.draw.roster.run.attempt for o in opened} == {2}
    assert len({k.nonce for k in made}) == len({k.x_pub for k in made}) == len({k.e_pub for k in made}) == 8 + 7
    assert people[3].charges == 0


def test_who_withheld_before_is_not_taken_in_again() -> None:
    """Two who take turns would else use up all attempts of any room."""
    told, _ = withheld({3: {1, 3}, 5: {2, 4}})
    opened = [o for o in told.opened if isinstance(o, Opened)]
    assert {(o.draw.roster.n, o.draw.roster.run.attempt) for o in opened} == {(6, 3)}


def test_after_so_many_attempts_nothing_is_released() -> None:
    order = gatherers(ROOM, EPOCH, [k.to_bytes(16, "big") for k in range(8)])
    late = [int.from_bytes(rid, "big") for rid in order[-1 - MOST_AGAIN :]]
    told, people = withheld({k: {attempt} for attempt, k in enumerate(late, start=1)})
    assert not any(isinstance(o, Opened) for o in told.opened)
    assert not any(p.charges for p in people)
