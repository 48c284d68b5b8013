"""What is heard of a mood without a model: the attributes of a piece, and which of them a mood wants (systems S19).

The directions are those of published reviews and experiments; the sizes are ours, near what songs of POP909 have (5-95 %:
57..109 quarters a minute, density 1.4..3.2, register 56..69, velocity 65..101, dynamics 5..23, articulation .75..0.95,
polyphony 1..5):

- Gabrielsson and Lindström 2010 (review): fast, loud, high and staccato go with activity and gladness; slow, soft, low and
  legato with calm and sadness; major with positive, minor with negative expression.
- Gomez and Danuser 2007: tempo, accentuation and articulation follow the arousal that listeners report, mode the valence.
- Juslin and Laukka 2003 (review): loudness varies much in anger, little in sadness and tenderness.
- Husain, Thompson and Schellenberg 2002: tempo moves arousal, mode moves mood, and hardly the other way round.
- Livingstone et al. 2010 (CMERS): rules for mode, tempo, loudness, pitch height and articulation on the plane of valence and
  arousal.
- Webster and Weir 2005: a melody alone sounds happier, one in harmony sadder, whatever its mode and tempo.
"""

from __future__ import annotations

import math
import statistics
from bisect import bisect_right
from dataclasses import dataclass

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation import features
from moodmesh.tasks.music.notation.features import POLYPHONY_BOUNDS
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.vocabulary import DRUMS, HIGHEST, LOWEST, loudness

RANGES: dict[str, tuple[float, float]] = {
    "bpm": (30.0, 240.0),
    "density": (0.0, 4.0),
    "register": (float(LOWEST), float(HIGHEST)),
    "velocity": (1.0, 127.0),
    "dynamics": (0.0, 64.0),
    "articulation": (0.0, 1.0),
    "polyphony": (0, len(POLYPHONY_BOUNDS)),
}
"""The least and the greatest value of each attribute but the mode."""

SPREAD = {
    "bpm": 0.36,
    "density": 0.41,
    "register": 3.1,
    "velocity": 16.0,
    "dynamics": 3.5,
    "articulation": 0.08,
    "polyphony": 0.84,
}
"""Standard deviation of what `wanted` gives over all moods alike, tempo and density as log2: the units of `distance`."""

CLEAR = 0.4
"""The minorness that is asked for where a mode is."""
CLOSE = 2
"""Bars that close a piece."""
DESCRIBED = 10
"""Numbers in a description (`described`)."""
_CENTRE = {
    "bpm": math.log2(96),
    "density": math.log2(1.7),
    "register": 60,
    "velocity": 72,
    "dynamics": 12,
    "articulation": 0.8,
    "polyphony": 2.4,
}


@dataclass(frozen=True)
class Attributes:
    """What can be heard of a piece without a model; InvalidInput names an attribute that is out of its range.

    `minor`: the mode. `bpm`: quarters a minute, 30..240. `density`: moments in a quarter at which notes begin, 0..4.
    `register`: mean MIDI pitch of the notes, 21..108. `velocity`: their mean MIDI velocity, 1..127. `dynamics`: its standard
    deviation, 0..64. `articulation`: the share
    of its slot, up to the next note nearby, that a note sounds, 0..1 (1 is legato). `polyphony`: class 0..7 of the mean number
    of notes that sound at once (`features.POLYPHONY_BOUNDS`).
    """

    minor: bool
    bpm: float
    density: float
    register: float
    velocity: float
    dynamics: float
    articulation: float
    polyphony: int

    def __post_init__(self) -> None:
        for name, (least, most) in RANGES.items():
            if not least <= getattr(self, name) <= most:
                raise InvalidInput(f"{name} {getattr(self, name)} is outside {least:g}..{most:g}")


def wanted(valence: float, arousal: float) -> Attributes:
    """The attributes by which a mood is expressed; both in -1..1, anything else is InvalidInput.

    Tempo, density, velocity and dynamics rise with arousal and articulation falls; register rises with both, tempo a little
    with valence too, polyphony falls with it; valence 0 and above is major. All but mode and polyphony are continuous.
    """
    if not (-1 <= valence <= 1 and -1 <= arousal <= 1):
        raise InvalidInput(f"valence {valence} and arousal {arousal}: both lie in -1..1")
    return Attributes(
        minor=valence < 0,
        bpm=96 * math.exp2(0.6 * arousal + 0.15 * valence),
        density=1.7 * math.exp2(0.7 * arousal),
        register=60 + 5 * valence + 2 * arousal,
        velocity=72 + 28 * arousal,
        dynamics=12 + 6 * arousal,
        articulation=0.8 - 0.13 * arousal - 0.05 * valence,
        polyphony=round(2.4 - 1.3 * valence),
    )


def heard(score: Score) -> Attributes:
    """The attributes of a piece; those of its notes are the least there are where it has none, and drums are no notes here."""
    notes = [note for note in score.notes if note.track != DRUMS]
    mean = sum(features.sounding(score).tolist()) / max(score.length, 1)
    count = max(len(notes), 1)
    loud = [loudness(note.velocity) for note in notes] or [0]
    return Attributes(
        minor=features.key(score).minor,
        bpm=score.bars * 240 / score.seconds if score.bars else RANGES["bpm"][0],
        density=features.density(score),
        register=max(sum(note.pitch for note in notes) / count, LOWEST),
        velocity=max(statistics.fmean(loud), 1),
        dynamics=statistics.pstdev(loud),
        articulation=features.articulation(score),
        polyphony=bisect_right(POLYPHONY_BOUNDS, mean),
    )


def distance(one: Attributes, other: Attributes) -> float:
    """How far apart two pieces sound: root mean square of the attributes in units of SPREAD; another mode counts 2 units."""
    apart = [2.0 * (one.minor != other.minor)]
    for name, unit in SPREAD.items():
        values: tuple[float, float] = getattr(one, name), getattr(other, name)
        if name in ("bpm", "density"):
            values = math.log2(max(values[0], 0.1)), math.log2(max(values[1], 0.1))
        apart.append((values[0] - values[1]) / unit)
    return math.sqrt(sum(step**2 for step in apart) / len(apart))


def parted(bars: int, span: int, *, closing: bool) -> list[int]:
    """The bars that descriptions of `span` bars begin with; those that close a piece (CLOSE) have one of their own."""
    end = max(bars - CLOSE, 0) if closing else bars
    return [*range(0, end, span), *([end] if closing else [])]


def described(asked: Attributes, span: int, closing: bool, minorness: float | None = None) -> list[float]:
    """The ten numbers a composer is told of `span` bars, each about -2..2; `closing` when the piece ends with them.

    The first says how minor they are (`features.minorness`): as measured, or as clear as a mode is in one of three songs.
    """
    if minorness is None:
        minorness = CLEAR if asked.minor else -CLEAR
    told = [minorness / CLEAR]
    for name, unit in SPREAD.items():
        value: float = getattr(asked, name)
        told.append(((math.log2(max(value, 0.1)) if name in ("bpm", "density") else value) - _CENTRE[name]) / unit)
    return [*told, math.log2(span) - 3, float(closing)]
