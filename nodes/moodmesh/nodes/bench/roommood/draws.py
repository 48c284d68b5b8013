"""What the mechanisms of rooms draw, many at once: the same distributions, from numpy's generator, for simulations only."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moodmesh.privacy.release.gaussian import SCALE
from moodmesh.privacy.release.privunit import DIRECTIONS, OUT, randomiser

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
REACH = 12
"""Standard deviations that the table has at least: beyond lies less than 10^-32."""
BLOCK = 4_000_000


class Noise:
    """Sums of `parts` discrete Gaussians of one `sigma`: by inversion of their weights, convolved, exact to about 10^-12."""

    def __init__(self, sigma: int, parts: int = 1) -> None:
        reach = 1 << int(REACH * sigma * parts**0.5).bit_length()  # a power of two, for the transform
        x = np.arange(-reach, reach, dtype=np.float64)
        weights = np.exp(-((x / sigma) ** 2) / 2)
        one = np.fft.rfft(np.fft.ifftshift(weights / weights.sum()))
        whole = np.clip(np.fft.fftshift(np.fft.irfft(one**parts, 2 * reach)), 0, None) if parts > 1 else weights
        self._first, self._below = -reach, np.cumsum(whole) / whole.sum()

    def draw(self, shape: tuple[int, ...], chance: np.random.Generator) -> Integers:
        """Independent ones."""
        found: Integers = self._first + np.searchsorted(self._below, chance.random(shape), side="right")
        return found


def noise_of_rooms(sigma: int, n: int, rooms: int, chance: np.random.Generator) -> Integers:
    """The noise of `n` members in each axis of many rooms, summed: shape (rooms, 2)."""
    parts = 10 if n % 10 == 0 else 1
    table, step = Noise(sigma, parts), max(1, BLOCK * parts // (2 * n))
    blocks = [min(step, rooms - at) for at in range(0, rooms, step)]
    return np.concatenate([table.draw((block, 2, n // parts), chance).sum(axis=2) for block in blocks])


def reports(moods: Floats, eps: int, chance: np.random.Generator) -> Integers:
    """Mode L's report on each mood of the disc, shape (..., 2): the steps of `privunit.draw`."""
    r, size = randomiser(eps), np.hypot(moods[..., 0], moods[..., 1])
    centre = np.rint(np.arctan2(moods[..., 1], moods[..., 0]) / (2 * np.pi) * DIRECTIONS).astype(np.int64)
    centre = np.where(size > 0, centre, chance.integers(DIRECTIONS, size=size.shape))
    centre = centre + np.where(2 * chance.random(size.shape) < 1 - size, DIRECTIONS // 2, 0)
    u = chance.integers(r.total, size=size.shape)
    inside = r.inside * r.arc
    step = np.where(u < inside, -r.half + u // r.inside, r.half + 1 + (u - inside) // OUT)
    found: Integers = np.array(r.table, dtype=np.int64)[(centre + step) % DIRECTIONS]
    return found


def quantised(moods: Floats) -> Integers:
    """Moods drawn to the disc, in integer units, rounded half to even."""
    size = np.maximum(1.0, np.hypot(moods[..., 0], moods[..., 1]))
    found: Integers = np.rint(SCALE * moods / size[..., None]).astype(np.int64)
    return found


def in_disc(shape: tuple[int, ...], chance: np.random.Generator, radius: float | None = None) -> Floats:
    """Moods all over the disc, or all so far from its centre."""
    size = np.sqrt(chance.random(shape)) if radius is None else np.full(shape, radius)
    angle = chance.random(shape) * 2 * np.pi
    return np.stack([size * np.cos(angle), size * np.sin(angle)], axis=-1)
