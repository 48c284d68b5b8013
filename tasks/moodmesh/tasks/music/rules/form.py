"""The plan of a whole piece before its first note: phrases that return, their chords and their ends (systems S19)."""

from __future__ import annotations

from enum import IntEnum
from itertools import cycle
from random import Random
from typing import NamedTuple

from moodmesh.tasks.music.rules import harmony
from moodmesh.tasks.music.rules.harmony import Bars, Chord

PHRASE = 4
"""Bars in a phrase; a last one may be shorter."""
_FORMS = ("AABA", "AABA", "ABAC", "ABCA")


class End(IntEnum):
    """What a bar ends."""

    NOTHING = 0
    OPEN = 1
    CLOSED = 2
    PIECE = 3


class BarPlan(NamedTuple):
    """One bar: its chords (one, or one for each half), its phrase by letter, and where in it the bar stands.

    `again` counts how often the letter was heard before, `place` the bar within its phrase of `of` bars; `leads` is true of
    the bar before a close, whose last note leads into the tonic.
    """

    chords: tuple[Chord, ...]
    letter: str
    again: int
    place: int
    of: int
    end: End
    leads: bool


def seeded(seed: int, *names: object) -> Random:
    """A source of chance for one part of a piece, the same on every machine."""
    return Random(":".join(map(str, (seed, *names))))  # noqa: S311 - music, not secrets


def plan(minor: bool, bars: int, seed: int) -> tuple[BarPlan, ...]:
    """A piece of so many bars: phrases of four in a form like AABA, where a letter that returns keeps its opening chords."""
    letters = _letters(-(-bars // PHRASE), seeded(seed, "form"))
    made: list[BarPlan] = []
    for number, letter in enumerate(letters):
        again = letters[:number].count(letter)
        of = min(PHRASE, bars - len(made))
        last = number == len(letters) - 1
        closed = last or number % 2 == 1
        chords = _phrase(minor, letter, closed, of, seed)
        end = End.PIECE if last else End.CLOSED if closed else End.OPEN
        for place, chord in enumerate(chords):
            leads = closed and place == of - 2
            made.append(BarPlan(chord, letter, again, place, of, end if place == of - 1 else End.NOTHING, leads))
    return tuple(made)


def _letters(phrases: int, rng: Random) -> str:
    """A form of four phrases, then a middle part of its own in the same form, and so on in turn."""
    form = rng.choice(_FORMS)
    middle = form.translate(str.maketrans("ABC", "DEF"))
    sections = cycle((form, middle))
    letters = "".join(next(sections) for _ in range(-(-phrases // 4)))[:phrases]
    return letters[:-1] + "A" if phrases > 2 else letters


def _phrase(minor: bool, letter: str, closed: bool, of: int, seed: int) -> Bars:
    head = harmony.head(minor, letter not in "AD", seeded(seed, letter, "head"))
    tail = harmony.cadence(minor, closed, seeded(seed, letter, "closed" if closed else "open"), head[-1][-1].name)
    return (head + tail) if of == PHRASE else (head[:1] + tail)[-of:]
