"""A piece of music on the grid of sixteenths: the form that MIDI is read into and tokens are made of (systems S16)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation.vocabulary import BAR, DRUMS, HIGHEST, LOWEST, TEMPI, TRACKS, VELOCITIES, bpm

QUARTERS = BAR // 4


class Note(NamedTuple):
    """One note; notes sort by (onset, track, pitch), the order of the tokens.

    `onset` counts sub-beats from the start of the piece, `duration` sub-beats (1..16), `velocity` is a step (0..63),
    `pitch` a MIDI note number (21..108), `track` an index into TRACKS.
    """

    onset: int
    track: int
    pitch: int
    velocity: int
    duration: int

    @property
    def bar(self) -> int:
        """The bar it begins in, from 0."""
        return self.onset // BAR

    @property
    def beat(self) -> int:
        """Its place in that bar, 0..15."""
        return self.onset % BAR


@dataclass(frozen=True)
class Score:
    """A piece: notes in order, and one tempo step (0..63) a bar; there are as many bars as tempi.

    No two notes of one track and pitch sound at once. A note of the last bar may sound on after its end.
    `tidy` makes one of any notes; the constructor refuses with ValueError what is out of order or range.
    """

    notes: tuple[Note, ...]
    tempi: tuple[int, ...]

    def __post_init__(self) -> None:
        free: dict[tuple[int, int], int] = {}
        before, length = (-1, 0, 0), self.length
        for note in self.notes:
            onset, track, pitch, velocity, duration = note
            if not (
                before < note[:3]
                and free.get((track, pitch), 0) <= onset < length
                and 0 <= track < len(TRACKS)
                and LOWEST <= pitch <= HIGHEST
                and 0 <= velocity < VELOCITIES
                and 1 <= duration <= BAR
            ):
                raise ValueError(f"{note} is out of range or order, or sounds twice; `tidy` makes a score of any notes")
            free[track, pitch] = onset + duration
            before = note[:3]
        if not all(0 <= step < TEMPI for step in self.tempi):
            raise ValueError(f"a tempo step is outside 0..{TEMPI - 1}")

    @property
    def bars(self) -> int:
        """How many bars it has."""
        return len(self.tempi)

    @property
    def length(self) -> int:
        """Its length in sub-beats."""
        return len(self.tempi) * BAR

    @property
    def seconds(self) -> float:
        """How long it takes to play, to the end of its last bar."""
        return sum(QUARTERS * 60 / bpm(step) for step in self.tempi)


def tidy(notes: Iterable[Note], tempi: Sequence[int]) -> Score:
    """The score of any notes with pitches, velocities and tracks in range.

    Notes that double another of the same onset, track and pitch become one, the loudest and longest of both; a note that
    still sounds when its pitch is struck again ends there; notes outside the bars of `tempi` fall away.
    """
    merged: dict[tuple[int, int, int], Note] = {}
    for note in notes:
        if twin := merged.get(note[:3]):
            note = note._replace(velocity=max(note.velocity, twin.velocity), duration=max(note.duration, twin.duration))
        merged[note[:3]] = note if 1 <= note.duration <= BAR else note._replace(duration=min(max(note.duration, 1), BAR))
    later: dict[tuple[int, int], int] = {}
    kept = []
    for note in sorted(merged.values(), reverse=True):
        if 0 <= note.onset < len(tempi) * BAR:
            end = min(note.onset + note.duration, later.get((note.track, note.pitch), note.onset + BAR))
            kept.append(note if end == note.onset + note.duration else note._replace(duration=end - note.onset))
            later[note.track, note.pitch] = note.onset
    return Score(tuple(reversed(kept)), tuple(tempi))


def transpose(score: Score, semitones: int) -> Score:
    """Every note but the drums moved; what leaves the piano's range moves by octaves back into it."""
    if semitones == 0:
        return score
    moved = (note if note.track == DRUMS else note._replace(pitch=_folded(note.pitch + semitones)) for note in score.notes)
    return tidy(moved, score.tempi)


def _folded(pitch: int) -> int:
    if pitch < LOWEST:
        return pitch + 12 * -((pitch - LOWEST) // 12)
    if pitch > HIGHEST:
        return pitch - 12 * -((HIGHEST - pitch) // 12)
    return pitch


def excerpt(score: Score, first: int, last: int) -> Score:
    """Bars `first` to before `last` as a score of its own; notes that began earlier are left out."""
    if not 0 <= first <= last <= score.bars:
        raise InvalidInput(f"bars {first} to {last} of a piece of {score.bars} bars: give bars inside it")
    inside = (note._replace(onset=note.onset - first * BAR) for note in score.notes if first <= note.bar < last)
    return Score(tuple(inside), score.tempi[first:last])


def joined(before: Score, after: Score) -> Score:
    """`after` played when `before` ends; a note that would still sound when `after` strikes it ends there."""
    moved = (note._replace(onset=note.onset + before.length) for note in after.notes)
    return tidy((*before.notes, *moved), before.tempi + after.tempi)
