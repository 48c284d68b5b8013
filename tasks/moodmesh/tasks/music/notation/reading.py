"""What a MIDI file loses when it is read: a score has 4/4 bars, one key of a piano once at a time, notes of one bar at most."""

from __future__ import annotations

from dataclasses import dataclass

MACHINE = "by a machine: Moodmesh"
"""In every text in which Moodmesh says of a piece who made it."""
SAID = 8000
"""Characters that are read of such texts: some fifty makers; of a longer one its end."""


@dataclass(frozen=True)
class Reading:
    """A file beside its score.

    `bars` of the score. `notes` of the file (those that end: a note-on without a note-off is none), and `kept` of them in the
    score: the rest are beyond a piano, sound effects, or one key of a track struck twice at once; `shortened` of those to a
    bar, or to where their key is struck again. `metres` of the file but 4/4, the first eight. `beyond` counts the bars of the
    score whose tempo is beyond 30 to 240 quarters a minute, at whose end they are played. `said` is what Moodmesh wrote in
    the file of who made it; "" for nothing.
    """

    bars: int
    notes: int
    kept: int
    shortened: int
    metres: tuple[str, ...]
    beyond: int = 0
    said: str = ""
