"""What an attacker learns of one person from ambient rooms: attack 3, from two epochs, and attack 4, from one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import beta, ks_2samp

from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release import mechanism
from moodmesh.privacy.release.budget import total
from moodmesh.privacy.release.chance import discrete_gauss
from moodmesh.privacy.release.gaussian import DELTA, SCALE, SENSITIVITY, mu_of
from moodmesh.privacy.release.mechanism import PER_HOUR, Ambient, Circle

from .noise import _borders, gaussians

N = 30
HONEST = N // 2
SIGMA = Ambient.within(N).sigma
WEST, EAST = (EmotionVector(v, 0.0, valence_sd=0.1, arousal_sd=0.1, at=0.0) for v in (-1.0, 1.0))


# -- the sampler of these tests ----------------------------------------------------------------------------------------


def test_the_sampler_here_is_the_products() -> None:
    """Two samples of one distribution (Kolmogorov and Smirnov), and exact chances where they can be written down."""
    ours = gaussians(SIGMA, (200_000,), np.random.default_rng(1))
    theirs = [Ambient(SIGMA).encode(EAST)[0] - SCALE for _ in range(4000)]
    assert ks_2samp(ours, theirs).pvalue > 1e-4
    weights = [math.exp(-(x**2) / 18) for x in range(-33, 34)]
    borders = np.cumsum(weights) / sum(weights)
    assert _borders(3) / 2**63 == pytest.approx(borders, abs=1e-12)


def test_another_width_would_be_noticed() -> None:
    ours = gaussians(SIGMA * 3 // 4, (200_000,), np.random.default_rng(1))
    assert ks_2samp(ours, [discrete_gauss(SIGMA) for _ in range(2000)]).pvalue < 1e-4


# -- attack 3: the difference of two epochs ----------------------------------------------------------------------------


def rms_on_victim(epochs: int, runs: int, noise, honest: int = HONEST) -> float:
    """Error per axis, in mood units, of whoever takes the room's sum without the victim from the one with, everybody else's
    values being known or the same, over the mean of so many epochs each."""

    def side() -> np.ndarray:
        return noise((runs, 2, epochs, honest)).sum(axis=3).mean(axis=2)

    return float(np.sqrt(((side() - side()) ** 2).mean())) / SCALE


@pytest.mark.parametrize(("epochs", "told"), [(1, 9.9), (6, 4.0)])
def test_a_join_or_leave_hides_one_person(epochs: int, told: float) -> None:
    chance = np.random.default_rng(3)
    found = rms_on_victim(epochs, 10_000 if epochs == 1 else 2500, lambda shape: gaussians(SIGMA, shape, chance))
    bound = math.sqrt(2 / epochs) * SIGMA * math.sqrt(HONEST) / SCALE
    assert bound == pytest.approx(told, abs=0.06)
    assert found >= 0.98 * bound


def by_encoding(shape: tuple[int, ...]) -> np.ndarray:
    """The noise that the product adds to a mood in the middle, of each axis of each honest member."""
    how, middle = Ambient(SIGMA), EmotionVector(0.0, 0.0, valence_sd=0.1, arousal_sd=0.1, at=0.0)
    runs, axes, epochs, honest = shape
    drawn = [how.encode(middle) for _ in range(runs * epochs * honest)]
    return np.array(drawn).reshape(runs, epochs, honest, axes).transpose(0, 3, 1, 2)


def test_noise_used_again_in_the_next_epoch_would_give_the_victim_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: every member keeps its noise. With the product's encoding the error is as large as it should be."""
    bound = math.sqrt(2) * SIGMA * math.sqrt(HONEST) / SCALE
    runs = 60
    assert rms_on_victim(1, runs, by_encoding) > 0.75 * bound, "of 120 values: 4 standard deviations"
    kept = itertools.cycle([discrete_gauss(SIGMA) for _ in range(runs * 2 * HONEST)])
    monkeypatch.setattr(mechanism, "discrete_gauss", lambda sigma: next(kept))
    assert rms_on_victim(1, runs, by_encoding) == 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ten_thousand_runs_of_the_product() -> None:
    bound = math.sqrt(2) * SIGMA * math.sqrt(HONEST) / SCALE
    assert rms_on_victim(1, 10_000, by_encoding) >= 0.98 * bound


