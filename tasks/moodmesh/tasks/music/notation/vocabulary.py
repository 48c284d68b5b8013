"""The 923 tokens of symbolic music (systems S16): names and numbers of what one token can say."""

from __future__ import annotations

import math
from bisect import bisect_left
from enum import IntEnum

TRACKS = ("drums", "piano", "guitar", "bass", "strings")
DRUMS, PIANO, GUITAR, BASS, STRINGS = range(len(TRACKS))

BAR = 16
"""Sub-beats (sixteenths) in a bar, and the longest duration of a note."""
LOWEST, HIGHEST = 21, 108
"""The pitches of a piano, as MIDI note numbers; both are inside."""
PITCHES = HIGHEST - LOWEST + 1
VELOCITIES = 64
TEMPI = 64

PAD, EOS, BAR_LINE = range(3)
_BEATS = 3
_TEMPI = _BEATS + BAR
_NOTES = _TEMPI + TEMPI
_PER_TRACK = PITCHES + VELOCITIES + BAR
SIZE = _NOTES + len(TRACKS) * _PER_TRACK
assert SIZE == 923


class Kind(IntEnum):
    """What a token says."""

    PAD = 0
    EOS = 1
    BAR = 2
    BEAT = 3
    TEMPO = 4
    PITCH = 5
    VELOCITY = 6
    DURATION = 7


def beat(sub_beat: int) -> int:
    """The token of a place in the bar, 0 to 15."""
    return _BEATS + sub_beat


def tempo(step: int) -> int:
    """The token of a tempo step, 0 to 63 (`bpm`)."""
    return _TEMPI + step


def pitch(track: int, note: int) -> int:
    """The token of a MIDI note number, 21 to 108, on a track."""
    return _NOTES + track * _PER_TRACK + note - LOWEST


def velocity(track: int, step: int) -> int:
    """The token of a velocity step, 0 to 63 (`loudness`)."""
    return _NOTES + track * _PER_TRACK + PITCHES + step


def duration(track: int, sub_beats: int) -> int:
    """The token of a duration, 1 to 16 sub-beats."""
    return _NOTES + track * _PER_TRACK + PITCHES + VELOCITIES + sub_beats - 1


def meaning(token: int) -> tuple[Kind, int, int]:
    """(kind, track, value) of a token, the value as the function of that kind takes it; track 0 where there is none."""
    if not 0 <= token < SIZE:
        raise ValueError(f"token {token} is not in 0..{SIZE - 1}")
    return _MEANINGS[token]


def _meaning(token: int) -> tuple[Kind, int, int]:
    if token < _BEATS:
        return Kind(token), 0, 0
    if token < _TEMPI:
        return Kind.BEAT, 0, token - _BEATS
    if token < _NOTES:
        return Kind.TEMPO, 0, token - _TEMPI
    track, place = divmod(token - _NOTES, _PER_TRACK)
    if place < PITCHES:
        return Kind.PITCH, track, place + LOWEST
    if place < PITCHES + VELOCITIES:
        return Kind.VELOCITY, track, place - PITCHES
    return Kind.DURATION, track, place - PITCHES - VELOCITIES + 1


_MEANINGS = tuple(_meaning(token) for token in range(SIZE))


def name(token: int) -> str:
    """As the specification has it: `Bar`, `Beat_4`, `Tempo_120`, `Pitch-Piano_60`, `Duration-Piano_4`."""
    kind, track, value = meaning(token)
    if kind <= Kind.BAR:
        return ("PAD", "EOS", "Bar")[kind]
    if kind == Kind.BEAT:
        return f"Beat_{value}"
    if kind == Kind.TEMPO:
        return f"Tempo_{bpm(value):.4g}"
    shown = loudness(value) if kind == Kind.VELOCITY else value
    return f"{kind.name.capitalize()}-{TRACKS[track].capitalize()}_{shown}"


def bpm(step: int) -> float:
    """Quarters a minute of a tempo step: 30 to 240 in 63 equal ratios of 2^(1/21), so that a step is off by 1.7 % at most."""
    return 30.0 * math.exp2(step / 21)


_BETWEEN = tuple(30.0 * math.exp2((step + 0.5) / 21) for step in range(TEMPI - 1))


def tempo_step(quarters_a_minute: float) -> int:
    """The step nearest to a tempo by ratio; tempi outside 30..240 go to the end of the scale."""
    return bisect_left(_BETWEEN, quarters_a_minute)


def loudness(step: int) -> int:
    """MIDI velocity of a velocity step: 1, 3 ... 127."""
    return 2 * step + 1


def velocity_step(velocity: int) -> int:
    """The step of a MIDI velocity 0..127."""
    return min(max(velocity, 0), 127) // 2


NAMES = tuple(name(token) for token in range(SIZE))
"""Name of every token, by its number."""
NUMBERS = {named: token for token, named in enumerate(NAMES)}
"""Number of every token, by its name."""
