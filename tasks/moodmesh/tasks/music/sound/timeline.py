"""When each note of a piece starts and ends, in samples, bar after bar as they come."""

from __future__ import annotations

from itertools import groupby
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.notation.score import Note, Score
from moodmesh.tasks.music.notation.vocabulary import BAR, bpm, loudness

RATE = 44100
"""Samples a second."""
Block = NDArray[np.float32]
"""Sound: shape (samples, 2), left and right, full scale at 1."""


def silence(samples: int) -> Block:
    """So many samples of nothing."""
    return np.zeros((samples, 2), np.float32)


class Event(NamedTuple):
    """A key goes down (`velocity` 1..127) or up (0) at a sample counted from the start of the piece; `track` as in TRACKS."""

    at: int
    velocity: int
    track: int
    pitch: int


class Timeline:
    """Turns scores that follow each other into events; a key that is struck while it is down goes up first."""

    def __init__(self) -> None:
        self._sub_beats = 0
        self._seconds = 0.0
        self._lasting = 0.0
        self._held: dict[tuple[int, int], int] = {}

    @property
    def now(self) -> int:
        """The sample at which the last bar that was pushed ends."""
        return self._sample(self._sub_beats)

    def push(self, score: Score) -> list[Event]:
        """The events of the next bars, in order; notes that sound on beyond them end in a later push."""
        bars = {number: list(notes) for number, notes in groupby(score.notes, key=lambda note: note.bar)}
        return [event for number, step in enumerate(score.tempi) for event in self._bar(bars.get(number, []), step)]

    def finish(self) -> list[Event]:
        """The ends of all that still sounds, at the tempo of the last bar."""
        ends = [Event(self._sample(end), 0, *key) for key, end in self._held.items()]
        self._held = {}
        return sorted(ends)

    def _bar(self, notes: list[Note], step: int) -> list[Event]:
        self._lasting = 15 / bpm(step)
        events = []
        for note in notes:
            key, at = (note.track, note.pitch), self._sub_beats + note.beat
            if key in self._held:
                events.append(Event(self._sample(min(self._held[key], at)), 0, *key))
            events.append(Event(self._sample(at), loudness(note.velocity), *key))
            self._held[key] = at + note.duration
        line = self._sub_beats + BAR
        for key in [key for key, end in self._held.items() if end <= line]:
            events.append(Event(self._sample(self._held.pop(key)), 0, *key))
        self._seconds += BAR * self._lasting
        self._sub_beats = line
        return sorted(events)

    def _sample(self, sub_beat: int) -> int:
        return round((self._seconds + (sub_beat - self._sub_beats) * self._lasting) * RATE)
