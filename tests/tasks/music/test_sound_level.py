"""Loudness by the figures of the standard (EBU Tech 3341, BS.1770), and peaks that stay below the ceiling."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.tasks.music.sounds import band, joined

from moodmesh.tasks.music.rules.attributes import wanted
from moodmesh.tasks.music.rules.compose import compose
from moodmesh.tasks.music.sound.limiter import CEILING, Limiter
from moodmesh.tasks.music.sound.loudness import Meter
from moodmesh.tasks.music.sound.mastering import TARGET, live, mastered
from moodmesh.tasks.music.sound.render import rendered
from moodmesh.tasks.music.sound.timeline import RATE, Block, silence


def sine(*parts: tuple[float, float], hertz: float = 1000.0, channels: int = 2) -> Block:
    """Levels (dBFS of the peak) for so many seconds each."""
    levels = np.concatenate([np.full(round(seconds * RATE), 10 ** (level / 20)) for level, seconds in parts])
    wave = levels * np.sin(2 * np.pi * hertz * np.arange(len(levels)) / RATE)
    out = silence(len(wave))
    out[:, :channels] = wave[:, None]
    return out


def lufs(*blocks: Block) -> float:
    meter = Meter()
    for block in blocks:
        meter.push(block)
    return meter.integrated()


def between(block: Block) -> float:
    """The highest peak of the sound at eight times its rate, by a Fourier transform."""
    size = 1 << len(block).bit_length()
    return float(np.abs(np.fft.irfft(np.fft.rfft(block, size, axis=0), 8 * size, axis=0) * 8).max())


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([(-23, 20)], -23.0),
        ([(-33, 20)], -33.0),
        ([(-36, 10), (-23, 60), (-36, 10)], -23.0),
        ([(-72, 10), (-36, 10), (-23, 60), (-36, 10), (-72, 10)], -23.0),
        ([(-26, 20), (-20, 20.1), (-26, 20)], -23.0),
    ],
)
def test_loudness_of_the_published_signals(parts: list[tuple[float, float]], expected: float) -> None:
    assert lufs(sine(*parts)) == pytest.approx(expected, abs=0.1)


def test_loudness_of_one_full_channel() -> None:
    assert lufs(sine((0, 5), hertz=997, channels=1)) == pytest.approx(-3.01, abs=0.02)


TABLED = (
    ((1.53512485958697, -2.69169618940638, 1.19839281085285), (1.0, -1.69065929318241, 0.73248077421585)),
    ((1.0, -2.0, 1.0), (1.0, -1.99004745483398, 0.99007225036621)),
)
"""The two filters as the standard tabulates them, for 48 kHz."""


def tabled(hertz: float) -> float:
    """Gain (dB) of the standard's own filters."""
    turn = np.exp(-2j * np.pi * hertz / 48000) ** np.arange(3)
    return float(sum(20 * np.log10(abs(np.dot(b, turn) / np.dot(a, turn))) for b, a in TABLED))


@pytest.mark.parametrize("hertz", [30, 100, 2000, 5000, 10000])
def test_loudness_weighs_frequencies_as_the_standard_does(hertz: float) -> None:
    difference = lufs(sine((-10, 4), hertz=hertz)) - lufs(sine((-10, 4)))
    assert difference == pytest.approx(tabled(hertz) - tabled(1000), abs=0.05)


def test_loudness_does_not_depend_on_blocks() -> None:
    sound = sine((-30, 2), (-20, 3))
    assert lufs(*(sound[at : at + 5003] for at in range(0, len(sound), 5003))) == pytest.approx(lufs(sound), abs=1e-6)


