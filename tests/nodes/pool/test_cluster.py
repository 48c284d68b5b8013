"""A pool pointed at an existing Ray cluster: two nodes on this host, a token, plug-ins checked, models by hash."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from moodmesh.nodes.pool.seam import AttemptFailed
from moodmesh.nodes.pool.sweep import holders, sweep

Bench = Any
pytestmark = [pytest.mark.ray, pytest.mark.heavy]
WEIGHTS = b"weights of a model"


@dataclass
class Cluster:
    """`ray start`, as a user of a cluster would call it."""

    directory: Path
    port: int
    token: Path

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    def start(self, *arguments: str, **environment: str) -> None:
        own = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(self.token), "RAY_USAGE_STATS_ENABLED": "0"}
        command = [
            sys.executable,
            "-m",
            "ray.scripts.scripts",
            "start",
            *arguments,
            "--num-cpus=1",
            "--object-store-memory=80000000",
        ]
        done = subprocess.run(command, env=os.environ | own | environment, cwd="/", capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr

    def head(self) -> None:
        self.start(
            *("--head", f"--port={self.port}", "--node-ip-address=127.0.0.1"),
            *(f"--temp-dir={self.directory}", "--include-dashboard=false"),
        )

    def join(self, **environment: str) -> None:
        self.start(f"--address={self.address}", "--node-ip-address=127.0.0.1", **environment)

    def raylets(self) -> set[psutil.Process]:
        return {process for process in holders(self.directory.resolve()) if _named(process, "raylet")}


def _named(process: psutil.Process, name: str) -> bool:
    try:
        return process.name() == name
    except psutil.NoSuchProcess:
        return False


@pytest.fixture
def cluster(plugin_path: Path, new_home: Callable[[], Path]) -> Iterator[Cluster]:
    home = new_home()
    token = home / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    made = Cluster(home / "c", port, token)
    try:
        yield made
    finally:
        sweep(made.directory)


async def test_a_cluster_is_one_pool(cluster: Cluster, new_bench: Callable[..., Bench]) -> None:
    await asyncio.to_thread(cluster.head)
    first = await asyncio.to_thread(cluster.raylets)
    await asyncio.to_thread(cluster.join, PYTHONPATH="")  # a node without the plug-in
    options = {"address": cluster.address, "token_file": cluster.token}
    refused = new_bench("ray", slots=1, **options)
    with pytest.raises(
        OSError, match=r"Ray node [0-9.]+ lacks the task test.broken, the task test.probe, the task test.stream. Install"
    ):
        await refused.pool.start()
    await refused.pool.stop()

    (second,) = (await asyncio.to_thread(cluster.raylets)) - first
    second.send_signal(signal.SIGTERM)
    await asyncio.to_thread(second.wait, 20)
    await asyncio.to_thread(cluster.join)
    bench = new_bench("ray", slots=1, **options)
    (bench.home / "models").mkdir()
    (bench.home / "models" / hashlib.sha256(WEIGHTS).hexdigest()).write_bytes(WEIGHTS)
    await bench.pool.start()
    assert (bench.pool.engine, bench.pool.slots) == ("ray-cluster", 2)

    # Both slots at once: one on each node, since each has one processor.
    both = await asyncio.gather(bench.run("sleep", seconds=1), bench.run("sleep", seconds=1))
    nodes = {await asyncio.to_thread(raylet_of, done.value["pid"]) for done, _ in both}
    assert nodes == {raylet.pid for raylet in await asyncio.to_thread(cluster.raylets)}

    # A model reaches the worker by its hash, into a folder of its own.
    done, _ = await bench.run("weigh")
    assert done.files == {"weights": WEIGHTS}
    path = Path(done.value["path"])
    assert re.search(r"moodmesh-\w+-mm-\w{8}/models/", str(path))

    task, events = await bench.begin("native")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await bench.until(lambda: bench.gone(events.started.pid), 2)
    with pytest.raises(AttemptFailed, match="Explosive"):
        await bench.run("explode")

    workers = {events.started.pid for _, events in both}
    await bench.pool.stop()
    await bench.until(lambda: all(map(bench.gone, workers)))
    await bench.until(lambda: not path.parent.parent.exists())
    assert len(await asyncio.to_thread(cluster.raylets)) == 2  # the cluster is not ours to stop


def raylet_of(pid: int) -> int:
    return next(parent.pid for parent in psutil.Process(pid).parents() if parent.name() == "raylet")
