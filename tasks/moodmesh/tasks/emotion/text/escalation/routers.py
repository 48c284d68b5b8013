"""What could decide which sentences go to the larger model: scores, the highest sent first.

A learned router is fitted on rows whose predictions were made by models that had not seen them: the other folds of the
document-grouped cross-validation; for dev, the official train rows of all folds.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix
from sklearn.linear_model import Ridge

from moodmesh.tasks.emotion.text import train_tiny
from moodmesh.tasks.emotion.text.escalation import Router

Floats = NDArray[np.float64]
PENALTY = 10.0
NGRAM_PENALTY = 3.0
STEPS = 20


@dataclass(frozen=True)
class Rows:
    """Sentences as a router meets them: tiny's mood and sd [n, 3], characters [n]; and what it may be fitted to."""

    mood: Floats
    sd: Floats
    characters: Floats
    large: Floats
    truth: Floats
    texts: Sequence[str]

    def part(self, mask: NDArray[np.bool_]) -> Rows:
        """The rows of a mask."""
        texts = [text for text, kept in zip(self.texts, mask, strict=True) if kept]
        return Rows(self.mood[mask], self.sd[mask], self.characters[mask], self.large[mask], self.truth[mask], texts)


def calibrated(large: Floats, truth: Floats, onto: Floats) -> Floats:
    """`onto` on the regression lines of truth on `large`, an axis each.

    A single run of base is spread too widely (the averaged weights that ship are not), and r of a mixture rewards spread.
    """
    return np.column_stack([np.polyval(np.polyfit(large[:, n], truth[:, n], 1), onto[:, n]) for n in range(3)])


def disagreement(rows: Rows, scale: Floats) -> Floats:
    """How far apart both models are: the mean square of the differences over the sd of the ratings. Needs no label."""
    return np.asarray((((rows.mood - rows.large) / scale) ** 2).mean(1))


def gain(rows: Rows, scale: Floats) -> Floats:
    """How much closer to the truth the large model is, in the same measure."""
    errors = [(((side - rows.truth) / scale) ** 2).mean(1) for side in (rows.mood, rows.large)]
    return np.asarray(errors[0] - errors[1])


def fit(rows: Rows, target: Floats) -> Router:
    """The linear router of `Router` for a target, without thresholds."""
    centre, spread = rows.mood.mean(0), rows.mood.std(0)
    x = _features(rows, centre, spread)
    mean, sd = x.mean(0), x.std(0)
    line = Ridge(PENALTY).fit((x - mean) / sd, target)
    weights = line.coef_ / sd
    constant = float(line.intercept_ - weights @ mean)
    signed, distance, length = _triple(weights[:3]), _triple(weights[3:6]), float(weights[6])
    return Router(_triple(centre), _triple(spread), constant, signed, distance, length, (), "", ())


def _features(rows: Rows, centre: Floats, spread: Floats) -> Floats:
    z = (rows.mood - centre) / spread
    return np.column_stack([z, np.abs(z), np.log1p(rows.characters)])


def _triple(values: Floats) -> tuple[float, float, float]:
    v, a, d = (float(value) for value in values)
    return v, a, d


def scores(router: Router, rows: Rows) -> Floats:
    """`Router.score` of every row."""
    x = _features(rows, np.array(router.centre), np.array(router.spread))
    return np.asarray(router.constant + x @ np.array([*router.signed, *router.distance, router.length]))


def ngram_scores(fitted: Rows, target: Floats, rows: Rows) -> Floats:
    """A ridge on tiny's own n-grams, fitted to the target: a fifth column in its table, 262 kB more."""
    x, z = (train_tiny.counts_matrix(side.texts) for side in (fitted, rows))
    idf = np.log((1 + x.shape[0]) / (1 + np.asarray((x > 0).sum(0)).ravel())) + 1
    line = Ridge(NGRAM_PENALTY, solver="sparse_cg", tol=1e-3).fit(_normed(x, idf), target)
    return np.asarray(line.predict(_normed(z, idf)))


def _normed(x: csr_matrix, idf: Floats) -> csr_matrix:
    weighted = x.multiply(idf).tocsr()
    length = np.sqrt(np.asarray(weighted.multiply(weighted).sum(1))).ravel()
    return weighted.multiply(1 / length[:, None]).tocsr()


def plain_scores(rows: Rows, scale: Floats) -> dict[str, Floats]:
    """Routers with nothing to fit."""
    z = (rows.mood - rows.mood.mean(0)) / rows.mood.std(0)
    return {
        "sd": np.asarray((rows.sd / scale).mean(1)),
        "distance from the mean": np.asarray(np.abs(z).mean(1)),
        "shortest first": -rows.characters,
    }


def learned_scores(fitted: Rows, rows: Rows, scale: Floats, *, ngrams: bool) -> dict[str, Floats]:
    """Routers fitted on other rows; `shuffled` is the control that must be no better than chance."""
    target = disagreement(fitted, scale)
    mixed = np.random.default_rng(0).permutation(target)
    found = {
        "predicted disagreement": scores(fit(fitted, target), rows),
        "predicted gain": scores(fit(fitted, gain(fitted, scale)), rows),
        "shuffled": scores(fit(fitted, mixed), rows),
    }
    if ngrams:
        found["predicted disagreement, n-grams"] = ngram_scores(fitted, target, rows)
    return found


def oracle_scores(rows: Rows, scale: Floats) -> dict[str, Floats]:
    """What no router can know: base's answer, and the truth."""
    return {"oracle: disagreement": disagreement(rows, scale), "oracle: gain": gain(rows, scale)}


def save(router: Router, file: Path) -> None:
    """Write constants that `load_router` reads back, six digits each."""
    lines = ["# The router of emotion.text, made by `moodmesh results emotion.text.escalation --retrain`; see `Router`."]
    lines += [f"{name} = {json.dumps(_short(value))}" for name, value in asdict(router).items()]
    file.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _short(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_short(one) for one in value]
    return round(value, 6) if isinstance(value, float) else value
