"""The built-in synthesiser: keys go down and up, sound comes out, on any device that has numpy."""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.sound.modes import Tone, ramp
from moodmesh.tasks.music.sound.timeline import RATE, Block, Event, silence
from moodmesh.tasks.music.sound.voices import tone

_LAYER = 8
"""Velocities that share one synthesis, that of their middle; they differ in loudness only."""
_CACHE = 64 << 20
"""Bytes of notes that are kept."""
_GAIN = 0.18
_LONGEST = 3.0
"""Seconds that anything rings on after its key went up."""


@lru_cache(1024)
def _tone(track: int, pitch: int, layer: int) -> Tone:
    return tone(track, pitch, _LAYER * layer + _LAYER // 2)


class Notes:
    """Notes as they sound while their key is down, kept while there is room; no note depends on what was asked before."""

    def __init__(self, room: int = _CACHE) -> None:
        self._room = room
        self._kept: OrderedDict[tuple[int, int, int, int], Block] = OrderedDict()
        self._bytes = 0

    def sound(self, track: int, pitch: int, velocity: int, samples: int) -> Block:
        """At least so many samples of a note, unless its life is shorter; not to be written to."""
        layer = velocity // _LAYER
        size = math.ceil(math.log2(max(samples, RATE / 2)))
        key = (track, pitch, layer, size)
        if key in self._kept:
            self._kept.move_to_end(key)
            return self._kept[key]
        made = _tone(track, pitch, layer).sound(1 << size)
        self._kept[key] = made
        self._bytes += made.nbytes
        while self._bytes > self._room and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return made


@dataclass
class _Key:
    """A key that is down since sample `since`; it has been mixed up to sample `mixed`."""

    since: int
    mixed: int
    velocity: int


class Synth:
    """Mixes notes into blocks that follow each other without a seam.

    The same events give the same samples, to the byte on one machine with one number of threads, else to rounding.
    """

    name = "built-in"

    def __init__(self, notes: Notes | None = None) -> None:
        self._notes = notes or Notes()
        self._mix = silence(0)
        self._now = 0
        self._down: dict[tuple[int, int], _Key] = {}

    def sound(self, events: Sequence[Event], until: int) -> Block:
        """From where the last call ended to sample `until`; all events, in order, lie between."""
        for event in events:
            self._up(event)
            if event.velocity:
                self._down[event.track, event.pitch] = _Key(event.at, event.at, event.velocity)
        for (track, pitch), key in self._down.items():
            self._add(track, pitch, key, until, 0)
        return self._taken(until - self._now)

    def finish(self) -> Block:
        """What rings on after all keys went up."""
        return self._taken(len(self._mix))

    def _taken(self, samples: int) -> Block:
        self._grow(samples)
        out, self._mix = self._mix[:samples], self._mix[samples:]
        self._now += samples
        return out

    def _grow(self, samples: int) -> None:
        if samples > len(self._mix):
            self._mix = np.concatenate([self._mix, silence(samples - len(self._mix))])

    def _up(self, event: Event) -> None:
        key = self._down.pop((event.track, event.pitch), None)
        if key is not None:
            held = _tone(event.track, event.pitch, key.velocity // _LAYER)
            self._add(event.track, event.pitch, key, event.at, held.release)

    def _add(self, track: int, pitch: int, key: _Key, until: int, release: float) -> None:
        """Mix a key up to where it goes up, and what it rings after that: for `release` s, or to the end of its life (inf)."""
        ringing = 0 if release == 0 else int(min(release, _LONGEST) * RATE)
        wave = self._notes.sound(track, pitch, key.velocity, until + ringing - key.since)
        part = wave[key.mixed - key.since : until + ringing - key.since] * _level(key.velocity)
        ended = until - key.mixed
        if ringing and math.isfinite(release) and ended < len(part):
            part[ended:] *= _released(ringing)[: len(part) - ended, None]
        at = key.mixed - self._now
        self._grow(at + len(part))
        self._mix[at : at + len(part)] += part
        key.mixed = until


def _level(velocity: int) -> np.float32:
    """What a velocity is louder than the middle of its layer."""
    return np.float32(_GAIN * (velocity / (_LAYER * (velocity // _LAYER) + _LAYER // 2)) ** 1.6)


@lru_cache(256)
def _released(samples: int) -> NDArray[np.float32]:
    """A fall by 60 dB that ends in silence."""
    fall: NDArray[np.float32] = np.exp(-math.log(1000) * np.arange(samples) / samples).astype(np.float32)
    return fall * ramp(samples)[::-1] ** np.float32(0.25)
