"""Statistics and copying of each row beside real music (evaluation §2)."""

from __future__ import annotations

import numpy as np

from moodmesh.tasks.emotion.text.table import Table, short
from moodmesh.tasks.music.generate.novelty import LINES
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.structure import NAMES
from moodmesh.tasks.music.results.figures import Arrays

BINS = 20
BEYOND = 99
"""The percentile of real music against real music beyond which a piece counts as copied."""
_COPIED = ("longest", "8 notes", "12 notes", "16 notes", "nearest")


def statistics(found: Arrays, real: Floats) -> dict[str, Table]:
    """Of each structure statistic its mean, the overlapping area with real music (1: the same) and the KL from it, in nats."""
    rows = found["structure"][np.isfinite(found["structure"]).all(1)]
    made = {}
    for column, name in enumerate(NAMES):
        overlap, divergence = apart(rows[:, column], real[:, column])
        made[name] = {"mean": short(rows[:, column].mean()), "overlap": short(overlap), "kl": short(divergence)}
    return made


def apart(some: Floats, real: Floats) -> tuple[float, float]:
    """Overlapping area and KL(some | real) of histograms in BINS bins over the range of both; half a count in every bin."""
    span = (min(some.min(), real.min()), max(some.max(), real.max()) + 1e-9)
    p, q = (np.histogram(one, BINS, span)[0] + 0.5 for one in (some, real))
    p, q = p / p.sum(), q / q.sum()
    return float(np.minimum(p, q).sum()), float((p * np.log(p / q)).sum())


def copying(found: Arrays, held: Arrays) -> dict[str, dict[str, Table]]:
    """By line and figure: mean and largest, the percentile of held real music, and the share of pieces beyond it."""
    made: dict[str, dict[str, Table]] = {}
    for line, named in enumerate(LINES):
        limits = np.percentile(held["copied"][:, line], BEYOND, axis=0)
        rows = found["copied"][:, line]
        made[named] = {
            figure: {
                "mean": short(rows[:, n].mean()),
                "largest": short(rows[:, n].max()),
                "real_99": short(limits[n]),
                "beyond": short((rows[:, n] > limits[n] + 1e-6).mean()),
            }
            for n, figure in enumerate(_COPIED)
        }
    return made
