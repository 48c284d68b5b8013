"""Noise, prices and budgets: the numbers of the specification, and what an attacker can tell from what is sent."""

from __future__ import annotations

import hashlib
import json
import math
import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release import mechanism
from moodmesh.privacy.release.audit import solvable
from moodmesh.privacy.release.budget import Caps, Spent, exceeded, total
from moodmesh.privacy.release.chance import bernoulli_exp, discrete_gauss, discrete_laplace
from moodmesh.privacy.release.gaussian import SCALE, delta_of, eps_of, mu_of, sigma_for
from moodmesh.privacy.release.mechanism import Ambient, Circle, Mechanism, OnDemand, Price, clip, quantise
from moodmesh.privacy.release.privunit import DIRECTIONS, EPSILONS, OUT, draw, randomiser, weight


def mood(valence: float, arousal: float) -> EmotionVector:
    return EmotionVector(valence, arousal, valence_sd=0.1, arousal_sd=0.1, at=0.0)


# -- exact chance ------------------------------------------------------------------------------------------------------


def _fits(values: list[int], weight_of: dict[int, float]) -> bool:
    """Chi-square against exact weights, wrong by chance once in ten million runs (by Wilson and Hilferty's cube root)."""
    whole = sum(weight_of.values())
    bins = {x: w for x, w in weight_of.items() if len(values) * w / whole >= 10}
    rest = len(values) - sum(values.count(x) for x in bins)
    expected = [len(values) * w / whole for w in bins.values()]
    found = [values.count(x) for x in bins]
    expected, found = [*expected, len(values) - sum(expected) + 1e-9], [*found, rest]
    chi = sum((f - e) ** 2 / e for f, e in zip(found, expected, strict=True) if e >= 10)
    k = len(bins)
    return chi < k * (1 - 2 / (9 * k) + 5.2 * math.sqrt(2 / (9 * k))) ** 3


@pytest.mark.parametrize("sigma", [1, 3, 7])
def test_the_gaussian_sampler_has_its_distribution(sigma: int) -> None:
    values = [discrete_gauss(sigma) for _ in range(4000)]
    assert _fits(values, {x: math.exp(-(x**2) / (2 * sigma**2)) for x in range(-8 * sigma, 8 * sigma + 1)})


def test_a_sampler_that_is_off_by_a_tenth_would_be_noticed() -> None:
    values = [round(discrete_gauss(700) / 90) for _ in range(16000)]
    assert not _fits(values, {x: math.exp(-(x**2) / (2 * 7**2)) for x in range(-56, 57)})


def test_the_laplace_sampler_has_its_distribution() -> None:
    values = [discrete_laplace(4) for _ in range(4000)]
    assert _fits(values, {x: math.exp(-abs(x) / 4) for x in range(-80, 81)})


@pytest.mark.parametrize(("above", "below"), [(0, 1), (1, 3), (1, 1), (5, 2)])
def test_bernoulli_of_an_exponential(above: int, below: int) -> None:
    share = statistics.mean(bernoulli_exp(above, below) for _ in range(4000))
    assert share == pytest.approx(math.exp(-above / below), abs=0.04)


def test_real_noise_has_the_standard_deviation_it_says() -> None:
    values = [discrete_gauss(7399) for _ in range(4000)]
    assert statistics.pstdev(values) == pytest.approx(7399, rel=0.06)
    assert abs(statistics.mean(values)) < 5 * 7399 / math.sqrt(4000)


# -- Mode L ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("eps", "k", "inside", "stretch"), [(1, 819, 2850325, 3.2437), (2, 633, 7747986, 1.772), (4, 350, 57250309, 1.1643)]
)
def test_randomisers_of_the_specification(eps: int, k: int, inside: int, stretch: float) -> None:
    r = randomiser(eps)
    assert (r.half, r.inside) == (k, inside)
    assert r.stretch == pytest.approx(stretch, abs=5e-5)


def worst_ratio(eps: int) -> float:
    """Over every pair of moods and every report: how much likelier one mood makes a report than another, exactly."""
    r = randomiser(eps)
    row = np.array([weight(r, 0, j) for j in range(DIRECTIONS)], dtype=np.int64)
    assert int(row.sum()) == r.total
    rows = np.stack([np.roll(row, c) for c in range(DIRECTIONS)])
    return float((rows.max(axis=0) / rows.min(axis=0)).max())


@pytest.mark.parametrize("eps", EPSILONS)
def test_no_report_tells_more_than_epsilon(eps: int) -> None:
    """Attack 4, Mode L, by enumeration of all 4096 x 4096 pairs; ceil instead of floor would be beyond it."""
    assert worst_ratio(eps) <= math.exp(eps)
    assert math.ceil(OUT * math.exp(eps)) / OUT > math.exp(eps)


