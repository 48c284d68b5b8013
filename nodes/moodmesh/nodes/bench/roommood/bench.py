"""`moodmesh bench roommood`: the error tables by simulation, audits of epsilon, and rooms of annotated moods."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.bench.roommood import annotated, audit
from moodmesh.nodes.bench.roommood.tables import cells, row
from moodmesh.nodes.cli.output import progress
from moodmesh.privacy.release.gaussian import DELTA

ROOMS, QUICK_ROOMS = 10_000, 2_000
REAL_ROOMS, QUICK_REAL_ROOMS = 2_000, 200
GOAL = 0.05
SEED = 1


def run(quick: bool, data: Path | None = None) -> Report:
    """Fails when an audit finds more than what is claimed, or nothing where the noise is spoiled."""
    report, chance = Report("roommood", quick), np.random.default_rng(SEED)
    every = list(cells())
    with progress("roommood") as bar:
        for done, cell in enumerate(every):
            bar(0.7 * done / len(every), cell.what)
            report.rows.append(row(cell, QUICK_ROOMS if quick else ROOMS, chance))
        bar(0.7, "audits")
        audits = audit.rows(audit.QUICK if quick else audit.RUNS, chance)
        if data is not None:
            bar(0.9, "annotated moods")
            report.rows += annotated.rows(data, QUICK_REAL_ROOMS if quick else REAL_ROOMS, chance)
    report.failed = any(one["holds"] == one["spoiled"] for one in audits)
    worst = max(one["off"] for one in report.rows if "off" in one)
    report.rows += audits
    report.notes += [
        "root mean square error per axis, in [-1, 1]; off: from the formula, or beyond the rounding of the table",
        f"audits: lower bounds of epsilon, 99 % confidence, delta {DELTA}; what is spoiled must break its claim",
        "annotated: an epoch is 10 s of the minute that each person annotated; noise: computed; clip: of the unit disc alone; "
        "release, shown (mean of shown_of releases), filtered: against the mean of what all felt at the last epoch"
        if data is not None
        else "with --data DIR also rooms of people who annotated what they felt",
    ]
    report.summary = {"max_relative_error": worst, "goal": GOAL, "audits_hold": not report.failed, "rows": report.rows}
    return report
