"""Scores for tests: any score, and MIDI bytes made by hand, so that no writer of ours or of symusic has a part in them."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from hypothesis import strategies as st

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Note, Score, tidy

MAX_BARS = 6


def _notes(bars: int, tracks: st.SearchStrategy[int]) -> st.SearchStrategy[list[Note]]:
    onset = st.integers(0, bars * v.BAR - 1)
    pitch = st.integers(v.LOWEST, v.HIGHEST) | st.integers(60, 63)
    note = st.builds(Note, onset, tracks, pitch, st.integers(0, v.VELOCITIES - 1), st.integers(1, v.BAR))
    return st.lists(note, max_size=40 if bars else 0)


@st.composite
def scores(draw: st.DrawFn, tracks: st.SearchStrategy[int] | None = None) -> Score:
    tempi = draw(st.lists(st.integers(0, v.TEMPI - 1), min_size=1, max_size=MAX_BARS))
    return tidy(draw(_notes(len(tempi), st.integers(0, 4) if tracks is None else tracks)), tempi)


def scale(bars: int = 8, track: int = v.PIANO) -> Score:
    """A rising and falling major scale in eighths with a bass note a bar."""
    degrees = (60, 62, 64, 65, 67, 69, 71, 72)
    notes = [Note(bar * v.BAR + 2 * place, track, degrees[place], 40, 2) for bar in range(bars) for place in range(8)]
    return tidy([*notes, *(Note(bar * v.BAR, track, 36 + (7 * bar) % 12, 30, 16) for bar in range(bars))], [42] * bars)


END = b"\x00\xff\x2f\x00"


def smf(*tracks: bytes, division: int = 480) -> bytes:
    """A standard MIDI file of raw event bytes; each track gets its end."""
    head = b"MThd" + struct.pack(">IHHH", 6, int(len(tracks) > 1), len(tracks), division)
    return head + b"".join(b"MTrk" + struct.pack(">I", len(track + END)) + track + END for track in tracks)


def delta(ticks: int) -> bytes:
    """A variable-length number."""
    out = [ticks & 127]
    while ticks := ticks >> 7:
        out.append(ticks & 127 | 128)
    return bytes(reversed(out))


def played(notes: Sequence[tuple[int, int, int, int]], channel: int = 0) -> bytes:
    """Events of (start, end, pitch, velocity) in ticks."""
    events = [(start, 1, bytes([0x90 | channel, pitch, velocity])) for start, _, pitch, velocity in notes]
    events += [(end, 0, bytes([0x80 | channel, pitch, 0])) for _, end, pitch, _ in notes]
    out, now = b"", 0
    for at, _, event in sorted(events):
        out += delta(at - now) + event
        now = at
    return out


def tempo(quarters_a_minute: float) -> bytes:
    return b"\x00\xff\x51\x03" + round(60e6 / quarters_a_minute).to_bytes(3, "big")
