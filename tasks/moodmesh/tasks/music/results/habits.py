"""What a musician would hear in the notes of each row, beside unseen real music: counts, not taste (evaluation §2)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np

from moodmesh.tasks.music.judge.gates import FREE
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.negatives import excerpts
from moodmesh.tasks.music.notation.score import Note, Score
from moodmesh.tasks.music.notation.vocabulary import BAR
from moodmesh.tasks.music.results.figures import Arrays
from moodmesh.tasks.music.results.systems import System
from moodmesh.tasks.music.rules.moods import QUADRANTS
from moodmesh.tasks.tables import Table, short

if TYPE_CHECKING:
    from moodmesh.tasks.music.results.bench import Bench

NAMES = (
    "notes struck again and again",
    "bars of one harmony in a row",
    "begins off the beat",
    "bars without a downbeat",
    "semitones struck together",
    "leaps of the top line",
    "rise into the last bar",
)
"""Of the notes those whose pitch is struck AGAIN times or more in their bar and the one before; the longest run of bars whose
pitch classes agree by ALIKE; whether the first bar has no note on its first place; the share of bars that have none; of moments
with several notes those with two a semitone apart, octaves aside; of steps of the highest notes those above an octave;
semitones that the top of the last bar lies above that of the bar before."""
AGAIN, ALIKE, OCTAVE = 8, 0.75, 12


def habits(score: Score) -> Floats:
    """[7] by NAMES of a piece with notes."""
    bars: list[list[Note]] = [[] for _ in range(score.bars)]
    for note in score.notes:
        bars[note.bar].append(note)
    moments = _moments(score.notes)
    top = np.array([max(pitches) for pitches in moments])
    chords = [pitches for pitches in moments if len(pitches) > 1]
    tops = [max(note.pitch for note in bar) for bar in bars if bar]
    begun = [any(note.onset % BAR == 0 for note in bar) for bar in bars]
    return np.array(
        [
            _again(bars),
            _one_harmony(bars),
            not begun[0],
            1 - np.mean(begun),
            np.mean([_clashes(pitches) for pitches in chords]) if chords else 0.0,
            np.mean(np.abs(np.diff(top)) > OCTAVE) if len(top) > 1 else 0.0,
            tops[-1] - tops[-2] if len(tops) > 1 else 0.0,
        ],
        np.float64,
    )


def _moments(notes: Sequence[Note]) -> list[list[int]]:
    """The pitches that begin together, in order of time."""
    found: dict[int, list[int]] = {}
    for note in notes:
        found.setdefault(note.onset, []).append(note.pitch)
    return [found[at] for at in sorted(found)]


def _again(bars: Sequence[Sequence[Note]]) -> float:
    often = total = 0
    for before, bar in zip([[], *bars], bars, strict=False):
        struck = Counter(note.pitch for note in (*before, *bar))
        often += sum(struck[note.pitch] >= AGAIN for note in bar)
        total += len(bar)
    return often / total


def _one_harmony(bars: Sequence[Sequence[Note]]) -> int:
    classes = [{note.pitch % 12 for note in bar} for bar in bars]
    longest = run = 1
    for before, now in pairwise(classes):
        run = run + 1 if len(before & now) >= ALIKE * max(len(before | now), 1) else 1
        longest = max(longest, run)
    return longest


def _clashes(pitches: Sequence[int]) -> bool:
    classes = {pitch % 12 for pitch in pitches}
    return any((one + 1) % 12 in classes for one in classes)


def retrain(bench: Bench, systems: Sequence[System], asked: Sequence[tuple[int, int]]) -> None:
    """Make what is not there: of held real music, and of the pieces of each row, `asked` for as (seed, quadrant)."""
    bench.keep("habits", "", lambda: {"habits": np.array([habits(one) for one in _held(bench)])})
    quadrants = np.array([number for _, number in asked], np.float64)
    for system in systems:
        bench.keep(
            f"habits {system.name}",
            system.weights,
            lambda system=system: _row(bench.of_moods(system, asked), quadrants),  # type: ignore[misc]
        )


def _row(pieces: Sequence[Score], quadrants: Floats) -> Arrays:
    heard = np.array([bool(piece.notes) for piece in pieces])
    return {"habits": np.array([habits(one) for one in pieces if one.notes]), "quadrant": quadrants[heard]}


def _held(bench: Bench) -> list[Score]:
    held = bench.real.pieces("held", sets=FREE)
    return [score for pieces in held.values() for _, score in excerpts(pieces, bench.bars)]


def table(bench: Bench, rows: Sequence[str], real: str) -> dict[str, dict[str, Table]]:
    """By row, and `real` for held real music: by NAMES the mean, and of a row that by mood."""
    made: dict[str, dict[str, Table]] = {}
    for name in (real, *rows):
        found = bench.load("habits" if name == real else f"habits {name}")
        if found is None:
            continue
        by_mood = [found["habits"][found["quadrant"] == q].mean(0) for q in range(len(QUADRANTS))] if name != real else []
        made[name] = {
            said: {
                "mean": short(float(found["habits"][:, column].mean())),
                "by_mood": {word: short(float(mean[column])) for word, mean in zip(QUADRANTS, by_mood, strict=False)},
            }
            for column, said in enumerate(NAMES)
        }
    return made
