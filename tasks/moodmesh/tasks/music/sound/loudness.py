"""How loud sound is by ITU-R BS.1770-4: K-weighted, gated, in LUFS; no scipy, so that a light node can."""

from __future__ import annotations

import math
from functools import cache

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.sound.timeline import RATE, Block, silence

_OFFSET = -0.691
_ABSOLUTE, _RELATIVE = -70.0, -10.0
_STEP, _STEPS = RATE // 10, 4
"""Samples between two gating blocks, and steps in a block: 400 ms that overlap by three quarters."""
_CHUNK, _RINGING = 1 << 16, 1 << 15
"""Samples weighted at a time; samples after which the weighting has forgotten."""


class Meter:
    """Integrated loudness of blocks that follow each other; keeps ten numbers a second."""

    def __init__(self) -> None:
        self._before = silence(_RINGING)
        self._rest = np.zeros(0)
        self._powers: list[NDArray[np.float64]] = []

    def push(self, block: Block) -> None:
        """Listen to the next block."""
        for at in range(0, len(block), _CHUNK):
            self._listen(block[at : at + _CHUNK])

    def _listen(self, part: Block) -> None:
        heard = np.concatenate([self._before, part])
        size = _RINGING + _CHUNK
        weighted = np.fft.irfft(np.fft.rfft(heard, size, axis=0) * _weighting(size)[:, None], size, axis=0)
        squares = (weighted[_RINGING : len(heard)] ** 2).sum(1)
        self._before = heard[-_RINGING:]
        squares = np.concatenate([self._rest, squares])
        whole = len(squares) // _STEP * _STEP
        self._powers.append(squares[:whole].reshape(-1, _STEP).mean(1))
        self._rest = squares[whole:]

    def integrated(self) -> float:
        """LUFS of all that was pushed; -inf for silence, or for less than 0.4 s."""
        steps = np.concatenate([np.zeros(0), *self._powers])
        blocks = np.convolve(steps, np.full(_STEPS, 1 / _STEPS), "valid") if len(steps) >= _STEPS else np.zeros(0)
        loud = blocks[blocks > _power(_ABSOLUTE)]
        if not len(loud):
            return -math.inf
        return _lufs(float(loud[loud > loud.mean() * 10 ** (_RELATIVE / 10)].mean()))


def _lufs(power: float) -> float:
    return _OFFSET + 10 * math.log10(power)


def _power(lufs: float) -> float:
    return float(10 ** ((lufs - _OFFSET) / 10))


@cache
def _weighting(size: int) -> NDArray[np.complex128]:
    """The two filters of the standard at our sample rate, by frequency, from the analogue filters behind its 48 kHz figures."""
    shelf = _biquad(1681.974450955533, 0.7071752369554196, 10 ** (3.999843853973347 / 20), 0.4996667741545416)
    rumble = _biquad(38.13547087602444, 0.5003270373238773, None, 0)
    turn = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size)
    answers = [(b[0] + b[1] * turn + b[2] * turn**2) / (1 + a[1] * turn + a[2] * turn**2) for b, a in (shelf, rumble)]
    answer: NDArray[np.complex128] = answers[0] * answers[1]
    return answer


def _biquad(hertz: float, quality: float, high: float | None, bend: float) -> tuple[list[float], list[float]]:
    """A high shelf of gain `high` (its middle gain is `high ** bend`), or without one a high pass."""
    k = math.tan(math.pi * hertz / RATE)
    whole = 1 + k / quality + k * k
    below = [1.0, 2 * (k * k - 1) / whole, (1 - k / quality + k * k) / whole]
    if high is None:
        return [1.0, -2.0, 1.0], below
    middle = high**bend
    above = [high + middle * k / quality + k * k, 2 * (k * k - high), high - middle * k / quality + k * k]
    return [value / whole for value in above], below
