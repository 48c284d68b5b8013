"""Mode L: a mood as one of 4096 directions, drawn so that any two moods are hard to tell apart (2-D PrivUnit, room-mood §7).

Bhowmick, Duchi, Freudiger, Kapoor and Rogers, 2018, for two dimensions and in integers.
"""

from __future__ import annotations

import math
from functools import cache
from secrets import randbelow
from typing import NamedTuple

from .gaussian import SCALE

DIRECTIONS = 4096
OUT = 2**20
_ARC = {1: 819, 2: 633, 4: 350}
EPSILONS = tuple(_ARC)
_FINE = 2**53


class Randomiser(NamedTuple):
    """Weights of a direction inside and outside of the arc of 2 `half` + 1 around the mood; `stretch` makes it unbiased."""

    half: int
    inside: int
    stretch: float
    table: tuple[tuple[int, int], ...]

    @property
    def arc(self) -> int:
        """Directions inside."""
        return 2 * self.half + 1

    @property
    def total(self) -> int:
        """The sum of all weights."""
        return self.inside * self.arc + OUT * (DIRECTIONS - self.arc)


@cache
def randomiser(eps: int) -> Randomiser:
    """The one for epsilon 1, 2 or 4; ValueError for others."""
    if eps not in _ARC:
        raise ValueError(f"epsilon is one of {', '.join(map(str, EPSILONS))}")
    half, inside = _ARC[eps], math.floor(OUT * math.exp(eps))
    plain = Randomiser(half, inside, 0.0, ())
    chord = math.sin(plain.arc * math.pi / DIRECTIONS) / math.sin(math.pi / DIRECTIONS)
    stretch = plain.total / ((inside - OUT) * chord)
    angles = [2 * math.pi * j / DIRECTIONS for j in range(DIRECTIONS)]
    table = tuple((round(SCALE * stretch * math.cos(a)), round(SCALE * stretch * math.sin(a))) for a in angles)
    return plain._replace(stretch=stretch, table=table)


def weight(r: Randomiser, centre: int, direction: int) -> int:
    """The weight with which `direction` is drawn when the mood points to `centre`; their sum is always `total`."""
    away = (direction - centre + DIRECTIONS // 2) % DIRECTIONS - DIRECTIONS // 2
    return r.inside if abs(away) <= r.half else OUT


def draw(x: tuple[float, float], eps: int) -> tuple[int, int]:
    """A report on a mood in the unit disc, in integer units: its mean is the mood."""
    r, size = randomiser(eps), min(1.0, math.hypot(*x))
    centre = round(math.atan2(x[1], x[0]) / (2 * math.pi) * DIRECTIONS) if size > 0 else randbelow(DIRECTIONS)
    other_side = 2 * randbelow(_FINE) + _FINE < round((2 - size) * _FINE)  # of like size, so that comparing takes as long
    centre += (DIRECTIONS // 2) * other_side  # to the circle, without bias
    u = randbelow(r.total)
    if u < r.inside * r.arc:
        return r.table[(centre - r.half + u // r.inside) % DIRECTIONS]
    return r.table[(centre + r.half + 1 + (u - r.inside * r.arc) // OUT) % DIRECTIONS]
