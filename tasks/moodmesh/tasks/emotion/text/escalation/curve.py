"""Quality against the share of sentences sent to the larger model, and the area between two such curves (evaluation §2).

Shapes: n sentences, 3 axes, s shares, b bootstrap draws of documents.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.emotion.text import statistics as stats

Floats = NDArray[np.float64]
SHARES: Floats = np.linspace(0, 1, 21)


@dataclass(frozen=True)
class Pair:
    """Both models on the same sentences: predictions and truth [n, 3], the number of each sentence's document [n]."""

    small: Floats
    large: Floats
    truth: Floats
    groups: NDArray[np.int64]

    @property
    def sums(self) -> tuple[Floats, Floats]:
        """Per sentence, the sums that make r [n, 3, 6]: of the small model, and what sending the sentence adds to them."""
        small, large = (stats.row_sums(side, self.truth) for side in (self.small, self.large))
        return small, large - small


def curve(small: Floats, gain: Floats, order: NDArray[np.int64], weights: Floats) -> Floats:
    """r [s, 3] when sentences are sent in `order`; `weights` counts each of them."""
    weighted = weights[:, None, None]
    sent = np.concatenate([np.zeros((1, *gain.shape[1:])), np.cumsum((gain * weighted)[order], axis=0)])
    counted = np.concatenate([[0.0], np.cumsum(weights[order])])
    cuts = np.searchsorted(counted, SHARES * counted[-1] - 1e-9)
    return stats.pearson((small * weighted).sum(0) + sent[cuts])


def random_curve(small: Floats, gain: Floats, weights: Floats) -> Floats:
    """r [s, 3] in expectation when sentences are sent at random: every sum is the mixture of both models' sums."""
    weighted = weights[:, None, None]
    return stats.pearson((small * weighted).sum(0) + SHARES[:, None, None] * (gain * weighted).sum(0))


def area(quality: Floats, chance: Floats) -> Floats:
    """The area between curves of mean r [..., s], in r."""
    return np.asarray(np.trapezoid(quality - chance, SHARES, axis=-1))


@dataclass(frozen=True)
class Measured:
    """Curves [s, 3] by router, and the same of every bootstrap draw as mean r [b, s]; `random` among them."""

    curves: dict[str, Floats]
    draws: dict[str, Floats]


def measure(pair: Pair, scores: dict[str, Floats], draws: int, seed: int = 0) -> Measured:
    """Curves of routers that send the highest scores first. Every router sees the same draws of documents."""
    small, gain = pair.sums
    orders = {name: np.argsort(-score, kind="stable") for name, score in scores.items()}

    def all_curves(weights: Floats) -> dict[str, Floats]:
        found = {name: curve(small, gain, order, weights) for name, order in orders.items()}
        return {"random": random_curve(small, gain, weights)} | found

    rng = np.random.default_rng(seed)
    count = int(pair.groups.max()) + 1
    drawn: dict[str, list[Floats]] = {}
    for _ in range(draws):
        weights = rng.multinomial(count, np.full(count, 1 / count)).astype(np.float64)[pair.groups]
        for name, found in all_curves(weights).items():
            drawn.setdefault(name, []).append(found.mean(1))
    return Measured(all_curves(np.ones(len(pair.truth))), {name: np.array(rows) for name, rows in drawn.items()})


def numbered(documents: Sequence[str]) -> NDArray[np.int64]:
    """The number of each sentence's document."""
    return np.asarray(np.unique(np.asarray(documents), return_inverse=True)[1], np.int64)


def share_needed(quality: Floats, of: float) -> float:
    """The smallest share from which the curve of mean r [s] stays at or above `of` times its end."""
    enough = quality >= of * quality[-1]
    below = np.flatnonzero(~enough)
    return float(SHARES[below[-1] + 1]) if len(below) else 0.0
