"""A person's mood over time: a Kalman filter per axis with a pull to the person's own slow baseline (systems S2).

dx = -(x - b)/TAU dt + q dW, an Ornstein-Uhlenbeck process; silence widens it towards what is usual, and never says neutral.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from moodmesh.privacy.raw import EmotionVector

TAU_S = 1800.0
USUAL_SD = 0.35
"""Standard deviation of a mood around the baseline when nothing is known."""
BASELINE_HALF_LIFE_S = 3 * 86400.0
SAID_SD = 0.05
SAID_HOLDS_S = 900.0
"""What was said outweighs what is sensed for so long."""
SAID = "said"
SURPRISE = 4.0
"""A squared error, in predicted variances, beyond which sources disagree rather than vary."""


class Told(NamedTuple):
    """One observation: when, by what, and how sure."""

    at: float
    source: str
    valence: float
    arousal: float
    valence_sd: float
    arousal_sd: float


class Axis(NamedTuple):
    """Mean, variance and baseline of one axis."""

    mean: float = 0.0
    variance: float = USUAL_SD**2
    baseline: float = 0.0

    def later(self, seconds: float) -> Axis:
        """With nothing heard for so long."""
        kept = math.exp(-seconds / TAU_S)
        variance = USUAL_SD**2 + (self.variance - USUAL_SD**2) * kept**2
        return self._replace(mean=self.baseline + (self.mean - self.baseline) * kept, variance=variance)

    def told(self, value: float, sd: float, since_s: float) -> Axis:
        """With an observation, so long after the one before. One that does not fit widens the mean instead of averaging
        quietly."""
        off, expected = value - self.mean, self.variance + sd**2
        gain, surprise = self.variance / expected, off**2 / expected / SURPRISE
        variance = min(1.0, (1 - gain) * self.variance * max(1.0, surprise))
        slow = 1 - 0.5 ** (min(since_s, BASELINE_HALF_LIFE_S) / BASELINE_HALF_LIFE_S)
        return Axis(self.mean + gain * off, variance, self.baseline + slow * (value - self.baseline))


def track(told: Iterable[Told], now: float) -> list[tuple[float, Axis, Axis]]:
    """The state after each observation, in the order of their times, whenever they arrived; those ahead of `now` are left out.
    While something said holds, what is sensed does not count."""
    valence, arousal, at, said_at = Axis(), Axis(), None, -math.inf
    states: list[tuple[float, Axis, Axis]] = []
    for one in sorted(told):
        if one.at > now or (one.source != SAID and one.at - said_at < SAID_HOLDS_S):
            continue
        since = 0.0 if at is None else one.at - at
        valence = valence.later(since).told(one.valence, one.valence_sd, since or TAU_S)
        arousal = arousal.later(since).told(one.arousal, one.arousal_sd, since or TAU_S)
        at, said_at = one.at, one.at if one.source == SAID else said_at
        states.append((one.at, valence, arousal))
    return states


def mood(told: Sequence[Told], now: float) -> EmotionVector | None:
    """What the person feels now, as far as known; None when nothing was ever told."""
    states = track(told, now)
    if not states:
        return None
    at, valence, arousal = states[-1]
    v, a = valence.later(now - at), arousal.later(now - at)
    return EmotionVector(
        max(-1.0, min(1.0, v.mean)), max(-1.0, min(1.0, a.mean)), valence_sd=math.sqrt(v.variance),
        arousal_sd=math.sqrt(a.variance), at=now,
    )  # fmt: skip


def quadrant(valence: float, arousal: float) -> str:
    """The words of systems S1: within 0.1 of an axis it is neutral on that axis."""
    v = 0 if abs(valence) < 0.1 else math.copysign(1, valence)
    a = 0 if abs(arousal) < 0.1 else math.copysign(1, arousal)
    return {
        (1, 1): "happy", (-1, 1): "tense", (-1, -1): "sad", (1, -1): "calm", (0, 1): "excited", (0, -1): "quiet",
        (1, 0): "pleasant", (-1, 0): "unpleasant", (0, 0): "neutral",
    }[int(v), int(a)]  # fmt: skip
