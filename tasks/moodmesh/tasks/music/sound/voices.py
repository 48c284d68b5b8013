"""The five built-in voices: which modes and noises a key of a given pitch and velocity sets off.

Inharmonicity of piano strings after Rigaud, David and Daudet (2013); two-stage decay by two polarisations of each string.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.sound.drums import drum
from moodmesh.tasks.music.sound.modes import TOP, Array, Hiss, Modes, Tone

_LN1000 = math.log(1000)
_CENTS = np.array((-5.6, 0.9, -2.1, 4.1, -3.7, 2.3, 5.9, -0.7))
"""How far each player of the strings is out of tune, by seat from left to right; who is nearer is heard more."""
_UNDAMPED = 90
"""From here on piano strings have no dampers."""


def tone(track: int, pitch: int, velocity: int) -> Tone:
    """What a key of a track (as in TRACKS) at MIDI `pitch` and `velocity` (1..127) sets off."""
    return _VOICES[track](pitch, velocity / 127)


def hertz(pitch: int) -> float:
    """Equal temperament at 440 Hz."""
    return 440.0 * math.exp2((pitch - 69) / 12)


def _piano(pitch: int, hard: float) -> Tone:
    fundamental = hertz(pitch)
    order = np.arange(1, max(2, min(60, int(TOP / fundamental) + 1)))
    stiff = math.exp(0.0926 * pitch - 13.64) + math.exp(-0.0847 * pitch - 5.82)
    partial = order * fundamental * np.sqrt((1 + stiff * order**2) / (1 + stiff))
    struck = 0.12 + np.abs(np.sin(np.pi * order / 8.3))
    cut = (170 + 1900 * hard**1.4) * math.exp2((pitch - 60) / 32)
    board = partial / np.hypot(partial, 75)
    strength = struck * board * (1 + (partial / cut) ** 2) ** -0.95 * order**-0.35
    strength *= hard**1.6 / math.sqrt((strength**2).sum())
    ring = float(np.exp(np.interp(pitch, (21, 48, 60, 72, 84, 96, 108), np.log((22, 15, 11, 7, 3.5, 1.6, 0.7)))))
    slow = _LN1000 / ring + 2.5e-7 * partial**2
    fast = 2.6 * slow + 0.4
    wide = _spread(pitch, len(order), 0.22)
    place = _panned((pitch - 64) / 90)
    beat = (0.12 + 0.25 * _random(pitch + 1000, len(order))) * min(1.0, fundamental / 150)
    phase = np.pi * (np.round(_random(pitch + 3000, len(order))) - 0.5)
    strings = Modes(
        np.concatenate([partial, partial + beat]),
        np.concatenate([fast, slow]),
        np.concatenate([0.72 * strength[:, None] * wide, 0.28 * strength[:, None] * wide[:, ::-1]]) * place,
        np.concatenate([phase, phase + np.pi * (_random(pitch, len(order)) - 0.5)]),
    )
    knock = Hiss(90, 500 + 900 * hard, 55, 0.045 * hard**1.8, pitch)
    click = Hiss(1200, 5000, 160, 0.02 * hard**2.2, pitch + 500)
    release = math.inf if pitch >= _UNDAMPED else 0.8 - 0.004 * (pitch - v.LOWEST)
    return Tone(strings, (knock, click), 0.0035 - 0.002 * hard, release, min(ring * 1.1, 10.0))


def _plucked(pitch: int, hard: float, place: float, cut: float, ring: float, pan: float) -> Tone:
    """A string plucked at a share of its length."""
    fundamental = hertz(pitch)
    order = np.arange(1, max(2, min(50, int(TOP / fundamental) + 1)))
    partial = order * fundamental * np.sqrt(1 + 4e-5 * (order**2 - 1))
    strength = (0.06 + np.abs(np.sin(np.pi * order * place))) / order * (1 + (partial / (cut * (0.5 + hard))) ** 2) ** -0.8
    strength *= 0.8 * hard**1.5 / math.sqrt((strength**2).sum())
    decay = _LN1000 / (ring * math.exp2((52 - pitch) / 24)) + 5e-4 * partial + 3e-7 * partial**2
    modes = Modes(
        np.concatenate([partial, partial * 1.0007]),
        np.concatenate([1.1 * decay, 0.5 * decay]),
        np.concatenate([0.7 * strength[:, None] * _spread(pitch, len(order), 0.15), 0.3 * strength[:, None] * np.ones(2)])
        * _panned(pan),
        np.tile(_random(pitch, len(order)) * 0.6 - np.pi / 2, 2),
    )
    pluck = Hiss(300, 2500, 180, 0.04 * hard**1.5, pitch)
    return Tone(modes, (pluck,), 0.002, 0.4, min(ring * math.exp2((52 - pitch) / 24) * 1.5, 9.0))


def _guitar(pitch: int, hard: float) -> Tone:
    return _plucked(pitch, hard, 0.19, 1500, 5.5, -0.3)


def _bass(pitch: int, hard: float) -> Tone:
    return _plucked(pitch, hard, 0.27, 400, 5.0, 0.05)


def _strings(pitch: int, hard: float) -> Tone:
    """Eight players a little out of tune with each other, each at a place of its own."""
    fundamental, players = hertz(pitch), len(_CENTS)
    order = np.arange(1, max(2, min(32, int(TOP / fundamental) + 1)))
    frequency = np.outer(np.exp2(_CENTS / 1200), order * fundamental).ravel()
    cut = 900 + 2200 * hard
    strength = np.outer(np.exp(-((_CENTS / 4) ** 2)), 1 / order).ravel() * (1 + (frequency / cut) ** 2) ** -0.6
    strength *= frequency / np.hypot(frequency, 180) * (1 + 0.6 * np.exp(-(np.log2(frequency / 1100) ** 2) * 3))
    strength *= 0.33 * hard**1.3 / math.sqrt((strength**2).sum())
    seats = np.concatenate([_panned(place) for place in np.linspace(-0.5, 0.7, players)])
    modes = Modes(
        frequency,
        np.full(len(frequency), 0.05),
        strength[:, None] * np.repeat(seats, len(order), 0),
        _random(pitch + 77, len(frequency)) * 2 * np.pi,
    )
    return Tone(modes, (), 0.13 - 0.08 * hard, 0.45, 12.0)


_VOICES: tuple[Callable[[int, float], Tone], ...] = (drum, _piano, _guitar, _bass, _strings)


def _panned(place: float) -> Array:
    """Left and right gains of a place from -1 to 1, of equal power, (1, 2)."""
    angle = (min(max(place, -1.0), 1.0) + 1) * math.pi / 4
    return np.array([[math.cos(angle), math.sin(angle)]]) * math.sqrt(2)


def _random(seed: int, count: int) -> Array:
    return np.random.default_rng(seed).random(count)


def _spread(seed: int, count: int, depth: float) -> Array:
    """Gains about 1 that differ between left and right, (count, 2)."""
    tilt = depth * (2 * _random(seed + 2000, count) - 1)
    return np.stack([1 + tilt, 1 - tilt], 1)
