"""The parts of a piece by rule: chords, rhythms, the melody's line and the figures under it."""

from __future__ import annotations

from itertools import pairwise
from random import Random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.tasks.music.rules import accompaniment, harmony, melody
from moodmesh.tasks.music.rules.accompaniment import FIGURES, THICKNESS
from moodmesh.tasks.music.rules.form import BarPlan, End, plan
from moodmesh.tasks.music.rules.harmony import Chord

SEEDS = st.integers(0, 2**32)
G_MAJOR = Chord("V", (7, 11, 2))
E_MAJOR = Chord("V", (4, 8, 11))


def test_the_scale_follows_what_the_chord_alters() -> None:
    assert [G_MAJOR.pitch(35 + step) for step in range(8)] == [60, 62, 64, 65, 67, 69, 71, 72]
    assert [E_MAJOR.pitch(35 + step) for step in range(8)] == [60, 62, 64, 65, 68, 69, 71, 72]
    assert [melody.degree(E_MAJOR.pitch(degree)) for degree in range(20, 50)] == list(range(20, 50))
    assert (G_MAJOR.nearest(35), G_MAJOR.nearest(38), E_MAJOR.nearest(40, (8,))) == (34, 39, 39)


@given(SEEDS, st.booleans())
def test_a_cadence_goes_from_the_dominant_home_or_stays_on_it(seed: int, minor: bool) -> None:
    rng = Random(seed)
    before, last = (chord for bar in harmony.cadence(minor, True, rng) for chord in bar[-1:])
    assert before.name[0] == "V"
    assert before.name[:2] != "VI" or before.name == "VII"
    assert last.name == ("i" if minor else "I")
    assert harmony.cadence(minor, False, rng)[-1][-1].name == "V"


@given(SEEDS, st.booleans(), st.integers(1, 4))
def test_the_left_hand_moves_little_from_chord_to_chord(seed: int, minor: bool, voices: int) -> None:
    held: tuple[int, ...] = ()
    for bar in plan(minor, 16, seed):
        for chord in bar.chords:
            voiced = harmony.voicing(chord, voices, held, 60)
            assert list(voiced) == sorted(set(voiced))
            assert all(pitch % 12 in chord.tones and 46 <= pitch <= 74 for pitch in voiced)
            assert voiced[-1] - voiced[0] <= 12
            assert not held or abs(np.mean(voiced) - np.mean(held)) <= (9 if voices == 1 else 7)
            held = voiced


@given(SEEDS, st.integers(1, 16), st.frozensets(st.integers(0, 15)))
def test_a_rhythm_fills_its_bar_and_begins_notes_at_as_many_places_as_asked(
    seed: int, moments: int, beneath: frozenset[int]
) -> None:
    lengths = melody.split(Random(seed), moments, beneath)
    assert sum(lengths) == 16
    assert min(lengths) >= 1
    onsets = {sum(lengths[:place]) for place in range(len(lengths))}
    assert len(onsets | beneath) == max(moments, len({0} | beneath))


@given(SEEDS, st.booleans(), st.floats(2, 12))
def test_the_melody_is_on_the_chord_where_it_is_strong_and_moves_by_step_where_it_is_not(
    seed: int, minor: bool, busy: float
) -> None:
    before, strange, total = 42, 0, 0
    for bar in plan(minor, 16, seed):
        tones = melody.bar(seed, bar, busy, frozenset({0, 8}), 42, before)
        assert [tone.onset + tone.slot for tone in tones] == [*(tone.onset for tone in tones[1:]), 16]
        for tone in tones:
            chord = bar.chords[tone.onset * len(bar.chords) // 16]
            assert abs(melody.degree(tone.pitch) - 42) <= melody.REACH
            assert tone.onset % 8 or tone.pitch % 12 in chord.tones
        for tone, after in pairwise(tones):
            chord = bar.chords[tone.onset * len(bar.chords) // 16]
            strange += tone.pitch % 12 not in chord.tones and abs(melody.degree(tone.pitch) - melody.degree(after.pitch)) > 1
        total += len(tones)
        if bar.end >= End.CLOSED:
            assert tones[-1].pitch % 12 == (9 if minor else 0)
            assert tones[-1].slot >= 4
        before = melody.degree(tones[-1].pitch)
    assert strange <= 0.1 * total, (strange, total)


@pytest.mark.parametrize("figure", FIGURES, ids=lambda figure: figure.name)
@pytest.mark.parametrize("thick", THICKNESS)
@pytest.mark.parametrize("chords", [(G_MAJOR,), (E_MAJOR, G_MAJOR)])
def test_every_figure_stays_within_its_chords(
    figure: accompaniment.Figure, thick: accompaniment.Thickness, chords: tuple[Chord, ...]
) -> None:
    bar = BarPlan(chords, "A", 0, 0, 4, End.NOTHING, False)
    struck, held = accompaniment.bar(figure, bar, thick, 53, ())
    assert len(held) == thick.voices + 1
    assert {one.onset for one in struck} == accompaniment.moments(figure, bar)
    for one in struck:
        chord = chords[one.onset * len(chords) // 16]
        assert one.pitch % 12 in chord.tones
        assert one.slot >= 1
        assert one.onset // (16 // len(chords)) == (one.onset + one.slot - 1) // (16 // len(chords))


def test_a_busier_piece_gets_a_busier_figure() -> None:
    sizes = [len(one.first) + len(one.second) for one in (accompaniment.figure(m, Random(0)) for m in (1, 3, 6, 11, 16, 16.1))]
    assert sizes == sorted(sizes)
    assert sizes[0] == 1
