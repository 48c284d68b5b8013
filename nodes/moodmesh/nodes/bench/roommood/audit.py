"""Does the noise hide what it is said to? Lower bounds of epsilon from samples, beside the claim (Jagielski et al., 2020).

Two worlds in which one person feels the opposite; a threshold tells them apart as well as it can. Its error rates, bounded with
Clopper and Pearson's 99 %, say how large epsilon is at least: above the claim, the promise is broken. The same with the noise
divided by four has to be caught, or the audit sees nothing.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from moodmesh.nodes.bench.roommood.draws import Integers, Noise
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.gaussian import DELTA, SENSITIVITY, eps_of
from moodmesh.privacy.release.mechanism import Ambient
from moodmesh.privacy.release.privunit import DIRECTIONS, EPSILONS, Randomiser, randomiser, weight

RUNS, QUICK = 200_000, 10_000
ALPHA = 0.01
SPOILED = 4
ROOM = 30
"""The smallest ambient room, where what the others add hides least."""


def rows(runs: int, chance: np.random.Generator) -> list[dict[str, Any]]:
    """Mode L by enumeration, Mode G alone and with half of the room honest, each as it is and spoiled."""
    found = []
    for eps in EPSILONS:
        r = randomiser(eps)
        for spoil in (1, SPOILED):
            what = f"Mode L, eps {eps}" + (f", W_in x {spoil}" if spoil > 1 else "")
            found.append(_row(what, spoil, float(eps), ratio(r._replace(inside=r.inside * spoil)), "enumerated"))
    how = Ambient.within(ROOM)
    for spoil in (1, SPOILED):
        sigma = how.sigma // spoil
        worlds = [encoded(side, sigma, runs) for side in (1.0, -1.0)]
        for what, honest in (("alone", 1), ("half of 30 honest", ROOM // 2)):
            others = Noise(sigma)
            seen = [w + others.draw((runs, honest - 1), chance).sum(axis=1) for w in worlds] if honest > 1 else worlds
            claim, words = eps_of(SENSITIVITY / how.sigma / math.sqrt(honest)), f", noise / {spoil}" if spoil > 1 else ""
            found.append(_row(f"Mode G, {what}{words}", spoil, claim, lower_bound(*seen), f"{runs} runs"))
    return found


def _row(what: str, spoil: int, claim: float, least: float, how: str) -> dict[str, Any]:
    found = {"what": f"audit: {what}", "claim": round(claim, 3), "at_least": round(least, 4), "how": how}
    return found | {"spoiled": spoil > 1, "holds": least <= claim}


def encoded(side: float, sigma: int, runs: int) -> Integers:
    """The valence that the product's own encoding shares of a mood at one end, many times."""
    mood = EmotionVector(side, 0.0, valence_sd=0.0, arousal_sd=0.0, at=0.0)
    how = Ambient(sigma)
    return np.array([how.encode(mood)[0] for _ in range(runs)], dtype=np.int64)


def ratio(r: Randomiser) -> float:
    """ln of how much likelier a direction is with one mood than with another, at most: over all of them, exactly."""
    weights = {weight(r, centre, direction) for centre in range(DIRECTIONS) for direction in (0, 1, DIRECTIONS // 3)}
    return math.log(max(weights) / min(weights))


def lower_bound(one: Integers, other: Integers, delta: float = DELTA) -> float:
    """What epsilon is at least, with 99 %: the threshold is chosen on one half, and judged on the other."""
    half = len(one) // 2
    thresholds = np.quantile(np.concatenate([one[:half], other[:half]]), np.linspace(0.001, 0.999, 200))
    best = max(thresholds, key=lambda at: _told(one[:half], other[:half], at, delta))
    return max(0.0, _told(one[half:], other[half:], best, delta))


def _told(one: Integers, other: Integers, at: float, delta: float) -> float:
    """Epsilon from how often each world lies above the threshold."""
    hit = 1 - upper(int((one <= at).sum()), len(one), ALPHA / 2)
    return math.log(max(hit - delta, 1e-300) / upper(int((other > at).sum()), len(other), ALPHA / 2))


def upper(count: int, of: int, alpha: float) -> float:
    """Clopper and Pearson's upper limit of a probability: where so few would be seen with probability `alpha`."""
    if count >= of:
        return 1.0
    k = np.arange(count + 1)
    logs = math.lgamma(of + 1) - np.array([math.lgamma(i + 1) + math.lgamma(of - i + 1) for i in _tail(count)])
    k = k[-len(logs) :]
    low, high = count / of, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        at_most = float(np.exp(logs + k * math.log(middle) + (of - k) * math.log1p(-middle)).sum()) if middle < 1 else 0.0
        low, high = (middle, high) if at_most > alpha else (low, middle)
    return high


def _tail(count: int) -> range:
    """The terms of the binomial tail that count: those further down are less than 10^-16 of it."""
    return range(max(0, count - 12 * (1 + math.isqrt(count))), count + 1)
