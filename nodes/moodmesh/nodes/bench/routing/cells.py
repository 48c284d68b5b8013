"""Cells, policies and seeds of the routing benchmark, and the runs that fill its table; what is done is kept (routing §15)."""

from __future__ import annotations

import gc
import math
import os
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from moodmesh.nodes.bench import checkpoint
from moodmesh.nodes.bench.routing import baselines
from moodmesh.nodes.bench.routing.engine import Outcome, Policy, Run
from moodmesh.nodes.bench.routing.meshed import Meshed, Switches
from moodmesh.nodes.bench.routing.world import Cell, draw

LOADS = (0.3, 0.5, 0.7, 0.9)
JOBS = {2: 800, 5: 1500, 20: 3000, 100: 6000, 200: 8000}
CHURN_JOBS = {2: 1500, 5: 3000, 20: 6000, 100: 8000, 200: 8000}
OUTAGES = {
    5: (600.0, dict.fromkeys(LOADS, 1200)),
    20: (300.0, dict.fromkeys(LOADS, 3000)),
    100: (300.0, dict(zip(LOADS, (6000, 6500, 9000, 11500), strict=True))),
    200: (100.0, dict.fromkeys(LOADS, 8000)),
}
"""Seconds of a blackout, and jobs by load: they arrive before, all through it, and after."""

FRESH = range(20)
"""The seeds that are reported; constants were looked at on seeds from 100 on."""

LARGE, LARGE_SEEDS, ABLATION_SEEDS = 100, 10, 5
"""Fleets of so many devices, and ablations, are run with the first of them."""

OURS, BAR = "moodmesh", "ray+tags"
REFERENCES: dict[str, Callable[[Run], Policy]] = {
    "ray hybrid": baselines.Central,
    BAR: baselines.Tagged,
    "oracle": baselines.Oracle,
    "random": baselines.Random,
    "round robin": baselines.RoundRobin,
    "least loaded": baselines.LeastLoaded,
    "two choices": baselines.TwoChoices,
    "fastest": baselines.Fastest,
    "dask-like": baselines.DaskLike,
}
FIFO_VARIANT = "fifo variant"
FIFO = Switches(size_order=False, pooling=False, displacing=False)
ABLATIONS: dict[str, Switches] = {
    "no displacement cost": Switches(displacing=False),
    "no holding back": Switches(pooling=False),
    "no parking": Switches(parking=False),
    "no patience": Switches(patience=False),
    "no stealing": Switches(stealing=False),
    "no hedging": Switches(hedging=False),
    "no virtual queue": Switches(virtual_queue=False),
    "FIFO order": Switches(size_order=False),
    "no ageing": Switches(ageing=False),
    "no correction": Switches(correcting=False),
    "+ suspending": Switches(suspending=True),
    "documents every 1 s": Switches(documents_s=1.0, pools_s=1.0),
    "documents every 5 s": Switches(documents_s=5.0, pools_s=5.0),
}


class Task(NamedTuple):
    """One run: who decides, where, with which luck."""

    policy: str
    cell: Cell
    seed: int


def main_cells() -> list[Cell]:
    """Every cell of the specification with its length."""
    found = []
    for devices in JOBS:
        for load in LOADS:
            found.append(Cell(devices, load, jobs=JOBS[devices]))
            found.append(Cell(devices, load, "churn", CHURN_JOBS[devices]))
            if devices in OUTAGES:
                away_s, jobs = OUTAGES[devices]
                found.append(Cell(devices, load, "blackout", jobs[load], away_s))
    return found + [Cell(n, 0.1, "gone", JOBS[n]) for n in (5, 20)]


def odd_cells() -> list[Cell]:
    """What else happens to a fleet."""
    return [
        Cell(20, 0.7, arrivals="burst"), Cell(20, 0.7, arrivals="diurnal"), Cell(20, 0.7, "home"), Cell(20, 0.7, odd="liar"),
        Cell(20, 0.7, odd="slow link"), Cell(20, 0.7, odd="cold models"),
    ]  # fmt: skip


