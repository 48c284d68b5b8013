"""Sound as a sum of decaying sinusoids, and short noises: what every built-in voice is made of."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.sound.timeline import RATE, Block, silence

TOP = 20_000.0
"""Hz; nothing at or above it is made, so that nothing folds back at half the sample rate."""
_STRIDE = 256
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Modes:
    """Sinusoids that start together: `frequency` Hz, `decay` 1/s, `phase` rad, all (n,); `amplitude` (n, 2) left and right."""

    frequency: Array
    decay: Array
    amplitude: Array
    phase: Array

    def sound(self, samples: int) -> Block:
        """Their first samples, rounded up to a whole stride; one matrix product, exact whatever the length."""
        kept = (self.frequency < TOP) & (np.abs(self.amplitude).max(1, initial=0) > 0)
        turn = (1j * 2 * np.pi * self.frequency[kept] - self.decay[kept]) / RATE
        strides = -(-samples // _STRIDE)
        far = np.exp(np.outer(np.arange(strides) * _STRIDE, turn))
        near = np.exp(1j * self.phase[kept] + np.outer(np.arange(_STRIDE), turn)).T[:, :, None] * self.amplitude[kept][:, None]
        left = np.hstack([far.real, -far.imag]).astype(np.float32)
        right = np.vstack([near.real, near.imag]).astype(np.float32).reshape(-1, 2 * _STRIDE)
        made: Block = (left @ right).reshape(-1, 2)
        return made


@dataclass(frozen=True)
class Hiss:
    """Noise between two frequencies (Hz) that decays (1/s), the same for the same `seed`."""

    low: float
    high: float
    decay: float
    amplitude: float
    seed: int

    def sound(self, samples: int) -> Block:
        """Its first samples; the same whatever the length."""
        length = min(samples, int(7 * RATE / self.decay))
        whole = 1 << int(7 * RATE / self.decay).bit_length()
        drawn = np.random.default_rng(self.seed).standard_normal((whole // 2 + 1, 2, 2)).view(np.complex128)[..., 0]
        hertz = np.fft.rfftfreq(whole, 1 / RATE)
        shape = (hertz / self.low) ** 2 / (1 + (hertz / self.low) ** 2) / (1 + (hertz / self.high) ** 4)
        noise = np.fft.irfft(drawn * (shape * (hertz < TOP))[:, None], whole, axis=0)
        fading = self.amplitude / noise.std() * np.exp(-self.decay / RATE * np.arange(length))
        return padded((noise[:length] * fading[:, None]).astype(np.float32), samples)


def padded(block: Block, samples: int) -> Block:
    """With silence behind it, or cut, to a length."""
    if len(block) >= samples:
        return block[:samples]
    return np.concatenate([block, silence(samples - len(block))])


@dataclass(frozen=True)
class Tone:
    """One note of one voice as it sounds while its key is down.

    `attack` s of its rise from silence, `release` s in which it falls by 60 dB when its key goes up (inf: it rings on),
    `life` s after which it cannot be heard even while the key is down.
    """

    modes: Modes
    hisses: tuple[Hiss, ...]
    attack: float
    release: float
    life: float

    def sound(self, samples: int) -> Block:
        """Its first samples, at most its life, with a rise at the start and, at the end of its life, a fall to silence."""
        alive = int(self.life * RATE)
        wave = self.modes.sound(min(samples, alive))[: min(samples, alive)]
        for hiss in self.hisses:
            wave += hiss.sound(len(wave))
        rise = min(max(int(self.attack * RATE), 16), len(wave))
        wave[:rise] *= ramp(rise)[:, None]
        last = alive - int(0.02 * RATE)
        if len(wave) > last:
            wave[last:] *= ramp(alive - last)[::-1][: len(wave) - last, None]
        return wave


def ramp(samples: int) -> NDArray[np.float32]:
    """From 0 to nearly 1 on half a cosine."""
    return (0.5 - 0.5 * np.cos(np.pi * np.arange(samples) / samples)).astype(np.float32)