def test_a_heavier_arc_would_be_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: W_in x 4."""
    heavy = randomiser(1)._replace(inside=4 * randomiser(1).inside)
    monkeypatch.setitem(globals(), "randomiser", lambda eps: heavy)
    assert worst_ratio(1) > math.exp(1)


@pytest.mark.parametrize("eps", EPSILONS)
def test_directions_are_drawn_as_they_weigh(eps: int) -> None:
    r, drawn = randomiser(eps), [draw((1.0, 0.0), eps) for _ in range(4000)]
    within = {r.table[j % DIRECTIONS] for j in range(-r.half, r.half + 1)}
    share = statistics.mean(point in within for point in drawn)
    assert share == pytest.approx(r.inside * r.arc / r.total, abs=5 * math.sqrt(0.25 / 4000))


@pytest.mark.parametrize("x", [(0.0, 0.0), (0.6, -0.3), (-1.0, 0.0), (5e-324, 0.0)])
def test_the_mean_of_reports_is_the_mood(x: tuple[float, float]) -> None:
    told = np.mean([draw(x, 4) for _ in range(6000)], axis=0) / 4096
    assert told == pytest.approx(np.array(x), abs=5 * 1.17 / math.sqrt(2 * 6000))


# -- values out of range -----------------------------------------------------------------------------------------------


@given(st.floats(allow_nan=True, allow_infinity=True, width=64), st.floats(allow_nan=True, allow_infinity=True, width=64))
def test_whatever_comes_in_what_goes_on_is_in_the_disc(x: float, y: float) -> None:
    """Attack 7: not a number is refused, the rest is clipped."""
    if not (math.isfinite(x) and math.isfinite(y)):
        with pytest.raises(ValueError, match="numbers"):
            clip(x, y)
        return
    a, b = clip(x, y)
    assert math.hypot(a, b) <= 1 + 1e-12
    assert math.hypot(*quantise(a, b)) <= 4096 + math.sqrt(0.5) + 1e-6


def test_values_released_are_whole_numbers() -> None:
    """Attack 18: nothing with the fingerprint of a floating-point generator leaves."""
    for how in (Circle(), OnDemand(4), Ambient.within(30)):
        assert all(type(v) is int for v in how.encode(mood(0.3, -0.7)))


CORNERS = [(x, y) for x in (-1.0, 1.0) for y in (-1.0, 0.8, 1.0)]


def before_noise(how: Mechanism, felt: tuple[float, float], patch: pytest.MonkeyPatch) -> float:
    """How far from the middle, in mood units, what the mechanism would blur lies; of a circle, what it sends."""
    blurred: list[tuple[float, float]] = []
    patch.setattr(mechanism, "discrete_gauss", lambda sigma: 0)
    patch.setattr(mechanism, "draw", lambda x, eps: blurred.append(x) or draw(x, eps))
    sent = how.encode(mood(*felt))
    return math.hypot(*blurred[0]) if blurred else math.hypot(*sent) / SCALE


@pytest.mark.parametrize("how", [Circle(), OnDemand(1), OnDemand(4), Ambient.within(30)], ids=repr)
def test_clipping_is_what_bounds_one_person(how: Mechanism, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack 7 and its mutation: without it a corner of the square counts as more than one person at the edge."""
    edge = 1 + math.sqrt(0.5) / SCALE
    assert max(before_noise(how, felt, monkeypatch) for felt in CORNERS) <= edge
    monkeypatch.setattr(mechanism, "clip", lambda x, y: (x, y))
    assert min(before_noise(how, felt, monkeypatch) for felt in CORNERS) > edge


@pytest.mark.parametrize("felt", [(math.nan, 0.0), (0.0, math.inf), (1 + 1e-9, 0.0), (0.0, -(10.0**6))])
def test_what_is_no_mood_never_gets_to_be_encoded(felt: tuple[float, float]) -> None:
    """Attack 7."""
    with pytest.raises(ValueError, match="lie in"):
        mood(*felt)


# -- prices ------------------------------------------------------------------------------------------------------------


def test_mu_of_the_specification() -> None:
    told = {0.5: 8.058, 1: 4.225, 2: 2.230, 4: 1.194, 8: 0.653, 16: 0.369, 32: 0.216, 48: 0.161}
    assert {eps: round(1 / mu_of(eps), 3) for eps in told} == told
    assert all(eps_of(mu_of(eps)) == pytest.approx(eps, abs=1e-6) for eps in told)


