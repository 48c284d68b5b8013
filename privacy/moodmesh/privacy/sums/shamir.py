"""Shamir's secret sharing (1979) of vectors: any t shares give the secret, fewer say nothing; shares add as secrets do."""

from __future__ import annotations

from collections.abc import Sequence

from .field import P, Residues, apart, inverses, powers, product, residues, uniform
from .later import np


def points(count: int) -> Residues:
    """Where the shares of committee positions 1 .. count are taken: x_j = j (room-mood §5)."""
    return np.arange(1, count + 1, dtype=np.int64)


def share(secrets: Residues, t: int, m: int, p: int = P) -> Residues:
    """The shares of `secrets` for each of `m` holders, of which any `t` open them: shape (m, secrets)."""
    if not 1 <= t <= m < p:
        raise ValueError(f"a threshold of {t} among {m} holders cannot be: 1 <= t <= m")
    coefficients = np.concatenate([residues(secrets, p)[None], uniform((t - 1, len(secrets)), p)])
    return product(powers(points(m), t, p), coefficients, p)


def weights(xs: Sequence[int], at: int = 0, p: int = P) -> Residues:
    """Lagrange's weights: the value at `at` of the polynomial through points `xs` is the weighted sum of its values there."""
    if at in xs:
        return np.array([x == at for x in xs], dtype=np.int64)
    gaps = (at - np.asarray(xs, dtype=np.int64)) % p
    whole = 1
    for gap in gaps.tolist():
        whole = whole * gap % p
    return whole * inverses(gaps * apart(xs, p) % p, p) % p


def combine(xs: Sequence[int], shares: Residues, p: int = P) -> Residues:
    """The secrets from exactly t shares, shape (t, secrets), of the holders at `xs`."""
    found: Residues = product(weights(xs, 0, p)[None], shares, p)[0]
    return found
