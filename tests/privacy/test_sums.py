"""Sharing, opening, and holders that lie: whatever is opened is right, or nothing is."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.privacy.sums import shamir
from moodmesh.privacy.sums.committee import size
from moodmesh.privacy.sums.decoding import Undecodable, consistent, correctable, decode
from moodmesh.privacy.sums.field import P, lift, product, residues, uniform
from moodmesh.privacy.sums.shamir import combine, share, weights

SMALL = 251


@st.composite
def rooms(draw: st.DrawFn) -> tuple[int, int, list[int]]:
    m = draw(st.integers(2, 24))
    return m, draw(st.integers(1, m)), draw(st.lists(st.integers(0, P - 1), min_size=1, max_size=3))


@given(rooms(), st.randoms(use_true_random=False))
def test_any_t_shares_open_the_secret(room: tuple[int, int, list[int]], chance: random.Random) -> None:
    m, t, secrets = room
    shares = share(np.array(secrets), t, m)
    chosen = chance.sample(range(m), t)
    assert combine([j + 1 for j in chosen], shares[chosen]).tolist() == secrets


@given(st.lists(st.integers(-(2**30) + 1, 2**30 - 1), min_size=1, max_size=8))
def test_sums_of_shares_are_shares_of_the_sum(values: list[int]) -> None:
    total = sum(share(residues([v]), 4, 7) for v in values) % P
    told = int(lift(combine(range(1, 5), np.asarray(total)[:4]))[0])
    assert (told - sum(values)) % P == 0


@settings(deadline=None)
@given(st.integers(0, SMALL - 1), st.lists(st.integers(0, SMALL - 1), min_size=2, max_size=2))
def test_fewer_than_t_shares_fit_every_secret_exactly_once(secret: int, seen: list[int]) -> None:
    """Attack 1, algebra: for t - 1 shares of a polynomial and any secret there is one polynomial that has them all."""
    xs = [1, 2]
    third = [s for s in range(SMALL) if combine([*xs, 3], np.array([[seen[0]], [seen[1]], [s]]), SMALL)[0] == secret]
    assert len(third) == 1


def _joint(secret: int, runs: int) -> np.ndarray:
    """How often each pair of shares of two holders came up, coarsely."""
    counts = np.zeros((16, 16))
    for _ in range(runs):
        first, second = share(np.array([secret]), 3, 5, SMALL)[[0, 3], 0]
        counts[first * 16 // SMALL, second * 16 // SMALL] += 1
    return counts


def _chi_square(a: np.ndarray, b: np.ndarray) -> float:
    """Of two samples of the same size, over 255 degrees of freedom; beyond 330 only once in a thousand."""
    return float((((a - b) ** 2) / np.maximum(a + b, 1)).sum())


def test_two_shares_of_three_look_the_same_whatever_the_secret() -> None:
    """Attack 1, distribution; every few thousand runs it is wrong by chance, so it is given a second one."""
    assert any(_chi_square(_joint(0, 4000), _joint(125, 4000)) < 330 for _ in range(2))


def test_without_its_top_coefficient_a_polynomial_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation of attack 1: degree t-2 instead of t-1, and two shares give the secret away."""

    def weak(shape: tuple[int, ...], p: int = P) -> np.ndarray:
        found = uniform(shape, p)
        found[-1] = 0
        return found

    monkeypatch.setattr(shamir, "uniform", weak)
    assert combine([1, 4], share(np.array([77]), 3, 5, SMALL)[[0, 3]], SMALL)[0] == 77
    assert _chi_square(_joint(0, 3000), _joint(125, 3000)) > 330


@pytest.mark.parametrize(("n", "t"), [(10, 7), (37, 29), (30, 21), (71, 56)])
def test_wrong_shares_up_to_the_limit_are_put_right_and_named(n: int, t: int) -> None:
    chance, most = random.Random(n), correctable(n, t)
    for wrong in range(most + 1):
        secrets = uniform((2,))
        shares = share(secrets, t, n)
        liars = chance.sample(range(n), wrong)
        shares[liars] = (shares[liars] + 1 + uniform((wrong, 2), P - 1)) % P
        found = decode(range(1, n + 1), shares, t)
        assert found.values.tolist() == secrets.tolist()
        assert found.wrong == set(liars)


def _trial(n: int, t: int, liars: list[int], shares: np.ndarray, secret: np.ndarray) -> str:
    try:
        found = decode(range(1, n + 1), shares, t)
    except Undecodable:
        return "nothing"
    return "right" if found.values.tolist() == secret.tolist() else "wrong"


