"""Reading values that some holders may have falsified: Reed-Solomon decoding of shares (McEliece and Sarwate, 1981)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .field import P, Residues, apart, inverses, powers, product, uniform
from .later import np
from .shamir import combine

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Undecodable(ValueError):
    """More of the values are wrong than can be told from the right ones: nothing is opened."""


@dataclass(frozen=True)
class Decoded:
    """The `values` at zero, and the indices of the holders whose share was `wrong`."""

    values: Residues
    wrong: frozenset[int]


def correctable(received: int, t: int) -> int:
    """How many wrong shares among `received` are put right. Not floor((N-t)/2): with that, colluders fewer than the
    threshold make a wrong sum decode (room-mood §9)."""
    return max(0, (received - t) // 3)


def consistent(xs: Sequence[int], columns: Residues, t: int, p: int = P) -> bool:
    """Whether every column is a word of the code of degree t-1, as far as `off` tells."""
    return not off(xs, columns, t, p).any()


def off(xs: Sequence[int], columns: Residues, t: int, p: int = P) -> NDArray[np.bool_]:
    """Which columns are no word of the code of degree t-1: by a random word of the dual code, each error missed with chance 1/p
    (Cascudo and David, SCRAPE, 2017). None of at most t rows, which always are."""
    n = len(xs)
    if n <= t:
        return np.zeros(columns.shape[1], dtype=np.bool_)
    return np.asarray(product(product(uniform((1, n - t), p), _dual(xs, t, p), p), columns, p)[0] != 0)


def decode(xs: Sequence[int], columns: Residues, t: int, p: int = P) -> Decoded:
    """The values at zero of polynomials of degree t-1 that pass through all but `correctable` of the rows of `columns`,
    shape (holders at `xs`, values); `Undecodable`."""
    n = len(xs)
    if n < t:
        raise Undecodable(f"{n} shares came, {t} are needed")
    if consistent(xs, columns, t, p):
        return Decoded(combine(xs[:t], columns[:t], p), frozenset())
    most = correctable(n, t)
    mixed = product(columns, uniform((columns.shape[1], 1), p), p)[:, 0]  # a share wrong in any column is wrong here: 1 - 1/p
    word = np.array(_gao(xs, [int(v) for v in mixed], t, most, p), dtype=np.int64)
    told = product(powers(np.asarray(xs, dtype=np.int64), t, p), word[:, None], p)[:, 0]
    right = np.flatnonzero(told == mixed).tolist()
    if len(right) < n - most or not consistent([xs[j] for j in right], columns[right], t, p):
        raise Undecodable(f"more than {most} of {n} shares are wrong")
    values = combine([xs[j] for j in right[:t]], columns[right[:t]], p)
    return Decoded(values, frozenset(range(n)) - frozenset(right))


def _dual(xs: Sequence[int], t: int, p: int) -> Residues:
    """A basis of the dual code: rows v_j x_j^k for k < n-t, with v_j the inverse of the product of x_j - x_i."""
    ladder = powers(np.asarray(xs, dtype=np.int64), len(xs) - t, p)
    return np.asarray((ladder * inverses(apart(xs, p), p)[:, None] % p).T)


def _gao(xs: Sequence[int], ys: Sequence[int], t: int, most: int, p: int) -> list[int]:
    """The coefficients of the polynomial of degree < t that misses at most `most` of the points (Gao, 2003)."""
    before, now = [1], _interpolate(xs, ys, p)
    for x in xs:
        before = _times(before, [-x % p, 1], p)
    bound = (len(xs) + t + 1) // 2
    u, v = [0], [1]
    while len(now) - 1 >= bound:
        quotient, rest = _divide(before, now, p)
        before, now = now, rest
        u, v = v, _minus(u, _times(quotient, v, p), p)
    found, rest = _divide(now, v, p)
    if rest != [0] or len(found) > t or len(v) - 1 > most:
        raise Undecodable(f"more than {most} of {len(xs)} shares are wrong")
    return found + [0] * (t - len(found))


def _interpolate(xs: Sequence[int], ys: Sequence[int], p: int) -> list[int]:
    """Newton's divided differences, expanded."""
    table = list(ys)
    for k in range(1, len(xs)):
        for j in range(len(xs) - 1, k - 1, -1):
            table[j] = (table[j] - table[j - 1]) * pow(xs[j] - xs[j - k], -1, p) % p
    found = [0]
    for x, y in zip(reversed(xs), reversed(table), strict=True):
        found = _minus(_times(found, [-x % p, 1], p), [-y % p], p)
    return found


def _trim(a: list[int]) -> list[int]:
    while len(a) > 1 and a[-1] == 0:
        a.pop()
    return a


def _times(a: list[int], b: list[int], p: int) -> list[int]:
    found = [0] * (len(a) + len(b) - 1)
    for i, x in enumerate(a):
        for j, y in enumerate(b):
            found[i + j] = (found[i + j] + x * y) % p
    return _trim(found)


def _minus(a: list[int], b: list[int], p: int) -> list[int]:
    size = max(len(a), len(b))
    return _trim([((a[i] if i < len(a) else 0) - (b[i] if i < len(b) else 0)) % p for i in range(size)])


def _divide(a: list[int], b: list[int], p: int) -> tuple[list[int], list[int]]:
    rest, found = list(a), [0] * max(1, len(a) - len(b) + 1)
    inverse = pow(b[-1], -1, p)
    for k in range(len(a) - len(b), -1, -1):
        factor = found[k] = rest[k + len(b) - 1] * inverse % p
        if factor:
            for j, y in enumerate(b):
                rest[k + j] = (rest[k + j] - factor * y) % p
    return _trim(found), _trim(rest[: max(1, len(b) - 1)] if len(a) >= len(b) else rest)
