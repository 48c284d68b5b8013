"""Attack 19: two epochs of a device share no key, nonce or polynomial. Chance comes from the operating system alone."""

from __future__ import annotations

import ast
from pathlib import Path

import numpy as np
import pytest

import moodmesh.mesh.rooms
import moodmesh.privacy.sums
from moodmesh.mesh.rooms import member as members
from moodmesh.mesh.rooms.transcript import Keys, Run
from moodmesh.privacy.sums import shamir

from .rooms import LATER, RUN, Room, Someone, moods


def secrets_of(run: Run, people: list[Someone], monkeypatch: pytest.MonkeyPatch) -> set[bytes]:
    """Everything that must be used once: keys, nonces, the keys of every channel, all coefficients, row by row."""
    drawn: list[np.ndarray] = []

    def uniform(*args, real=shamir.uniform):
        drawn.append(real(*args))
        return drawn[-1]

    with monkeypatch.context() as patch:
        patch.setattr(shamir, "uniform", uniform)
        patch.setattr(members, "uniform", uniform)
        room = Room(len(people), run=run, people=people).set_up().open()
    found = {row.tobytes() for table in drawn for row in table.reshape(-1, table.shape[-1])}
    for member in room.members:
        keys = member.keys
        found |= {keys.x_pub, keys.e_pub, keys.nonce, keys.x.private_bytes_raw(), keys._e.private_bytes_raw()}
        found |= {key for channel in member._channels.values() for key in (channel._send, channel._receive)}
    assert all(m.opened for m in room.members)
    return found


def common(monkeypatch: pytest.MonkeyPatch, later: Run = LATER) -> set[bytes]:
    values = moods(5)
    first, second = (secrets_of(run, [Someone(v) for v in values], monkeypatch) for run in (RUN, later))
    assert len(first) > 60
    return first & second


@pytest.mark.parametrize("later", [LATER, RUN, RUN._replace(attempt=2)], ids=["epoch", "again", "attempt"])
def test_nothing_is_used_twice(monkeypatch: pytest.MonkeyPatch, later: Run) -> None:
    assert common(monkeypatch, later) == set()


def test_keys_kept_for_a_room_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation."""
    kept = [Keys(RUN, bytes([k]) * 32) for k in range(5)]
    given = iter(kept * 2)
    monkeypatch.setattr(members, "Keys", lambda run, nonce: next(given))
    assert {k.x_pub for k in kept} <= common(monkeypatch, RUN)


FORBIDDEN = {"random", "numpy.random", "np.random"}


def predictable(source: str) -> set[str]:
    """Names of generators that are not the operating system's."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names} & FORBIDDEN
        if isinstance(node, ast.ImportFrom):
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)} & FORBIDDEN
        if isinstance(node, ast.Attribute):
            found |= {ast.unparse(node)} & FORBIDDEN
    return found


def test_no_other_generator_is_used() -> None:
    privacy = Path(moodmesh.privacy.sums.__file__).parents[1]
    files = [*privacy.rglob("*.py"), *Path(moodmesh.mesh.rooms.__file__).parent.rglob("*.py")]
    assert len(files) > 15
    assert {file.name: found for file in files if (found := predictable(file.read_text()))} == {}


@pytest.mark.parametrize(
    "line", ["import random", "from random import gauss", "from numpy import random", "np.random.normal()"]
)
def test_one_that_is_would_be_noticed(line: str) -> None:
    assert predictable(line)
