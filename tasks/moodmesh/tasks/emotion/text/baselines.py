"""What the models of `emotion.text` must beat, and the controls that must fail (evaluation §1.4, §5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import hstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import Ridge

from moodmesh.tasks.emotion.text import data, train_tiny
from moodmesh.tasks.emotion.text.predictions import Predicted

Floats = NDArray[np.float64]
SHUFFLES = 5
RIDGE_SHA256 = "ridge of word 1-2 and char_wb 2-5, sublinear, alpha 1/3/3"  # stands for a recipe in the cache's key


def vad(rows: Sequence[data.Rated]) -> Floats:
    """The ratings of rows: [n, 3]."""
    return np.array([row.vad for row in rows])


def mean(split: data.Split) -> Predicted:
    """The mean of the training rows for every held row, with their sd."""
    train, n = vad(split.train), len(split.held)
    return Predicted(np.tile(train.mean(0), (n, 1)), np.tile(train.std(0), (n, 1)))


def length_only(split: data.Split) -> Predicted:
    """A straight line on the logarithm of the number of characters: what length alone tells."""
    x, held = (np.log1p([[len(row.text)] for row in side]) for side in (split.train, split.held))
    return _alone(Ridge(alpha=1e-6).fit(x, vad(split.train)).predict(held))


def ridge(split: data.Split) -> Predicted:
    """TF-IDF of word 1-2 and in-word character 2-5 grams, sublinear, a ridge per axis: the strongest plain baseline."""
    texts, held = ([row.text for row in side] for side in (split.train, split.held))
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True)
    pieces = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5), sublinear_tf=True)
    x = hstack([words.fit_transform(texts), pieces.fit_transform(texts)]).tocsr()
    z = hstack([words.transform(held), pieces.transform(held)]).tocsr()
    truth = vad(split.train)
    fits = [Ridge(alpha=alpha, solver="sparse_cg", tol=1e-5).fit(x, truth[:, n]) for n, alpha in enumerate((1, 3, 3))]
    return _alone(np.column_stack([fit.predict(z) for fit in fits]))


def tiny(recipe: train_tiny.TinyRecipe, split: data.Split) -> Predicted:
    """The tiny model, trained on the split."""
    return Predicted(*train_tiny.train(recipe, split).predict([row.text for row in split.held]))


def shuffled(recipe: train_tiny.TinyRecipe, split: data.Split, seed: int) -> Predicted:
    """The tiny model on shuffled labels: must fall to chance."""
    order = np.random.default_rng(seed).permutation(len(split.train))
    train = tuple(replace(row, vad=split.train[at].vad) for row, at in zip(split.train, order, strict=True))
    return tiny(recipe, replace(split, train=train))


def canary(recipe: train_tiny.TinyRecipe, split: data.Split) -> Predicted:
    """The tiny model that may also read the row id: must not gain."""
    train, held = (tuple(replace(row, text=f"{row.text} {row.id}") for row in side) for side in (split.train, split.held))
    return tiny(recipe, replace(split, train=train, held=held))


def _alone(predicted: Floats) -> Predicted:
    return Predicted(np.asarray(predicted), np.full_like(predicted, np.nan))
