"""What a room's readings amount to: the value shown, and one that is filtered (systems S25, room-mood §2.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from moodmesh.nodes.rooms.model import ROUGH_RMS, Reading
from moodmesh.privacy.release.budget import EPOCH_S
from moodmesh.privacy.release.mechanism import Kind

RADIUS = 2.45
"""Of the circle that holds 95 % of a normal error in two dimensions, in RMS per axis."""
SPREAD = 0.33
"""Standard deviation of people around a common mood (CEAP-360, systems S25)."""
DRIFT_HOUR = 0.3
"""Standard deviation by which a room's mood walks in an hour."""
PRIOR = 0.5
TREND = 2.0


class Shown(NamedTuple):
    """The mean of the last `releases` readings with its 95 % radius; `rough` when its error per axis is above 0.25."""

    valence: float
    arousal: float
    rms: float
    releases: int

    @property
    def radius(self) -> float:
        """Of 95 %, in mood units."""
        return RADIUS * self.rms

    @property
    def rough(self) -> bool:
        """Whether it is to be taken as a hint."""
        return self.rms > ROUGH_RMS


class RoomMood(NamedTuple):
    """The filtered mood: mean and standard deviation per axis; `trend`: its move within an hour, None within chance."""

    valence: float
    arousal: float
    sd: float
    trend: tuple[float, float] | None


def shown(kind: Kind, readings: Sequence[Reading]) -> Shown | None:
    """Newest last. An ambient room shows the average of as many of the last readings, one after the other, as bring its error
    below 0.25; None where there is none."""
    if not readings:
        return None
    took = [readings[-1]]
    if kind == "ambient":
        for older in reversed(readings[:-1]):
            if _rms(took) <= ROUGH_RMS or took[0].epoch - older.epoch > 1:
                break
            took.insert(0, older)
    count = len(took)
    return Shown(sum(r.valence for r in took) / count, sum(r.arousal for r in took) / count, _rms(took), count)


def _rms(readings: Sequence[Reading]) -> float:
    """Of the mean of independent errors."""
    return math.sqrt(sum(r.rms**2 for r in readings)) / len(readings)


def filtered(readings: Sequence[Reading], now: float) -> RoomMood | None:
    """A Kalman filter per axis: a slow random walk, observed with the error of the release and that of the sample."""
    if not readings:
        return None
    v = a = 0.0
    variance, at = PRIOR**2, readings[0].epoch * EPOCH_S
    past: list[tuple[float, float, float]] = []
    for r in readings:
        when = r.epoch * EPOCH_S
        variance = min(PRIOR**2, variance + DRIFT_HOUR**2 * (when - at) / 3600)
        gain = variance / (variance + r.rms**2 + SPREAD**2 / r.contributors)
        v, a, variance, at = v + gain * (r.valence - v), a + gain * (r.arousal - a), (1 - gain) * variance, when
        past.append((when, v, a))
    variance = min(PRIOR**2, variance + DRIFT_HOUR**2 * max(0.0, now - at) / 3600)
    sd = math.sqrt(variance)
    before = next(((pv, pa) for when, pv, pa in past if when >= at - 3600 and when < at), None)
    moved = None if before is None else (v - before[0], a - before[1])
    return RoomMood(v, a, sd, moved if moved is not None and math.hypot(*moved) > TREND * sd else None)
