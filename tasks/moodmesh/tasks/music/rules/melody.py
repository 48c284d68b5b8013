"""A melody of motifs that return on the chords they meet (systems S19)."""

from __future__ import annotations

from functools import lru_cache
from itertools import accumulate, pairwise
from random import Random
from typing import NamedTuple

from moodmesh.tasks.music.notation.vocabulary import BAR
from moodmesh.tasks.music.rules.form import BarPlan, End, seeded
from moodmesh.tasks.music.rules.harmony import Chord

REACH = 7
"""Steps of the scale that the melody moves from its centre at most, up or down."""
_STEPS, _WEIGHTS = (-4, -3, -2, -1, 0, 1, 2, 3, 4), (1, 1, 3, 9, 1.5, 9, 3, 1, 1)
_IDEAS = ("aab", "aba", "abb", "aac")


class Tone(NamedTuple):
    """A note of the melody in its bar: where it begins, the time up to the next (sub-beats), and its MIDI pitch."""

    onset: int
    slot: int
    pitch: int


class Motif(NamedTuple):
    """The idea of a bar: lengths of its notes, and how far each lies from the first in steps of the scale."""

    lengths: tuple[int, ...]
    steps: tuple[int, ...]


def split(rng: Random, moments: int, beneath: frozenset[int], start: int = 0, end: int = BAR) -> tuple[int, ...]:
    """Lengths from `start` to `end`, cut in halves or dotted until notes begin at `moments` places with those `beneath`."""
    spans = [(start, end)]
    while len({at for at, _ in spans} | beneath) < moments:
        able = [place for place, (a, b) in enumerate(spans) if b - a >= 2]
        if not able:
            break
        place = rng.choices(able, [(spans[p][1] - spans[p][0]) ** 2 for p in able])[0]
        a, b = spans[place]
        cut = a + _cut(rng, b - a)
        spans[place : place + 1] = [(a, cut), (cut, b)]
    return tuple(b - a for a, b in spans)


