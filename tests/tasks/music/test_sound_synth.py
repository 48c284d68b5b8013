"""The built-in voices: in tune, in time, without clicks, the same in bars as in one piece."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.music.pieces import scores
from tests.tasks.music.sounds import band, cents, fundamental, heard, joined, one, onset

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Note, Score, excerpt, tidy
from moodmesh.tasks.music.notation.vocabulary import bpm
from moodmesh.tasks.music.sound.drums import drum
from moodmesh.tasks.music.sound.modes import TOP
from moodmesh.tasks.music.sound.render import Renderer, rendered
from moodmesh.tasks.music.sound.synth import Notes, Synth
from moodmesh.tasks.music.sound.timeline import RATE, Block, Event, Timeline
from moodmesh.tasks.music.sound.voices import hertz, tone

PITCHED = (v.PIANO, v.GUITAR, v.BASS, v.STRINGS)


def note(track: int, pitch: int, velocity: int = 80, seconds: float = 1.0) -> Block:
    """One dry note, held for a while, and one second after it."""
    end = int(seconds * RATE)
    return Synth().sound([Event(0, velocity, track, pitch), Event(end, 0, track, pitch)], end + RATE)


@pytest.mark.parametrize("track", PITCHED)
@pytest.mark.parametrize("pitch", [28, 45, 60, 69, 84, 103])
def test_in_tune(track: int, pitch: int) -> None:
    assert abs(cents(fundamental(note(track, pitch)[:RATE], hertz(pitch)), hertz(pitch))) < 5


@pytest.mark.parametrize("track", range(5))
@pytest.mark.parametrize("pitch", [36, 42, 49, 60, 96, 108])
def test_nothing_folds_back_and_nothing_rests_beside_zero(track: int, pitch: int) -> None:
    sound = note(track, pitch, 127)
    spectrum = np.abs(np.fft.rfft(sound * np.hanning(len(sound))[:, None], axis=0)) ** 2
    inside = np.fft.rfftfreq(len(sound), 1 / RATE) < TOP + 500
    assert spectrum[~inside].sum() < 1e-6 * spectrum.sum()
    assert np.abs(sound.mean(0)).max() < 0.025 * sound.std()
    assert (tone(track, pitch, 127).modes.frequency < RATE / 2 * 0.96).any() or track == v.DRUMS


def test_partials_above_the_top_are_left_out() -> None:
    high = drum(49, 1.0).modes
    doubled = type(high)(high.frequency * 8, high.decay, high.amplitude, high.phase)
    assert (doubled.frequency > RATE / 2).any()
    spectrum = np.abs(np.fft.rfft(doubled.sound(RATE)[: RATE // 2], axis=0)).max(1)
    folded = {round(abs(f - RATE * round(f / RATE)) / 2) for f in doubled.frequency.tolist() if f > TOP + 200}
    assert all(spectrum[place - 2 : place + 3].max() < 0.02 * spectrum.max() for place in folded if 10 < place < 9000)


@pytest.mark.parametrize("track", range(5))
def test_starts_and_ends_without_a_click(track: int) -> None:
    """A click is a step: the sound would rise or end faster than its own highest partials ever move it."""
    sound = note(track, 60, 110, 0.5)
    assert np.abs(sound[:4]).max() < 0.02 * np.abs(sound).max()
    last = int(np.nonzero(np.abs(sound).max(1))[0][-1])
    assert np.abs(sound[last - 3 : last + 1]).max() < 1e-3 * np.abs(sound).max()
    steps = np.abs(np.diff(sound, axis=0)).max(1)
    released = steps[RATE // 2 - 5 : RATE // 2 + 5].max()
    assert released <= steps[RATE // 4 : RATE // 2 - 5].max() * 1.05 + 1e-7


def test_falls_silent_when_the_key_goes_up() -> None:
    for track in PITCHED:
        sound = note(track, 60, 90, 0.5)
        held = sound[RATE // 4 : RATE // 2].std()
        assert sound[RATE // 2 + int(0.9 * RATE) :].std() < 1e-3 * held


def test_velocity_changes_loudness_and_brightness() -> None:
    def brightness(velocity: int) -> float:
        sound = note(v.PIANO, 48, velocity)[:RATE].mean(1)
        power = np.abs(np.fft.rfft(sound)) ** 2
        return float((np.fft.rfftfreq(RATE, 1 / RATE) * power).sum() / power.sum())

    loud = [float(note(v.PIANO, 48, velocity)[:RATE].std()) for velocity in range(1, 128, 6)]
    assert loud == sorted(loud)
    assert loud[-1] > 30 * loud[1]
    assert brightness(120) > 1.3 * brightness(20)


def test_low_strings_ring_longer_than_high_ones_and_high_partials_die_first() -> None:
    def fall(pitch: int, low: float = 0, high: float = TOP) -> float:
        def level(at: float) -> float:
            part = note(v.PIANO, pitch, 90, 3.0)[int(at * RATE) :][: RATE // 2].mean(1)
            hertz = np.fft.rfftfreq(len(part), 1 / RATE)
            return float((np.abs(np.fft.rfft(part))[(hertz >= low) & (hertz < high)] ** 2).sum())

        return float(10 * np.log10(level(0.1) / level(2.0)))

    assert fall(36) < fall(60) < fall(84)
    assert fall(36, 1500) > fall(36, 0, 200) + 3


def test_low_notes_lie_left_and_high_notes_right() -> None:
    def side(pitch: int) -> float:
        left, right = (note(v.PIANO, pitch) ** 2).sum(0)
        return float(left / right)

    assert side(30) > 1.3
    assert side(95) < 0.7


def test_onsets_are_where_the_score_has_them() -> None:
    score = tidy([Note(at, v.PIANO, 60 + at, 60, 1) for at in (0, 3, 8, 14)], [21])
    sound = Synth().sound(Timeline().push(score), 4 * RATE)
    for at in (0, 3, 8, 14):
        begin = at * RATE // 4
        before = sound[max(begin - 200, 0) : begin].std() if begin else 0
        assert onset((sound[begin : begin + RATE // 8]).mean(1)) < 0.012 * RATE
        assert sound[begin + 200 : begin + 2000].std() > 5 * before


@pytest.mark.parametrize("step", [0, 21, 63])
def test_lasts_as_long_as_the_score(step: int) -> None:
    renderer = Renderer()
    score = band(2, (step,))
    assert len(renderer.push(score)) == pytest.approx(score.seconds * RATE, abs=1)
    rest = renderer.finish()
    assert len(rest) < (5 + 10 * 15 / bpm(step)) * RATE  # its last note sounds on for ten sub-beats
    assert np.abs(rest[-100:]).max() < 1e-4


def test_no_bars_no_sound_and_rests_are_silent() -> None:
    assert not len(heard(Score((), ())))
    rest = heard(Score((), (21, 21)))
    assert len(rest) >= 8 * RATE
    assert not rest.any()


@settings(max_examples=15, deadline=None)
@given(scores())
def test_bars_one_by_one_sound_as_the_whole(score: Score) -> None:
    whole, bars = Renderer(), Renderer()
    once = joined([whole.push(score), whole.finish()])
    each = joined([*(bars.push(excerpt(score, bar, bar + 1)) for bar in range(score.bars)), bars.finish()])
    assert np.isfinite(once).all()
    assert np.array_equal(once, each)


@settings(max_examples=10, deadline=None)
@given(scores(), st.integers(1000, 50_000))
def test_where_blocks_end_makes_no_difference(score: Score, size: int) -> None:
    timeline, whole, parts = Timeline(), Synth(), Synth()
    events = timeline.push(score) + timeline.finish()
    end = max([timeline.now, *(event.at for event in events)])
    once = joined([whole.sound(events, end), whole.finish()])
    both, before = [], -1
    for place in [*range(size, end, size), end]:
        both.append(parts.sound([event for event in events if before < event.at <= place], place))
        before = place
    each = joined([*both, parts.finish()])
    assert once.shape == each.shape
    assert np.abs(once - each).max() < 1e-5


def test_a_note_that_sounds_into_a_slower_bar_ends_where_that_bar_has_it() -> None:
    timeline = Timeline()
    first = timeline.push(tidy([Note(8, v.PIANO, 60, 40, 16)], [21]))
    second = timeline.push(Score((), (0,)))
    assert [event.at for event in first + second] == [2 * RATE, 4 * RATE + 8 * RATE // 2]


def test_a_key_struck_again_in_the_next_bar_goes_up_first() -> None:
    timeline = Timeline()
    timeline.push(tidy([Note(8, v.PIANO, 60, 40, 16)], [21]))
    again = timeline.push(tidy([Note(4, v.PIANO, 60, 30, 2)], [21]))
    assert [(event.at, event.velocity) for event in again] == [(5 * RATE, 0), (5 * RATE, 61), (RATE * 11 // 2, 0)]


def test_same_score_same_bytes_whatever_was_played_before() -> None:
    notes = Notes()
    joined(rendered([band(2, (30, 50))], Synth(notes)))
    again = joined(rendered([band(3)], Synth(notes)))
    assert again.tobytes() == heard(band(3)).tobytes()


def test_notes_that_do_not_fit_are_made_anew() -> None:
    score, notes = band(3), Notes(room=1 << 20)
    assert joined(rendered([score], Synth(notes))).tobytes() == heard(score).tobytes()
    assert 0 < sum(block.nbytes for block in notes._kept.values()) <= 1 << 20


def test_memory_does_not_grow_with_the_piece() -> None:
    def most(bars: int) -> int:
        score = tidy([Note(4 * at, v.PIANO, 48 + at % 8, 40, 16) for at in range(4 * bars)], [42] * bars)
        tracemalloc.start()
        try:
            for _ in rendered([score]):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    short, long = most(8), most(64)
    assert long < short + (4 << 20)  # the sound of 56 bars takes 38 MiB
    assert long < 64 << 20


def test_the_whole_wave_is_not_pushed_to_one_side() -> None:
    sound = heard(band())
    assert (np.abs(sound.mean(0)) < sound.std(0) / 500).all()


def test_every_drum_and_every_pitch_sounds() -> None:
    for track in range(5):
        for pitch in range(v.LOWEST, v.HIGHEST + 1, 1 if track == v.DRUMS else 9):
            sound = tone(track, pitch, 100).sound(RATE // 4)
            assert np.isfinite(sound).all()
            assert 0.003 < np.abs(sound).max() < 8


def test_the_room_lasts_and_does_not_shift_the_notes() -> None:
    dry = Synth().sound([Event(0, 90, v.PIANO, 72), Event(RATE // 4, 0, v.PIANO, 72)], 2 * RATE)
    wet = heard(one(v.PIANO, 72, 45, 1))
    assert wet[int(0.9 * RATE) : RATE].std() > 2 * dry[int(0.9 * RATE) : RATE].std()
    assert wet[: RATE // 4].std() == pytest.approx(dry[: RATE // 4].std(), rel=0.25)
