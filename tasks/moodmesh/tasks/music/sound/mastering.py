"""A piece at the loudness that is wanted, whole or while it is being made."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO

import numpy as np

from moodmesh.tasks.music.sound.limiter import CEILING, Limiter
from moodmesh.tasks.music.sound.loudness import Meter
from moodmesh.tasks.music.sound.timeline import RATE, Block, silence

TARGET = -16.0
"""LUFS."""
_NEAR = 0.2
_ROUNDS = 4
_MOST = 40.0
"""dB that anything is made louder at most: what is nearly silence stays so."""
_LIVE = (0.0, 24.0)
"""dB that a piece is made louder, at least and at most, while it is being made."""
_STEP = 1 << 16


def mastered(blocks: Iterable[Block], target: float = TARGET) -> Iterator[Block]:
    """The blocks at a loudness (LUFS), as far as peaks below -1 dBFS allow; of the same length in all; silence stays silence.

    What is to be heard whole waits in a temporary file, so that memory does not grow with it.
    """
    with tempfile.TemporaryFile() as kept:
        meter, highest = Meter(), 0.0
        for block in blocks:
            meter.push(block)
            highest = max(highest, float(np.abs(block).max(initial=0)))
            kept.write(block.tobytes())
        loudness = meter.integrated()
        if math.isfinite(loudness):
            gain = min(target - loudness, _MOST)
            limits = highest * _factor(gain) > CEILING / 2
            yield from _limited(_read(kept), _found(kept, gain, target) if limits else gain)
        else:
            yield from _read(kept)


def _found(kept: IO[bytes], gain: float, target: float) -> float:
    """The gain (dB) after which the limited piece is as loud as is wanted; what the limiter takes is added again."""
    for _ in range(_ROUNDS):
        meter = Meter()
        for block in _limited(_read(kept), gain):
            meter.push(block)
        missing = target - meter.integrated()
        if abs(missing) < _NEAR or gain + missing > _MOST:
            break
        gain += missing
    return gain


def live(blocks: Iterable[Block], target: float = TARGET, opening: float = 2.0) -> Iterator[Block]:
    """The blocks as they come, with peaks below -1 dBFS; the gain is that which their first `opening` s need, and stays."""
    waiting: list[Block] = []
    limiter: Limiter | None = None
    for block in blocks:
        if limiter is None:
            if not waiting and not block.any():
                yield block  # a rest at the start says nothing of how loud the piece is
                continue
            waiting.append(block)
            if sum(map(len, waiting)) < opening * RATE:
                continue
            limiter, block = _opened(waiting, target), np.concatenate(waiting)
        yield limiter.push(block)
    if limiter is None:
        limiter = _opened(waiting, target)
        yield limiter.push(np.concatenate([silence(0), *waiting]))
    yield limiter.finish()


def _opened(waiting: list[Block], target: float) -> Limiter:
    meter = Meter()
    for block in waiting:
        meter.push(block)
    return Limiter(_factor(min(max(target - meter.integrated(), _LIVE[0]), _LIVE[1])))


def _limited(blocks: Iterable[Block], gain: float) -> Iterator[Block]:
    limiter = Limiter(_factor(gain))
    yield from map(limiter.push, blocks)
    yield limiter.finish()


def _factor(decibels: float) -> float:
    return float(10 ** (decibels / 20))


def _read(kept: IO[bytes]) -> Iterator[Block]:
    kept.seek(0)
    while data := kept.read(_STEP * silence(1).nbytes):
        yield np.frombuffer(data, np.float32).reshape(-1, 2)
