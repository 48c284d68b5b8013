"""bench submit: from the local API request to the task's first line in a worker of another daemon; Dask beside it."""

from __future__ import annotations

import contextlib
import http.client
import importlib.util
import json
import os
import socket
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench import clock_task
from moodmesh.nodes.bench.plugin import install
from moodmesh.nodes.bench.report import Report, p
from moodmesh.nodes.cli.client import SOCKET, TOKEN_FILE
from moodmesh.nodes.demo.scene import Device, Scene
from moodmesh.nodes.demo.story import pair
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.pool.ray import installed
from moodmesh.nodes.pool.rundir import run_dir

RUNS, WARM, IN_FLIGHT = 300, 30, 8


def run(quick: bool) -> Report:
    """Both pools, then Dask at the same two points."""
    report, count = Report("submit", quick), 60 if quick else RUNS
    if importlib.util.find_spec("distributed") is None:
        raise UsageError("the reference, Dask, is not installed: pip install distributed (or `./run bench submit`)")
    figures: dict[str, tuple[list[float], float]] = {}
    for kind in ("process", "ray") if installed() else ("process",):
        times, rate, fsync = _ours(kind, count)
        figures[kind] = times, rate
        report.row(f"moodmesh, {kind} pool", times)
        report.rows[-1] |= {"jobs_per_s": round(rate, 1), "fsync_p50_ms": round(fsync * 1000, 3)}
    dask = _dask(count)
    report.row("dask.distributed", dask)
    best, rate = figures["process"]
    report.summary = {
        "p50_ms": round(1000 * p(best, 0.5), 3),
        "p99_ms": round(1000 * p(best, 0.99), 3),
        "jobs_per_s": round(rate, 1),
        "dask_p50_ms": round(1000 * p(dask, 0.5), 3),
        "dask_p99_ms": round(1000 * p(dask, 0.99), 3),
    }
    report.notes.append(f"ratio to Dask at p50: {p(best, 0.5) / p(dask, 0.5):.2f} (below 1 is faster)")
    if "ray" in figures:
        report.notes.append(f"Ray pool against subprocess pool at p50: {p(figures['ray'][0], 0.5) / p(best, 0.5):.2f}")
    return report


class _Api:
    """One kept-open connection to a daemon's socket."""

    def __init__(self, home: Path) -> None:
        self._headers = {
            "Authorization": f"Bearer {(home / TOKEN_FILE).read_text().strip()}",
            "Content-Type": "application/json",
        }
        self._connection = http.client.HTTPConnection("localhost", timeout=30)
        self._connection.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.sock.connect(str(run_dir(home, create=False) / SOCKET))

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        self._connection.request(method, path, json.dumps(body) if body is not None else None, self._headers)
        return json.loads(self._connection.getresponse().read())

    def close(self) -> None:
        self._connection.close()


def _ours(kind: str, count: int) -> tuple[list[float], float, float]:
    with _two(kind) as (asks, works):
        api = _Api(asks.home)
        body = {"task": clock_task.NAME, "on": works.name}
        times = [_one(api, body) for _ in range(WARM + count)][WARM:]
        api.close()
        return times, _throughput(asks.home, body, count), fsync_seconds(asks.home)


def _one(api: _Api, body: dict[str, Any]) -> float:
    began = time.clock_gettime(time.CLOCK_MONOTONIC)
    job = api.call("POST", "/jobs", body)["id"]
    time.sleep(0.02)  # asking earlier would compete with what is measured
    while "result" not in (found := api.call("GET", f"/jobs/{job}/result")):
        time.sleep(0.002)
    return float(found["result"]["at"]) - began


def _throughput(home: Path, body: dict[str, Any], count: int) -> float:
    """Jobs a second with several in flight."""

    def some(share: int) -> None:
        api = _Api(home)
        for _ in range(share):
            _one(api, body)
        api.close()

    began = time.monotonic()
    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        list(threads.map(some, [count // IN_FLIGHT] * IN_FLIGHT))
    return count // IN_FLIGHT * IN_FLIGHT / (time.monotonic() - began)


@contextlib.contextmanager
def _two(kind: str) -> Iterator[tuple[Device, Device]]:
    """Two paired daemons with warm pools and the clock task."""
    with tempfile.TemporaryDirectory() as folder:
        path = install(Path(folder), clock_task.TASKS)
        settings = {"pool.kind": kind, "power.battery_floor": 0}
        asks = {**settings, "pool.kind": "process"}
        scene = Scene({"asks": asks, "works": settings}, {"PYTHONPATH": os.pathsep.join([str(path)])})
        try:
            asker, worker = scene.devices.values()
            scene.wait("ready", lambda d: bool(d.client.get("status")["ready"]), 120)
            pair(asker, worker)
            for us, them in ((asker, worker), (worker, asker)):
                us.command("peers", "allow", them.name, "bench.clock", "own.device")
            scene.wait("linked", lambda d: d.client.get("status")["linked"] == 1)
            yield asker, worker
        finally:
            scene.close()


def _dask(count: int) -> list[float]:
    """The same two points in dask.distributed: `submit` in the client, first line in its worker process."""
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=1, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1") as cluster,
        Client(cluster) as client,
    ):
        times = []
        for _ in range(WARM + count):
            began = time.clock_gettime(time.CLOCK_MONOTONIC)
            future = client.submit(time.clock_gettime, time.CLOCK_MONOTONIC, pure=False)
            times.append(future.result() - began)
    return times[WARM:]


def fsync_seconds(where: Path, count: int = 100) -> float:
    """The median of an fsync of 4 KiB on this disk."""
    times = []
    with tempfile.TemporaryFile(dir=where) as file:
        for _ in range(count):
            file.write(bytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return p(times, 0.5)