def _cut(rng: Random, length: int) -> int:
    """Where a span is cut: two thirds or one where it has thirds, otherwise its half, or dotted, or (long ones) the reverse."""
    if length % 3 == 0:
        return rng.choices((2 * length // 3, length // 3), (3, 1))[0]
    quarter = length // 4
    return rng.choices((length // 2, length - quarter, quarter), (7, 3 * (quarter > 0), 0.5 * (quarter > 1)))[0]


def motif(rng: Random, moments: float, beneath: frozenset[int]) -> Motif:
    """A new idea whose notes begin, with the accompaniment `beneath`, at about so many moments of its bar."""
    lengths = split(rng, int(moments + rng.random()), beneath)
    if len(lengths) < 2:
        lengths = rng.choice(((8, 8), (12, 4), (4, 12), (8, 4, 4), (4, 4, 8), (6, 2, 8)))
    walk = rng.choices(_STEPS, _WEIGHTS, k=len(lengths) - 1)
    for place, (one, two) in enumerate(pairwise(walk)):
        if abs(one) > 2 and one * two > 0:
            walk[place + 1] = -1 if one > 0 else 1
    return Motif(lengths, tuple(accumulate(walk, initial=0)))


def bar(seed: int, plan: BarPlan, moments: float, beneath: frozenset[int], centre: int, before: int) -> list[Tone]:
    """The melody of one bar about `centre`, going on from the place in the scale `before`; the chord rules the strong beats."""
    rng = seeded(seed, plan.letter, plan.again, plan.place, "bar")
    if plan.end:
        idea = _ending(rng, plan.end, moments, beneath)
    else:
        name = seeded(seed, plan.letter, "ideas").choice(_IDEAS)[plan.place]
        idea = _idea(seed, plan.letter, name, moments, beneath)
        if plan.again and plan.place == 1:
            idea = _varied(rng, idea)
    arch = (0, 2, 3, 0)[plan.place] if plan.of == 4 else 0
    lift = 2 if plan.letter in "BCEF" else 0
    if plan.place == 0:
        before = plan.chords[0].nearest(centre + lift)
    first = round((before + 2 * (centre + arch + lift)) / 3)
    onsets = list(accumulate(idea.lengths[:-1], initial=0))
    degrees = _on_chords(plan, idea, onsets, before, first, centre)
    if plan.leads:
        chord = plan.chords[-1]
        degrees[-1] = _within(chord.nearest(degrees[-1], chord.tones[1:3]), centre)  # of a dominant: a step from the tonic
    if plan.end >= End.CLOSED:
        chord = plan.chords[-1]
        near = degrees[-2] if len(degrees) > 1 else before
        degrees[-1] = _within(chord.nearest(near, chord.tones[:1]), centre)
    return [
        Tone(at, length, _chord(plan, at).pitch(degree))
        for at, length, degree in zip(onsets, idea.lengths, degrees, strict=True)
    ]


def degree(pitch: int) -> int:
    """The place in the scale at or just below a MIDI pitch."""
    octave, place = divmod(pitch, 12)
    return 7 * octave + (0, 0, 1, 1, 2, 3, 3, 4, 4, 5, 5, 6)[place]


def _ending(rng: Random, end: End, moments: float, beneath: frozenset[int]) -> Motif:
    """Some notes that lead to a long one; the last of the piece is longest."""
    long = {End.OPEN: rng.choice((8, 8, 4)), End.CLOSED: rng.choice((8, 8, 12)), End.PIECE: rng.choice((12, 16, 16))}[end]
    if long == BAR:
        return Motif((BAR,), (0,))
    before = motif(rng, moments * (BAR - long) / BAR, frozenset(at for at in beneath if at < BAR - long))
    lead = split(rng, max(2, int(moments * (BAR - long) / BAR)), frozenset(), 0, BAR - long)
    steps = (before.steps * len(lead))[: len(lead)]
    return Motif((*lead, long), (*steps, 0))


@lru_cache(256)
def _idea(seed: int, letter: str, name: str, moments: float, beneath: frozenset[int]) -> Motif:
    """The idea of that name in a phrase, which comes again and again."""
    return motif(seeded(seed, letter, name), moments, beneath)


def _varied(rng: Random, idea: Motif) -> Motif:
    """The same rhythm with its second half turned upside down, or its last step another."""
    half = len(idea.steps) // 2
    if rng.random() < 0.5:
        pivot = idea.steps[half]
        return Motif(idea.lengths, idea.steps[:half] + tuple(2 * pivot - step for step in idea.steps[half:]))
    return Motif(idea.lengths, (*idea.steps[:-1], idea.steps[-1] + rng.choice((-2, -1, 1, 2))))


def _chord(plan: BarPlan, onset: int) -> Chord:
    return plan.chords[onset * len(plan.chords) // BAR]


def _on_chords(plan: BarPlan, idea: Motif, onsets: list[int], before: int, first: int, centre: int) -> list[int]:
    """Places in the scale that keep the shape of the idea where the chords and a singable line allow."""
    start = _chord(plan, 0).nearest(first)
    shape = [_within(start + step, centre) for step in idea.steps]
    made, sure = [before], _chord(plan, 0).holds(before)
    for place, (at, length) in enumerate(zip(onsets, idea.lengths, strict=True)):
        chord = _chord(plan, at)
        strong = at % (BAR // 2) == 0 or length >= 6
        moves = place > 0 and idea.steps[place] != idea.steps[place - 1]
        aims = shape[place], (shape[place:] + shape[-1:])[1]
        costs = _costs(chord, made[-1], aims, strong, centre)
        for option in costs:
            costs[option] += 1.5 * (moves and option == made[-1]) + 4 * (not sure and abs(option - made[-1]) > 1)
        made.append(min(costs, key=lambda option: (costs[option], option)))
        sure = chord.holds(made[-1])
    return made[1:]


def _costs(chord: Chord, before: int, aims: tuple[int, int], strong: bool, centre: int) -> dict[int, float]:
    """What a note may be, and how far it lies from its own aim, the note before and the aim of the next.

    Tones of the chord; on a weak place also what a step leads into and out of.
    """
    aim, after = aims
    costs = {}
    for option in range(max(aim - 4, centre - REACH), min(aim + 4, centre + REACH) + 1):
        leap, on = abs(option - before), abs(option - after)
        if chord.holds(option) or (not strong and leap <= 1 and on <= 1):
            costs[option] = abs(option - aim) + 0.6 * max(leap - 1, 0) + 0.3 * max(on - 1, 0)
    return costs


def _within(degree: int, centre: int) -> int:
    """Moved by octaves into the reach of the melody."""
    while degree > centre + REACH:
        degree -= 7
    while degree < centre - REACH:
        degree += 7
    return degree