def tasks(quick: bool, seeds: Iterable[int] = FRESH) -> list[Task]:
    """All runs of the benchmark, the most telling first."""
    seeds = list(seeds)
    if quick:
        cells = [Cell(n, load, leaving, 1000) for n in (5, 20) for load in (0.3, 0.7) for leaving in ("calm", "blackout")]
        return [Task(policy, cell, seed) for cell in cells for policy in (OURS, BAR, "oracle") for seed in seeds[:3]]
    cells, few = main_cells() + odd_cells(), seeds[:LARGE_SEEDS]
    found = [Task(p, c, s) for s in seeds for c in cells for p in _policies(c) if c.devices < LARGE or s in few]
    three = [Cell(20, 0.7), Cell(20, 0.7, "churn", 6000), Cell(20, 0.7, "blackout")]
    found += [Task(name, c, s) for s in seeds[:ABLATION_SEEDS] for c in three for name in ABLATIONS]
    return found


def _policies(cell: Cell) -> list[str]:
    if cell.leaving == "gone":
        return [OURS, FIFO_VARIANT]
    some = [OURS, BAR, "ray hybrid"]
    if cell.devices == 20 and cell.leaving == "calm" and not cell.odd and cell.arrivals == "poisson":
        return some + [name for name in REFERENCES if name not in some] + [FIFO_VARIANT]
    return some


def run_one(task: Task) -> dict[str, Any]:
    """One run as a row."""
    switches = FIFO if task.policy == FIFO_VARIANT else ABLATIONS.get(task.policy)
    policy = REFERENCES.get(task.policy) or (lambda run: Meshed(run, switches))
    found = Run(draw(task.cell, task.seed), policy).run()
    return {"policy": task.policy, "cell": task.cell.name, "seed": task.seed, **figures(found)}


def figures(found: Outcome) -> dict[str, Any]:
    """What the user felt, the first tenth of the jobs left out; what it cost; how honest the predictions were."""
    kept = found.completion[len(found.completion) // 10 :]
    done = sorted(c for c in kept if not math.isnan(c))
    slow = [c / i for c, i in zip(kept, found.ideal[-len(kept) :], strict=True) if not math.isnan(c)]
    errors = sorted(abs(math.log(actual / said)) for said, actual in found.predicted if said > 0)
    return {
        "mean": sum(done) / len(done), **{f"p{q}": done[int(q / 100 * len(done))] for q in (50, 95, 99)},
        "slowdown": math.exp(sum(map(math.log, slow)) / len(slow)), "waste": 100 * found.wasted_s / max(found.used_s, 1e-9),
        "lost": sum(map(math.isnan, found.completion)), "duplicates": found.duplicates,
        "honesty": errors[len(errors) // 2] if errors else None,
    }  # fmt: skip


def done(todo: Sequence[Task], kept: Path) -> list[Task]:
    """Those whose rows are kept, of every seed of a cell all or none: policies are compared in the same seeds."""
    known = set(map(_key, checkpoint.resumed(kept)))
    missing = {(t.cell, t.seed, t.policy in ABLATIONS) for t in todo if (t.policy, t.cell.name, t.seed) not in known}
    return [t for t in todo if (t.cell, t.seed, t.policy in ABLATIONS) not in missing]


def run_all(
    todo: list[Task], kept: Path | None, told: Callable[[int, int], None], workers: int | None = None,
    play: Callable[[Task], dict[str, Any]] = run_one,
) -> list[dict[str, Any]]:  # fmt: skip
    """Every row, in no order; those in the file `kept` are not run again, new ones are added to it as they come."""
    rows = {_key(row): row for row in (checkpoint.resumed(kept) if kept is not None else [])}
    names = {(t.policy, t.cell.name, t.seed): t for t in todo}
    left = [t for key, t in names.items() if key not in rows]
    # a run makes no cycles worth collecting, and looking for them took a sixth of it
    with ProcessPoolExecutor(workers or os.cpu_count(), mp_context=get_context("spawn"), initializer=gc.disable) as pool:
        for count, future in enumerate(as_completed([pool.submit(play, t) for t in left]), len(names) - len(left) + 1):
            row = future.result()
            rows[_key(row)] = row
            if kept is not None:
                checkpoint.add(kept, row)
            told(count, len(names))
    return [rows[key] for key in names]


def _key(row: dict[str, Any]) -> tuple[str, str, int]:
    return row["policy"], row["cell"], row["seed"]
