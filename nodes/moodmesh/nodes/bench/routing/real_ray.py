"""A world replayed on a real Ray: one raylet per device with its slots as CPUs, what a device can do as custom resources."""

from __future__ import annotations

import json
import math
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.fleet import FleetFailed
from moodmesh.nodes.bench.routing.baselines import IMAGE
from moodmesh.nodes.bench.routing.engine import SIZES
from moodmesh.nodes.bench.routing.world import NAMES, World

MODULE = "moodmesh.nodes.bench.routing.ray_cluster"
ANY, MANY = 0.001, 1.0
STARTING_S, DRAIN_S = 120.0, 300.0
GPU_BOX = "gpu_box"


def replay(world: World, *, tags: bool) -> tuple[list[float], list[int]]:
    """By job its seconds from submission to the result, and the device; `tags`: images on GPU boxes only."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "play.json"
        file.write_text(json.dumps(play(world, tags=tags)))
        limit = STARTING_S + world.jobs[-1].at + DRAIN_S
        done = subprocess.run(
            [sys.executable, "-m", MODULE, str(file)], capture_output=True, text=True, timeout=limit, check=False
        )
    if done.returncode:
        raise FleetFailed(f"Ray did not play the trace; it says:\n{done.stderr[-1500:]}")
    found = [pair or (math.nan, -1) for pair in json.loads(done.stdout.splitlines()[-1])["done"]]
    return [seconds for seconds, _ in found], [where for _, where in found]


def play(world: World, *, tags: bool) -> dict[str, Any]:
    """The world as the child process reads it. Without tags a job needs a device that can do its kind at all."""
    devices = [
        {
            "slots": machine.slots,
            "resources": {_able(kind): MANY for kind, s in enumerate(machine.seconds) if s < math.inf}
            | ({GPU_BOX: float(machine.slots)} if machine.kind == "gpu" else {}),
        }
        for machine in world.machines
    ]
    jobs = [
        {
            "at": job.at,
            "seconds": [_seconds(world, number, index) for index in range(len(world.machines))],
            "resources": {GPU_BOX: 1.0} if tags and job.kind == IMAGE else {_able(job.kind): ANY},
            "bytes_in": SIZES[job.kind].bytes_in,
            "bytes_out": SIZES[job.kind].bytes_out,
        }
        for number, job in enumerate(world.jobs)
    ]
    return {"devices": devices, "jobs": jobs}


def _able(kind: int) -> str:
    return "can_" + NAMES[kind].split("/")[0]


def _seconds(world: World, number: int, index: int) -> float | None:
    job = world.jobs[number]
    seconds = world.machines[index].seconds[job.kind] * job.luck(index, 0)
    return seconds if seconds < math.inf else None
