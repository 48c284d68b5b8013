"""`moodmesh bench routing --real`: is the simulator right? The same worlds on real daemons and on a real Ray (routing §15)."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from moodmesh.nodes.bench.report import Report, p
from moodmesh.nodes.bench.routing import baselines, real_ray
from moodmesh.nodes.bench.routing.engine import DETECTION_S, Policy, Run
from moodmesh.nodes.bench.routing.meshed import Meshed
from moodmesh.nodes.bench.routing.real_mesh import RealMesh, Wire
from moodmesh.nodes.bench.routing.world import NAMES, Cell, Work, World, draw
from moodmesh.nodes.cli.output import progress
from moodmesh.nodes.peers import RECONNECT_S
from moodmesh.nodes.pool.ray import installed

WITHIN = 0.2
REPLICAS, JITTER_S = 40, 0.02
"""A simulation is repeated with arrivals moved by some milliseconds: how far it sways then is no error of the model."""


class Away(NamedTuple):
    """A second replay on the mesh: load, jobs, pace, and when the GPU boxes are killed and started again."""

    load: float
    jobs: int
    pace: float
    leaves: float
    returns: float


class Size(NamedTuple):
    """Devices and nominal load; jobs on the mesh and on Ray, and how many times faster than in the simulator all work is.

    The faster, the more of a job is what this one machine spends on being so many devices, which no model holds.
    """

    devices: int
    load: float
    jobs: tuple[int, int]
    pace: tuple[float, float]
    columns: tuple[str, ...] = ("ray hybrid", "ray+tags")
    seed: int = 0
    away: Away | None = None

    def world(self, which: int) -> World:
        """The one for the mesh (0) or for Ray (1)."""
        return faster(draw(Cell(self.devices, self.load, jobs=self.jobs[which]), self.seed), self.pace[which])

    def outage(self) -> World | None:
        """The world of the second replay; jobs of the devices that leave are another one's, which can take them in."""
        if self.away is None:
            return None
        world = faster(draw(Cell(self.devices, self.away.load, jobs=self.away.jobs), self.seed), self.away.pace)
        gone = [m.kind == "gpu" for m in world.machines]
        jobs = [j._replace(origin=gone.index(False)) if gone[j.origin] else j for j in world.jobs]
        times = ((self.away.leaves, self.away.returns),)
        return replace(world, jobs=jobs, absences=[times if left else () for left in gone])


FULL = Size(10, 0.5, (300, 400), (1.0, 4.0), away=Away(0.3, 160, 2.0, 25.0, 60.0))
QUICK = Size(5, 0.5, (60, 40), (5.0, 10.0), ("ray+tags",))
OURS, OUTAGE = "moodmesh", "moodmesh, GPU box killed"
CRASH_SEEN_S = RECONNECT_S + 0.05
"""What a SIGKILL closes is seen at once, and given up when it is not back after that."""
COLUMNS: dict[str, tuple[Callable[[Run], Policy], bool]] = {
    "ray hybrid": (baselines.Central, False),
    "ray+tags": (baselines.Tagged, True),
}


def run(quick: bool, out: Path | None = None) -> Report:
    """Real and simulated, side by side: the mesh, then Ray as it is and with images restricted to GPU boxes by hand."""
    report, size = Report("routing-real", quick), QUICK if quick else FULL
    with progress("replaying") as bar:
        mesh = _mesh(report, OURS, size.world(0), lambda share: bar(0.4 * share, "on daemons"))
        report.summary = {"mesh": mesh, "ray": {}}
        for count, name in enumerate(size.columns if installed() else ()):
            bar(0.4 + 0.2 * count, name)
            report.summary["ray"][name] = _ray(report, size.world(1), name)
        if (outage := size.outage()) is not None:
            report.summary["outage"] = _mesh(report, OUTAGE, outage, lambda share: bar(0.8 + 0.2 * share, "killed"))
    if not installed():
        report.notes.append("no Ray here: pip install 'moodmesh[ray]'")
    conclude(report)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        (out / "bench-routing-real.md").write_text(page(report))
    return report


def conclude(report: Report) -> None:
    """Whether means and 95th percentiles are within a fifth of each other; it failed when a job was lost."""
    s = report.summary
    parts = [s["mesh"], *s["ray"].values(), *([s["outage"]] if "outage" in s else [])]
    report.failed = any(part["lost"] for part in parts)
    s["within_20_percent"] = all(abs(part[key] - 1) <= WITHIN for part in parts for key in ("ratio", "p95_ratio"))


