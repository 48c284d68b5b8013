"""What a mood wants, what is heard of a piece, and how far the two are apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.tasks import InvalidInput
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.rules.attributes import RANGES, SPREAD, Attributes, distance, heard, wanted

from .pieces import scale, scores

MOOD = st.floats(-1, 1)
LINE = np.linspace(-1, 1, 41).tolist()


@pytest.mark.parametrize("other", [-1.0, -0.3, 0.0, 1.0])
def test_what_is_wanted_rises_and_falls_as_the_rules_say(other: float) -> None:
    by_arousal = [wanted(other, arousal) for arousal in LINE]
    by_valence = [wanted(valence, other) for valence in LINE]
    for name in ("bpm", "density", "velocity", "dynamics", "register"):
        values = [getattr(one, name) for one in by_arousal]
        assert all(np.diff(values) > 0)
    assert all(np.diff([one.polyphony for one in by_valence]) <= 0)
    assert all(np.diff([one.articulation for one in by_arousal]) < 0)
    assert all(np.diff([one.register for one in by_valence]) > 0)
    assert all(np.diff([one.bpm for one in by_valence]) > 0)
    assert all(np.diff([one.articulation for one in by_valence]) < 0)
    assert [one.minor for one in by_valence] == [valence < 0 for valence in LINE]


@given(MOOD, MOOD, MOOD, MOOD)
def test_a_small_change_of_mood_is_a_small_change_of_what_is_wanted(v1: float, a1: float, v2: float, a2: float) -> None:
    one, two = wanted(v1, a1), wanted(v2, a2)
    apart = math.hypot(v1 - v2, a1 - a2)
    for name in ("bpm", "density", "register", "velocity", "dynamics", "articulation"):
        change = abs(getattr(one, name) - getattr(two, name)) / np.ptp(RANGES[name])
        assert change <= 0.8 * apart + 1e-9


@pytest.mark.parametrize("mood", [(1.01, 0.0), (0.0, -2.0), (math.nan, 0.0), (0.0, math.inf)])
def test_a_mood_outside_the_plane_is_refused(mood: tuple[float, float]) -> None:
    with pytest.raises(InvalidInput, match=r"-1\.\.1"):
        wanted(*mood)


@pytest.mark.parametrize("name", list(RANGES))
def test_attributes_out_of_range_are_named_with_the_range(name: str) -> None:
    least, most = RANGES[name]
    good = {"bpm": 100, "density": 1, "register": 60, "velocity": 64, "dynamics": 9, "articulation": 0.9, "polyphony": 2}
    for bad in (least - 1, most + 1, math.nan):
        with pytest.raises(InvalidInput, match=rf"{name} .* {least:g}\.\.{most:g}"):
            Attributes(minor=False, **{**good, name: bad})


def test_a_scale_is_heard_as_it_was_written() -> None:
    found = heard(scale())
    assert (found.minor, found.bpm, found.density, found.polyphony) == (False, 120, 2, 0)
    assert found.articulation > 0.9
    assert found.velocity == pytest.approx((8 * 81 + 61) / 9)
    short = tidy([note._replace(duration=1) for note in scale().notes], scale().tempi)
    assert heard(short).articulation == pytest.approx(found.articulation / 2, abs=0.06)


def test_drums_are_not_heard_as_notes() -> None:
    with_drums = tidy([*scale().notes, *(Note(at, v.DRUMS, 36, 63, 1) for at in range(64))], scale().tempi)
    assert heard(with_drums) == heard(scale())


@given(scores())
def test_any_score_is_heard_within_the_ranges(score: Score) -> None:
    assert distance(heard(score), heard(score)) == 0


def test_nothing_is_heard_of_nothing() -> None:
    assert heard(Score((), ())) == Attributes(False, 30.0, 0.0, 21.0, 1.0, 0.0, 1.0, 0)


def test_distance_is_in_units_of_what_moods_make_of_an_attribute() -> None:
    every = [wanted(valence, arousal) for valence in LINE for arousal in LINE]
    for name, unit in SPREAD.items():
        values = np.array([getattr(one, name) for one in every], float)
        spread = np.std(np.log2(values) if name in ("bpm", "density") else values)
        assert spread == pytest.approx(unit, rel=0.08)
    calm, glad = wanted(0.5, -0.7), wanted(0.8, 0.8)
    assert distance(calm, glad) == distance(glad, calm) > distance(wanted(0.5, 0), glad) > 0
    assert distance(wanted(0.1, 0), wanted(-0.1, 0)) > distance(wanted(0.1, 0), wanted(0.3, 0))
