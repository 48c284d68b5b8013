"""`python -m moodmesh.nodes.bench.routing.ray_cluster FILE`: a world's jobs on a real Ray with one raylet per device.

A child process, since Ray stays out of the processes of Moodmesh. FILE is what `real_ray.play` makes, the answer
one line of JSON.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from typing import Any

os.environ |= {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0", "RAY_USAGE_STATS_ENABLED": "0"}  # the first: everything on loopback

import ray
from ray.cluster_utils import Cluster
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

STORE_BYTES = 100 * 2**20
WARM_S = 2.0
PATIENCE_S = 300.0


def main() -> None:
    """Start the raylets, play, end them."""
    with open(sys.argv[1]) as file:
        play = json.load(file)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        nodes = [_join(cluster, device) for device in play["devices"]]
        ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
        print(json.dumps(_play(play, nodes)), flush=True)
    finally:
        ray.shutdown()
        cluster.shutdown()  # type: ignore[no-untyped-call]


def _join(cluster: Any, device: dict[str, Any]) -> str:
    """One raylet; the id of its node."""
    node = cluster.add_node(num_cpus=device["slots"], resources=device["resources"], object_store_memory=STORE_BYTES)
    return str(node.node_id)


@ray.remote
def work(data: bytes, seconds: dict[str, float], size: int) -> tuple[str, bytes]:
    """Sleep for what the job takes on this node; which one that is."""
    node = ray.get_runtime_context().get_node_id()
    time.sleep(seconds[node])
    return node, os.urandom(size)


def _play(play: dict[str, Any], nodes: list[str]) -> dict[str, Any]:
    _warm(play, nodes)
    began = time.monotonic()
    pending: dict[Any, tuple[int, float]] = {}
    done: dict[int, tuple[float, int]] = {}

    def collect(until: float) -> None:
        """Take results as they come, until a time or while there are any."""
        while pending and (left := until - time.monotonic()) > 0:
            for reference in ray.wait(list(pending), num_returns=1, timeout=left)[0]:
                number, asked = pending.pop(reference)
                done[number] = time.monotonic() - asked, nodes.index(ray.get(reference)[0])

    for number, job in enumerate(play["jobs"]):
        collect(began + job["at"])
        time.sleep(max(0.0, began + job["at"] - time.monotonic()))
        call = work.options(num_cpus=1, resources=job["resources"], max_retries=0)
        seconds = {node: s for node, s in zip(nodes, job["seconds"], strict=True) if s is not None}
        asked = time.monotonic()
        pending[call.remote(os.urandom(job["bytes_in"]), seconds, job["bytes_out"])] = number, asked
    collect(time.monotonic() + PATIENCE_S)
    return {"done": [done.get(number) for number in range(len(play["jobs"]))]}


def _warm(play: dict[str, Any], nodes: list[str]) -> None:
    """A worker is up for every slot."""
    held = [
        work.options(num_cpus=1, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)).remote(
            b"", {node: WARM_S}, 0
        )
        for node, device in zip(nodes, play["devices"], strict=True)
        for _ in range(device["slots"])
    ]
    ray.get(held, timeout=PATIENCE_S)
    time.sleep(WARM_S)  # the leases of these are given back


if __name__ == "__main__":
    main()
