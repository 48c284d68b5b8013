"""What a submission costs the submitter: all devices as known now, a placement, whether to hold the job back."""

from __future__ import annotations

import asyncio
import gc
import json
import random
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

from moodmesh.mesh.clock import SystemClock
from moodmesh.nodes.bench.scale.rig import TASKS, Rig, documents
from moodmesh.nodes.jobs.model import Job, Spec
from moodmesh.nodes.jobs.pursuit import offer
from moodmesh.nodes.messages import Blob


def decision_s(devices: int, runs: int, changed: int = 1) -> tuple[list[float], list[float], list[float]]:
    """CPU seconds of `runs` decisions among so many devices, when `changed` of them said something new since the last; the same
    with the attempt they lead to and its table; of reading the peers' documents as JSON, the reference."""
    with tempfile.TemporaryDirectory() as folder:
        rig, draw = Rig(devices - 1, SystemClock(), Path(folder)), random.Random(1)  # noqa: S311 - a benchmark's draw
        asyncio.run(rig.permit())
        said = []
        for other in rig.others:
            p = rig.peers.peers[other.id]
            p.capability, p.dynamic = documents(rig, draw)
            p.link, p.dynamic_at = cast(Any, SimpleNamespace(peer=other.id, slow=False)), SystemClock().now()
            said += [p.capability.model_dump_json(), p.dynamic.model_dump_json()]
        jobs = [_job(rig, n, draw) for n in range(runs)]
        heard = list(rig.peers.peers.values())[1:]

        def fresh() -> None:
            for p in draw.sample(heard, changed):
                rig.peers.documented(p, documents(rig, draw)[1])

        decided = [_timed(partial(_decide, rig, job), fresh) for job in jobs]
        offered = [_timed(partial(_offer, rig, job), fresh) for job in jobs]
        return decided, offered, [_timed(lambda: [json.loads(doc) for doc in said]) for _ in range(min(runs, 100))]


def _job(rig: Rig, n: int, draw: random.Random) -> Job:
    spec = Spec(
        task=(name := draw.choice(TASKS)), version=rig.tasks[name].spec.version, params={},
        units=draw.lognormvariate(2, 1), input_bytes=draw.randrange(10**6),
        result_bytes=1000, personal=True, effects=False, seed=1, quality=draw.choice(("best", "fast")),
    )  # fmt: skip
    return Job(f"{n:032x}", spec, Blob.of(b""), time.time())


def _decide(rig: Rig, job: Job) -> Any:
    desk = rig.submitter.desk
    devices = desk.devices()
    placement = desk.placement(job, devices)
    desk.hold(job, placement, devices)
    desk.held.clear()
    return placement


def _offer(rig: Rig, job: Job) -> None:
    placement = _decide(rig, job)
    if placement.chosen is not None:
        offer(rig.submitter.desk, job, placement, placement.chosen)
        rig.submitter.desk.live.clear()


def _timed(work: Callable[[], Any], before: Callable[[], Any] = lambda: None) -> float:
    """CPU seconds of this process, between two collections of garbage; `before` it one document is replaced."""
    before()
    gc.disable()
    began = time.process_time()
    work()
    took = time.process_time() - began
    gc.enable()
    return took
