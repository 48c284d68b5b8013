"""Labelled pieces that judges learn from: EMOPIA by song, VGMIDI by series, both after the tokeniser (evaluation §3)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from moodmesh.tasks.music.corpus.cache import passages
from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.corpus.sets import SETS
from moodmesh.tasks.music.corpus.split import song
from moodmesh.tasks.music.judge.heard import Floats, Ints
from moodmesh.tasks.music.judge.statistics import of_notes
from moodmesh.tasks.music.notation.score import Score


@dataclass(frozen=True)
class Labelled:
    """Pieces with a mood: `high` [n, 2] is 1 where arousal and where valence is high; `groups` a split must not cut."""

    names: tuple[str, ...]
    groups: tuple[str, ...]
    high: Ints
    scores: tuple[Score, ...]

    def of(self, kept: Callable[[str], bool]) -> Labelled:
        """Only the pieces of the groups that are kept."""
        rows = [row for row, group in enumerate(self.groups) if kept(group)]
        names, groups = (tuple(column[row] for row in rows) for column in (self.names, self.groups))
        return Labelled(names, groups, self.high[rows], tuple(self.scores[row] for row in rows))

    def vectors(self, figures: Callable[[Score], Floats]) -> Floats:
        """[n, figures] of every score."""
        return np.array([figures(score) for score in self.scores])


def labelled(root: Path, name: str, cache: Path) -> Labelled:
    """Every labelled piece of `emopia` or `vgmidi`, blocks off the grid too: one row a piece."""
    found = [passage for passage in passages(root, name, cache, every_clip=True) if passage.mood]
    return of_passages(found)


def labels(root: Path, name: str) -> Labelled:
    """The same rows without scores, from the files as published: in a few seconds."""
    pieces = [(piece, piece.mood) for piece in SETS[name](root) if piece.mood]
    high = np.array([(mood[1] > 0, mood[0] > 0) for _, mood in pieces], np.int64)
    return Labelled(tuple(piece.name for piece, _ in pieces), tuple(song(piece.group) for piece, _ in pieces), high, ())


def of_passages(found: list[Passage]) -> Labelled:
    """The passages that have a mood."""
    rows = [(passage, passage.mood) for passage in found if passage.mood]
    high = np.array([(mood[1] > 0, mood[0] > 0) for _, mood in rows], np.int64).reshape(-1, 2)
    pieces = [piece for piece, _ in rows]
    groups = tuple(song(piece.group) for piece in pieces)
    return Labelled(tuple(piece.piece for piece in pieces), groups, high, tuple(piece.score for piece in pieces))


def published(root: Path, names: tuple[str, ...]) -> Floats:
    """[n, 12] the note statistics of EMOPIA's files as they are published, before grid and tokens."""
    found = {}
    for piece in SETS["emopia"](root):
        played = piece.played
        start, end = played.seconds(played.start), played.seconds(played.end)
        found[piece.name] = of_notes(start, end, played.pitch, played.velocity.astype(np.float64))
    return np.array([found[name] for name in names])
