"""Who holds the shares of a room, and how many of them open its sum (room-mood §6)."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import comb

WHOLE = 64
"""Up to so many members, the committee is everyone."""
HOSTILE = Fraction(1, 5)
MISSING = Fraction(1, 10)
_RARE, _STALL = Fraction(1, 2**40), Fraction(1, 2**10)


@cache
def size(n: int, hostile: Fraction = HOSTILE) -> tuple[int, int]:
    """Committee size m and threshold t of a room of `n`: privacy as long as fewer than 2t - m of the committee are hostile,
    progress as long as at most m - t are missing. `hostile`: the share of the room that the bounds of 2^-40 are for."""
    if n < 3:
        raise ValueError("a room has at least three members")
    if n <= WHOLE:
        return n, 2 * n // 3 + 1
    bad, away = int(hostile * n), int(MISSING * n)
    for m in range(1, n + 1):
        reach = _tail(n, bad, m)
        for t in range(m // 2 + 1, m + 1):
            if reach[t] <= _RARE and reach[2 * t - m] <= _RARE:
                if _tail(n, away, m)[m - t + 1] <= _STALL:
                    return m, t
                break
    raise AssertionError("the whole room is always a committee")  # pragma: no cover


@cache
def _tail(n: int, marked: int, m: int) -> tuple[Fraction, ...]:
    """P[at least k of m drawn from n are marked] for k = 0 .. m+1, hypergeometric, exactly."""
    ways = [comb(marked, k) * comb(n - marked, m - k) if m - k >= 0 else 0 for k in range(m + 1)]
    total, above, found = comb(n, m), 0, [Fraction(0)]
    for way in reversed(ways):
        above += way
        found.append(Fraction(above, total))
    return tuple(reversed(found))