# -- attack 4: the bound on epsilon ------------------------------------------------------------------------------------


def lower_bound(sigma: int, honest: int, runs: int, seed: int = 4) -> float:
    """What epsilon is at least, with 99 % confidence, for a release in which one of so many honest members is at (1, 0) or at
    (-1, 0) and the others at 0: by the best of some tests on the sum, chosen on one half of the runs and judged on the other
    (Jagielski, Ullman and Oprea, 2020; intervals of Clopper and Pearson)."""
    chance = np.random.default_rng(seed)
    east, west = (Circle().encode(m)[0] for m in (EAST, WEST))
    worlds = [v + gaussians(sigma, (2 * runs, honest), chance).sum(axis=1) for v in (east, west)]
    deviation = sigma * math.sqrt(honest)
    cuts = [deviation * k / 4 for k in range(-4, 17)]
    best = max(cuts, key=lambda cut: _epsilon(*(int((w[:runs] > cut).sum()) for w in worlds), runs))
    return _epsilon(*(int((w[runs:] > best).sum()) for w in worlds), runs)


def _epsilon(hits: int, misses: int, runs: int) -> float:
    """From true and false alarms: log of the least rate of the one over the most of the other."""
    least = float(beta.ppf(0.005, hits, runs - hits + 1)) if hits else 0.0
    most = float(beta.ppf(0.995, misses + 1, runs - misses)) if misses < runs else 1.0
    return math.log((least - DELTA) / most) if least > DELTA else -math.inf


def claim(sigma: int, honest: int) -> float:
    return total([Ambient(sigma).price(honest)]).room


def sigma_of(eps: float, honest: int) -> int:
    """The least noise that claims this epsilon for one release."""
    return math.ceil(SENSITIVITY / (mu_of(eps) * math.sqrt(honest)))


CASES = {
    "default": (SIGMA, HONEST),
    "alone": (SIGMA, 1),
    "eps 1": (sigma_of(1, HONEST), HONEST),
    "eps 4": (sigma_of(4, HONEST), HONEST),
}


@pytest.mark.parametrize(("sigma", "honest"), CASES.values(), ids=list(CASES))
def test_no_more_is_learnt_than_is_claimed_and_with_a_quarter_of_the_noise_it_is(sigma: int, honest: int) -> None:
    """The mutation is in the same test: noise divided by four, for the same claim."""
    runs = 30_000
    found = lower_bound(sigma, honest, runs)
    assert 0.1 * claim(sigma, honest) < found <= claim(sigma, honest), "what is found is close enough to mean something"
    assert lower_bound(sigma // 4, honest, 50_000 if honest == 1 else runs) > claim(sigma, honest)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(("sigma", "honest"), CASES.values(), ids=list(CASES))
def test_the_same_in_two_hundred_thousand_runs(sigma: int, honest: int) -> None:
    assert lower_bound(sigma, honest, 200_000) <= claim(sigma, honest)
    assert lower_bound(sigma // 4, honest, 200_000) > claim(sigma, honest)


def test_an_hour_is_claimed_as_what_its_releases_add_up_to() -> None:
    """The claims above are those that the ledger adds."""
    assert claim(*CASES["eps 1"]) == pytest.approx(1, abs=1e-3)
    assert claim(*CASES["eps 4"]) == pytest.approx(4, abs=2e-3)
    hour = total([Ambient.within(N).price(HONEST)] * PER_HOUR)
    assert hour.room <= 4
    assert hour.alone <= 16 * (1 + 1e-9)
