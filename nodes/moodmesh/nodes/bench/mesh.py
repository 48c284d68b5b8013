"""bench discovery and bench pairing: from exec of a process to what both sides have on disk or on their list."""

from __future__ import annotations

import subprocess
import time
from typing import Any

from moodmesh.nodes.bench.report import Report, p
from moodmesh.nodes.demo.scene import CLI, Device, Scene
from moodmesh.nodes.demo.story import pair
from moodmesh.nodes.errors import NoDaemon

RUNS = 20
SETTINGS: dict[str, Any] = {"pool.kind": "process", "pool.eager": "false", "jobs.benchmark": "false"}


def discovery(quick: bool) -> Report:
    """A device starts beside one that is up: from exec, and from its first socket, to listed on both sides."""
    report, count = Report("discovery", quick), 5 if quick else RUNS
    new, up = [], []
    scene = Scene({"old": SETTINGS})
    try:
        old = scene.devices["old"]
        scene.wait("up", lambda d: bool(d.client.get("status")))
        for i in range(count):
            newcomer = Device(f"new{i}", scene.root / f"new{i}", {})
            began = time.monotonic()
            scene.start(newcomer, SETTINGS)
            _until(lambda newcomer=newcomer: scene.see_each_other([old, newcomer]))
            listed = time.monotonic()
            new.append(listed - began)
            up.append(listed - float(newcomer.client.get("status")["bound_at"]))
            port = int(newcomer.client.get("status")["port"])
            newcomer.process.terminate()
            newcomer.process.wait()
            _until(lambda port=port: port not in old.near())
    finally:
        scene.close()
    report.row("exec of `up` to listed on both sides", new)
    report.row("first socket bound to listed on both sides", up)
    report.summary = {
        "new_p50_s": round(p(new, 0.5), 3),
        "new_p95_s": round(p(new, 0.95), 3),
        "up_p50_s": round(p(up, 0.5), 3),
        "up_p95_s": round(p(up, 0.95), 3),
    }
    report.notes.append(f"reference, the interpreter alone: {interpreter():.3f} s to start Python and exit")
    return report


def pairing(quick: bool) -> Report:
    """From exec of the guest's command line with the code to both stores committed."""
    report, count = Report("pairing", quick), 5 if quick else RUNS
    times, whole = [], []
    scene = Scene({"host": SETTINGS, "guest": SETTINGS})
    try:
        host, guest = scene.devices.values()
        scene.wait("seeing the other", lambda d: scene.see_each_other([host, guest]))
        for _ in range(count):
            mark: list[float] = []
            pair(host, guest, lambda code, mark=mark: mark.append(time.monotonic()) or code)  # type: ignore[misc]
            whole.append(time.monotonic() - mark[0])
            stored = [d.client.get("peers")["peers"][0]["stored_at"] for d in (host, guest)]
            times.append(max(stored) - mark[0])
            for d in (host, guest):
                d.command("peers", "forget", d.client.get("peers")["peers"][0]["name"])
    finally:
        scene.close()
    report.row("exec of `pair CODE` to both stores committed", times)
    report.row("exec of `pair CODE` to its exit", whole)
    report.summary = {"p50_s": round(p(times, 0.5), 3), "p95_s": round(p(times, 0.95), 3)}
    report.notes.append(f"reference, the interpreter alone: {interpreter():.3f} s to start Python and exit")
    return report


def _until(done: Any, seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if done():
                return
        except NoDaemon:
            pass
        time.sleep(0.003)
    raise TimeoutError(f"a step of the benchmark did not end in {seconds:.0f} s: is this machine busy? Run it again")


def interpreter() -> float:
    """Seconds to start a bare interpreter and end it: the median of five."""
    times = []
    for _ in range(5):
        began = time.monotonic()
        subprocess.run([CLI[0], "-c", "pass"], check=True)
        times.append(time.monotonic() - began)
    return p(times, 0.5)
