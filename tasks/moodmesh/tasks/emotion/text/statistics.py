"""Figures of merit with intervals over documents (evaluation §1.3, §2): Pearson r, CCC, RMSE, coverage of the 80 % interval.

A document enters by its sums alone, so that a bootstrap draw of documents is one matrix product. Shapes: n rows, k axes,
g groups, b draws.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.emotion.text.calibration import Z80

Floats = NDArray[np.float64]
DRAWS = 2000


def row_sums(predicted: Floats, truth: Floats) -> Floats:
    """1, p, t, p², t², pt of each row: [n, k], [n, k] -> [n, k, 6]."""
    return np.stack([np.ones_like(truth), predicted, truth, predicted**2, truth**2, predicted * truth], axis=-1)


def group_sums(predicted: Floats, truth: Floats, groups: Sequence[str]) -> Floats:
    """Sums of 1, p, t, p², t², pt within each group: [n, k], [n, k] -> [g, k, 6]."""
    parts = row_sums(predicted, truth)
    numbers = np.unique(np.asarray(groups), return_inverse=True)[1]
    sums = np.zeros((numbers.max() + 1, *parts.shape[1:]))
    np.add.at(sums, numbers, parts)
    return sums


def moments(sums: Floats) -> tuple[Floats, ...]:
    """n, means, variances and covariance from sums [..., 6]."""
    n, p, t, pp, tt, pt = np.moveaxis(sums, -1, 0)
    mean_p, mean_t = p / n, t / n
    return n, mean_p, mean_t, pp / n - mean_p**2, tt / n - mean_t**2, pt / n - mean_p * mean_t


def pearson(sums: Floats) -> Floats:
    """Pearson r from sums; 0 where a side does not vary."""
    _, _, _, var_p, var_t, cov = moments(sums)
    spread = np.sqrt(np.maximum(var_p * var_t, 0))
    return np.asarray(np.where(spread > 1e-12, cov / np.maximum(spread, 1e-12), 0.0))


def concordance(sums: Floats) -> Floats:
    """CCC (Lin 1989) from sums."""
    _, mean_p, mean_t, var_p, var_t, cov = moments(sums)
    return np.asarray(2 * cov / (var_p + var_t + (mean_p - mean_t) ** 2))


def rmse(sums: Floats) -> Floats:
    """Root mean square error from sums."""
    n, _, _, pp, tt, pt = np.moveaxis(sums, -1, 0)
    return np.asarray(np.sqrt(np.maximum(pp - 2 * pt + tt, 0) / n))


Metric = Callable[[Floats], Floats]
METRICS: dict[str, Metric] = {"r": pearson, "ccc": concordance, "rmse": rmse}


def resampled(sums: Floats, seed: int = 0, draws: int = DRAWS) -> Floats:
    """Sums of `draws` bootstrap samples of groups: [g, k, 6] -> [b, k, 6]. The same seed draws the same groups."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(sums), np.full(len(sums), 1 / len(sums)), size=draws)
    return np.asarray(np.einsum("bg,gks->bks", counts.astype(np.float64), sums))


def interval(values: Floats) -> Floats:
    """The central 95 % of bootstrap values: [b, k] -> [k, 2]."""
    return np.asarray(np.quantile(values, [0.025, 0.975], axis=0).T)


def measure(metric: Metric, sums: Floats, draws: int = DRAWS) -> tuple[Floats, Floats]:
    """A metric per axis [k] and its 95 % interval over groups [k, 2]."""
    return metric(sums.sum(0)), interval(metric(resampled(sums, draws=draws)))


def paired(metric: Metric, ours: Floats, theirs: Floats, draws: int = DRAWS) -> tuple[Floats, Floats, Floats]:
    """Difference per axis, its 95 % interval and the two-sided bootstrap p, both sides on the same draws."""
    gap = metric(resampled(ours, draws=draws)) - metric(resampled(theirs, draws=draws))
    return metric(ours.sum(0)) - metric(theirs.sum(0)), interval(gap), two_sided(gap)


def two_sided(gap: Floats) -> Floats:
    """Bootstrap p of differences [b, k] against none, at least 1/b."""
    below = (gap <= 0).mean(0)
    return np.asarray(np.clip(2 * np.minimum(below, 1 - below), 1 / len(gap), 1))


def coverage(predicted: Floats, sd: Floats, truth: Floats) -> Floats:
    """Share of truths inside the central 80 % interval, per axis."""
    return np.asarray((np.abs(truth - predicted) <= Z80 * sd).mean(0))
