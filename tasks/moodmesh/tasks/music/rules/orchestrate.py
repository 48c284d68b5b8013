"""A piano piece for more instruments, by rule: who doubles what, bar by bar (systems S19).

The models write for the piano alone; what the others play is taken from its notes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import QUARTERS, Note, Score, tidy
from moodmesh.tasks.music.notation.vocabulary import BAR

Ensemble = Literal["piano", "strings", "guitar", "trio", "band"]
_PLAYERS: dict[str, tuple[str, ...]] = {
    "piano": (),
    "strings": ("pad",),
    "guitar": ("guitar", "bass"),
    "trio": ("pad", "bass"),
    "band": ("pad", "bass", "drums"),
}
_KICK, _SNARE, _HAT = 36, 38, 42


def orchestrated(score: Score, ensemble: Ensemble) -> Score:
    """The score with the players of an ensemble beside the piano; every bar depends on itself alone."""
    players = _PLAYERS[ensemble]
    if not players:
        return score
    bars: dict[int, list[Note]] = {}
    for note in score.notes:
        if note.track == v.PIANO:
            bars.setdefault(note.bar, []).append(note)
    added: list[Note] = []
    for number, notes in bars.items():
        at = number * BAR
        added += _pad(notes, at) if "pad" in players else []
        added += _bass(notes, at) if "bass" in players else []
        added += _guitar(notes) if "guitar" in players else []
        added += _drums(notes, at) if "drums" in players else []
    return tidy([*score.notes, *added], score.tempi)


def _loudness(notes: list[Note]) -> int:
    return sum(note.velocity for note in notes) // len(notes)


def _pad(notes: list[Note], at: int) -> Iterator[Note]:
    """Strings hold, for each half of the bar, up to three pitches of the middle that sound longest in it."""
    for half in (at, at + BAR // 2):
        time: dict[int, int] = {}
        for note in notes:
            shared = min(note.onset + note.duration, half + BAR // 2) - max(note.onset, half)
            if shared > 0:
                pitch = 55 + (note.pitch - 55) % 12
                time[pitch] = time.get(pitch, 0) + shared
        for pitch in sorted(time, key=lambda pitch: (-time[pitch], pitch))[:3]:
            yield Note(half, v.STRINGS, pitch, max(0, _loudness(notes) - 8), BAR // 2)


def _bass(notes: list[Note], at: int) -> Iterator[Note]:
    """The bass plays the lowest note that begins in each half of the bar, in its own octave; while nothing low follows it holds
    what the piano holds."""
    end = at + BAR
    for half in (at + BAR // 2, at):
        low = [note for note in notes if half <= note.onset < half + BAR // 2 and note.pitch < 60]
        if low:
            lowest = min(low, key=lambda note: (note.pitch, note.onset))
            held = end if lowest.onset + lowest.duration > half + BAR // 2 else half + BAR // 2
            yield Note(half, v.BASS, 28 + (lowest.pitch - 28) % 12, lowest.velocity, held - half)
            end = half


def _guitar(notes: list[Note]) -> Iterator[Note]:
    """The guitar plucks the notes of the middle with the piano, softer."""
    for note in notes:
        if 48 <= note.pitch <= 72:
            yield note._replace(track=v.GUITAR, velocity=max(0, note.velocity - 6))


def _drums(notes: list[Note], at: int) -> Iterator[Note]:
    """Kick and snare by turns on the quarters, the hat in eighths; the less the piano plays, the fewer of them, and under a
    chord that is held throughout one kick alone."""
    loud = max(0, _loudness(notes) - 4)
    moments = len({note.onset for note in notes})
    if moments == 1:
        yield Note(at, v.DRUMS, _KICK, loud, 1)
        return
    step = QUARTERS // 2 if moments >= 8 else QUARTERS
    for place in range(0, BAR, step):
        yield Note(at + place, v.DRUMS, _HAT, max(0, loud - 12), 1)
    for place, drum in ((0, _KICK), (4, _SNARE), (8, _KICK), (12, _SNARE)):
        if moments >= 5 or place in (0, 8):
            yield Note(at + place, v.DRUMS, drum if moments >= 5 else _KICK, loud, 1)
