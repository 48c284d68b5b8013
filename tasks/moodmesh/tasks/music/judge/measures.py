"""Figures of merit of a judge, with intervals over songs (evaluation §1.3, §2)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from moodmesh.tasks.music.judge.heard import Floats, Ints

METRICS = ("4Q", "arousal", "valence")
BINS = 15
DRAWS = 2000


def right(chances: Floats, high: Ints) -> Floats:
    """[n, 3] 1 where the quadrant, the arousal, the valence is judged as labelled."""
    axes = (chances > 0.5) == (high > 0)
    return np.column_stack([axes.all(1), axes]).astype(np.float64)


def mean_right(runs: Sequence[Floats], high: Ints) -> Floats:
    """[3] accuracies, the mean over runs."""
    return np.asarray(np.mean([right(run, high).mean(0) for run in runs], axis=0))


def balanced(chances: Floats, high: Ints) -> Floats:
    """[2] mean accuracy of the low and the high, for arousal and valence."""
    axes = right(chances, high)[:, 1:]
    return np.array([np.mean([axes[high[:, axis] == level, axis].mean() for level in (0, 1)]) for axis in range(2)])


def macro_f1(chances: Floats, high: Ints) -> Floats:
    """[3] mean F1 of the classes of the quadrant, of arousal, of valence."""
    said = (chances > 0.5).astype(np.int64)
    pairs = [(2 * said[:, 0] + said[:, 1], 2 * high[:, 0] + high[:, 1]), (said[:, 0], high[:, 0]), (said[:, 1], high[:, 1])]
    return np.array([np.mean([_f1(one == k, other == k) for k in np.unique(other)]) for one, other in pairs])


def _f1(said: np.ndarray[tuple[int], np.dtype[np.bool_]], true: np.ndarray[tuple[int], np.dtype[np.bool_]]) -> float:
    return 2 * float((said & true).sum()) / max(int(said.sum() + true.sum()), 1)


def calibration_error(chances: Floats, high: Ints) -> Floats:
    """[2] expected calibration error of P(high), in bins of equal mass."""
    made = []
    for axis in range(2):
        bins = np.array_split(np.argsort(chances[:, axis], kind="stable"), BINS)
        made.append(sum(abs(chances[b, axis].mean() - high[b, axis].mean()) * len(b) for b in bins if len(b)) / len(chances))
    return np.array(made)


def confusion(chances: Floats, high: Ints) -> Ints:
    """[4, 4] counts, rows the labelled quadrant Q1..Q4, columns the judged one."""
    order = np.array([[2, 3], [1, 0]])
    made = np.zeros((4, 4), np.int64)
    said = (chances > 0.5).astype(np.int64)
    np.add.at(made, (order[high[:, 0], high[:, 1]], order[said[:, 0], said[:, 1]]), 1)
    return made


def drawn(correct: Floats, groups: Sequence[str], seed: int = 0) -> Floats:
    """[draws, 3] accuracies of bootstrap samples of groups; the same seed draws the same groups."""
    names, number = np.unique(np.asarray(groups), return_inverse=True)
    sums = np.zeros((len(names), correct.shape[1] + 1))
    np.add.at(sums, number, np.column_stack([np.ones(len(correct)), correct]))
    counts = np.random.default_rng(seed).multinomial(len(names), np.full(len(names), 1 / len(names)), size=DRAWS)
    found = counts @ sums
    return np.asarray(found[:, 1:] / found[:, :1])


def interval(values: Floats) -> Floats:
    """[k, 2] the central 95 % of bootstrap values [draws, k]."""
    return np.asarray(np.quantile(values, [0.025, 0.975], axis=0).T)
