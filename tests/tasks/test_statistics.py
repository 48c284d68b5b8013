"""Figures of merit against their definitions; intervals that follow documents; an sd that covers what it says."""

from __future__ import annotations

import numpy as np
import pytest

from moodmesh.tasks.emotion.text import calibration, probes
from moodmesh.tasks.emotion.text import statistics as stats


@pytest.fixture
def pair() -> tuple[np.ndarray, np.ndarray, list[str]]:
    rng = np.random.default_rng(1)
    truth = rng.normal(size=(300, 3))
    return 0.6 * truth + rng.normal(size=(300, 3)) + 0.3, truth, [f"d{n // 10}" for n in range(300)]


def test_metrics_equal_their_definitions(pair: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    p, t, groups = pair
    sums = stats.group_sums(p, t, groups).sum(0)
    for axis in range(3):
        x, y = p[:, axis], t[:, axis]
        ccc = 2 * np.cov(x, y, bias=True)[0, 1] / (x.var() + y.var() + (x.mean() - y.mean()) ** 2)
        assert stats.pearson(sums)[axis] == pytest.approx(np.corrcoef(x, y)[0, 1])
        assert stats.concordance(sums)[axis] == pytest.approx(ccc)
        assert stats.rmse(sums)[axis] == pytest.approx(np.sqrt(((x - y) ** 2).mean()))


def test_a_constant_prediction_has_no_correlation() -> None:
    truth = np.random.default_rng(0).normal(size=(50, 3))
    assert stats.pearson(stats.group_sums(np.zeros((50, 3)), truth, ["a"] * 50).sum(0)).tolist() == [0, 0, 0]


def test_the_interval_follows_documents_not_rows(pair: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    p, t, groups = pair
    few = [f"d{n // 100}" for n in range(300)]
    _, many_ci = stats.measure(stats.pearson, stats.group_sums(p, t, groups))
    value, few_ci = stats.measure(stats.pearson, stats.group_sums(p, t, few))
    assert np.all(many_ci[:, 0] < value)
    assert np.all(value < many_ci[:, 1])
    assert not np.allclose(many_ci, few_ci)


def test_paired_difference_is_sharper_than_two_intervals(pair: tuple[np.ndarray, np.ndarray, list[str]]) -> None:
    p, t, groups = pair
    ours, theirs = stats.group_sums(p, t, groups), stats.group_sums(p + 0.01 * t, t, groups)
    gap, between, chance = stats.paired(stats.pearson, ours, theirs)
    assert np.all(gap < 0)
    assert np.all(between[:, 1] < 0)
    assert np.all(chance < 0.01)
    none, _, certain = stats.paired(stats.pearson, ours, ours)
    assert np.all(none == 0)
    assert np.all(certain <= 1)


def test_calibrated_sd_covers_80_percent_of_new_rows() -> None:
    rng = np.random.default_rng(2)

    def draw(n: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        z, length = rng.normal(size=(n, 3)), rng.integers(1, 60, n).astype(float)
        return z, length, z + rng.standard_t(4, size=(n, 3)) * (0.5 + np.abs(z)) / np.log1p(length)[:, None]

    z, length, truth = draw(3000)
    coefficients = calibration.fit(z, length, truth)
    z, length, truth = draw(3000)
    sd = calibration.sd(coefficients, z, length)
    assert np.all(np.abs(stats.coverage(z, sd, truth) - 0.8) < 0.03)
    near, far = (np.abs(z[:, 0]) < 0.2), (np.abs(z[:, 0]) > 1.5)
    assert sd[far, 0].mean() > 1.5 * sd[near, 0].mean()


def test_widening_restores_coverage() -> None:
    rng = np.random.default_rng(3)
    truth = rng.normal(size=(2000, 3)) * (1, 2, 0.5)
    mean, sd = np.zeros((2000, 3)), np.ones((2000, 3))
    wider = sd * calibration.widening(mean, sd, truth)
    assert np.all(np.abs(stats.coverage(mean, wider, truth) - 0.8) < 0.001)


def test_probes_judge_the_direction() -> None:
    right = [value for _ in probes.PLEASANT for value in (0.2, -0.2)] + [
        value for _ in probes.UNPLEASANT for value in (-0.2, 0.2)
    ]
    assert probes.passed(right) == (len(probes.PLEASANT), len(probes.UNPLEASANT))
    assert probes.passed([0.0] * len(right)) == (0, 0)
    assert len(set(probes.TEXTS)) == len(probes.TEXTS)
