"""What people in a room feel: the hidden truth, which the demo alone knows. Points of the unit disc, as rooms take moods."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from moodmesh.nodes.bench.roommood import annotated
from moodmesh.nodes.rooms.mood import DRIFT_HOUR, PRIOR, SPREAD
from moodmesh.privacy.release.mechanism import clip


class Point(NamedTuple):
    """A mood."""

    valence: float
    arousal: float


class Moods(Protocol):
    """Of everybody, epoch by epoch. `label` says where they come from."""

    label: str

    def after(self, hours: float) -> list[Point]:
        """Everybody's, so many hours after the ones before."""


class Simulated:
    """A common mood that walks slowly and is drawn back to neutral, and around it each person's own steady offset."""

    label = "moods are simulated: a slow common walk, and everybody's own offset from it"

    def __init__(self, people: int, chance: np.random.Generator) -> None:
        self._chance, self._common = chance, chance.normal(0, PRIOR / 2, 2)
        self._own = chance.normal(0, SPREAD, (people, 2))

    def after(self, hours: float) -> list[Point]:
        """Everybody's."""
        kept = math.exp(-hours * DRIFT_HOUR**2 / (2 * PRIOR**2))
        self._common = kept * self._common + self._chance.normal(0, PRIOR * math.sqrt(1 - kept**2), 2)
        return [Point(*clip(v, a)) for v, a in (self._own + self._common).tolist()]


class Annotated:
    """People who annotated what they felt while they watched; ten seconds of that stand for an epoch."""

    def __init__(self, data: Path, people: int, chance: np.random.Generator) -> None:
        self._felt, self._step = annotated.moods(data), -1
        persons, videos = self._felt.shape[:2]
        few = people <= persons
        self._who = chance.permutation(persons)[:people] if few else chance.integers(persons, size=people)
        self._what = np.full(people, chance.integers(videos)) if few else chance.integers(videos, size=people)
        rows = "different people, one video" if few else f"rows of {persons} people x {videos} videos, with replacement"
        self.label = f"moods are annotations of CEAP-360VR ({rows}); ten seconds of them stand for an epoch"

    def after(self, hours: float) -> list[Point]:
        """Everybody's; after the last of a video comes the next."""
        self._step += 1
        videos, steps = self._felt.shape[1:3]
        rows = self._felt[self._who, (self._what + self._step // steps) % videos, self._step % steps]
        return [Point(*clip(v, a)) for v, a in rows.tolist()]


def mean(points: Sequence[Point]) -> Point:
    """What a room with no noise and no loss would tell."""
    return Point(sum(p.valence for p in points) / len(points), sum(p.arousal for p in points) / len(points))
