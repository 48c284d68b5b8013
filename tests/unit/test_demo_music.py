"""The end of the demo, where the epoch of its room ends."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.nodes.demo import music
from moodmesh.nodes.demo.scene import DemoFailed
from moodmesh.nodes.errors import NodeError


class Asked:
    """A daemon whose room refuses the first asks and tells its mood after one that it takes."""

    def __init__(self, refuses: int) -> None:
        self._refuses, self.taken = refuses, False

    def post(self, *path: str) -> None:
        if self._refuses:
            self._refuses -= 1
            raise NodeError("this epoch ends in 35 s: ask again after that")
        self.taken = True

    def get(self, *path: str) -> dict[str, Any]:
        return {"mood": {"valence": 0.1, "arousal": 0.2} if self.taken else None, "state": "waiting"}


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(music.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(music.time, "sleep", lambda seconds: now.__setitem__(0, now[0] + seconds))


def asked(refuses: int) -> dict[str, Any]:
    return music._asked({"phone": SimpleNamespace(client=Asked(refuses))}, "phone")  # type: ignore[dict-item]


def test_a_room_at_the_end_of_its_epoch_is_asked_again_in_the_next() -> None:
    assert asked(0)["mood"] == asked(5)["mood"] == {"valence": 0.1, "arousal": 0.2}


def test_a_room_that_never_takes_it_says_why() -> None:
    with pytest.raises(DemoFailed, match=r"waiting \(this epoch ends in 35 s"):
        asked(100)
