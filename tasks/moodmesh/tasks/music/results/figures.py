"""What is measured of each piece, kept as arrays of one row a piece: the table is computed from these alone (evaluation §9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.generate.novelty import LINES
from moodmesh.tasks.music.judge.gate import Gate
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.runner import Judge
from moodmesh.tasks.music.judge.structure import NAMES, structure
from moodmesh.tasks.music.notation import features
from moodmesh.tasks.music.notation.score import Score
from moodmesh.tasks.music.results.grams import Known
from moodmesh.tasks.music.rules.attributes import heard

Arrays = dict[str, Floats]
ATTRIBUTES = ("minor", "bpm", "density", "register", "velocity", "dynamics", "articulation", "polyphony", "note rate")
"""What is heard of a piece; the last in notes a second."""


@dataclass(frozen=True)
class Ear:
    """All that listens: the judges, the gate, and what is known of the training set, by line."""

    judges: dict[str, Judge]
    gate: Gate
    known: dict[str, Known]

    def measured(self, pieces: Sequence[Score]) -> Arrays:
        """Rows of pieces in order; NaN where a piece without notes cannot be judged.

        `chances` [n, judges, 2], `gate` and `passes` [n, 3], `structure` [n, 13], `attributes` [n, 9], `copied` [n, lines, 5].
        """
        rows = [self._row(piece) for piece in pieces]
        return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}

    def judged(self, pieces: Sequence[Score]) -> Arrays:
        """`chances` and `attributes` alone, of pieces of any length."""
        rows = [attributes(piece) | {"chances": self._chances(piece)} for piece in pieces]
        return {name: np.array([row[name] for row in rows], np.float64) for name in rows[0]}

    def _chances(self, piece: Score) -> Floats:
        try:
            return np.array([judge.chances(piece) for judge in self.judges.values()])
        except InvalidInput:
            return np.full((len(self.judges), 2), np.nan)

    def _row(self, piece: Score) -> dict[str, object]:
        made = attributes(piece) | {
            "copied": [self.known[line].copied(piece) for line in LINES],
            "chances": self._chances(piece),
        }
        try:
            found = self.gate.measured(piece)
        except InvalidInput:
            return {**made, "gate": [np.nan] * 3, "passes": [0.0] * 3, "structure": [np.nan] * len(NAMES)}
        return {**made, "gate": found, "passes": self.gate.inside(found), "structure": structure(piece)}


def attributes(piece: Score) -> dict[str, object]:
    """The row of ATTRIBUTES of a piece."""
    shown = heard(piece)
    return {"attributes": [*(float(value) for value in vars(shown).values()), features.note_rate(piece)]}
