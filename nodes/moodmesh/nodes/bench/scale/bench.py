"""`moodmesh bench scale`: what a decision costs, and what a node says, at 2, 20 and 200 devices."""

from __future__ import annotations

from pathlib import Path

from moodmesh.nodes.bench.report import Report, p
from moodmesh.nodes.bench.scale.decision import decision_s
from moodmesh.nodes.bench.scale.gossip import GOSSIP, bytes_per_s
from moodmesh.nodes.bench.scale.picture import draw
from moodmesh.nodes.cli.output import progress

SIZES, QUICK = (2, 20, 200), (2, 20)
RUNS, QUICK_RUNS = 500, 100
GOAL_MS = 1.0
PLAN = "past 200 devices nobody knows everybody: `moodmesh bench campus` simulates that, at 10,000"


def run(quick: bool, out: Path | None = None) -> Report:
    """Decisions on real peers with real documents, beside reading those documents as JSON; then envelopes, in virtual time."""
    report, sizes = Report("scale", quick), QUICK if quick else SIZES
    decided: dict[int, list[float]] = {}
    curve: dict[str, dict[int, float]] = {"idle": {}, "busy": {}}
    with progress("scale") as bar:
        for done, size in enumerate(sizes):
            bar(done / len(sizes), f"{size} devices")
            for changed in sorted({1, size - 1}):
                times, offered, reference = decision_s(size, QUICK_RUNS if quick else RUNS, changed)
                report.row(f"decision, {size} devices, {changed} of them changed since the last", times)
                decided[changed] = times
            report.row(f"decision, attempt and table, {size} devices", offered)
            report.row(f"reference: json.loads of the documents of {size - 1} peers", reference)
            for state, found in curve.items():
                said = bytes_per_s(size, busy=state == "busy")
                found[size] = round(sum(said.get(kind, 0.0) for kind in GOSSIP), 1)
                report.rows.append({"what": f"gossip, {size} devices, {state}", "bytes_per_s": found[size], "by_kind": said})
    usual, worst = decided[1], decided[max(decided)]
    report.notes += [
        "times are CPU milliseconds of the process; bytes are of frames in TLS records, without TCP and IP",
        "gossip: heartbeats, documents, pools and rights that one node sends; busy: it serves the others at load 0.7",
        PLAN,
    ]
    report.summary = {
        "decision_p50_ms": round(1000 * p(usual, 0.5), 3),
        "decision_p99_ms": round(1000 * p(usual, 0.99), 3),
        "decision_all_changed_p50_ms": round(1000 * p(worst, 0.5), 3),
        "met": 1000 * p(usual, 0.5) < GOAL_MS,
        "gossip_bytes_per_s": {str(n): v for n, v in curve["busy"].items()},
        "gossip_idle_bytes_per_s": {str(n): v for n, v in curve["idle"].items()},
    }
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        draw(curve, out / "bench-scale.svg")
    return report
