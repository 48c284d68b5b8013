"""Statistics and copying of each row beside real music (evaluation §2)."""

from __future__ import annotations

import numpy as np

from moodmesh.tasks.music.generate.novelty import LINES
from moodmesh.tasks.music.judge.heard import Floats
from moodmesh.tasks.music.judge.structure import NAMES
from moodmesh.tasks.music.results.figures import Arrays
from moodmesh.tasks.tables import Table, short

BINS = 20
BEYOND = 99
"""The percentile of real music against real music beyond which a piece counts as copied."""
AGAIN = 0.5
"""The share of runs from which two pieces are one: two chorales of the held part stand in the training part too."""
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
    """Overlapping area and KL(some | real) of histograms in BINS bins over the range of both; for the KL half a count more."""
    span = (min(some.min(), real.min()), max(some.max(), real.max()) + 1e-9)
    counts = [np.histogram(one, BINS, span)[0] for one in (some, real)]
    p, q = (one / one.sum() for one in counts)
    overlap = float(np.minimum(p, q).sum())
    p, q = ((one + 0.5) / (one + 0.5).sum() for one in counts)
    return overlap, float((p * np.log(p / q)).sum())


def copying(found: Arrays, held: Arrays) -> dict[str, dict[str, Table]]:
    """By line and figure: mean and largest, the percentile of held real music, and the share of pieces beyond it.

    Held pieces that the training set holds as well, half of their 16-note runs or more, set no limit.
    """
    made: dict[str, dict[str, Table]] = {}
    other = held["copied"][:, :, _COPIED.index("16 notes")].max(1) < AGAIN
    for line, named in enumerate(LINES):
        limits = np.percentile(held["copied"][other, line], BEYOND, axis=0)
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
