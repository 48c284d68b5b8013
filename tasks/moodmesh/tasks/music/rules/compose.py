"""A composer by rule: pieces for the piano that show the attributes they are asked for, with no model (systems S19).

Always in C major or A minor, one tempo, four quarters a bar. The plan of the whole piece comes first; the bars follow in order.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.notation.vocabulary import BAR, HIGHEST, LOWEST, PIANO, tempo_step, velocity_step
from moodmesh.tasks.music.rules import accompaniment, melody
from moodmesh.tasks.music.rules.accompaniment import THICKNESS, Struck
from moodmesh.tasks.music.rules.attributes import Attributes, distance, heard
from moodmesh.tasks.music.rules.form import BarPlan, End, plan, seeded
from moodmesh.tasks.music.rules.melody import Tone

BARS = 64
"""The most bars of a piece."""
CENTRES = (45.0, 78.0)
"""The lowest and the highest mean pitch that two hands are set about; what is wanted beyond comes as near as this."""
_TRIAL, _ROUNDS = 16, 2
"""Bars that the knobs are set by, and how often for each thickness."""


@dataclass(frozen=True)
class _Knobs:
    """What bars are made by: moments a bar, middle pitch, velocity, how far accents and swells leave it (1: as written), the
    share of a slot that sounds, index of THICKNESS."""

    moments: float
    centre: float
    velocity: float
    accents: float
    share: float
    thick: int


def compose(wanted: Attributes, bars: int, seed: int) -> Score:
    """A piece of 1..64 bars; the same for the same arguments, another for another seed; InvalidInput for other lengths.

    It comes as near to what is wanted as two hands can; tempo and mode are exact.
    """
    return _whole(list(composed(wanted, bars, seed)))


def composed(wanted: Attributes, bars: int, seed: int) -> Iterator[Score]:
    """The bars of `compose` in order, each as a score of its own; no note sounds beyond its bar."""
    if not 1 <= bars <= BARS:
        raise InvalidInput(f"{bars} bars: a piece has 1 to {BARS}")
    planned = plan(wanted.minor, bars, seed)
    return _made(planned, _set(planned, wanted, seed), tempo_step(wanted.bpm), seed)


def _whole(bars: list[Score]) -> Score:
    notes = (note._replace(onset=note.onset + BAR * at) for at, bar in enumerate(bars) for note in bar.notes)
    return Score(tuple(notes), tuple(step for bar in bars for step in bar.tempi))


def _set(planned: tuple[BarPlan, ...], wanted: Attributes, seed: int) -> _Knobs:
    """The knobs at which the opening of the piece comes nearest to what is wanted; each thickness is tried and corrected."""
    centre = min(max(wanted.register, CENTRES[0]), CENTRES[1])
    aim = replace(wanted, density=max(wanted.density, 0.5), register=centre)
    knobs = _Knobs(4 * aim.density, centre, wanted.velocity, 1.0, wanted.articulation, 0)
    tried = list[tuple[float, _Knobs]]()
    for thick in range(len(THICKNESS)):
        knobs = replace(knobs, thick=thick)
        for _ in range(_ROUNDS):
            found = heard(_whole(list(islice(_made(planned, knobs, 0, seed), _TRIAL))))
            knobs = _loud(knobs, aim, found)
            exact = replace(found, bpm=aim.bpm, minor=aim.minor, velocity=aim.velocity, dynamics=aim.dynamics)
            tried.append((distance(aim, exact), knobs))
            knobs = _corrected(knobs, aim, found)
    return min(tried, key=lambda one: one[0])[1]


def _loud(knobs: _Knobs, aim: Attributes, found: Attributes) -> _Knobs:
    """With the velocity and the accents that would have been heard as wanted; they change nothing else."""
    return replace(
        knobs,
        velocity=min(max(knobs.velocity + aim.velocity - found.velocity, 1), 127),
        accents=min(knobs.accents * aim.dynamics / max(found.dynamics, 0.5), 4.0),
    )


def _corrected(knobs: _Knobs, aim: Attributes, found: Attributes) -> _Knobs:
    return replace(
        knobs,
        moments=min(max(knobs.moments * aim.density / found.density, 1.0), 16.0),
        centre=knobs.centre + min(max(aim.register - found.register, -6), 6),
        share=min(max(knobs.share + aim.articulation - found.articulation, 0.1), 1.2),
    )


def _made(planned: tuple[BarPlan, ...], knobs: _Knobs, step: int, seed: int) -> Iterator[Score]:
    """The bars of a plan, each with the melody and the chord of the one before in mind."""
    middle, thick = round(knobs.centre), THICKNESS[knobs.thick]
    top = melody.degree(middle + 9)
    degree, held = top, tuple[int, ...]()
    figures = {
        letter: accompaniment.figure(knobs.moments, seeded(seed, letter, "figure"))
        for letter in {bar.letter for bar in planned}
    }
    for number, bar in enumerate(planned):
        figure = figures[bar.letter]
        beneath = accompaniment.moments(figure, bar)
        sung = melody.bar(seed, bar, knobs.moments, beneath, top, degree)
        struck, held = accompaniment.bar(figure, bar, thick, middle - 7, held)
        degree = melody.degree(sung[-1].pitch)
        swell = _swell(bar, number, len(planned))
        yield tidy([*_right(sung, knobs, swell), *_left(struck, min(tone.pitch for tone in sung), knobs, swell)], [step])


def _right(sung: list[Tone], knobs: _Knobs, swell: float) -> Iterator[Note]:
    """The melody, in octaves where it is thickest."""
    for onset, slot, pitch in sung:
        yield _note(onset, slot, pitch, knobs, swell + 6)
        if THICKNESS[knobs.thick].melody_octave:
            yield _note(onset, slot, pitch - 12, knobs, swell)


def _left(struck: list[Struck], melody_floor: int, knobs: _Knobs, swell: float) -> Iterator[Note]:
    """The accompaniment, softer and below the melody; under the pedal it sounds longer."""
    if THICKNESS[knobs.thick].pedal:
        knobs = replace(knobs, share=(1 + knobs.share) / 2)
    for onset, slot, pitch, low in struck:
        above = pitch >= melody_floor and not low
        yield _note(onset, slot, pitch - 12 * above, knobs, swell - (3 if low else 7))


def _swell(bar: BarPlan, number: int, bars: int) -> float:
    """Louder towards the middle of a phrase and of the piece, softer at ends."""
    phrase = 5 * math.sin(math.pi * (bar.place + 0.5) / bar.of)
    return phrase + 4 * math.sin(math.pi * (number + 0.5) / bars) - 5 - (4 if bar.end >= End.CLOSED else 0)


def _note(onset: int, slot: int, pitch: int, knobs: _Knobs, louder: float) -> Note:
    """A note of the piano that sounds its share of a slot, strong beats a little longer and louder."""
    strong = onset % 4 == 0
    duration = int(slot * knobs.share + (0.7 if strong else 0.4))
    accent = 4 if onset == 0 else 2 if strong else -2
    step = velocity_step(round(min(max(knobs.velocity + knobs.accents * (louder + accent), 1), 127)))
    while pitch < LOWEST:
        pitch += 12
    while pitch > HIGHEST:
        pitch -= 12
    return Note(onset, PIANO, pitch, step, min(max(duration, 1), slot))