@given(st.floats(1e-3, 30))
def test_epsilon_is_never_told_too_small(mu: float) -> None:
    assert delta_of(eps_of(mu), mu) <= 1e-6 * (1 + 1e-9)


def test_noise_of_the_specification() -> None:
    assert [sigma_for(n, 6, 4, 16) for n in (22, 30, 100, 1000)] == [7399] * 4
    assert sigma_for(30, 6, 2, 8) / 4096 == pytest.approx(3.2, abs=0.005)


def test_prices_of_the_specification() -> None:
    small, large = Ambient.within(30), Ambient.within(100)
    assert total([small.price(15)]) == pytest.approx((1.23, 5.49), abs=0.005)
    assert total([large.price(50)]).room == pytest.approx(0.64, abs=0.005)
    assert total([small.price(15)] * 6) == pytest.approx((3.27, 16.0), abs=0.005)
    assert [round(total([small.price(15)] * 6 * hours).alone) for hours in (2, 4, 6, 10)] == [25, 40, 53, 77]


def test_pure_and_gaussian_parts_add() -> None:
    both = total([OnDemand(2).price(9), Ambient.within(30).price(15)])
    assert both.room == pytest.approx(2 + total([Ambient.within(30).price(15)]).room)


def _per_hour(honest: int) -> int:
    charges: list[tuple[int, Price]] = []
    while exceeded(charges, Ambient.within(30).price(honest), 0, Caps()) is None:
        charges.append((0, Ambient.within(30).price(honest)))
    return len(charges)


def test_how_often_an_hour_allows_ambient_releases() -> None:
    assert [_per_hour(h) for h in (1, 2, 3, 4, 5, 6, 8, 10, 11, 50)] == [0, 1, 1, 2, 2, 3, 4, 5, 6, 6]


def test_an_ambient_day_ends_after_31_releases() -> None:
    price, charges = Ambient.within(30).price(15), []
    while exceeded(charges, price, len(charges), Caps()) is None:
        charges.append((len(charges), price))
    assert len(charges) == 31


def test_windows_slide() -> None:
    charge = [(0, Price(pure=4.0))]
    assert exceeded(charge, Price(pure=1.0), 5, Caps()) is not None
    assert exceeded(charge, Price(pure=1.0), 6, Caps()) is None
    assert "day" in str(exceeded([(6 * k, Price(pure=4.0)) for k in range(4)], Price(pure=1.0), 30, Caps()))
    assert exceeded(charge, Price(pure=1.0), 0, Caps(Spent(9, 16), Spent(16, 48))) is None


def test_errors_of_the_specification() -> None:
    table = {5: (1.03, 0.56, 0.37), 14: (0.61, 0.33, 0.22), 30: (0.42, 0.23, 0.15), 1000: (0.073, 0.04, 0.026)}
    for n, row in table.items():
        assert [OnDemand(e).rms(n) for e in (1, 2, 4)] == pytest.approx(row, rel=0.015)
    assert [Ambient.within(n).rms(n) for n in (30, 50, 100, 300, 1000)] == pytest.approx(
        (0.33, 0.26, 0.18, 0.104, 0.057), rel=0.02
    )


def test_the_directions_are_the_ones_of_the_vectors() -> None:
    told = hashlib.sha256(json.dumps(randomiser(2).table).encode()).hexdigest()
    assert told[:16] == "0c59e2da0b9f737a"


# -- circles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("sets", "gives_away"),
    [
        (["AB"], True), (["ABC"], False), (["ABC", "ABCD"], True), (["ABC", "ABCDE"], True), (["ABC", "DEF"], False),
        (["ABC", "ABCDEF"], False), (["ABC", "ADE", "BCDE"], True), (["ABCD", "ABEF", "CDEF"], True),
    ],
)  # fmt: skip
def test_circles_that_would_give_somebody_away(sets: list[str], gives_away: bool) -> None:
    """Attack 3: differencing by somebody who knows their own mood."""
    assert (solvable(sets) is not None) == gives_away


@given(st.lists(st.frozensets(st.sampled_from("ABCDEF"), min_size=2), min_size=1, max_size=4))
def test_the_audit_agrees_with_solving_by_least_squares(sets: list[frozenset[str]]) -> None:
    people = sorted(frozenset().union(*sets))
    rows = np.array([[person in s for person in people] for s in sets], dtype=float)

    def told(insider: int) -> bool:
        left = np.delete(rows, insider, axis=1)
        units = np.eye(left.shape[1])
        return any(np.linalg.matrix_rank(np.vstack([left, u])) == np.linalg.matrix_rank(left) for u in units)

    assert (solvable(sets) is not None) == any(told(i) for i in range(len(people)))
