"""A person's mood over time (systems S2), and what a room's readings come to (S25, room-mood §2.2)."""

from __future__ import annotations

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.nodes.moods.state import SAID, SAID_HOLDS_S, SAID_SD, TAU_S, USUAL_SD, Told, mood, quadrant, track
from moodmesh.nodes.rooms.model import Reading
from moodmesh.nodes.rooms.mood import DRIFT_HOUR, filtered, shown

NOON = 1_800_000_000.0


def said(at: float, valence: float, arousal: float = 0.0) -> Told:
    return Told(NOON + at, SAID, valence, arousal, SAID_SD, SAID_SD)


def sensed(at: float, valence: float, sd: float = 0.3) -> Told:
    return Told(NOON + at, "wearable", valence, 0.0, sd, sd)


def test_what_was_said_is_believed_and_fades_to_what_is_usual() -> None:
    just, later, much = (mood([said(0, 0.8)], NOON + s) for s in (1, TAU_S, 20 * TAU_S))
    assert just is not None
    assert later is not None
    assert much is not None
    assert just.valence == pytest.approx(0.8, abs=0.03)
    assert 0.2 < later.valence < 0.4
    assert abs(much.valence) < 0.05
    assert just.valence_sd < later.valence_sd < much.valence_sd


def test_silence_is_not_neutral() -> None:
    """Nothing heard widens what is known; it adds no observation."""
    felt = mood([said(0, 0.8)], NOON + 100 * TAU_S)
    assert felt is not None
    assert felt.valence_sd == pytest.approx(USUAL_SD, rel=0.01)
    assert mood([], NOON) is None


def test_what_was_said_outweighs_sensors_for_a_quarter_of_an_hour() -> None:
    told = [said(0, 0.8), *(sensed(60 * m, -0.8) for m in range(1, 14))]
    felt = mood(told, NOON + 14 * 60)
    assert felt is not None
    assert felt.valence > 0.4
    after = mood([*told, *(sensed(SAID_HOLDS_S + 60 * m, -0.8) for m in range(10))], NOON + SAID_HOLDS_S + 600)
    assert after is not None
    assert after.valence < 0


def test_sensors_that_disagree_widen_it_instead_of_averaging_quietly() -> None:
    agree = mood([sensed(0, 0.5, 0.1), sensed(1, 0.5, 0.1)], NOON + 2)
    differ = mood([sensed(0, 0.9, 0.1), sensed(1, -0.9, 0.1)], NOON + 2)
    assert agree is not None
    assert differ is not None
    assert differ.valence_sd > 3 * agree.valence_sd


def test_the_order_in_which_observations_arrive_changes_nothing() -> None:
    told = [sensed(60 * k, math.sin(k)) for k in range(20)]
    mixed = random.Random(1).sample(told, len(told))
    assert track(mixed, NOON + 5000) == track(told, NOON + 5000)


def test_what_lies_ahead_of_the_clock_does_not_count() -> None:
    assert mood([said(100, 0.9)], NOON) is None


def test_the_baseline_moves_with_a_half_life_of_days() -> None:
    told = [said(3600 * h, -0.6) for h in range(24 * 9)]
    _, valence, _ = track(told, NOON + 1e7)[-1]
    assert -0.6 < valence.baseline < -0.45
    assert abs(track(told[:24], NOON + 1e7)[-1][1].baseline) < 0.2


@given(st.lists(st.tuples(st.floats(0, 1e6), st.floats(-1, 1), st.floats(0.01, 2)), min_size=1, max_size=20))
def test_a_mood_is_always_a_mood(told: list[tuple[float, float, float]]) -> None:
    felt = mood([sensed(at, v, sd) for at, v, sd in told], NOON + 1e6)
    assert felt is not None
    assert -1 <= felt.valence <= 1
    assert 0 < felt.valence_sd <= 1


@pytest.mark.parametrize(
    ("v", "a", "word"),
    [
        (0.5, 0.5, "happy"),
        (-0.5, 0.5, "tense"),
        (-0.5, -0.5, "sad"),
        (0.5, -0.5, "calm"),
        (0.05, 0.5, "excited"),
        (0, 0, "neutral"),
    ],
)  # fmt: skip
def test_quadrants_have_words(v: float, a: float, word: str) -> None:
    assert quadrant(v, a) == word


def reading(epoch: int, valence: float = 0.3, rms: float = 0.33, n: int = 30) -> Reading:
    return Reading(epoch, valence, 0.0, n, n, 0, rms, 1.23, 5.5)


def test_an_ambient_room_of_thirty_shows_the_average_of_twenty_minutes() -> None:
    value = shown("ambient", [reading(1, 0.9), reading(2, 0.1), reading(3, 0.3)])
    assert value is not None
    assert (value.releases, value.valence) == (2, pytest.approx(0.2))
    assert value.rms == pytest.approx(0.33 / math.sqrt(2))
    assert not value.rough
    assert value.radius == pytest.approx(2.45 * value.rms)


def test_one_release_alone_is_shown_as_rough_and_a_gap_is_not_averaged_over() -> None:
    value = shown("ambient", [reading(1), reading(3)])
    assert value is not None
    assert (value.releases, value.rough) == (1, True)


def test_a_larger_room_needs_one_release() -> None:
    value = shown("ambient", [reading(1, rms=0.24, n=53), reading(2, rms=0.24, n=53)])
    assert value is not None
    assert value.releases == 1


def test_other_rooms_show_the_last_reading() -> None:
    value = shown("on-demand", [reading(1, 0.9, 0.37), reading(2, 0.1, 0.37)])
    assert value is not None
    assert (value.valence, value.rough) == (0.1, True)
    assert shown("circle", []) is None


def test_the_filter_knows_more_after_more_readings_and_less_as_time_passes() -> None:
    one, many = filtered([reading(1)], 600), filtered([reading(e) for e in range(1, 7)], 6 * 600)
    late = filtered([reading(1)], 600 + 3600)
    assert one is not None
    assert many is not None
    assert late is not None
    assert many.sd < one.sd < late.sd
    assert late.sd**2 == pytest.approx(one.sd**2 + DRIFT_HOUR**2, rel=0.01)


def test_a_trend_is_told_only_beyond_chance() -> None:
    flat = filtered([reading(e, 0.3, 0.05) for e in range(1, 7)], 3600)
    moved = filtered([reading(e, -0.8 if e < 4 else 0.8, 0.05, 1000) for e in range(1, 7)], 3600)
    assert flat is not None
    assert moved is not None
    assert flat.trend is None
    assert moved.trend is not None
    assert moved.trend[0] > 0.5
