"""Real pieces put into each of the four moods, by rules and by the latents of a GMVAE (systems S18): is the mood judged as
asked, and is it still the same piece?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from moodmesh.tasks.music.judge.controls import MOODS as CORNERS
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.negatives import excerpts
from moodmesh.tasks.music.notation import features
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.vocabulary import BAR, DRUMS
from moodmesh.tasks.music.results import control
from moodmesh.tasks.music.results.figures import Arrays, Ear
from moodmesh.tasks.music.results.latents import Latents
from moodmesh.tasks.music.results.real import Real
from moodmesh.tasks.music.results.runs import Trained
from moodmesh.tasks.music.results.systems import MOODS
from moodmesh.tasks.music.rules.attributes import wanted
from moodmesh.tasks.music.transfer.rules import transferred
from moodmesh.tasks.tables import Table, short

if TYPE_CHECKING:
    from moodmesh.tasks.music.results.bench import Bench

PER = 8
"""Pieces of each quadrant, of songs that no judge knows."""
CONTENT = ("chroma", "groove", "notes")
"""How alike two pieces are, 0..1: pitch classes over the tonic and places where notes begin, by bar; the share of the notes
that stay as they are."""
LEFT = "left as it is"
RULES, TUNE = "rules", "rules, melody kept"
ANOTHER = "another piece of that mood"
Way = Callable[[Score, int, int], Score]
"""(piece, quadrant that is asked for, seed) -> piece."""


@dataclass(frozen=True)
class Transfer:
    """A row: its name, how it changes a piece, the hash of its weights ("" for none)."""

    name: str
    way: Way
    weights: str = ""


def transfers(runs: Sequence[Trained], bars: int) -> list[Transfer]:
    """The rows; those of the runs that have an encoder last."""
    return [
        Transfer(LEFT, lambda piece, to, seed: piece),
        Transfer(RULES, lambda piece, to, seed: transferred(piece, wanted(*MOODS[to]))),
        Transfer(TUNE, lambda piece, to, seed: transferred(piece, wanted(*MOODS[to]), {"melody"})),
        *(
            Transfer(run.row, by_latents(Latents(run, bars)), run.sha256)
            for run in runs
            if run.kind == "gmvae" and not run.fraction
        ),
    ]


def by_latents(latents: Latents) -> Way:
    """z' = z + mean of the component asked for - mean of the likeliest one, for both latents; played anew."""

    def way(piece: Score, to: int, seed: int) -> Score:
        z, asked = latents.encode(piece), MOODS[to]
        for axis, high in enumerate((asked.arousal > 0, asked.valence > 0)):
            z[axis] += latents.mean(axis, int(high)) - latents.mean(axis, latents.likeliest(z)[axis])
        return latents.play(z, seed)

    return way


def sources(real: Real, bars: int) -> list[tuple[int, Score]]:
    """(quadrant, excerpt): PER songs of each quadrant of the generators' half, one excerpt each."""
    mine = real.pieces("train", "dev")["emopia"]
    made = []
    for number, mood in enumerate(CORNERS):
        found = excerpts([one for one in mine if one.mood == mood], bars, 1)
        places = np.unique(np.linspace(0, len(found) - 1, PER).round().astype(int))
        made += [(number, found[place][1]) for place in places.tolist()]
    return made


def retrain(bench: Bench, ear: Ear, runs: Sequence[Trained], say: Callable[[str], None]) -> None:
    """Make what is not there."""
    given = sources(bench.real, bench.bars)
    for row in transfers(runs, bench.bars):
        say(f"transfer: {row.name} ...")
        bench.keep(f"transfer {row.name}", row.weights, lambda row=row: measured(given, row.way, ear))  # type: ignore[misc]
    bench.keep(f"transfer {ANOTHER}", "", lambda: measured(given, another(given), ear))


def another(given: Sequence[tuple[int, Score]]) -> Way:
    """Another source of the mood: how alike pieces are by chance."""

    def way(piece: Score, to: int, seed: int) -> Score:
        others = [score for quadrant, score in given if quadrant == to and score is not piece]
        return others[seed % len(others)]

    return way


def measured(given: Sequence[tuple[int, Score]], way: Way, ear: Ear) -> Arrays:
    """Rows of each source in each of the four moods, source by source; besides what is measured of pieces `source` [n] the
    quadrant that it was labelled, and `content` [n, 3]."""
    asked = [(number, source, piece, to) for number, (source, piece) in enumerate(given) for to in range(len(MOODS))]
    made = [way(piece, to, number) for number, _, piece, to in asked]
    return {
        **ear.measured(made),
        "seed": np.array([number for number, *_ in asked], np.float64),
        "source": np.array([source for _, source, *_ in asked], np.float64),
        "quadrant": np.array([to for *_, to in asked], np.float64),
        "content": np.array([content(piece, one) for (_, _, piece, _), one in zip(asked, made, strict=True)]),
    }


def content(before: Score, after: Score) -> Floats:
    """[3] by CONTENT of two pieces; bars that one of them lacks are empty."""
    bars = max(before.bars, after.bars)
    (chroma, onsets), (others, begun) = (_by_bar(piece, bars) for piece in (before, after))  # each over its own tonic
    there = {note[:3] for note in before.notes}
    still = len(there & {note[:3] for note in after.notes}) / max(len(there), 1)
    return np.array([_cosine(chroma, others), float(1 - np.mean(onsets != begun)), still])


def _by_bar(piece: Score, bars: int) -> tuple[Floats, Floats]:
    chroma, onsets, tonic = np.zeros((bars, 12)), np.zeros((bars, BAR)), features.key(piece).tonic
    for note in piece.notes:
        if note.track != DRUMS:
            chroma[note.bar, (note.pitch - tonic) % 12] += note.duration
        onsets[note.bar, note.beat] = 1
    return chroma, onsets


def _cosine(one: Floats, other: Floats) -> float:
    """Of rows, their mean: 1 where both are empty, 0 where one is."""
    own, its = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
    alike = (one * other).sum(1) / np.maximum(own * its, 1e-9)
    return float(np.where((own == 0) & (its == 0), 1.0, alike).mean())


def table(bench: Bench, names: Sequence[str]) -> dict[str, Table]:
    """Of each row that was made: rows as of generation, and content kept, of pieces that were asked for another mood than
    their own; confusion of asked by judged of all."""
    made = {}
    for name in (LEFT, RULES, TUNE, ANOTHER, *names):
        found = bench.load(f"transfer {name}")
        if found is not None:
            moved = _elsewhere(found)
            made[name] = {
                "rows": control.rows(name, moved, None),
                "confusion": control.confusion(found),
                "content": dict(zip(CONTENT, (short(value) for value in moved["content"].mean(0)), strict=True)),
            }
    return made


def _elsewhere(found: Arrays) -> Arrays:
    moved = found["source"] != found["quadrant"]
    return {name: rows[moved] for name, rows in found.items()}
