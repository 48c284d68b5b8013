"""Drums by the General MIDI key map, of modes and noises; a key that is not on it knocks."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from moodmesh.tasks.music.sound.modes import Hiss, Modes, Tone

_KICK = [(52, 9, 1.3), (78, 22, 0.7), (118, 45, 0.5), (190, 90, 0.4)]
_SNARE = [(186, 18, 0.8), (331, 26, 0.5), (468, 36, 0.25)]
_TOM = [(1, 7, 1.3), (1.59, 14, 0.6), (2.14, 20, 0.35)]
"""Modes of a skin: Hz (times the pitch of the tom), decay 1/s, strength."""
_TOMS = {41: 82, 43: 98, 45: 115, 47: 135, 48: 158, 50: 185}
"""Pitch (Hz) of each tom."""


def drum(key: int, hard: float) -> Tone:
    """What striking a drum with force 0..1 sets off; it rings on when the key goes up."""
    loud = 1.8 * hard**1.5
    if key in (35, 36):
        return _skin(_KICK, Hiss(700, 3500, 200, 0.2 * loud, key), loud, 0.6)
    if key in (38, 40):
        return _skin(_SNARE, Hiss(700, 7000, 19, 0.5 * loud, key), loud, 0.4)
    if key in _TOMS:
        skin = [(ratio * _TOMS[key], decay, strength) for ratio, decay, strength in _TOM]
        return _skin(skin, Hiss(500, 4000, 120, 0.1 * loud, key), loud, 0.8)
    if key in (42, 44, 46):
        return _metal(7500, 14 if key == 46 else 70 if key == 42 else 90, 0.24, key, loud)
    if key in (49, 52, 55, 57):
        return _metal(2800, 3.2, 0.3, key, loud)
    if key in (51, 53, 59):
        return _metal(4500, 5.0, 0.12, key, loud)
    if key == 39:
        return _skin([], Hiss(900, 3000, 30, 0.7 * loud, key), loud, 0.3)
    knock = 320 * math.exp2((key - 60) / 24)
    return _skin([(knock, 50, 0.8), (2.7 * knock, 70, 0.6)], Hiss(900, 5000, 140, 0.08 * loud, key), loud, 0.3)


def _skin(modes: Sequence[tuple[float, float, float]], hiss: Hiss, loud: float, life: float) -> Tone:
    """A drum of (Hz, decay 1/s, strength) modes and a noise."""
    frequency, decay, strength = np.array(modes, np.float64).reshape(-1, 3).T
    pair = np.repeat(0.7 * loud * strength[:, None], 2, 1)
    return Tone(Modes(frequency, decay, pair, np.full(len(frequency), -np.pi / 2)), (hiss,), 0.001, math.inf, life)


def _metal(low: float, decay: float, strength: float, key: int, loud: float) -> Tone:
    """A cymbal: a bright noise and partials that no string has."""
    draw = np.random.default_rng(key)
    frequency = low * np.exp2(draw.random(24) * 1.6 - 0.6)
    amplitude = 0.12 * strength * loud * (0.5 + draw.random((24, 2)))
    ringing = Modes(frequency, decay * (0.7 + draw.random(24)), amplitude, 2 * np.pi * draw.random(24))
    return Tone(ringing, (Hiss(low, 15000, decay, strength * loud, key),), 0.001, math.inf, min(6.5 / decay, 2.5))
