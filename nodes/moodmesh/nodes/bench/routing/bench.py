"""`moodmesh bench routing`: every cell of the specification, twenty fresh seeds, beside what others would do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from moodmesh.nodes.bench.checkpoint import opened
from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.bench.routing import real as validation
from moodmesh.nodes.bench.routing.cells import ABLATIONS, FRESH, LARGE, Task, done, main_cells, run_all, tasks
from moodmesh.nodes.bench.routing.picture import draw
from moodmesh.nodes.bench.routing.table import markdown, summary, tabled
from moodmesh.nodes.bench.routing.world import SMALL, TEN, capacity, fluid
from moodmesh.nodes.cli.output import progress
from moodmesh.nodes.errors import UsageError

RUNS_FILE = "bench-routing.runs.jsonl"
PICTURE = "![ratio to Ray with tags](bench-routing.svg)"


def run(
    quick: bool,
    runs: int | None = None,
    resume: bool = False,
    out: Path | None = None,
    real: bool = False,
    so_far: bool = False,
) -> Report:
    """All cells under all policies. `runs`: how many seeds. With `out`, every run is kept there, and `resume` goes on;
    `so_far`: no runs, only what those that are kept come to.

    `real`: nothing of that, but one cell beside its replay on real daemons and on a real Ray.
    """
    if real:
        if runs or resume or so_far:
            raise UsageError("--real replays one world, once: leave --runs, --resume and --so-far out")
        return validation.run(quick, out)
    kept = opened(out, RUNS_FILE, resume or so_far)
    todo = tasks(quick, range(runs) if runs else FRESH)
    if so_far and kept is not None and not (todo := done(todo, kept)):
        raise UsageError(f"no run is kept in {out} yet: leave --so-far out to make some")
    with progress("simulating") as bar:
        rows = run_all(todo, kept, lambda count, of: bar(count / of, f"run {count} of {of}"))
    table = tabled(rows)
    cells = list({task.cell.name: task.cell for task in todo}.values())
    report = Report("routing", quick, summary(table, cells if quick else main_cells()), table, _notes(todo))
    if out is not None:
        (out / "bench-routing.md").write_text(_page(report, markdown(table, cells, list(ABLATIONS))))
        draw(table, out / "bench-routing.svg")
    return report


def _notes(todo: Sequence[Task]) -> list[str]:
    seeds = len({task.seed for task in todo if task.cell.devices < LARGE})
    large = len({task.seed for task in todo if task.cell.devices >= LARGE})
    names = {n: SMALL.get(n) or TEN * (n // 10) for n in (2, 5, 20)}
    loads = ", ".join(f"N={n}: load 1 is {capacity(f) / fluid(f):.2f} of the fluid bound" for n, f in names.items())
    return [
        f"up to {seeds} paired seeds, {large} of fleets of {LARGE} and more; constants were looked at on other seeds",
        "load: work that arrives, luck included, over what a fleet does whose devices each work through the mix they can run; "
        + loads,
        "ray hybrid and ray+tags are modelled generously: one queue, perfect and instant knowledge, no overhead",
    ]


def _page(report: Report, table: str) -> str:
    figures = "\n".join(f"- `{name}`: {value}" for name, value in report.summary.items() if name != "cells")
    notes = "\n".join(f"- {note}" for note in report.notes)
    command = f"moodmesh bench routing{' --quick' if report.quick else ''} --out docs/results"
    head = f"The daemon's own decisions in simulated fleets; `{command}` makes this page anew."
    title = "# Routing, simulated" + (": quick, three seeds of a few cells" if report.quick else "")
    parts = (title, head + " Seconds from submission to the result.", figures, PICTURE, table, notes)
    return "\n\n".join(parts) + "\n"
