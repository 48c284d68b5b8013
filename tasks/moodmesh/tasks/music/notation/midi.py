"""MIDI files and scores (systems S16), on symusic.

Any metre is read as sixteenths of its quarters, 16 to a bar. What a `Score` holds is written and read back unchanged.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from symusic import core

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.reading import MACHINE, SAID, Reading
from moodmesh.tasks.music.notation.score import QUARTERS, Note, Score, tidy

TICKS = 480
"""Ticks of a quarter in the files we write."""
SUB_BEAT = TICKS // 4
MAX_BYTES = 4 << 20
MAX_SECONDS = 7200.0
MAX_NOTES = 200_000
MAX_BARS = 5000
PROGRAMS = (0, 0, 24, 32, 48)
"""General MIDI program of each track in the files we write: standard kit, grand piano, nylon guitar, acoustic bass, strings."""
MOST_METRES = 8
"""That are named of a file."""
_METRE = "4/4"
_END = "end of the last bar"
_DEFAULT_BPM = 120.0
_PEDAL, _DOWN = 64, 64
"""The controller of the sustaining pedal, and the value from which on it is down."""
# General MIDI programs by family of eight: the track that stands for each; percussive and sound effects are left out.
_FAMILIES = (v.PIANO,) * 3 + (v.GUITAR, v.BASS) + (v.STRINGS,) * 8 + (v.GUITAR,)


@dataclass(frozen=True)
class Performance:
    """The notes of a MIDI file in the order they begin, before any grid: arrays of equal length.

    `start` and `end` in quarters of the file; `track` as in TRACKS; `velocity` 1..127; `pitch` 21..108 (the rest is left out).
    `tempo_at` (quarters, from 0) and `tempo` (quarters a minute) are its tempo map; `last` the end that its writer gave.
    `notes` counts those of the file, also what is left out here; `metres` are those it states, like 6/8. `held` is where each
    note falls silent when the pedal is heeded (controller 64), its `end` or later; None where nobody read a pedal. `said` is
    what Moodmesh wrote in it of who made it.
    """

    start: NDArray[np.float64]
    end: NDArray[np.float64]
    track: NDArray[np.int64]
    pitch: NDArray[np.int64]
    velocity: NDArray[np.int64]
    tempo_at: NDArray[np.float64]
    tempo: NDArray[np.float64]
    last: float = 0.0
    notes: int = 0
    metres: tuple[str, ...] = ()
    held: NDArray[np.float64] | None = None
    said: str = ""

    def seconds(self, quarters: NDArray[np.float64]) -> NDArray[np.float64]:
        """When those places of the file are played."""
        lasting = np.diff(self.tempo_at) * 60 / self.tempo[:-1]
        passed = np.concatenate([[0.0], np.cumsum(lasting)])
        piece = np.maximum(np.searchsorted(self.tempo_at, quarters, side="right") - 1, 0)
        played: NDArray[np.float64] = passed[piece] + (quarters - self.tempo_at[piece]) * 60 / self.tempo[piece]
        return played


def read(data: bytes) -> Score:
    """The score of a MIDI file; InvalidInput says what is wrong with one that is broken, empty, drums only or too long."""
    return quantised(performance(data))


def performance(data: bytes) -> Performance:
    """The notes of a MIDI file as played; InvalidInput as for `read`."""
    if len(data) > MAX_BYTES:
        raise InvalidInput(f"this file has more than {MAX_BYTES >> 20} MiB, too much for a MIDI file: cut it")
    try:
        file = core.ScoreTick.from_midi(data)
    except (RuntimeError, ValueError, IndexError, MemoryError, UnicodeError) as wrong:
        raise InvalidInput(
            f"not a MIDI file that can be read ({_short(wrong)}): export it anew as a standard MIDI file"
        ) from None
    if not 0 < file.tpq < 1 << 15:
        raise InvalidInput("this MIDI file states no ticks per quarter: export it anew as a standard MIDI file")
    played = _played(file)
    if not played.notes:
        raise InvalidInput("this MIDI file has no notes, or none that ends (note-ons without note-offs): export it anew")
    if not len(played.start):
        raise InvalidInput("this MIDI file has no notes that a piano can play (21 to 108): give one that has")
    if np.all(played.track == v.DRUMS):
        raise InvalidInput("this MIDI file has drums only: give one with at least one pitched instrument")
    if len(played.start) > MAX_NOTES:
        raise InvalidInput(f"this MIDI file has {len(played.start)} notes, at most {MAX_NOTES} are read: cut it")
    end = max(float(played.end.max()), played.last)
    length = round(float(played.seconds(np.array([end]))[0]))
    if length > MAX_SECONDS:
        raise InvalidInput(f"this MIDI file lasts {length / 60:.0f} minutes, at most {MAX_SECONDS / 60:.0f} are read: cut it")
    if end > MAX_BARS * QUARTERS:
        raise InvalidInput(f"this MIDI file has more than {MAX_BARS} bars: cut it")
    return played


def unreadable(tempi: Sequence[int], notes: int) -> str:
    """What keeps a score of those bars and at most so many notes, none of which sounds after its end, from being read again
    once it is written; empty for nothing."""
    seconds = sum(QUARTERS * 60 / v.bpm(step) for step in tempi)
    if len(tempi) > MAX_BARS:
        return f"the piece would have {len(tempi)} bars, at most {MAX_BARS} are read"
    if seconds > MAX_SECONDS:
        return f"the piece would last {math.ceil(seconds / 60)} minutes, at most {MAX_SECONDS / 60:.0f} are read"
    return f"the piece would have up to {notes} notes, at most {MAX_NOTES} are read" if notes > MAX_NOTES else ""


def _short(wrong: Exception) -> str:
    said = str(wrong).removeprefix("MiniMidi: ").replace("Invaild", "Invalid").split("!")[0].strip()
    return "".join(character for character in said if character.isprintable())[:80] or type(wrong).__name__


def _played(file: core.ScoreTick) -> Performance:
    columns = []
    pedals: dict[tuple[int, bool], list[NDArray[np.int64]]] = {}  # by instrument: its pedal may stand in another track
    downs = [_downs(part, file.end()) for part in file.tracks]
    for part, own in zip(file.tracks, downs, strict=True):
        pedals.setdefault((part.program, part.is_drum), []).append(own)
    for part, own in zip(file.tracks, downs, strict=True):
        stands = _track(part.program, part.is_drum)
        if stands is not None and len(part.notes):
            notes = {name: column.astype(np.int64) for name, column in part.notes.numpy().items()}
            silent = _silent(
                notes["time"] + notes["duration"], own if len(own) else np.concatenate(pedals[part.program, part.is_drum])
            )
            columns.append(
                [*(notes[name] for name in ("time", "duration", "pitch", "velocity")), np.full(len(part.notes), stands), silent]
            )
    time, duration, pitch, velocity, track, silent = np.concatenate(columns, 1) if columns else np.zeros((6, 0), np.int64)
    kept = (pitch >= v.LOWEST) & (pitch <= v.HIGHEST) & (time >= 0) & (duration >= 0) & (velocity > 0)
    order = np.lexsort((pitch, track, time))
    order = order[kept[order]]
    at, bpm = _tempi(file)
    ends = [mark.time / file.tpq for mark in file.markers if mark.text == _END]
    start, end = time[order] / file.tpq, (time + duration)[order] / file.tpq
    metres = dict.fromkeys(f"{mark.numerator}/{mark.denominator}" for mark in file.time_signatures)
    count = sum(len(part.notes) for part in file.tracks)
    return Performance(
        *(start, end, track[order], pitch[order], velocity[order], at, bpm),
        *(max(ends, default=0.0), count, tuple(metres), silent[order] / file.tpq, _said(file)),
    )


def _said(file: core.ScoreTick) -> str:
    found = next((mark.text for mark in file.markers if MACHINE in mark.text), "")
    text = "".join(character for character in found if character.isprintable())
    if len(text) <= SAID:
        return text
    last = text[-SAID:].partition(". ")[2]
    return f"(What was said before is left out.) {last}" if MACHINE in last else ""


def _downs(part: core.TrackTick, end: int) -> NDArray[np.int64]:
    """(from, to) [n, 2] of each time that its pedal is down; one that is not lifted is down to the `end`."""
    controls = {name: column.astype(np.int64) for name, column in part.controls.numpy().items()}
    order = np.argsort(controls["time"], kind="stable")
    order = order[controls["number"][order] == _PEDAL]
    at = controls["time"][order]
    change = np.diff(controls["value"][order] >= _DOWN, prepend=False, append=False)
    edges: NDArray[np.int64] = np.append(at, end)[change]
    return edges.reshape(-1, 2)


def _silent(end: NDArray[np.int64], downs: NDArray[np.int64]) -> NDArray[np.int64]:
    """When notes that are let go at `end` fall silent: where a pedal is down then, when it comes up. One that goes down at
    that moment has not caught them: so chords are bound."""
    first = np.concatenate([[(-1, -1)], downs[np.argsort(downs[:, 0], kind="stable")]])
    silent: NDArray[np.int64] = np.maximum(end, np.maximum.accumulate(first[:, 1])[np.searchsorted(first[:, 0], end) - 1])
    return silent


def _track(program: int, is_drum: bool) -> int | None:
    if is_drum:
        return v.DRUMS
    return _FAMILIES[program // 8] if 0 <= program // 8 < len(_FAMILIES) else None


def _tempi(file: core.ScoreTick) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The tempo map from 0, one tempo a place: the last that the file gives there."""
    marks = {0: _DEFAULT_BPM} | {mark.time: 60e6 / mark.mspq for mark in file.tempos if mark.time >= 0 and mark.mspq > 0}
    at = sorted(marks)
    return np.array(at) / file.tpq, np.array([marks[time] for time in at])


