"""Learned seconds per unit of a (task, variant) on this device (routing §5): pure updates."""

from __future__ import annotations

import math
from dataclasses import dataclass

WEIGHT = 0.2
LOAD_WEIGHT = 0.3
FIRST_LOG_VAR = 0.25
CORRECTION_BOUNDS = (math.log(0.5), math.log(1000))
LEAST_HAND_S, MOST_HAND_S = 1e-3, 1.0
FRESH_S = 30 * 86400.0


@dataclass(frozen=True)
class Rate:
    """Mean seconds per unit, mean and variance of its logarithm, observations so far, load seconds, wall time measured."""

    mean: float
    log_mean: float
    log_var: float = FIRST_LOG_VAR
    count: int = 1
    load_s: float = 0.0
    measured: float = 0.0


def first(seconds_per_unit: float, load_s: float, now: float) -> Rate:
    """The prior from one benchmark."""
    x = max(seconds_per_unit, 1e-12)
    return Rate(x, math.log(x), FIRST_LOG_VAR, 1, load_s, now)


def observe(rate: Rate, seconds_per_unit: float, load_s: float | None, now: float) -> Rate:
    """One successful attempt: EWMA of the mean, of the logarithm, and of its variance."""
    x = max(seconds_per_unit, 1e-12)
    keep = 1 - WEIGHT
    load = rate.load_s if not load_s else (1 - LOAD_WEIGHT) * rate.load_s + LOAD_WEIGHT * load_s
    return Rate(
        mean=keep * rate.mean + WEIGHT * x,
        log_mean=keep * rate.log_mean + WEIGHT * math.log(x),
        log_var=keep * rate.log_var + WEIGHT * (math.log(x) - rate.log_mean) ** 2,
        count=rate.count + 1,
        load_s=load,
        measured=now,
    )


def handed(known: tuple[float, float] | None, seconds: float) -> tuple[float, float]:
    """EWMA of the logarithm of what messages and journals take, and of its variance: one slow write does not move it far."""
    x = math.log(min(MOST_HAND_S, max(LEAST_HAND_S, seconds)))
    if known is None:
        return x, FIRST_LOG_VAR
    mean, variance = known
    return (1 - WEIGHT) * mean + WEIGHT * x, (1 - WEIGHT) * variance + WEIGHT * (x - mean) ** 2


def hand(known: tuple[float, float] | None) -> tuple[float, float]:
    """Its seconds at the median, and how many more they are one deviation later."""
    if known is None:
        return 0.0, 0.0
    typical = math.exp(known[0])
    return typical, typical * (math.exp(math.sqrt(known[1])) - 1)


def correct(correction: float, actual_s: float, claim_s: float) -> float:
    """EWMA of ln(actual / claim) of another device's claims, clipped (routing §3).

    Against the claim, not the corrected prediction: else it would settle at half of what is missing. Whoever claims a hundredth
    of what it takes must not win by it, so the upper bound is far; and one attempt moves it fourfold at most.
    """
    low, high = CORRECTION_BOUNDS
    ratio = min(high, math.log(max(actual_s, 1e-6) / max(claim_s, 1e-6)))
    return max(low, (1 - WEIGHT) * correction + WEIGHT * ratio)
