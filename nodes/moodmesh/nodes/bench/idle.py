"""bench idle: memory and CPU of a daemon with one paired peer and nothing to do."""

from __future__ import annotations

import time

import psutil

from moodmesh.nodes.bench.mesh import SETTINGS
from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.demo.scene import Scene
from moodmesh.nodes.demo.story import pair

SECONDS, SETTLE_S = 60.0, 10.0


def run(quick: bool) -> Report:
    """RSS of the daemon and its children, and their CPU, while nothing happens."""
    report, seconds = Report("idle", quick), 15.0 if quick else SECONDS
    scene = Scene({"one": SETTINGS, "other": SETTINGS})
    try:
        one, other = scene.devices.values()
        scene.wait("seeing the other", lambda d: scene.see_each_other([one, other]))
        pair(one, other)
        scene.wait("linked", lambda d: d.client.get("status")["linked"] == 1)
        time.sleep(SETTLE_S)
        family = [psutil.Process(one.process.pid), *psutil.Process(one.process.pid).children(recursive=True)]
        before, began = _cpu(family), time.monotonic()
        time.sleep(seconds)
        used = (_cpu(family) - before) / (time.monotonic() - began)
        rss = sum(process.memory_info().rss for process in family) / 2**20
        heavy = one.client.get("status")["heavy_modules"]
    finally:
        scene.close()
    report.rows.append({"what": "daemon and its children", "processes": len(family), "rss_mb": round(rss, 1), "cpu": used})
    report.notes.append(f"reference, an idle Python interpreter: {_bare():.1f} MB")
    report.summary = {"rss_mb": round(rss, 1), "cpu_percent": round(100 * used, 3), "heavy_modules": heavy}
    return report


def _cpu(family: list[psutil.Process]) -> float:
    return sum(sum(process.cpu_times()[:2]) for process in family)


def _bare() -> float:
    import subprocess
    import sys

    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as bare:
        time.sleep(0.5)
        rss = psutil.Process(bare.pid).memory_info().rss / 2**20
        bare.communicate(b"\n")
    return float(rss)