def quantised(played: Performance) -> Score:
    """On the grid of its own quarters: each onset goes to the nearest sixteenth, each bar plays as long as it did."""
    onset = np.rint(played.start * 4).astype(np.int64)
    duration = np.clip(np.rint((played.end - played.start) * 4), 1, v.BAR).astype(np.int64)
    bars = max(int(onset.max()) // v.BAR + 1, round(played.last / QUARTERS))
    tempi = [v.tempo_step(bpm) for bpm in _tempo_of_bars(played, bars)]
    columns = (onset, played.track, played.pitch, played.velocity // 2, duration)
    return tidy((Note(*row) for row in zip(*(column.tolist() for column in columns), strict=True)), tempi)


def _tempo_of_bars(played: Performance, bars: int) -> list[float]:
    """Quarters a minute at which each bar lasts as long as it was played."""
    lines = played.seconds(np.arange(bars + 1, dtype=np.float64) * QUARTERS)
    return [QUARTERS * 60 / lasting for lasting in np.diff(lines).tolist()]


def read_given(data: bytes) -> tuple[Score, Reading]:
    """The score of a MIDI file whose pedal is heeded, and what was read of it; InvalidInput as for `read`."""
    played = performance(data)
    score = quantised(played if played.held is None else replace(played, end=played.held))
    metres = tuple(metre for metre in played.metres if metre != _METRE)[:MOST_METRES]
    beyond = sum(not 0.98 * v.bpm(0) <= bpm <= 1.02 * v.bpm(v.TEMPI - 1) for bpm in _tempo_of_bars(played, score.bars))
    shorter = _shortened(played, score)
    return score, Reading(score.bars, played.notes, len(score.notes), shorter, metres, beyond, played.said)


def said(data: bytes) -> str:
    """What Moodmesh wrote in a MIDI file of who made it; "" for nothing. InvalidInput as for `read`."""
    return performance(data).said


def _shortened(played: Performance, score: Score) -> int:
    onset, lasting = (np.rint(quarters * 4).astype(int).tolist() for quarters in (played.start, played.end - played.start))
    longest: dict[tuple[int, int, int], int] = {}
    for place, steps in zip(zip(onset, played.track.tolist(), played.pitch.tolist(), strict=True), lasting, strict=True):
        longest[place] = max(longest.get(place, 0), steps)
    return sum(note.duration < longest[note[:3]] for note in score.notes)


def write(score: Score, said: str = "") -> bytes:
    """A standard MIDI file of 480 ticks a quarter in 4/4; `read` gives the same score again. `said` is a text at its start."""
    file = core.ScoreTick(TICKS)
    file.time_signatures.append(core.TimeSignatureTick(0, 4, 4))
    for bar, step in enumerate(score.tempi):
        if bar == 0 or step != score.tempi[bar - 1]:
            file.tempos.append(core.TempoTick(bar * v.BAR * SUB_BEAT, v.bpm(step)))
    if said:
        file.markers.append(core.TextMetaTick(0, said))
    file.markers.append(core.TextMetaTick(score.length * SUB_BEAT, _END))
    for track, name in enumerate(v.TRACKS):
        notes = [note for note in score.notes if note.track == track]
        if notes:
            part = core.TrackTick(name, PROGRAMS[track], track == v.DRUMS)
            for note in notes:
                at, lasting = note.onset * SUB_BEAT, note.duration * SUB_BEAT
                part.notes.append(core.NoteTick(at, lasting, note.pitch, v.loudness(note.velocity)))
            file.tracks.append(part)
    return file.dumps_midi()
