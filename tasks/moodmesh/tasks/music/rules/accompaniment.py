"""What the left hand plays: figures of bass and chord from held chords to arpeggios (systems S19)."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from moodmesh.tasks.music.notation.vocabulary import BAR
from moodmesh.tasks.music.rules import harmony
from moodmesh.tasks.music.rules.form import BarPlan, End

HALF = BAR // 2


class Figure(NamedTuple):
    """What begins at each place of a half bar: `b` the bass, `c` the chord, digits its tones from below, then octaves up.

    `second` is the other half, where the chord stays.
    """

    name: str
    first: dict[int, str]
    second: dict[int, str]


def _even(name: str, first: str, second: str = "") -> Figure:
    """A figure of words that begin at equal distances."""
    halves = [words.split() for words in (first, second or first)]
    return Figure(name, *({at * HALF // len(words): word for at, word in enumerate(words)} for words in halves))


FIGURES = (
    Figure("held", {0: "bc"}, {}),
    _even("halves", "bc"),
    _even("spread", "b", "c"),
    _even("bass and chord", "b c"),
    _even("chords", "bc c"),
    _even("slow broken", "b 0", "1 2"),
    _even("broken", "b 0 1 2"),
    _even("Alberti", "b0 2 1 2", "0 2 1 2"),
    _even("pulse", "bc c c c", "c c c c"),
    _even("wide arpeggio", "b 0 1 2", "3 2 1 0"),
    Figure("gallop", {0: "b", 2: "c", 3: "c", 4: "b", 6: "c", 7: "c"}, {0: "b", 2: "c", 3: "c", 4: "b", 6: "c", 7: "c"}),
    _even("running arpeggio", "b 0 1 2 3 4 3 2", "1 2 3 4 5 4 3 2"),
)
"""From still to busy."""


class Thickness(NamedTuple):
    """How full it sounds: notes in the chord, whether broken ones sound on to the next chord, octaves in bass and melody."""

    voices: int
    pedal: bool
    bass_octave: bool
    melody_octave: bool


THICKNESS = (
    Thickness(1, False, False, False),
    Thickness(2, False, False, False),
    Thickness(2, True, False, False),
    Thickness(3, False, False, False),
    Thickness(3, True, False, False),
    Thickness(3, True, True, False),
    Thickness(4, True, True, False),
    Thickness(4, True, True, True),
)
"""From thin to full."""


class Struck(NamedTuple):
    """A note of the accompaniment in its bar: where it begins, the sub-beats it may sound, its pitch, whether it is bass."""

    onset: int
    slot: int
    pitch: int
    low: bool


def figure(moments: float, rng: Random) -> Figure:
    """One that leaves the melody something to add to so many moments a bar."""
    sizes = [len(one.first) + len(one.second) for one in FIGURES]
    most = max((size for size in sizes if size <= 0.75 * moments), default=1)
    return rng.choice([one for one, size in zip(FIGURES, sizes, strict=True) if size == most])


def moments(played: Figure, plan: BarPlan) -> frozenset[int]:
    """Where notes of the accompaniment begin in that bar; the end of a piece is one held chord."""
    return frozenset(at for at, _ in _words(played, plan))


def bar(
    played: Figure, plan: BarPlan, thick: Thickness, centre: int, before: Sequence[int]
) -> tuple[list[Struck], tuple[int, ...]]:
    """The accompaniment of one bar about `centre`, and the pitches that the next goes on from as this from `before`.

    They are the bass and then the chord; there are none before the first bar.
    """
    held = tuple(before)
    made: list[Struck] = []
    words = _words(played, plan)
    for part, chord in enumerate(plan.chords):
        start, end = part * BAR // len(plan.chords), (part + 1) * BAR // len(plan.chords)
        low = harmony.bass(chord, held[0] if held else centre - 12, centre - 12)
        held = (low, *harmony.voicing(chord, thick.voices, held[1:], centre + 3))
        inside = [(at, word) for at, word in words if start <= at < end]
        for place, (at, word) in enumerate(inside):
            until = end if thick.pedal and "c" not in word else inside[place + 1][0] if place + 1 < len(inside) else end
            bass_until = next((later for later, other in inside[place + 1 :] if "b" in other), end if thick.pedal else until)
            for pitch, deep in _pitches(word, held, thick):
                made.append(Struck(at, (bass_until if deep else until) - at, pitch, deep))
    return made, held


def _words(played: Figure, plan: BarPlan) -> list[tuple[int, str]]:
    if plan.end == End.PIECE:
        return [(0, "bc")]
    second = played.second if len(plan.chords) == 1 else played.first
    return [*sorted(played.first.items()), *((HALF + at, word) for at, word in sorted(second.items()))]


def _pitches(word: str, held: Sequence[int], thick: Thickness) -> list[tuple[int, bool]]:
    """The pitches of one word, each with whether it is the bass."""
    made: list[tuple[int, bool]] = []
    chord = held[1:]
    for letter in word:
        if letter == "b":
            made += [(held[0], True), *([(held[0] - 12, True)] if thick.bass_octave else [])]
        elif letter == "c":
            made += [(pitch, False) for pitch in chord]
        else:
            octave, tone = divmod(int(letter), len(chord))
            made.append((chord[tone] + 12 * octave, False))
    return made
