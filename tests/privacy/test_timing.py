"""Attack 15: how long it takes to encode a mood tells nothing of it. `moodmesh bench timing` measures; this holds the steps.

For the same draw of chance every mood takes the same steps, line by line, whichever room it goes to.
"""

from __future__ import annotations

import math
import random
import sys
from types import FrameType
from typing import Any

import pytest

from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release import chance, mechanism, privunit
from moodmesh.privacy.release.mechanism import Ambient, Circle, Mechanism, OnDemand

ROOMS = [Circle(), OnDemand(1), OnDemand(4), Ambient.within(30)]
OURS = {__file__, *(module.__file__ for module in (chance, mechanism, privunit))}
MOODS = [(0.3, 0.2), (-0.3, 0.2), (0.8, -0.6), (-1.0, 0.0), (1.0, 1.0), (-1.0, -0.9), (0.001, 0.001), (0.0, 1.0)]


def steps(how: Mechanism, valence: float, arousal: float, seed: int, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """The lines that run while this mood is encoded."""
    taken: list[tuple[str, int]] = []

    def trace(frame: FrameType, event: str, arg: object) -> Any:
        if frame.f_code.co_filename not in OURS:  # whatever else this thread does meanwhile, as for a collector of garbage
            return None
        if event == "line":
            taken.append((frame.f_code.co_filename, frame.f_lineno))
        return trace

    mood = EmotionVector(valence, arousal, valence_sd=0.1, arousal_sd=0.1, at=0.0)
    for module in (chance, privunit):
        monkeypatch.setattr(module, "randbelow", random.Random(seed).randrange)
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        how.encode(mood)
    finally:
        sys.settrace(before)
    return taken


def differing(how: Mechanism, monkeypatch: pytest.MonkeyPatch) -> int:
    """Of how many draws of chance the steps depend on the mood."""
    found = [{tuple(steps(how, *mood, seed, monkeypatch)) for mood in MOODS} for seed in range(20)]
    return sum(len(ways) > 1 for ways in found)


@pytest.mark.parametrize("how", ROOMS, ids=str)
def test_every_mood_takes_the_same_steps(how: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    assert steps(how, 0.3, 0.2, 1, monkeypatch), "the instrument sees something"
    assert differing(how, monkeypatch) == 0


@pytest.mark.parametrize("how", ROOMS, ids=str)
def test_a_way_out_for_moods_inside_the_disc_would_show(how: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: what lies inside is not divided."""

    def hasty(x: float, y: float) -> tuple[float, float]:
        size = math.hypot(x, y)
        if size <= 1:
            return x, y
        return x / size, y / size

    monkeypatch.setattr(mechanism, "clip", hasty)
    assert differing(how, monkeypatch) == 20