def test_silence_and_a_moment_have_no_loudness() -> None:
    assert lufs(silence(5 * RATE)) == lufs(sine((-20, 0.2))) == lufs() == -math.inf


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.1, 30), st.integers(1, 4000))
def test_no_peak_above_the_ceiling(seed: int, gain: float, size: int) -> None:
    """Noise whose level jumps, through blocks of any size."""
    draw = np.random.default_rng(seed)
    spectrum = np.fft.rfft(draw.standard_normal((RATE // 2, 2)), axis=0)
    spectrum[8000:] = 0  # music has next to nothing above 16 kHz
    sound = np.fft.irfft(spectrum, RATE // 2, axis=0) * np.repeat(10 ** draw.uniform(-2, 0, 10), RATE // 20)[:, None]
    sound = sound.astype(np.float32)
    limiter = Limiter(gain)
    out = joined([*(limiter.push(sound[at : at + size]) for at in range(0, len(sound), size)), limiter.finish()])
    assert out.shape == sound.shape
    assert np.abs(out).max() <= CEILING
    assert between(out) <= CEILING * 1.01
    whole = Limiter(gain)
    assert np.array_equal(out, joined([whole.push(sound), whole.finish()]))


def test_what_has_no_peaks_passes_unchanged() -> None:
    sound = sine((-6, 1))
    limiter = Limiter(1.0)
    assert np.array_equal(joined([limiter.push(sound), limiter.finish()]), sound)


def test_peaks_between_samples_count() -> None:
    """A quarter of the sample rate, so placed that every sample is 3 dB below the peak of the wave."""
    wave = np.sin(np.pi / 2 * np.arange(RATE) + np.pi / 4) * np.sin(np.pi * np.arange(RATE) / RATE)
    sound = np.stack([wave, wave], 1).astype(np.float32) * np.float32(1.2)
    assert np.abs(sound).max() < CEILING < 0.8 * between(sound)
    limiter = Limiter(1.0)
    assert between(joined([limiter.push(sound), limiter.finish()])) <= CEILING * 1.01


def test_turning_down_makes_no_step() -> None:
    """Where a loud tone begins the gain falls before it, within milliseconds and without a step."""
    sound = sine((-30, 0.5), (6, 0.5), (-30, 1.5))
    limiter = Limiter(1.0)
    out = joined([limiter.push(sound), limiter.finish()])
    gain = out[sound[:, 0] != 0, 0] / sound[sound[:, 0] != 0, 0]
    assert np.abs(np.diff(gain)).max() < 0.01
    assert gain[: RATE // 2 - RATE // 100].min() > 0.999
    assert gain[-1] > 0.999


@pytest.mark.parametrize("mood", [(0.6, 0.8), (-0.7, -0.7)])
def test_pieces_have_the_loudness_that_is_wanted(mood: tuple[float, float]) -> None:
    for target in (TARGET, -23.0):
        sound = joined(mastered(rendered([compose(wanted(*mood), 4, 2)]), target))
        assert lufs(sound) == pytest.approx(target, abs=0.5)
        assert between(sound) <= 10 ** (-1 / 20) * 1.01
        assert np.abs(sound).max() <= 10 ** (-1 / 20)


def test_five_tracks_have_the_loudness_that_is_wanted() -> None:
    sound = joined(mastered(rendered([band(4)])))
    assert lufs(sound) == pytest.approx(TARGET, abs=0.5)
    assert np.abs(sound).max() <= 10 ** (-1 / 20)
    assert np.isfinite(sound).all()


def test_what_the_limiter_takes_is_made_up_for() -> None:
    """Short bursts above a tone: louder as a whole, the bursts are above the ceiling."""
    sound = [sine((0, 0.01)), sine((-16, 0.4))] * 10
    alone = Limiter(10 ** ((-12 - lufs(*sound)) / 20))
    once = [*map(alone.push, sound), alone.finish()]
    assert lufs(*once) < -13
    assert lufs(*mastered(sound, -12)) == pytest.approx(-12, abs=0.5)


def test_mastering_keeps_length_and_silence() -> None:
    quiet = silence(3 * RATE)
    assert np.array_equal(joined(mastered([quiet, quiet])), joined([quiet, quiet]))
    assert not len(joined(mastered([])))
    sound = sine((-40, 2))
    assert joined(mastered([sound])).shape == sound.shape
    whisper = sine((-69, 3))
    assert np.abs(joined(mastered([whisper]))).max() < 0.05


def test_live_sound_is_loud_enough_and_never_too_loud() -> None:
    piece = compose(wanted(0.5, 0.6), 8, 3)
    sound = joined(rendered([piece]))
    out = joined(live(rendered([piece])))
    assert out.shape == sound.shape
    assert np.abs(out).max() <= CEILING
    assert lufs(out) == pytest.approx(TARGET, abs=4)
    burst = [sine((-30, 2)), sine((0, 2))]
    assert np.abs(joined(live(burst))).max() <= CEILING


def test_live_sound_begins_after_two_seconds_and_ends_with_the_piece() -> None:
    taken: list[int] = []

    def coming() -> object:
        for number in range(6):
            taken.append(number)
            yield sine((-20, 1))

    out = live(coming())  # type: ignore[arg-type]
    assert len(next(out)) > RATE
    assert taken == [0, 1]
    assert sum(map(len, out)) > 3.9 * RATE
    short = [sine((-20, 0.5))]
    assert joined(live(short)).shape == short[0].shape
    assert not len(joined(live([])))


def test_a_rest_at_the_start_changes_nothing_but_the_time() -> None:
    piece, rest = [sine((-14, 3))], silence(3 * RATE)
    late = joined(live([rest, *piece]))
    assert not late[: len(rest)].any()
    assert np.array_equal(late[len(rest) :], joined(live(piece)))
