"""Gaussian differential privacy: epsilon, delta and mu, and the noise that a budget asks for (room-mood §7).

mu = sensitivity / standard deviation; releases compose by the sum of mu^2 (Dong, Roth and Su, 2019).
"""

from __future__ import annotations

import math

DELTA = 1e-6
SCALE = 4096
"""Integer units of one mood unit."""
SENSITIVITY = 8194
"""2 (S + sqrt(2)/2), rounded up: how far two moods in the unit disc, rounded to integers, lie apart at most."""


def delta_of(eps: float, mu: float) -> float:
    """The least delta with which a release of `mu` is (eps, delta)-private."""
    return _phi(mu / 2 - eps / mu) - _exp_phi(eps, -mu / 2 - eps / mu)


def eps_of(mu: float, delta: float = DELTA) -> float:
    """The epsilon of a total `mu`: 0 for mu = 0, infinite where it cannot be bounded in numbers."""
    if mu <= 0:
        return 0.0
    low, high = 0.0, mu * (mu + 12) + 1
    if not math.isfinite(high) or delta_of(high, mu) > delta:
        return math.inf
    return _bisect(lambda eps: delta_of(eps, mu) > delta, low, high)


def mu_of(eps: float, delta: float = DELTA) -> float:
    """The largest mu that is (eps, delta)-private."""
    return _bisect(lambda mu: delta_of(eps, mu) <= delta, 1e-9, math.sqrt(2 * eps) + eps)


def sigma_for(n: int, per_hour: int, eps_room: float, eps_alone: float) -> int:
    """What each of `n` members adds to each axis, in integer units, so that an hour of `per_hour` releases keeps both budgets:
    `eps_room` with half of the room honest, `eps_alone` with nobody else honest."""
    honest = n // 2
    need = max(1 / (mu_of(eps_room) * math.sqrt(honest)), 1 / mu_of(eps_alone))
    return math.ceil(SENSITIVITY * math.sqrt(per_hour) * need)


def _phi(x: float) -> float:
    return 0.5 * math.erfc(-x / math.sqrt(2))


def _exp_phi(eps: float, x: float) -> float:
    """e^eps Phi(x) for x < 0, also where e^eps alone would overflow."""
    if eps < 700:
        return math.exp(eps) * _phi(x)
    return math.exp(eps - x * x / 2) / (-x * math.sqrt(2 * math.pi))  # Phi's tail; it is at most that


def _bisect(below: object, low: float, high: float) -> float:
    """The border between where `below` holds and where it does not any more, from the upper side."""
    assert callable(below)
    for _ in range(200):
        middle = (low + high) / 2
        if below(middle):
            low = middle
        else:
            high = middle
    return high
