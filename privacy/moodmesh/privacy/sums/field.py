"""The prime field of the sums: vectors and matrices of residues as int64 arrays, exact and without floating point."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from .later import np

if TYPE_CHECKING:
    from numpy.typing import NDArray

P = 2**31 - 1
"""The modulus of the protocol (room-mood §4); tests also use a small one."""
Residues: TypeAlias = "NDArray[np.int64]"
_HALF = 16  # products of a residue with 16 bits sum up to 2^16 of them within 63 bits


def residues(values: Any, p: int = P) -> Residues:
    """Integers of any sign as residues 0 .. p-1."""
    return np.asarray(values, dtype=np.int64) % p


def lift(values: Residues, p: int = P) -> NDArray[np.int64]:
    """Residues as the integers nearest to zero, in (-p/2, p/2)."""
    return np.where(values > p // 2, values - p, values)


def uniform(shape: tuple[int, ...], p: int = P) -> Residues:
    """Independent uniform residues from the operating system's generator: so many bits each, those from `p` on drawn again."""
    count, mask = int(np.prod(shape)), (1 << (p - 1).bit_length()) - 1
    found = np.empty(0, dtype=np.int64)
    while found.size < count:
        drawn = np.frombuffer(os.urandom(4 * (count - found.size)), dtype="<u4").astype(np.int64) & mask
        found = np.concatenate([found, drawn[drawn < p]])
    return found.reshape(shape)


def product(a: Residues, b: Residues, p: int = P) -> Residues:
    """The matrix product modulo `p`, of at most 2^16 terms each."""
    low, high = b & ((1 << _HALF) - 1), b >> _HALF
    return ((a @ high % p << _HALF) + a @ low) % p


def apart(xs: Sequence[int], p: int = P) -> Residues:
    """For each of `xs`, the product of its differences from all the others."""
    points = np.asarray(xs, dtype=np.int64)
    found, gaps = np.ones(len(points), dtype=np.int64), (points[:, None] - points) % p
    np.fill_diagonal(gaps, 1)
    for column in gaps.T:
        found = found * column % p
    return found


def inverses(values: Residues, p: int = P) -> Residues:
    """1 / value for each; none of them 0."""
    return np.array([pow(value, -1, p) for value in values.tolist()], dtype=np.int64)


def powers(points: Residues, count: int, p: int = P) -> Residues:
    """The rows x^0 .. x^(count-1) of every point: shape (points, count)."""
    rows = np.ones((len(points), count), dtype=np.int64)
    for k in range(1, count):
        rows[:, k] = rows[:, k - 1] * points % p
    return rows
