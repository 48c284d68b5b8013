"""What a MIDI file loses when it is read: a score has 4/4 bars, one key of a piano once at a time, notes of one bar at most."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Reading:
    """A file beside its score.

    `bars` of the score. `notes` of the file, and `kept` of them in the score: the rest are beyond a piano, sound effects, or
    one key of a track struck twice at once; `shortened` of those to a bar, or to where their key is struck again. `metres` of
    the file but 4/4, the first eight. `beyond` counts the bars of the score whose tempo is beyond 30 to 240 quarters a minute,
    at whose end they are played.
    """

    bars: int
    notes: int
    kept: int
    shortened: int
    metres: tuple[str, ...]
    beyond: int = 0
