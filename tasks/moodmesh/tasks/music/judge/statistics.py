"""The 12 note statistics of the smallest judge, and of its floor (systems S20)."""

from __future__ import annotations

import numpy as np

from moodmesh.tasks.music.judge.heard import Floats, Ints, heard
from moodmesh.tasks.music.notation.features import profile_fit
from moodmesh.tasks.music.notation.score import Score

NAMES = (
    "log note rate",
    "duration mean",
    "duration sd",
    "velocity mean",
    "velocity sd",
    "pitch mean",
    "pitch sd",
    "pitch range",
    "major fit",
    "minor fit",
    "major less minor",
    "polyphony",
)


def note_statistics(score: Score) -> Floats:
    """[12] of a score, by NAMES; the fits are those of the best key of each mode, so that transposing changes nothing else
    than the mean pitch. InvalidInput for no pitched notes."""
    notes = heard(score)
    return of_notes(notes.start, notes.end, notes.pitch, notes.velocity)


def of_notes(start: Floats, end: Floats, pitch: Ints, velocity: Floats) -> Floats:
    """[12] by NAMES, of at least one note; times in seconds, durations at most 1 minute."""
    lasting = end - start
    length = max(float(end.max() - start.min()), 1e-3)
    fit = profile_fit(np.bincount(pitch % 12, lasting, 12))
    major, minor = fit[:12].max(), fit[12:].max()
    return np.array(
        [
            np.log(len(start) / length),
            lasting.mean(),
            lasting.std(),
            velocity.mean(),
            velocity.std(),
            pitch.mean(),
            pitch.std(),
            np.ptp(pitch),
            major,
            minor,
            major - minor,
            lasting.sum() / length,
        ]
    )
