"""What the larger judge hears: explicit mode, harmony, melody, hands, rhythm, loudness, articulation (systems S20).

Every figure is taken of the score moved to C major or A minor, so that transposing a piece changes none of them but by octaves
at the ends of the keyboard; times are in seconds, so that a beat found at twice or half its length changes little.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.judge.heard import Floats, Heard, Ints, heard
from moodmesh.tasks.music.judge.statistics import of_notes
from moodmesh.tasks.music.notation.features import normalised, profile_fit
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.vocabulary import BAR, HIGHEST

_SPLIT = 60
"""Middle C parts the hands."""
_HALF = BAR // 2
_DURATIONS = (0.15, 0.3, 0.6, 1.2)
_GAPS = (0.08, 0.16, 0.3, 0.6)
"""Seconds between the classes of durations and of gaps between moments."""
_CHORDS = {
    "major": (0, 4, 7),
    "minor": (0, 3, 7),
    "diminished": (0, 3, 6),
    "augmented": (0, 4, 8),
    "suspended": (0, 5, 7),
    "seventh": (0, 4, 7, 10),
    "major seventh": (0, 4, 7, 11),
    "minor seventh": (0, 3, 7, 10),
}
_TEMPLATES = np.array([np.roll(np.isin(np.arange(12), form), root) for form in _CHORDS.values() for root in range(12)], float)
_TEMPLATES /= np.linalg.norm(_TEMPLATES, axis=1, keepdims=True)


def features(score: Score) -> Floats:
    """[FEATURES] of a score; InvalidInput for no pitched notes."""
    notes = heard(normalised(score)[0])
    parts = (_notes, _tonality, _chords, _melody, _harmony, _hands, _rhythm, _loudness, _change)
    return np.concatenate([part(notes) for part in parts])


def _notes(notes: Heard) -> Floats:
    return of_notes(notes.start, notes.end, notes.pitch, notes.velocity)


def _lasting(notes: Heard) -> Floats:
    return notes.end - notes.start


def _shares(values: NDArray[Any]) -> Floats:
    """Parts of a whole; all 0 where there is nothing."""
    return np.asarray(values / max(float(values.sum()), 1e-9))


def _tonality(notes: Heard) -> Floats:
    """How well major and minor fit by time, loudness, number, bass and at the end; shares of the degrees, and in the bass."""
    chroma = [
        np.bincount(notes.pitch % 12, weight, 12)
        for weight in (
            _lasting(notes),
            _lasting(notes) * notes.velocity,
            np.ones(len(notes.pitch)),
            _lasting(notes) * (notes.pitch < _SPLIT),
            _lasting(notes) * (notes.onset >= (notes.bars - 4) * BAR),
        )
    ]
    fits = []
    for weights in chroma:
        fit = profile_fit(weights)
        best = np.sort(fit)[::-1]
        fits += [
            fit[0],
            fit[21],
            fit[0] - fit[21],
            fit[12],
            fit[9],
            fit[:12].max() - fit[12:].max(),
            best[0],
            best[0] - best[1],
        ]
    return np.concatenate([fits, _shares(chroma[0]), _shares(chroma[3])])


def _sounding(notes: Heard) -> Floats:
    """[half bars, 12] sub-beats each pitch class sounds in each half bar."""
    steps = np.zeros((notes.bars * BAR + BAR + 1, 12))
    np.add.at(steps, (notes.onset, notes.pitch % 12), 1)
    np.add.at(steps, (notes.onset + notes.duration, notes.pitch % 12), -1)
    playing = np.minimum(np.cumsum(steps, 0)[: notes.bars * BAR], 2)
    return np.asarray(playing.reshape(-1, _HALF, 12).sum(1))


def chords(notes: Heard) -> Ints:
    """[half bars] the chord that fits best, form * 12 + root; -1 where nothing sounds."""
    sounding = _sounding(notes)
    length = np.linalg.norm(sounding, axis=1)
    fit = sounding @ _TEMPLATES.T
    return np.where(length > 0, fit.argmax(1), -1)


def _chords(notes: Heard) -> Floats:
    """Shares of forms and of triads on degrees that tell the modes apart, how clear chords are, and how often they change."""
    sounding = _sounding(notes)
    sounding = sounding[sounding.sum(1) > 0]
    fit = sounding / np.linalg.norm(sounding, axis=1, keepdims=True) @ _TEMPLATES.T
    form, root = np.divmod(fit.argmax(1), 12)
    forms = np.bincount(form, minlength=len(_CHORDS)) / len(fit)
    major = fit[:, :12].mean(0)
    minor = fit[:, 12:24].mean(0)
    changes = np.mean(np.diff(root) != 0) if len(root) > 1 else 0.0
    moves = np.bincount(np.diff(root) % 12, minlength=12)[[5, 7, 2, 10, 3, 9]] / max(len(root) - 1, 1)
    strong = [fit.max(1).mean(), fit.max(1).std(), fit[:, :12].max(1).mean() - fit[:, 12:24].max(1).mean(), changes]
    return np.concatenate([forms, major[[0, 5, 7, 2, 4, 9]], minor[[9, 2, 4, 0, 5, 7]], moves, strong])


def skyline(notes: Heard) -> Ints:
    """[moments] the index of the highest note of each moment."""
    order = np.lexsort((-notes.pitch, notes.onset))
    return np.asarray(order[np.unique(notes.onset[order], return_index=True)[1]])


def _melody(notes: Heard) -> Floats:
    """Steps and leaps of the top line, its direction, register and range, and its degrees."""
    pitch = notes.pitch[skyline(notes)]
    moves = np.diff(pitch) if len(pitch) > 1 else np.zeros(1, np.int64)
    size = np.abs(moves)
    sizes = np.array(
        [np.mean((size >= low) & (size <= high)) for low, high in ((0, 0), (1, 1), (2, 2), (3, 4), (5, 7), (8, 11), (12, 99))]
    )
    line = [
        np.mean(moves > 0),
        size.mean(),
        moves.std(),
        pitch.mean(),
        pitch.std(),
        np.quantile(pitch, 0.9),
        np.quantile(pitch, 0.1),
    ]
    return np.concatenate([sizes, line, _shares(np.bincount(pitch % 12, minlength=12).astype(float))])


def _harmony(notes: Heard) -> Floats:
    """Shares of interval classes that are struck together, and how many notes a moment has."""
    classes = np.zeros(7)
    sizes = []
    bounds = np.flatnonzero(np.diff(notes.onset)) + 1
    for pitch in np.split(notes.pitch, bounds):
        sizes.append(len(pitch))
        apart = np.abs(pitch[:, None] - pitch)[np.triu_indices(len(pitch), 1)] % 12
        classes += np.bincount(np.minimum(apart, 12 - apart), minlength=7)
    size = np.array(sizes)
    return np.concatenate([_shares(classes), [size.mean(), size.std(), np.mean(size == 1), np.mean(size >= 4)]])


def _hands(notes: Heard) -> Floats:
    """Of the left and the right hand: its share, register, spread, length, loudness, rate, and how much of the bass is low."""
    made = []
    for mine in (notes.pitch < _SPLIT, notes.pitch >= _SPLIT):
        lasting, pitch, loud = _lasting(notes)[mine], notes.pitch[mine], notes.velocity[mine]
        if not len(pitch):
            made += [0.0, float(_SPLIT), 0.0, 0.0, 0.0, 0.0]
            continue
        rate = np.log1p(len(np.unique(notes.onset[mine])) / notes.seconds)
        made += [mine.mean(), pitch.mean(), pitch.std(), np.log(lasting.mean()), loud.mean(), rate]
    low = _lasting(notes) * (notes.pitch < 40)
    high = _lasting(notes) * (notes.pitch > 80)
    whole = _lasting(notes).sum()
    return np.array(
        [*made, low.sum() / whole, high.sum() / whole, float(notes.pitch.min()), float(notes.pitch.max()) - HIGHEST]
    )


def _rhythm(notes: Heard) -> Floats:
    """Tempo, moments a second, classes of durations and gaps, places in the bar, how much of its gap a note sounds."""
    moments, first = np.unique(notes.onset, return_index=True)
    at = notes.start[first]
    gaps = np.diff(at) if len(at) > 1 else np.full(1, notes.seconds)
    durations = np.bincount(np.digitize(_lasting(notes), _DURATIONS), minlength=5) / len(notes.pitch)
    spaces = np.bincount(np.digitize(gaps, _GAPS), minlength=5) / len(gaps)
    place = moments % 4
    places = [np.mean(place == 0), np.mean(place == 2), np.mean(moments % BAR == 0), np.mean(place % 2 == 1)]
    legato = np.log(_lasting(notes).mean() / gaps.mean())
    log_tempo = np.log(notes.bars * 240 / notes.seconds)
    flow = [np.log(len(at) / notes.seconds), log_tempo, gaps.std() / gaps.mean(), np.log(np.median(gaps)), legato]
    return np.concatenate([flow, durations, spaces, places])


def _loudness(notes: Heard) -> Floats:
    """Levels of loudness, accents, and the melody over the rest."""
    levels = np.quantile(notes.velocity, [0.1, 0.5, 0.9, 1.0])
    top = notes.velocity[skyline(notes)].mean() - notes.velocity.mean()
    beat = notes.onset % 4 == 0
    accent = notes.velocity[beat].mean() - notes.velocity.mean() if beat.any() else 0.0
    return np.array(
        [*levels, levels[2] - levels[0], top, accent, np.mean(np.abs(np.diff(notes.velocity))) if len(beat) > 1 else 0.0]
    )


def _change(notes: Heard) -> Floats:
    """How much bars differ in notes, register and loudness, what the second half has more, and empty bars."""
    bar = notes.onset // BAR
    count = np.bincount(bar, minlength=notes.bars)
    full = count > 0
    pitch, loud = (np.bincount(bar, values, notes.bars)[full] / count[full] for values in (notes.pitch, notes.velocity))
    half = len(pitch) // 2
    trend = [values[half:].mean() - values[:half].mean() if half else 0.0 for values in (pitch, loud)]
    return np.array([count.std() / count.mean(), pitch.std(), loud.std(), *trend, np.mean(~full)])
