"""The tune of a piece: its highest line."""

from __future__ import annotations

from collections.abc import Iterable

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Note


def tune(notes: Iterable[Note]) -> frozenset[Note]:
    """The highest note of each moment that no higher note of the tune still sounds over; drums and bass play none of it."""
    highest: dict[int, Note] = {}
    for note in notes:
        if note.track not in (v.DRUMS, v.BASS):
            before = highest.get(note.onset)
            highest[note.onset] = note if before is None or note.pitch > before.pitch else before
    line: list[Note] = []
    for onset in sorted(highest):
        note = highest[onset]
        if not line or note.pitch >= line[-1].pitch or line[-1].onset + line[-1].duration <= onset:
            line.append(note)
    return frozenset(line)
