"""Many discrete Gaussians at once, of the same distribution as the product's sampler: by inversion, in integers."""

from __future__ import annotations

from functools import cache

import numpy as np

_BITS = 220


@cache
def _borders(sigma: int) -> np.ndarray:
    """How many of 2^63 equally likely numbers are for values up to x, from -11 sigma on: each to within one, computed with 220
    bits. What lies beyond has chance 10^-27."""
    one = 1 << _BITS
    step = _exp_of_minus(1, sigma * sigma)  # the ratio of one ratio to the next
    weights, ratio = [one], _exp_of_minus(1, 2 * sigma * sigma)
    for _ in range(11 * sigma):
        weights.append(weights[-1] * ratio >> _BITS)
        ratio = ratio * step >> _BITS
    table = weights[:0:-1] + weights
    whole, above, found = sum(table), 0, []
    for weight in table:
        above += weight
        found.append((above << 63) // whole)
    return np.array([min(f, (1 << 63) - 1) for f in found], dtype=np.int64)


def _exp_of_minus(above: int, below: int) -> int:
    """exp(-above / below) in units of 2^-220, by its series."""
    term = total = 1 << _BITS
    k = 0
    while term:
        k += 1
        term = term * above // (below * k)
        total += term if k % 2 == 0 else -term
    return total


def gaussians(sigma: int, shape: tuple[int, ...], chance: np.random.Generator) -> np.ndarray:
    """Values with probability proportional to exp(-x^2 / (2 sigma^2))."""
    drawn = np.sort(chance.integers(0, 2**63, size=int(np.prod(shape)), dtype=np.int64))
    values = np.searchsorted(_borders(sigma), drawn, side="right") - 11 * sigma
    return chance.permutation(values).reshape(shape)
