"""bench calibration: does a job take the seconds that were predicted, and 19 of 20 no more than was said of 19 of 20?"""

from __future__ import annotations

import base64
import math
import random
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.fleet import Fleet, FleetFailed, Member
from moodmesh.nodes.bench.report import Report, p
from moodmesh.nodes.cli.output import progress

RUNS, QUICK_RUNS, WARM = 200, 24, 12
DUTIES = {"desktop": 1.0, "laptop": 0.5, "phone": 0.25}
ASKS = "phone"
IN_FLIGHT = 2
MOST_LINES = 120
GOAL, GOAL_WITHIN = 0.25, (0.90, 0.98)
PATIENCE_S = 60.0
SENTENCES = ("I am glad to be here.", "Nobody came, and it rained all day.", "We will see what tomorrow brings, I suppose.")


def run(quick: bool, runs: int | None = None, out: Path | None = None) -> Report:
    """Jobs of emotion.text of one to 120 lines, tiny and base, on three throttled daemons, two in flight, half of them free to
    go where they like."""
    report, count = Report("calibration", quick), runs or (QUICK_RUNS if quick else RUNS)
    fleet = Fleet(DUTIES, {"pool.eager": "true", "jobs.benchmark": "true", "jobs.packaged_models": "true"}, relayed=False)
    try:
        for name, member in fleet.members.items():
            member.settings = {**member.settings, "pool.duty": str(DUTIES[name])}
        fleet.start()
        fleet.wait("ready", lambda member: bool(member.client.get("status")["ready"]), 120)
        asks, draw = fleet.members[ASKS], random.Random(1)  # noqa: S311 - a benchmark's draw
        todo = [_request(draw) for _ in range(WARM + count)]
        with progress("calibration") as bar, ThreadPoolExecutor(IN_FLIGHT) as lanes:
            found = []
            for done, row in enumerate(lanes.map(lambda body: _one(asks, body), todo)):
                bar(done / len(todo), f"job {done} of {len(todo)}")
                found.append(row)
    finally:
        fleet.close()
    _judge(report, [row for row in found[WARM:] if row is not None])
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        _draw(report.rows, out / "bench-calibration.svg")
    return report


def _request(draw: random.Random) -> dict[str, Any]:
    lines = round(math.exp(draw.uniform(0, math.log(MOST_LINES))))
    text = "\n".join(draw.choice(SENTENCES) for _ in range(lines))
    return {
        "task": "emotion.text", "params": {"lines": True}, "input": base64.b64encode(text.encode()).decode(),
        "variant": draw.choice(("tiny", "base")), "on": draw.choice((*DUTIES, *[None] * len(DUTIES))),
    }  # fmt: skip


def _one(asks: Member, body: dict[str, Any]) -> dict[str, Any] | None:
    """One job to its end; None when it was not answered by its first attempt."""
    job, end = asks.client.post("jobs", body=body), time.monotonic() + PATIENCE_S
    while (found := asks.client.get("jobs", job["id"]))["status"] not in ("SUCCEEDED", "FAILED", "STOPPED"):
        if time.monotonic() > end:
            raise FleetFailed(f"job {job['id']} is still {found['status']}; the log ends:\n{asks.log()}")
        time.sleep(0.02)
    compared = next((a["compared"] for a in found["attempts"] if a["compared"]), None)
    if compared is None:
        return None
    lines = base64.b64decode(body["input"]).count(b"\n") + 1
    return {"on": found["ran_on"], "variant": found["variant"], "lines": lines, "told": body["on"] or "", **compared}


def _judge(report: Report, rows: Sequence[dict[str, Any]]) -> None:
    report.rows = [{k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()} for row in rows]
    errors = [math.log(row["actual_s"] / row["predicted_s"]) for row in rows]
    within = sum(row["within_p95"] for row in rows) / len(rows)
    off = statistics.median(map(abs, errors))
    for name in DUTIES:
        for variant in ("tiny", "base"):
            some = [e for e, row in zip(errors, rows, strict=True) if (row["on"], row["variant"]) == (name, variant)]
            if some:
                report.notes.append(
                    f"{variant} on {name}: {len(some)} jobs, actual / predicted {math.exp(statistics.median(some)):.2f} at the "
                    f"median, {math.exp(p(some, 0.1)):.2f} to {math.exp(p(some, 0.9)):.2f} for eight of ten"
                )
    report.summary = {
        "jobs": len(rows), "median_abs_log_ratio": round(off, 3), "median_ratio": round(math.exp(statistics.median(errors)), 3),
        "within_p95": round(within, 3), "met": off <= GOAL and GOAL_WITHIN[0] <= within <= GOAL_WITHIN[1],
    }  # fmt: skip


def _draw(rows: Sequence[dict[str, Any]], file: Path) -> None:
    """A point a job; above the line it took longer than predicted."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    matplotlib.rcParams |= {"svg.hashsalt": "calibration", "svg.fonttype": "none"}
    figure, panel = pyplot.subplots(figsize=(5, 4.6), layout="constrained")
    for name, colour in zip(DUTIES, ("#2f6f9f", "#4f9d69", "#c2453d"), strict=True):
        some = [row for row in rows if row["on"] == name]
        panel.plot([r["predicted_s"] for r in some], [r["actual_s"] for r in some], "o", color=colour, markersize=3, label=name)
    ends = [min(r["predicted_s"] for r in rows), max(r["actual_s"] for r in rows)]
    panel.plot(ends, ends, color="#888888", linewidth=1)
    panel.set(xscale="log", yscale="log", xlabel="predicted seconds, to the result", ylabel="actual seconds")
    panel.legend(frameon=False)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)
