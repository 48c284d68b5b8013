"""What is heard of a piece that somebody gave, however dense it is."""

from __future__ import annotations

import statistics
from bisect import bisect_right

from moodmesh.tasks.music.notation import features
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.vocabulary import DRUMS, LOWEST, loudness
from moodmesh.tasks.music.rules.attributes import RANGES, Attributes


def heard(score: Score) -> Attributes:
    """As `rules.attributes.heard`, in a time that grows with the notes alone, not with how many sound in a bar."""
    notes = [note for note in score.notes if note.track != DRUMS]
    loud = [loudness(note.velocity) for note in notes] or [0]
    return Attributes(
        minor=features.key(score).minor,
        bpm=score.bars * 240 / score.seconds if score.bars else RANGES["bpm"][0],
        density=density(score),
        register=max(sum(note.pitch for note in notes) / max(len(notes), 1), LOWEST),
        velocity=max(statistics.fmean(loud), 1),
        dynamics=statistics.pstdev(loud),
        articulation=features.articulation(score),
        polyphony=bisect_right(features.POLYPHONY_BOUNDS, sum(features.sounding(score).tolist()) / max(score.length, 1)),
    )


def density(score: Score) -> float:
    """Moments in a quarter at which notes begin, drums aside."""
    return 4 * len({note.onset for note in score.notes if note.track != DRUMS}) / max(score.length, 1)
