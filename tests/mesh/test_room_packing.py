"""Attack 11: getting more of one's own into the committee than chance gives, by grinding keys and keeping reveals back."""

from __future__ import annotations

import itertools
import math
import random
from math import comb

import pytest

from moodmesh.mesh.rooms.relay import MOST_AGAIN
from moodmesh.mesh.rooms.transcript import Draw, Params, Roster, Seat, digest
from moodmesh.privacy.sums.committee import size

from .rooms import RUN

N, HOSTILE = 100, 20
M, T = size(N)
BAND = 3.29
"""Standard deviations of 99.9 %."""


def best_of(draws: int) -> tuple[float, float]:
    """Mean and standard deviation of the most hostile committee of so many, exactly."""
    below = [sum(comb(HOSTILE, j) * comb(N - HOSTILE, M - j) for j in range(k + 1)) / comb(N, M) for k in range(HOSTILE + 1)]
    chance = [b**draws - (below[k - 1] ** draws if k else 0.0) for k, b in enumerate(below)]
    mean = sum(k * c for k, c in enumerate(chance))
    return mean, math.sqrt(sum((k - mean) ** 2 * c for k, c in enumerate(chance)))


def keys(chance: random.Random) -> tuple[list[bytes], set[bytes]]:
    """Of everybody, and of the hostile, who take the best of many: next to each other, and early under an older beacon."""
    many = sorted((chance.randbytes(32) for _ in range(HOSTILE * 5)), key=lambda k: digest(b"an older beacon", k))
    hostile = many[:HOSTILE]
    return hostile + [chance.randbytes(32) for _ in range(N - HOSTILE)], set(hostile)


def drawn(everyone: list[bytes], nonces: dict[bytes, bytes]) -> Draw:
    seats = tuple(Seat(key, key, bytes(32), bytes(64)) for key in sorted(everyone))
    return Draw(Roster(RUN, seats, Params("on-demand", 5, M, T)), tuple(nonces[seat.e_pub] for seat in seats))


def hostile_in(draw: Draw, hostile: set[bytes]) -> int:
    return sum(draw.roster.seats[i].e_pub in hostile for i in draw.committee)


def with_restarts(chance: random.Random) -> int:
    """The protocol: whoever keeps a reveal back makes everybody choose new nonces, a few times."""
    everyone, hostile = keys(chance)
    return max(hostile_in(drawn(everyone, {k: chance.randbytes(32) for k in everyone}), hostile) for _ in range(1 + MOST_AGAIN))


def with_dropping(chance: random.Random, late: int = 5) -> int:
    """The mutation: late ones are dropped and the nonces of the others stay, so that each subset of them is one more draw."""
    everyone, hostile = keys(chance)
    nonces = {k: chance.randbytes(32) for k in everyone}
    may = sorted(hostile)[:late]
    choices = itertools.chain.from_iterable(itertools.combinations(may, k) for k in range(late + 1))
    return max(hostile_in(drawn([k for k in everyone if k not in gone], nonces), hostile) for gone in choices)


def beyond(found: list[int]) -> bool:
    mean, sd = best_of(1 + MOST_AGAIN)
    return abs(sum(found) / len(found) - mean) > BAND * sd / math.sqrt(len(found))


def test_the_committee_is_as_hostile_as_the_best_of_four_draws() -> None:
    chance = random.Random(11)
    assert not beyond([with_restarts(chance) for _ in range(300)])


def test_dropping_the_late_would_be_noticed() -> None:
    chance = random.Random(11)
    assert beyond([with_dropping(chance) for _ in range(25)])


@pytest.mark.slow
def test_in_ten_thousand_runs() -> None:
    chance = random.Random(12)
    found = [with_restarts(chance) for _ in range(10_000)]
    assert not beyond(found)
    assert max(found) < 2 * T - M, "no run in which two sets could open"
