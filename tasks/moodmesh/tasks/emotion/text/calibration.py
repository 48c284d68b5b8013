"""How sure a model is: a log-linear sd per axis, fitted on rows the model was not trained on (evaluation §2)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]
Z80 = 1.2815515655446004  # half-width of the central 80 % of a normal distribution, in sd
FLOOR = 0.05  # a residual of zero says little: its logarithm is cut off here


def features(z: FloatArray, length: FloatArray) -> FloatArray:
    """What the sd depends on: 1, |z| of each axis, log(1 + length): [n, 3], [n] -> [n, 5]."""
    return np.column_stack([np.ones(len(z)), np.abs(z), np.log1p(length)])


def fit(z: FloatArray, length: FloatArray, truth: FloatArray) -> FloatArray:
    """Coefficients [5, 3] such that 80 % of the given truths lie within Z80 sd of z; all in z units."""
    x = features(z, length)
    residual = np.abs(truth - z)
    target = np.log(np.maximum(residual, FLOOR))
    shrink = np.diag([0.0, *[0.02 * len(z)] * 4])
    coefficients = np.linalg.solve(x.T @ x + shrink, x.T @ target)
    ratio = residual / np.exp(x @ coefficients)
    coefficients[0] += np.log(np.quantile(ratio, 0.8, axis=0) / Z80)
    return np.asarray(coefficients)


def sd(coefficients: FloatArray, z: FloatArray, length: FloatArray) -> FloatArray:
    """The standard deviation of each prediction, in z units: [n, 3]."""
    return np.asarray(np.exp(features(z, length) @ coefficients))


def widening(mean: FloatArray, sd: FloatArray, truth: FloatArray) -> FloatArray:
    """The factor per axis [3] on `sd` that puts 80 % of the truths inside the central 80 % interval."""
    return np.asarray(np.quantile(np.abs(truth - mean) / sd, 0.8, axis=0) / Z80)
