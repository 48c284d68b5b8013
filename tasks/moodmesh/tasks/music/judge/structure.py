"""The structure statistics of a piece (evaluation §2, symbolic music): for the musicality gate and for the table of results."""

from __future__ import annotations

import numpy as np

from moodmesh.tasks.music.judge.heard import Floats, Heard, heard
from moodmesh.tasks.music.judge.rich import chords
from moodmesh.tasks.music.notation import features
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.notation.vocabulary import BAR

NAMES = (
    "pitch range",
    "pitch classes",
    "polyphony",
    "rhythm density",
    "pitch-class entropy, 1 bar",
    "pitch-class entropy, 4 bars",
    "scale consistency",
    "groove similarity",
    "empty bars",
    "chord irregularity",
    "structureness, short",
    "structureness, mid",
    "structureness, long",
)
_SCALE = np.isin(np.arange(12), (0, 2, 4, 5, 7, 9, 11)).astype(float)
_SPANS = (1, 2, 4)
"""Bars of a stretch whose return counts as short, mid and long structure."""


def structure(score: Score) -> Floats:
    """[13] by NAMES; InvalidInput for no pitched notes. None of them depends on the key or on the tempo."""
    notes = heard(score)
    chroma, onsets = _by_bar(notes)
    alike = _alike(chroma, onsets)
    return np.array(
        [
            np.ptp(notes.pitch),
            len(np.unique(notes.pitch % 12)),
            features.sounding(score).mean(),
            features.rhythm_density(score),
            _entropy(chroma),
            _entropy(np.array([chroma[at : at + 4].sum(0) for at in range(max(len(chroma) - 3, 1))])),
            _consistency(chroma.sum(0)),
            _groove(onsets),
            np.mean(~onsets.any(1)),
            _irregularity(notes),
            *(_returns(alike, span) for span in _SPANS),
        ]
    )


def _by_bar(notes: Heard) -> tuple[Floats, Floats]:
    """[bars, 12] notes of each pitch class that begin in a bar, and [bars, 16] whether any begins at each place."""
    chroma, onsets = np.zeros((notes.bars, 12)), np.zeros((notes.bars, BAR))
    np.add.at(chroma, (notes.onset // BAR, notes.pitch % 12), 1)
    onsets[notes.onset // BAR, notes.onset % BAR] = 1
    return chroma, onsets


def _entropy(counts: Floats) -> float:
    """Mean bits of the pitch classes of the rows that have any."""
    rows = counts[counts.sum(1) > 0]
    share = rows / rows.sum(1, keepdims=True)
    return float(-(share * np.log2(np.maximum(share, 1e-12))).sum(1).mean())


def _consistency(chroma: Floats) -> float:
    """The largest share of notes in one major scale."""
    return float(max(chroma @ np.roll(_SCALE, root) for root in range(12)) / chroma.sum())


def _groove(onsets: Floats) -> float:
    """1 - the mean share of places where two bars differ in whether a note begins, over all pairs; 1 for one bar."""
    bars = len(onsets)
    if bars < 2:
        return 1.0
    differ = onsets @ (1 - onsets).T
    return float(1 - (differ + differ.T)[np.triu_indices(bars, 1)].mean() / BAR)


def _irregularity(notes: Heard) -> float:
    """Of the triples of successive chords, the share that did not come before; 0 for fewer than three chords."""
    found = chords(notes)
    found = found[found >= 0]
    changed = found[np.concatenate([[True], np.diff(found) != 0])] if len(found) else found
    triples = [tuple(changed[at : at + 3].tolist()) for at in range(len(changed) - 2)]
    return len(set(triples)) / len(triples) if triples else 0.0


def _alike(chroma: Floats, onsets: Floats) -> Floats:
    """[bars, bars] how alike two bars are, 0..1: the mean of the cosines of their pitch classes and of their onsets."""
    both = []
    for rows in (chroma, onsets):
        length = np.linalg.norm(rows, axis=1, keepdims=True)
        unit = rows / np.maximum(length, 1e-9)
        both.append(unit @ unit.T)
    return np.asarray(np.mean(both, axis=0))


def _returns(alike: Floats, span: int) -> float:
    """How well stretches of `span` bars return elsewhere, above what any two such stretches share; 0 for too short a piece.

    The mean over stretches of the best likeness to another that does not overlap, less the mean likeness to all of them.
    """
    starts = len(alike) - span + 1
    if starts <= span:
        return 0.0
    stretch = np.mean([alike[at : at + starts, at : at + starts] for at in range(span)], axis=0)
    apart = np.abs(np.subtract.outer(np.arange(starts), np.arange(starts))) >= span
    rows = apart.any(1)
    best = np.where(apart, stretch, -1)[rows].max(1)
    usual = (stretch * apart)[rows].sum(1) / apart[rows].sum(1)
    return float((best - usual).mean())
