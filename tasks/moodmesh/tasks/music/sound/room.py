"""A light room about dry sound: early reflections, then a diffuse tail that loses its highs first. Nothing stays that is too
low to be heard, so that plucks and drums, all of which begin upwards, do not push the whole wave up."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.sound.timeline import RATE, Block, silence

TAIL = int(1.1 * RATE)
"""Samples that the room rings on."""
_STEP = 1 << 16
_WHOLE = 1 << 17
assert _STEP + TAIL <= _WHOLE
_LEVEL = 0.24
_WALLS = ((0.011, 0, 0.5), (0.0137, 1, 0.5), (0.019, 0, -0.35), (0.0233, 1, -0.38), (0.0291, 0, 0.3), (0.031, 1, 0.27))
"""Early reflections: seconds, side, strength."""
_BANDS = ((110, 500, 0.9), (500, 2000, 0.75), (2000, 6000, 0.5), (6000, 12000, 0.3))
"""The diffuse tail: from Hz, to Hz, seconds in which it falls by 60 dB."""
_LOWEST = 8.0
"""Hz; what both sides share below it is taken away, by 6 dB an octave."""


class Room:
    """Adds the room to blocks that follow each other; linear, so that seams between blocks make no difference."""

    def __init__(self) -> None:
        self._tail = silence(TAIL)

    def push(self, dry: Block) -> Block:
        """The next block, with the room."""
        wet = [self._part(dry[at : at + _STEP]) for at in range(0, len(dry), _STEP)]
        return np.concatenate(wet) if wet else dry

    def finish(self) -> Block:
        """What the room rings on."""
        return self._tail

    def _part(self, dry: Block) -> Block:
        spectrum = np.fft.rfft(dry.mean(1), _WHOLE)
        wet = np.fft.irfft(spectrum[:, None] * _response(), _WHOLE, axis=0)[: len(dry) + TAIL].astype(np.float32)
        wet[: len(dry)] += dry
        wet[:TAIL] += self._tail
        self._tail = wet[len(dry) :]
        return wet[: len(dry)]


@cache
def _response() -> NDArray[np.complex64]:
    """The room's answer to an impulse, by frequency, for left and right."""
    time = np.arange(TAIL) / RATE
    draw = np.random.default_rng(1)
    tail = np.zeros((TAIL, 2))
    for low, high, ringing in _BANDS:
        noise = np.fft.rfft(draw.standard_normal((TAIL, 2)), axis=0)
        hertz = np.fft.rfftfreq(TAIL, 1 / RATE)
        band = np.exp(-0.5 * (np.log2(np.maximum(hertz, 1) / np.sqrt(low * high)) / (0.45 * np.log2(high / low))) ** 2)
        tail += np.fft.irfft(noise * band[:, None], TAIL, axis=0) * 10 ** (-3 * time / ringing)[:, None]
    # the diffuse part grows out of the reflections of the walls, and has gone at the end
    tail *= (np.minimum(time / 0.03, 1) * np.clip((time[-1] - time) / 0.1, 0, 1))[:, None]
    tail /= np.sqrt((tail**2).sum(0))
    for delay, side, gain in _WALLS:
        tail[int(delay * RATE), side] += gain
    slow = np.exp(-2 * np.pi * _LOWEST * time)
    heard = _LEVEL * tail - (slow / slow.sum())[:, None]
    answer: NDArray[np.complex64] = np.fft.rfft(heard, _WHOLE, axis=0).astype(np.complex64)
    return answer
