"""`moodmesh bench campus`: ten thousand devices that each know some forty: what users lose by it, what it saves in bytes."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.campus.campus import ALL, SKETCH, Campus
from moodmesh.nodes.bench.campus.picture import draw as picture
from moodmesh.nodes.bench.campus.traffic import Traffic
from moodmesh.nodes.bench.checkpoint import opened
from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.bench.routing.baselines import Tagged
from moodmesh.nodes.bench.routing.cells import Task, figures, run_all
from moodmesh.nodes.bench.routing.engine import Policy, Run
from moodmesh.nodes.bench.routing.meshed import Meshed
from moodmesh.nodes.bench.routing.world import Cell, draw
from moodmesh.nodes.cli.output import progress

LOAD, JOBS_EACH, BLACKOUT_JOBS = 0.7, 10, 8000
LOSS_GOAL, SHARE_GOAL = 1.3, 1 / 50
RUNS_FILE = "bench-campus.runs.jsonl"
WHO: dict[str, Callable[[Run], Policy]] = {
    "few": Campus, "all": Meshed, "sketch": lambda run: Campus(run, SKETCH), "ray+tags": Tagged,
    "all, told": lambda run: Campus(run, ALL),
}  # fmt: skip
NOTES = (
    "few: a device knows 30 others at random, and of each class 8 good ones drawn by speed, names swapped every 5 s; all: each "
    "knows every other, and what one asks for no other asks for; all, told: each has heard of pools for itself, as with few; "
    "sketch: 50 at random, and the 16 fastest heard of in each class, swapped every second",
    "bytes/s: what a device says of itself (documents, rates, pools, names, heartbeats), as real messages in TLS records, "
    "without handshakes; to_all: the same words said to everybody",
    "at the largest size the run with all known is not affordable: its mean is taken to be that of the size before",
)


def trials(quick: bool) -> list[Task]:
    """Small fleets with everybody known, beside them and far beyond with few known; the longest first."""
    if quick:
        return [Task("few", _calm(400), 1), *(Task(who, _calm(n), 1) for n in (50, 100) for who in ("few", "all"))]
    dark = Cell(200, LOAD, "blackout", BLACKOUT_JOBS)
    found = [Task("few", _calm(10_000), 1), *(Task(who, _calm(1000), 1) for who in WHO if who != "all, told")]
    found += [Task(who, dark, 1) for who in ("few", "all", "ray+tags")]
    return found + [Task(who, _calm(200), seed) for seed in (1, 2, 3) for who in WHO]


def _calm(devices: int) -> Cell:
    return Cell(devices, LOAD, jobs=JOBS_EACH * devices)


def run(quick: bool, resume: bool = False, out: Path | None = None) -> Report:
    """Every trial; the loss where all can be known, and at the largest size against what is to be expected there.

    With `out`, every run is kept there, and `resume` goes on.
    """
    kept = opened(out, RUNS_FILE, resume)
    with progress("campus") as bar:
        rows = run_all(trials(quick), kept, lambda done, of: bar(done / of, f"run {done} of {of}"), play=tried)
    report = Report("campus", quick, summary(rows), rows, list(NOTES))
    if out is not None:
        picture(curves(rows), out / "bench-campus.svg")
    return report


def tried(task: Task) -> dict[str, Any]:
    """One run as a row."""
    run_ = Run(draw(task.cell, task.seed), WHO[task.policy])
    found = figures(run_.run())
    row: dict[str, Any] = {
        "policy": task.policy, "cell": task.cell.name, "devices": task.cell.devices, "seed": task.seed,
        **{name: round(found[name], 3) for name in ("mean", "p95", "p99", "waste", "lost", "duplicates")},
    }  # fmt: skip
    return row | said(run_.policy.traffic) if isinstance(run_.policy, Campus) else row


def said(traffic: Traffic) -> dict[str, Any]:
    """Bytes per second of a device, to those who know it and to all, mean and most; how many it knows, how many know it."""
    few, full = traffic.per_s()
    return {
        "bytes_per_s": round(statistics.fmean(few)), "most": round(max(few)), "to_all": round(statistics.fmean(full)),
        "to_all_most": round(max(full)), "known": round(statistics.fmean(traffic.known), 1),
        "knowers_most": max(traffic.knowers), "links_per_s": round(traffic.links_per_s(), 4),
    }  # fmt: skip


def curves(rows: Sequence[dict[str, Any]]) -> dict[str, dict[int, float]]:
    """Over the size of the calm fleets, means over the seeds: completion of each, and the bytes of few and of all."""
    found: dict[str, dict[int, float]] = {}
    calm = [row for row in rows if row["cell"].startswith("calm")]
    for who, column, name in (
        *((who, "mean", who) for who in WHO),
        ("few", "bytes_per_s", "bytes"),
        ("few", "to_all", "to_all"),
    ):
        by: dict[int, list[float]] = {}
        for row in calm:
            if row["policy"] == who:
                by.setdefault(row["devices"], []).append(row[column])
        found[name] = {devices: statistics.fmean(values) for devices, values in by.items()}
    return found


def summary(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The figures of the goals."""
    found = curves(rows)
    few, every = found["few"], found["all"]
    told = {size: few[size] / mean for size, mean in found["all, told"].items()}
    largest, compared = max(few), max(every)
    loss, share = few[largest] / every[compared], found["bytes"][largest] / found["to_all"][largest]
    return {
        "devices": largest, "mean_s": round(few[largest], 3), "all_known_mean_s": round(every[compared], 3),
        "loss": round(loss, 3),
        "loss_measured": {str(n): round(few[n] / every[n], 3) for n in every},
        "loss_told": {str(n): round(ratio, 3) for n, ratio in told.items()},
        "bytes_per_s": round(found["bytes"][largest]), "to_all_bytes_per_s": round(found["to_all"][largest]),
        "share_of_traffic": round(share, 5),
        "lost": sum(r["lost"] for r in rows), "duplicates": sum(r["duplicates"] for r in rows),
        "met": loss <= LOSS_GOAL and share <= SHARE_GOAL,
    }  # fmt: skip
