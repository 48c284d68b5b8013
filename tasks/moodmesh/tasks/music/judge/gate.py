"""The musicality gate (evaluation §5): is a piece like real music of its length, in three ways, whatever its emotion?

A piece passes when each of three numbers lies inside the 5-95 % band of real music that nothing here was fitted to:
`real`, the log odds of a classifier of real against made-up pieces; `nll`, nats per token of a reference language model, where
too predictable fails as well; `structure`, the Mahalanobis distance of its structure statistics from those of real pieces.
The statistics are one number, because of many 5-95 % bands most real pieces would leave at least one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.rich import features
from moodmesh.tasks.music.judge.structure import structure
from moodmesh.tasks.music.notation.features import normalised
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.tokens import encode

Nll = Callable[[Sequence[int]], float]
"""Nats per token of a sequence, by a model that saw none of the pieces it is asked about."""
BAND = (0.05, 0.95)
_TINY = 0.05
"""Added to the variances of the standardised structure statistics: some hardly vary in real music."""


class Measured(NamedTuple):
    """The three numbers of a piece."""

    real: float
    nll: float
    structure: float


@dataclass(frozen=True)
class Gate:
    """For pieces of `bars` bars: a linear classifier, the centre and the whitening of the structure statistics, three bands."""

    bars: int
    weights: Floats
    bias: float
    centre: Floats
    whitening: Floats
    bands: Floats
    nll: Nll

    def measured(self, score: Score) -> Measured:
        """The three numbers of a piece; InvalidInput for another length, or for no pitched notes."""
        if score.bars != self.bars:
            raise InvalidInput(f"a piece of {score.bars} bars at a gate for {self.bars}: cut it, or fit a gate for its length")
        plain = normalised(score)[0]
        form = structure(plain)
        real = float(figures(plain, form) @ self.weights + self.bias)
        apart = float(np.linalg.norm(self.whitening @ (form - self.centre)) / np.sqrt(len(form)))
        return Measured(real, self.nll(encode(plain)), apart)

    def inside(self, found: Measured) -> tuple[bool, bool, bool]:
        """Which of the three lie in their bands."""
        real, nll, form = (bool(low <= value <= high) for value, (low, high) in zip(found, self.bands.tolist(), strict=True))
        return real, nll, form

    def passes(self, score: Score) -> bool:
        """Whether all three lie in their bands; a piece without pitched notes does not."""
        try:
            return all(self.inside(self.measured(score)))
        except InvalidInput:
            if score.bars != self.bars:
                raise
            return False

    def save(self, file: Path) -> None:
        """All but the language model, as .npz."""
        held: dict[str, Any] = {name: np.asarray(getattr(self, name)) for name in _STORED}
        np.savez_compressed(file, **held)


_STORED = ("bars", "weights", "bias", "centre", "whitening", "bands")


def load(file: Path, nll: Nll) -> Gate:
    """What `save` wrote, with the language model that its bands were measured by."""
    with np.load(file, allow_pickle=False) as held:
        parts = {name: held[name] for name in _STORED}
    return Gate(**{**parts, "bars": int(parts["bars"]), "bias": float(parts["bias"])}, nll=nll)


def figures(score: Score, form: Floats) -> Floats:
    """What the classifier hears of a normalised score."""
    return np.concatenate([features(score), form])


def fit(learn: Sequence[Score], band: Sequence[Score], false: Sequence[Score], nll: Nll) -> Gate:
    """A gate from real pieces to learn from, real pieces of other groups for the bands, and made-up pieces; all of one length.

    The reference model must not have seen the pieces of the bands.
    """
    from sklearn.linear_model import LogisticRegression

    lengths = {score.bars for score in (*learn, *band, *false)}
    if len(lengths) != 1:
        raise InvalidInput(f"pieces of {sorted(lengths)} bars: a gate is fitted to pieces of one length")
    plain = [normalised(score)[0] for score in (*learn, *false)]
    forms = np.array([structure(score) for score in plain])
    x = np.array([figures(score, form) for score, form in zip(plain, forms, strict=True)])
    centre, sd = x.mean(0), np.maximum(x.std(0), 1e-6)
    model = LogisticRegression(C=0.01, max_iter=5000, class_weight="balanced")
    model.fit((x - centre) / sd, np.arange(len(x)) < len(learn))
    weights = model.coef_[0] / sd
    middle, whitening = _whitened(forms[: len(learn)])
    bias = float(model.intercept_[0] - centre @ weights)
    gate = Gate(lengths.pop(), weights, bias, middle, whitening, np.zeros((3, 2)), nll)
    return replace(gate, bands=np.quantile([gate.measured(score) for score in band], BAND, axis=0).T)


def _whitened(forms: Floats) -> tuple[Floats, Floats]:
    """The mean of structure statistics, and what makes their covariance 1."""
    sd = np.maximum(forms.std(0), 1e-6)
    values, vectors = np.linalg.eigh(np.cov(forms.T / sd[:, None]) + _TINY * np.eye(forms.shape[1]))
    return forms.mean(0), (vectors / np.sqrt(values)).T / sd
