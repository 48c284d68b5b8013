from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.tasks import InvalidInput
from moodmesh.tasks.music.notation import features
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import Key
from moodmesh.tasks.music.notation.score import Note, Score, excerpt, joined, tidy, transpose

from .pieces import scale, scores


def test_the_vocabulary_has_923_tokens_with_names_of_their_own() -> None:
    assert v.SIZE == len(v.NUMBERS) == 923
    assert [v.NAMES[n] for n in (0, 1, 2, 3, 18)] == ["PAD", "EOS", "Bar", "Beat_0", "Beat_15"]
    assert v.NUMBERS["Tempo_120"] == v.tempo(42)
    assert v.NUMBERS["Pitch-Piano_60"] == v.pitch(v.PIANO, 60)
    assert v.NUMBERS["Duration-Strings_16"] == v.SIZE - 1
    for token in range(v.SIZE):
        kind, track, value = v.meaning(token)
        made = {
            v.Kind.BEAT: v.beat(value),
            v.Kind.TEMPO: v.tempo(value),
            v.Kind.PITCH: v.pitch(track, value),
            v.Kind.VELOCITY: v.velocity(track, value),
            v.Kind.DURATION: v.duration(track, value),
        }
        assert made.get(kind, int(kind)) == token
    with pytest.raises(ValueError, match="923"):
        v.meaning(923)


def test_tempo_and_velocity_go_to_the_nearest_step() -> None:
    assert [v.bpm(step) for step in (0, 21, 42, 63)] == [30, 60, 120, 240]
    for step in range(v.TEMPI):
        assert v.tempo_step(v.bpm(step)) == step
    for wanted in np.geomspace(30, 240, 500).tolist():
        assert abs(v.bpm(v.tempo_step(wanted)) / wanted - 1) < 0.017
    assert (v.tempo_step(1), v.tempo_step(1e9), v.tempo_step(float("inf"))) == (0, 63, 63)
    assert all(abs(v.loudness(v.velocity_step(given)) - given) <= 1 for given in range(128))
    assert all(v.velocity_step(v.loudness(step)) == step for step in range(v.VELOCITIES))


def test_doubled_pitches_become_one_and_a_struck_string_is_struck_again() -> None:
    made = tidy([Note(4, 1, 60, 9, 8), Note(0, 1, 60, 3, 2), Note(0, 1, 60, 5, 12), Note(99, 1, 60, 5, 1)], [42])
    assert made.notes == (Note(0, 1, 60, 5, 4), Note(4, 1, 60, 9, 8))


@pytest.mark.parametrize(
    "notes",
    [
        (Note(1, 1, 60, 5, 1), Note(0, 1, 60, 5, 1)),
        (Note(0, 1, 60, 5, 2), Note(1, 1, 60, 5, 1)),
        (Note(0, 1, 60, 5, 1), Note(0, 1, 60, 5, 1)),
        (Note(16, 1, 60, 5, 1),),
        (Note(0, 5, 60, 5, 1),),
        (Note(0, 1, 20, 5, 1),),
        (Note(0, 1, 60, 64, 1),),
        (Note(0, 1, 60, 5, 17),),
    ],
)
def test_a_score_is_in_order_and_in_range(notes: tuple[Note, ...]) -> None:
    with pytest.raises(ValueError, match="tidy"):
        Score(notes, (42,))


def test_a_tempo_is_in_range() -> None:
    with pytest.raises(ValueError, match="tempo"):
        Score((), (64,))


@given(scores(), st.integers(-40, 40))
def test_transposition_keeps_the_pitch_classes_and_the_drums(score: Score, semitones: int) -> None:
    moved = transpose(score, semitones)
    drums = [note for note in score.notes if note.track == v.DRUMS]
    assert [note for note in moved.notes if note.track == v.DRUMS] == drums
    assert {(n.onset, n.track, (n.pitch + semitones) % 12) for n in score.notes if n.track} == {
        (n.onset, n.track, n.pitch % 12) for n in moved.notes if n.track
    }


@given(scores(), scores())
def test_pieces_are_cut_and_joined_at_bar_lines(first: Score, second: Score) -> None:
    both = joined(first, second)
    assert both.bars == first.bars + second.bars
    assert both.seconds == pytest.approx(first.seconds + second.seconds)
    assert excerpt(both, first.bars, both.bars) == second
    with pytest.raises(InvalidInput, match="give bars inside it"):
        excerpt(both, 0, both.bars + 1)


@pytest.mark.parametrize("semitones", range(-6, 6))
def test_keys_are_found_and_brought_to_c_and_a(semitones: int) -> None:
    major = Score(tuple(note._replace(pitch=36) if note.pitch < 60 else note for note in scale().notes), scale().tempi)
    lowered = {4: -1, 9: -1, 11: -1}
    minor = Score(tuple(n._replace(pitch=n.pitch + lowered.get(n.pitch % 12, 0)) for n in major.notes), major.tempi)
    for score, at_home in ((major, Key(0, False)), (minor, Key(9, True))):
        there = transpose(score, semitones)
        home, was = features.normalised(there)
        assert was == features.key(there) == Key(semitones % 12, at_home.minor)
        assert features.key(home) == at_home
        assert features.at_key(home, was) == there


def test_the_key_of_nothing_is_c_major() -> None:
    assert features.key(Score((), (42,))) == Key(0, False)
    assert str(Key(10, True)) == "Bb minor"
    assert Key(10, True).number == 22


def test_polyphony_counts_what_sounds() -> None:
    score = tidy([Note(0, 1, 60, 5, 2), Note(1, 2, 64, 5, 16), Note(0, v.DRUMS, 36, 5, 16)], [42, 42])
    assert features.sounding(score).tolist() == [1, 2, *[1] * 15, *[0] * 15]
    full = tidy([Note(0, 1, 40 + n, 5, 16) for n in range(7)] + [Note(16, 1, 40 + n, 5, 16) for n in range(4)], [42] * 3)
    assert features.polyphony_classes(full) == (7, 4, 0)


def test_densities() -> None:
    score = tidy([Note(0, 1, 60, 5, 2), Note(0, 1, 64, 5, 2), Note(5, 1, 60, 5, 2)], [42, 42])
    assert features.note_rate(score) == pytest.approx(3 / 4)
    assert features.rhythm_density(score) == 2 / 8
    assert features.note_rate(Score((), ())) == features.rhythm_density(Score((), ())) == 0
