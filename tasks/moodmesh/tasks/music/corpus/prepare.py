"""Preparation of the training sets: passages of pieces whose grid holds, in C major or A minor, as tokens (systems S16).

A passage is kept where the grid error of each of its blocks of 8 bars is at most `limit(set)`; the rest of a piece is left out.
Onsets at random pass in 0.8 % of the blocks of EMOPIA and in none of GiantMIDI's.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.corpus.beats import METRE, Array
from moodmesh.tasks.music.corpus.grid import chosen, grid_error, off_grid, on_a_grid, warped
from moodmesh.tasks.music.corpus.sets import Piece
from moodmesh.tasks.music.notation.features import Key, normalised
from moodmesh.tasks.music.notation.midi import Performance, quantised
from moodmesh.tasks.music.notation.score import Score, excerpt
from moodmesh.tasks.music.notation.tokens import decode, encode
from moodmesh.tasks.music.notation.vocabulary import bpm

BLOCK = 8
"""Bars that are judged together."""
MAX_ERROR = 0.08
"""Largest mean grid error, in sixteenths, of a block that is kept."""
_STRICTER = {"giantmidi": 0.07}
EVERYTHING = 0.5
"""As `max_error`: every block is kept, as a judge of labelled clips needs."""


def limit(name: str) -> float:
    """Largest grid error of a block of that set: stricter for GiantMIDI, whose sixteenths are short and played freely."""
    return _STRICTER.get(name, MAX_ERROR)


@dataclass(frozen=True)
class Passage:
    """Consecutive bars of one piece, normalised: `key` is what they were in, `error` their grid error before quantising; `ends`
    where the last of them is the last of the file."""

    piece: str
    part: str
    group: str
    mood: tuple[int, int] | None
    first_bar: int
    score: Score
    key: Key
    error: float
    ends: bool


@dataclass
class Figures:
    """What preparation did to a set; errors are means over notes, in sixteenths."""

    pieces: int = 0
    pieces_kept: int = 0
    notes: int = 0
    notes_on_grid: int = 0
    notes_kept: int = 0
    bars: int = 0
    tokens: int = 0
    error_as_published: float = 0.0
    error_on_grid: float = 0.0
    error_kept: float = 0.0
    tempi: list[float] = field(default_factory=list, repr=False)

    @property
    def tokens_of_20_bars(self) -> float:
        """Mean tokens of 20 bars that are kept."""
        return 20 * self.tokens / max(self.bars, 1)


def prepared(pieces: Iterable[Piece], figures: Figures, max_error: float | None = None) -> Iterator[Passage]:
    """The passages of all pieces in order, `max_error` instead of the limit of the set; `figures` counts piece by piece."""
    for piece in pieces:
        before = figures.notes_kept
        figures.pieces += 1
        figures.notes += piece.notes
        _mean(figures, "error_as_published", "notes", piece.notes, grid_error(piece.played))
        found = stretches(piece)
        for stretch in found:
            figures.notes_on_grid += len(stretch.start)
            _mean(figures, "error_on_grid", "notes_on_grid", len(stretch.start), grid_error(stretch))
            for first, last, notes, error in held(stretch, limit(piece.set) if max_error is None else max_error):
                score, key = normalised(excerpt(quantised(stretch), first, last))
                figures.notes_kept += notes
                _mean(figures, "error_kept", "notes_kept", notes, error)
                figures.bars += score.bars
                figures.tokens += len(encode(score))
                figures.tempi += [bpm(step) for step in score.tempi]
                ends = stretch is found[-1] and last == _bars(stretch)
                yield Passage(piece.name, piece.part, piece.group, piece.mood, first, score, key, error, ends)
        figures.pieces_kept += figures.notes_kept > before


def _mean(figures: Figures, name: str, of: str, more: int, value: float) -> None:
    """Bring a mean over notes up to date after its count has grown by `more`."""
    count = getattr(figures, of)
    if count:
        setattr(figures, name, getattr(figures, name) + (value - getattr(figures, name)) * more / count)


def stretches(piece: Piece) -> list[Performance]:
    """A piece on the beats annotated for it, cut where a bar has not four; on a grid that is found where they do not fit."""
    if piece.beats is None or not piece.downs or grid_error(warped(piece.played, piece.beats, piece.downs[0])) > MAX_ERROR:
        return [on_a_grid(piece.played)] if len(piece.played.start) > METRE else []
    found, made = piece.beats, list[Performance]()
    start = piece.played.seconds(piece.played.start)
    for first, last in _regular(piece.downs):
        begins = -np.inf if first == piece.downs[0] else _just_before(found, first)
        ends = np.inf if last == piece.downs[-1] else _just_before(found, last)
        inside = (start >= begins) & (start < ends)
        if inside.any():
            made.append(warped(chosen(piece.played, inside), found, first))
    return made


def _regular(downs: Sequence[int]) -> list[tuple[int, int]]:
    """Runs of downbeats four beats apart, as (first, last)."""
    breaks = [n for n in range(1, len(downs)) if downs[n] - downs[n - 1] != METRE]
    starts, ends = [0, *breaks], [*(n - 1 for n in breaks), len(downs) - 1]
    return [(downs[a], downs[b]) for a, b in zip(starts, ends, strict=True) if a < b or len(downs) == 1]


def _just_before(found: Array, beat: int) -> float:
    """Half a sixteenth before a beat, in seconds."""
    near = min(max(beat, 1), len(found) - 1)
    return float(found[beat] - (found[near] - found[near - 1]) / 8)


def held(stretch: Performance, max_error: float) -> list[tuple[int, int, int, float]]:
    """(first bar, bar after the last, notes, grid error) of each run of blocks whose grid holds.

    A last block that is short counts with the one before.
    """
    bar, bars = _bar(stretch), _bars(stretch)
    block = np.minimum(bar // BLOCK, max(bars // BLOCK - 1, 0))
    blocks = int(block.max()) + 1
    size = np.bincount(block, minlength=blocks)
    error = np.bincount(block, off_grid(stretch), blocks) / np.maximum(size, 1)
    good = np.concatenate([[False], (error <= max_error) & (size > 0), [False]])
    edges = np.flatnonzero(np.diff(good.astype(np.int64)))
    runs = []
    for first, last in edges.reshape(-1, 2).tolist():
        within = slice(first, last)
        notes = int(size[within].sum())
        end = bars if last == blocks else last * BLOCK
        runs.append((first * BLOCK, end, notes, float((error * size)[within].sum() / notes)))
    return runs


def _bar(stretch: Performance) -> NDArray[np.int64]:
    """[note] the bar that it begins in."""
    return np.asarray(np.rint(stretch.start * 4).astype(np.int64) // (4 * METRE))


def _bars(stretch: Performance) -> int:
    """Up to the last in which a note begins."""
    return int(_bar(stretch).max()) + 1


def save(passages: Sequence[Passage], file: Path) -> None:
    """All passages in one .npz: their tokens one after another, where each ends, and the rest as JSON."""
    tokens = [np.array(encode(passage.score), np.uint16) for passage in passages]
    rest = [{**asdict(passage), "score": None} for passage in passages]
    ends = np.cumsum([len(one) for one in tokens], dtype=np.int64)
    flat = np.concatenate([np.zeros(0, np.uint16), *tokens])
    np.savez_compressed(file, tokens=flat, ends=ends, rest=np.frombuffer(json.dumps(rest).encode(), np.uint8))


def load(file: Path) -> list[Passage]:
    """What `save` wrote."""
    with np.load(file) as held_in:
        parts = np.split(held_in["tokens"], held_in["ends"][:-1])
        rest = json.loads(held_in["rest"].tobytes())
    return [
        Passage(**{**row, "score": decode(part.tolist()), "key": Key(*row["key"]), "mood": row["mood"] and tuple(row["mood"])})
        for part, row in zip(parts, rest, strict=False)
    ]