@pytest.mark.parametrize("colluding", [False, True])
def test_more_wrong_shares_open_nothing_rather_than_a_wrong_sum(colluding: bool) -> None:
    """Attack 9: at N = 37, t = 29, from e+1 to N-t-e liars, also such as lie on another polynomial together."""
    n, t, chance = 37, 29, random.Random(9)
    told = set()
    for _ in range(100):
        secret = uniform((1,))
        shares, other = share(secret, t, n), share(uniform((1,)), t, n)
        liars = chance.sample(range(n), chance.randint(correctable(n, t) + 1, n - t - correctable(n, t)))
        shares[liars] = other[liars] if colluding else uniform((len(liars), 1))
        told.add(_trial(n, t, liars, shares, secret))
    assert told == {"nothing"}


def _five_who_agree(n: int, t: int) -> tuple[np.ndarray, np.ndarray]:
    """Five liars and a polynomial that goes through their shares and all but four of the honest ones: room-mood §9."""
    secret = uniform((1,))
    shares = share(secret, t, n)
    kept = list(range(28))  # honest ones the false polynomial keeps: t - 1 of them
    bent = product(_vanishing(kept, n), uniform((1, 1), P - 1) + 1)
    false = (shares + bent) % P
    liars = range(28, 33)
    shares[liars] = false[liars]
    return shares, secret


def _vanishing(at: list[int], n: int) -> np.ndarray:
    """The polynomial with zeros at these holders, at all holders."""
    found = np.ones((n, 1), dtype=np.int64)
    for j in at:
        found[:, 0] = found[:, 0] * (np.arange(1, n + 1) - (j + 1)) % P
    return found


def test_half_the_distance_would_be_too_far(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation of attack 9: correcting floor((N-t)/2) lets five colluders open a sum that was never shared."""
    n, t = 37, 29
    shares, secret = _five_who_agree(n, t)
    assert _trial(n, t, [], shares, secret) == "nothing"
    monkeypatch.setattr("moodmesh.privacy.sums.decoding.correctable", lambda received, t: (received - t) // 2)
    assert _trial(n, t, [], shares, secret) == "wrong"


def test_enough_colluders_succeed_and_the_documents_say_so() -> None:
    """From N-t-e+1 liars on a wrong sum can be shown; nobody's mood is any less hidden."""
    n, t = 37, 29
    secret = uniform((1,))
    shares = share(secret, t, n)
    bent = (shares + product(_vanishing(list(range(28)), n), uniform((1, 1), P - 1) + 1)) % P
    shares[28 : 28 + n - t - correctable(n, t) + 1] = bent[28 : 28 + n - t - correctable(n, t) + 1]
    assert _trial(n, t, [], shares, secret) == "wrong"


def test_shares_on_no_polynomial_are_found_out() -> None:
    shares = share(uniform((4,)), 7, 10)
    assert consistent(range(1, 11), shares, 7)
    shares[3, 2] = (shares[3, 2] + 1) % P
    assert not consistent(range(1, 11), shares, 7)
    assert consistent(range(1, 8), shares[:7], 7), "with t shares nothing can be told"


def test_committees_of_the_specification() -> None:
    whole = {5: 4, 6: 5, 7: 5, 8: 6, 10: 7, 16: 11, 20: 14, 30: 21, 40: 27, 50: 34, 64: 43}
    assert {n: size(n) for n in whole} == {n: (n, t) for n, t in whole.items()}
    sampled = {
        Fraction(1, 10): [(25, 18), (36, 27), (40, 30), (44, 33), (45, 34)],
        Fraction(1, 5): [(37, 29), (52, 41), (60, 47), (65, 51), (71, 56)],
        Fraction(3, 10): [(48, 39), (70, 57), (80, 65), (95, 77), (105, 85)],
    }
    for hostile, sizes in sampled.items():
        assert [size(n, hostile) for n in (100, 200, 300, 500, 1000)] == sizes


@settings(max_examples=30, deadline=None)
@given(st.integers(3, 1000))
def test_two_sets_never_open_with_the_hostile_share_that_is_promised(n: int) -> None:
    m, t = size(n)
    assert 1 <= t <= m <= n
    assert 2 * t - m - 1 >= (0 if n <= 64 else m // 4)
    for honest_sees_one in itertools.islice(range(2 * t - m), 3):
        assert 2 * (t - honest_sees_one) > m - honest_sees_one, "two sets need more honest members than there are"


def test_weights_are_lagranges() -> None:
    assert product(weights([1, 2, 3])[None], np.array([[1], [4], [9]]))[0, 0] == 0
    assert product(weights([1, 2, 3], 5)[None], np.array([[1], [4], [9]]))[0, 0] == 25


def test_uniform_residues_are_below_the_modulus_and_reach_all_of_it() -> None:
    found = uniform((5000,), SMALL)
    assert found.min() >= 0
    assert found.max() < SMALL
    assert len(set(found.tolist())) == SMALL


def test_a_threshold_beyond_the_committee_is_refused() -> None:
    with pytest.raises(ValueError, match="threshold"):
        share(np.array([1]), 6, 5)
