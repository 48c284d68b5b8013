"""The models a judge may be, on scikit-learn: predeclared candidates, their out-of-fold predictions, what is exported."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.kernel_approximation import Nystroem
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from moodmesh.tasks.music.judge.heard import Floats, Ints

FOLDS = 5
_CENTRES = 400
_WIDTH = 0.5
"""Gamma of the kernel, times the number of figures."""
AXES = ("arousal", "valence")


def _logistic(shape: tuple[int, ...], strength: float = 0.01) -> Any:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000))


def _floor(shape: tuple[int, ...]) -> Any:
    return _logistic(shape, 1.0)


def _kernel(shape: tuple[int, ...]) -> Any:
    spread = Nystroem(gamma=_WIDTH / shape[1], n_components=min(_CENTRES, shape[0]), random_state=0)
    return make_pipeline(StandardScaler(), spread, LogisticRegression(C=10.0, max_iter=5000))


def _trees(shape: tuple[int, ...]) -> Any:
    return GradientBoostingClassifier(
        n_estimators=300, learning_rate=0.05, max_depth=3, max_features=0.1, subsample=0.6, min_samples_leaf=8, random_state=0
    )


@dataclass(frozen=True)
class Candidate:
    """A way to judge: makers of models whose probabilities are averaged; each takes the shape of what it is fitted to."""

    makers: tuple[Callable[[tuple[int, ...]], Any], ...]

    def fit(self, x: Floats, high: Ints) -> list[list[Any]]:
        """A model of each maker for arousal and for valence."""
        return [[maker(x.shape).fit(x, high[:, axis]) for axis in range(2)] for maker in self.makers]

    def predict(self, x: Floats, high: Ints, asked: Floats) -> Floats:
        """[asked, 2] P(high) by models fitted to x."""
        models = self.fit(x, high)
        each = [np.column_stack([model.predict_proba(asked)[:, 1] for model in pair]) for pair in models]
        return np.asarray(np.mean(each, axis=0))


FLOOR = Candidate((_floor,))
LINEAR = Candidate((_logistic,))
BOTH = Candidate((_logistic, _kernel))
RICH = {
    "rich, logistic": LINEAR,
    "rich, kernel": Candidate((_kernel,)),
    "rich, logistic and kernel": BOTH,
    "rich, trees": Candidate((_trees,)),
    "rich, all three": Candidate((_logistic, _kernel, _trees)),
}
"""What was tried on the rich figures; all are reported."""


def folds(groups: Sequence[str], seed: int) -> list[tuple[Ints, Ints]]:
    """(train rows, held rows) of each fold; no group is cut."""
    names = np.unique(np.asarray(groups))
    np.random.default_rng(seed).shuffle(names)
    number = {name: place % FOLDS for place, name in enumerate(names.tolist())}
    fold = np.array([number[group] for group in groups])
    return [(np.flatnonzero(fold != k), np.flatnonzero(fold == k)) for k in range(FOLDS)]


def out_of_fold(candidate: Candidate, x: Floats, high: Ints, groups: Sequence[str], seed: int) -> Floats:
    """[n, 2] P(high) of every row by models that saw none of its group."""
    made = np.zeros(high.shape)
    for train, held in folds(groups, seed):
        made[held] = candidate.predict(x[train], high[train], x[held])
    return made
