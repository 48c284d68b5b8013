"""What is no music: the kinds of pieces that the musicality gate learns to tell from real ones."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.judge.controls import MOODS, Medians, Mood, atonal, in_key, jitter, shuffle
from moodmesh.tasks.music.judge.markov import Markov
from moodmesh.tasks.music.notation.score import Score, excerpt
from moodmesh.tasks.music.notation.tokens import encode

Kind = Callable[[int], Score]
"""seed -> piece."""


def excerpts(pieces: Sequence[Passage], bars: int, most: int = 8) -> list[tuple[str, Score]]:
    """(group, excerpt of so many bars) of real pieces, at most `most` of a group, spread over what it has."""
    found: dict[str, list[Score]] = {}
    for piece in pieces:
        for first in range(0, piece.score.bars - bars + 1, bars):
            part = excerpt(piece.score, first, first + bars)
            if len(part.notes) >= bars:
                found.setdefault(piece.group, []).append(part)
    return [
        (group, parts[place])
        for group, parts in found.items()
        for place in np.unique(np.linspace(0, len(parts) - 1, most).round().astype(int)).tolist()
    ]


def kinds(real: Sequence[Score], usual: dict[Mood, Medians], markov: Markov, bars: int) -> dict[str, Kind]:
    """Every kind by name, of so many bars; what is made from real pieces is made of `real`."""
    random, wild = in_key(usual), atonal(usual)
    return {
        "in-key random": lambda seed: random(MOODS[seed % 4], bars, seed),
        "atonal random": lambda seed: wild(MOODS[seed % 4], bars, seed),
        "Markov": lambda seed: markov.sample(bars, seed),
        "bar-shuffled": lambda seed: shuffle(real[seed % len(real)], seed),
        "jittered": lambda seed: jitter(real[seed % len(real)], seed),
    }


def reference(pieces: Sequence[Passage], order: int = 3) -> Markov:
    """The reference language model of a gate: of the generators' training pieces."""
    return Markov([encode(piece.score) for piece in pieces], order)
