"""A limiter that looks ahead: it turns down before a peak comes, so that nothing is cut off."""

from __future__ import annotations

import math

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from moodmesh.tasks.music.sound.timeline import RATE, Block, silence

CEILING = 10 ** (-1 / 20)
"""The highest peak that comes out, also between the samples: -1 dBFS."""
_STEP = 32
"""Samples that share one gain, with straight lines between."""
_AHEAD = 8
"""Steps looked ahead: 6 ms."""
_RELEASE = 1 - math.exp(-_STEP / (0.12 * RATE))
_OVER, _TAPS = 4, 24
"""Peaks are looked for at four times the rate, with so many samples about each."""
_SAFE = 0.5
"""Share of the ceiling below which no sample has a neighbour between the samples that is above it."""
_GUARD = 0.985
"""What the interpolation may miss of a peak, and the change of gain may add."""


class Limiter:
    """Makes blocks that follow each other louder by `gain`, their peaks below the ceiling; `finish` gives what it held back."""

    def __init__(self, gain: float) -> None:
        self._gain = np.float32(gain)
        self._waiting = silence(0)
        self._seen = silence(_TAPS)
        self._needs = np.ones(1)
        self._last = 1.0
        self._gains = np.zeros(0)

    def push(self, block: Block) -> Block:
        """As much as can be given by now."""
        self._waiting = np.concatenate([self._waiting, block * self._gain])
        steps = len(self._waiting) // _STEP - 1
        return self._limited(steps - _AHEAD) if steps > _AHEAD else silence(0)

    def finish(self) -> Block:
        """The rest."""
        length = len(self._waiting)
        padding = (_AHEAD + 3) * _STEP - length % _STEP
        return self.push(np.zeros((padding, 2), np.float32))[:length] if length else silence(0)

    def _limited(self, steps: int) -> Block:
        """The next so many steps; as many more as are looked ahead are waiting behind them, and a little."""
        samples = steps * _STEP
        needs = np.concatenate([self._needs, self._wanted(steps + _AHEAD)])
        held = sliding_window_view(needs, _AHEAD + 2).min(1)[: steps + 1]
        raw = self._released(held[:steps])
        if not len(self._gains):
            self._gains = np.full(_AHEAD, raw[0])  # what begins loud is turned down from its first sample
        line = np.convolve(np.concatenate([self._gains, raw]), np.full(_AHEAD, 1 / _AHEAD), "valid")
        gains = np.interp(np.arange(samples) / _STEP, np.arange(steps + 1), line)
        self._gains = np.concatenate([self._gains, raw])[-_AHEAD:]
        self._needs = needs[steps : steps + 1]
        self._seen = np.concatenate([self._seen, self._waiting[:samples]])[-_TAPS:]
        out, self._waiting = self._waiting[:samples] * gains[:, None].astype(np.float32), self._waiting[samples:]
        return out

    def _wanted(self, steps: int) -> NDArray[np.float64]:
        """The gain that each of the next steps would need of its own."""
        around = np.concatenate([self._seen, self._waiting[: (steps + 1) * _STEP]])
        if np.abs(around).max() < CEILING * _SAFE:
            return np.ones(steps)
        peaks = peaks_between(around)[_TAPS : _TAPS + steps * _STEP].reshape(steps, -1).max(1)
        needed: NDArray[np.float64] = np.minimum(1.0, CEILING * _GUARD / np.maximum(peaks, 1e-9))
        return needed

    def _released(self, held: NDArray[np.float64]) -> NDArray[np.float64]:
        """Down at once, up slowly."""
        if held.min(initial=1.0) >= 1 and self._last > 0.9999:
            self._last = 1.0
            return np.ones(len(held))
        out = np.empty(len(held))
        for step, wanted in enumerate(held.tolist()):
            self._last = min(wanted, self._last + (1 - self._last) * _RELEASE)
            out[step] = self._last
        return out


def peaks_between(block: Block) -> NDArray[np.float32]:
    """The highest magnitude of either channel at each sample and between it and the next, by interpolation."""
    left, right = np.abs(block.T)
    highest: NDArray[np.float32] = np.maximum(left, right)
    for phase in range(1, _OVER):
        place = np.arange(-_TAPS // 2 + 1, _TAPS // 2 + 1) - phase / _OVER
        weights = (np.sinc(place) * np.cos(np.pi * place / (_TAPS + 1)) ** 2)[::-1].astype(np.float32)
        for channel in np.ascontiguousarray(block.T):
            between = np.convolve(channel, weights / weights.sum())[_TAPS // 2 : _TAPS // 2 + len(channel)]
            np.maximum(highest, np.abs(between), out=highest)
    return highest