def _mesh(report: Report, name: str, world: World, told: Callable[[float], None]) -> dict[str, Any]:
    mesh = RealMesh(world)
    try:
        mesh.start()
        wire = mesh.wire()
        real = mesh.replay(told)
    finally:
        mesh.close()
    went = replace(world, absences=real.absences)
    found = compare(report, name, world, real.completion, simulate(went, Meshed, wire, CRASH_SEEN_S))
    began = len(real.ran) / len(world.jobs)
    report.notes.append(
        f"{name}: a job that lasts no time takes {1000 * wire.overhead_s:.1f} ms on another device, inputs travel at "
        f"{wire.bandwidth / 1e6:.0f} MB/s, {began:.3f} attempts a job, 95 % of jobs were handed in within "
        f"{1000 * real.late_s:.0f} ms of their time, and daemons with workers used {real.cpu_share:.2f} cores"
    )
    return found


def _ray(report: Report, world: World, name: str) -> dict[str, Any]:
    policy, tags = COLUMNS[name]
    real, _ = real_ray.replay(world, tags=tags)
    return compare(report, name, world, real, simulate(world, policy, Wire(0.0, 1e9)))


def faster(world: World, pace: float) -> World:
    """The same world with so many times less to do, so many times as often; nobody leaves."""
    machines = [m._replace(seconds=tuple(s / pace for s in m.seconds)) for m in world.machines]
    return World(world.cell, machines, [j._replace(at=j.at / pace) for j in world.jobs], [()] * len(machines))


def simulate(world: World, policy: Callable[[Run], Policy], wire: Wire, detection_s: float = DETECTION_S) -> list[list[float]]:
    """Completions by job in the simulator, on a wire as this machine's is, with arrivals moved a little each time."""
    machines = [m._replace(bandwidth=wire.bandwidth) for m in world.machines]
    worlds = [replace(world, machines=machines, jobs=_moved(world, number)) for number in range(REPLICAS)]
    return [Run(one, policy, detection_s=detection_s).run().completion for one in worlds]


def _moved(world: World, number: int) -> list[Work]:
    luck = random.Random(number)  # noqa: S311 - no secret
    return [j._replace(at=j.at + luck.uniform(0, JITTER_S)) for j in world.jobs]


def compare(
    report: Report, name: str, world: World, real: Sequence[float], simulated: Sequence[Sequence[float]]
) -> dict[str, Any]:
    """Rows of all jobs and of each kind; the summary of all. The first tenth is left out, as everywhere."""
    skipped = len(real) // 10
    kinds = [job.kind for job in world.jobs]
    for kind, words in [(None, "all"), *enumerate(NAMES)]:
        those = [n for n in range(skipped, len(real)) if kind in (None, kinds[n])]
        if those:
            report.rows.append({"policy": name, "jobs": words, **_figures(real, simulated, those)})
    row = next(r for r in reversed(report.rows) if r["policy"] == name and r["jobs"] == "all")
    lost = sum(math.isnan(seconds) for seconds in real)
    return {
        "ratio": row["ratio"], "p95_ratio": row["p95_ratio"], "real_mean": row["real_mean"],
        "simulated_mean": row["simulated_mean"], "jobs": len(real), "devices": len(world.machines), "lost": lost,
    }  # fmt: skip


def _figures(real: Sequence[float], simulated: Sequence[Sequence[float]], those: list[int]) -> dict[str, Any]:
    done = [real[n] for n in those if not math.isnan(real[n])] or [math.nan]
    runs = [[run[n] for n in those] for run in simulated]
    found: dict[str, Any] = {"n": len(those)}
    for what, figure in (("mean", statistics.fmean), ("p50", lambda v: p(v, 0.5)), ("p95", lambda v: p(v, 0.95))):
        ours, theirs = figure(done), sorted(figure(run) for run in runs)
        found |= {
            f"real_{what}": round(ours, 3), f"simulated_{what}": round(statistics.fmean(theirs), 3),
            "ratio" if what == "mean" else f"{what}_ratio": round(ours / statistics.fmean(theirs), 3),
        }  # fmt: skip
        if what == "mean":
            found["simulated_means"] = f"{theirs[0]:.3f} to {theirs[-1]:.3f}"
    return found


def page(report: Report) -> str:
    """The report as Markdown."""
    keys = list(report.rows[0])
    lines = [keys, ["---"] * len(keys), *[[str(row.get(key, "")) for key in keys] for row in report.rows]]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    head = (
        "The simulator's worlds on real daemons and on a real Ray of this machine, tasks asleep for the drawn times; seconds "
        "from submission to the result. `moodmesh bench routing --real --out docs/results` makes this page anew, without the "
        "notes that begin with *by hand*."
    )
    notes = "\n".join(f"- {note}" for note in report.notes)
    return "\n\n".join(("# Routing, simulated and real", head, table, notes)) + "\n"
