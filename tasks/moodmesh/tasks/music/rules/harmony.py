"""Chords in C major and A minor: a grammar of their functions, and how one is led to the next (systems S19)."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache, lru_cache
from random import Random
from typing import NamedTuple

_SCALE = (0, 2, 4, 5, 7, 9, 11)
"""Pitch classes of C major and of A minor."""


class Chord(NamedTuple):
    """A chord by its name in the key and its pitch classes, the root first."""

    name: str
    tones: tuple[int, ...]

    def pitch(self, degree: int) -> int:
        """The MIDI pitch of a place in the scale, 7 to the octave and 35 = C4, altered where the chord asks for it."""
        octave, place = divmod(degree, 7)
        plain = _SCALE[place]
        raised = plain + 1 in self.tones and plain + 1 not in _SCALE
        return 12 * octave + plain + raised

    def holds(self, degree: int) -> bool:
        """Whether that place in the scale is a tone of the chord."""
        return _places(self.tones)[degree % 7]

    def nearest(self, degree: int, tones: Sequence[int] = ()) -> int:
        """The place in the scale nearest to `degree` that is a tone of the chord, or one of `tones`; the lower of two."""
        pool = tones or self.tones
        return next(at for step in range(8) for at in (degree - step, degree + step) if self.pitch(at) % 12 in pool)


@cache
def _places(tones: tuple[int, ...]) -> tuple[bool, ...]:
    return tuple(Chord("", tones).pitch(place) % 12 in tones for place in range(7))


Options = tuple[tuple[Chord, float], ...]

_MAJOR_TONIC, _MINOR_TONIC = Chord("I", (0, 4, 7)), Chord("i", (9, 0, 4))
_MAJOR: dict[str, Options] = {
    "1": ((_MAJOR_TONIC, 1),),
    "T": ((_MAJOR_TONIC, 5), (Chord("vi", (9, 0, 4)), 3), (Chord("iii", (4, 7, 11)), 1)),
    "S": (
        (Chord("IV", (5, 9, 0)), 5),
        (Chord("ii", (2, 5, 9)), 3),
        (Chord("ii7", (2, 5, 9, 0)), 1),
        (Chord("II", (2, 6, 9)), 0.5),
    ),
    "D": ((Chord("V", (7, 11, 2)), 5), (Chord("V7", (7, 11, 2, 5)), 4)),
    "5": ((Chord("V", (7, 11, 2)), 1),),
}
_MINOR: dict[str, Options] = {
    "1": ((_MINOR_TONIC, 1),),
    "T": ((_MINOR_TONIC, 6), (Chord("VI", (5, 9, 0)), 3), (Chord("III", (0, 4, 7)), 0.7)),
    "S": ((Chord("iv", (2, 5, 9)), 5), (Chord("VI", (5, 9, 0)), 2), (Chord("ii°", (11, 2, 5)), 2)),
    "D": ((Chord("V", (4, 8, 11)), 5), (Chord("V7", (4, 8, 11, 2)), 3)),
    "5": ((Chord("V", (4, 8, 11)), 1),),
}
_HEADS = (("1", "T"), ("1", "S"), ("1", "TS"), ("1", "D"), ("1T", "S"))
_AWAY = (("S", "T"), ("S", "D"), ("T", "S"), ("ST", "SD"))
_OPEN = (("S", "5"), ("T", "5"), ("TS", "5"), ("S", "D5"))
_CLOSED = (("SD", "1"), ("SD", "1"), ("D", "1"), ("SD", "1"))

Bars = tuple[tuple[Chord, ...], ...]


def drawn(functions: Sequence[str], minor: bool, rng: Random, before: str = "") -> Bars:
    """Chords for the functions of each bar, one or two letters a bar: 1 tonic, T tonic or its kin, S, D, 5 plain dominant.

    The chord named `before`, and each after it, is seldom repeated.
    """
    table, bars = _MINOR if minor else _MAJOR, list[tuple[Chord, ...]]()
    for letters in functions:
        bar = []
        for letter in letters:
            options, weights = zip(*table[letter], strict=True)
            fresh = [weight * (0.2 if chord.name == before else 1) for chord, weight in zip(options, weights, strict=True)]
            bar.append(rng.choices(options, fresh)[0])
            before = bar[-1].name
        bars.append(tuple(bar))
    return tuple(bars)


def head(minor: bool, away: bool, rng: Random) -> Bars:
    """Two bars that open a phrase, from the tonic or (`away`) from elsewhere."""
    return drawn(rng.choice(_AWAY if away else _HEADS), minor, rng)


def cadence(minor: bool, closed: bool, rng: Random, before: str = "") -> Bars:
    """Two bars that end a phrase: on the tonic after the dominant, or open on the dominant."""
    return drawn(rng.choice(_CLOSED if closed else _OPEN), minor, rng, before)


def bass(chord: Chord, before: int, centre: int) -> int:
    """The root nearest to the bass note before and to the centre."""
    pool = [pitch for pitch in range(centre - 9, centre + 10) if pitch % 12 == chord.tones[0]]
    return min(pool, key=lambda pitch: (abs(pitch - before) + abs(pitch - centre), pitch))


@lru_cache(1 << 12)
def voicing(chord: Chord, voices: int, before: tuple[int, ...], centre: int) -> tuple[int, ...]:
    """`voices` tones of the chord close together, rising, that move least from the chord before and stay near the centre."""
    inner = _inner(chord, voices)
    tones = [pitch for pitch in range(centre - 14, centre + 15) if pitch % 12 in inner]
    pool = [tuple(tones[at : at + voices]) for at in range(len(tones) - voices + 1)]
    middle = sum(before) / len(before) if before else centre

    def effort(held: tuple[int, ...]) -> tuple[float, int]:
        moved = sum(min(abs(pitch - old) for old in before) for pitch in held) if before else 0
        mean = sum(held) / voices
        return moved + abs(mean - middle) + 1.5 * abs(mean - centre), held[0]

    return min(pool, key=effort)


def _inner(chord: Chord, voices: int) -> tuple[int, ...]:
    """The tones that matter most beside the bass: third and seventh before fifth and root."""
    root, third, fifth, *seventh = chord.tones
    return (third, *seventh, fifth, root)[:voices]
