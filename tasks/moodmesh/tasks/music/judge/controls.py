"""Rows that must not count as music: random notes in and out of key, shuffled bars of real pieces (evaluation §5).

Each control makes a piece of a wanted (valence, arousal), -1 or 1 each, of so many bars, from a seed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.notation.score import Note, Score, excerpt, tidy
from moodmesh.tasks.music.notation.vocabulary import BAR, HIGHEST, LOWEST, PIANO, VELOCITIES

Mood = tuple[int, int]
Control = Callable[[Mood, int, int], Score]
"""(mood, bars, seed) -> piece."""
MOODS: tuple[Mood, ...] = ((1, 1), (-1, 1), (-1, -1), (1, -1))
"""(valence, arousal) of Q1 to Q4."""
_MAJOR, _MINOR = (0, 2, 4, 5, 7, 9, 11), (9, 11, 0, 2, 4, 5, 8)
"""C major, and A minor with its leading tone."""


@dataclass(frozen=True)
class Medians:
    """What is usual in a quadrant: tempo step, notes a bar, notes at once, mean and spread of pitch and velocity, duration."""

    tempo: float
    notes: float
    together: float
    pitch: float
    pitch_sd: float
    velocity: float
    velocity_sd: float
    duration: float


def medians(pieces: Sequence[Passage]) -> dict[Mood, Medians]:
    """Of each quadrant, of pieces that have a mood: those of the generators' half; InvalidInput where a quadrant has none."""
    rows: dict[Mood, list[list[float]]] = {mood: [] for mood in MOODS}
    for piece in pieces:
        if piece.mood and piece.score.notes:
            rows[piece.mood].append(_figures(piece.score))
    if not all(rows.values()):
        raise InvalidInput("each of the four moods needs a piece: give the labelled pieces of the generators' half")
    return {mood: Medians(*np.median(found, axis=0).tolist()) for mood, found in rows.items()}


def overall(pieces: Sequence[Passage]) -> dict[Mood, Medians]:
    """The medians of all pieces for every quadrant alike: for sets without moods."""
    return dict.fromkeys(MOODS, Medians(*np.median([_figures(piece.score) for piece in pieces], axis=0).tolist()))


def _figures(score: Score) -> list[float]:
    onset, _, pitch, velocity, duration = np.array(score.notes).T
    moments = len(np.unique(onset))
    spread = [float(value) for column in (pitch, velocity) for value in (column.mean(), column.std())]
    return [float(np.mean(score.tempi)), len(pitch) / score.bars, len(pitch) / moments, *spread, float(duration.mean())]


def in_key(usual: dict[Mood, Medians]) -> Control:
    """Notes at random in C major, or A minor where valence is low, with the medians of the quadrant."""
    return lambda mood, bars, seed: _random(usual[mood], _MAJOR if mood[0] > 0 else _MINOR, bars, seed)


def atonal(usual: dict[Mood, Medians]) -> Control:
    """Notes at random of all twelve, with the medians of the quadrant."""
    return lambda mood, bars, seed: _random(usual[mood], tuple(range(12)), bars, seed)


def _random(usual: Medians, scale: tuple[int, ...], bars: int, seed: int) -> Score:
    rng = np.random.default_rng(seed)
    keys = np.array([pitch for pitch in range(LOWEST, HIGHEST + 1) if pitch % 12 in scale])
    near = np.exp(-0.5 * ((keys - usual.pitch) / max(usual.pitch_sd, 1)) ** 2)
    notes = []
    for bar in range(bars):
        moments = min(max(int(rng.poisson(usual.notes / usual.together)), 1), BAR)
        for place in rng.choice(BAR, moments, replace=False).tolist():
            size = min(1 + int(rng.poisson(max(usual.together - 1, 0))), 8)
            for pitch in rng.choice(keys, size, replace=False, p=near / near.sum()).tolist():
                loud = min(max(round(rng.normal(usual.velocity, usual.velocity_sd)), 0), VELOCITIES - 1)
                lasting = min(1 + int(rng.poisson(max(usual.duration - 1, 0))), BAR)
                notes.append(Note(bar * BAR + place, PIANO, pitch, loud, lasting))
    return tidy(notes, [round(usual.tempo)] * bars)


def shuffled(pieces: Sequence[Passage]) -> Control:
    """The bars of a real piece of that mood in another order; InvalidInput where none is long enough."""

    def make(mood: Mood, bars: int, seed: int) -> Score:
        rng = np.random.default_rng(seed)
        long = [piece.score for piece in pieces if piece.mood == mood and piece.score.bars >= bars]
        if not long:
            raise InvalidInput(f"no piece of the mood {mood} has {bars} bars: ask for fewer")
        score = long[int(rng.integers(len(long)))]
        first = int(rng.integers(score.bars - bars + 1))
        return shuffle(excerpt(score, first, first + bars), seed)

    return make


def shuffle(score: Score, seed: int) -> Score:
    """The same bars in another order, drawn by the seed."""
    order = np.random.default_rng(seed).permutation(score.bars)
    to = np.argsort(order)
    notes = (note._replace(onset=int(to[note.bar]) * BAR + note.beat) for note in score.notes)
    return tidy(notes, [score.tempi[bar] for bar in order])


def jitter(score: Score, seed: int, share: float = 0.5) -> Score:
    """That share of the notes moved by up to a quarter in time and up to 3 semitones."""
    rng = np.random.default_rng(seed)
    notes = []
    for note in score.notes:
        if rng.random() < share:
            onset = min(max(note.onset + int(rng.integers(-4, 5)), 0), score.length - 1)
            note = note._replace(onset=onset, pitch=min(max(note.pitch + int(rng.integers(-3, 4)), LOWEST), HIGHEST))
        notes.append(note)
    return tidy(notes, score.tempi)
