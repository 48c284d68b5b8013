"""What `job adopt` takes over of the other device's job."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.api import jobs
from moodmesh.nodes.jobs.model import Job, Spec
from moodmesh.nodes.jobs.replicas import Elsewhere
from moodmesh.nodes.jobs.seen import seen
from moodmesh.nodes.messages import Blob

SPEC = Spec("test.pure", 1, {}, 1.0, 0, 10, False, False, 7, by_s=5.0, expire_s=60.0, wait_s=30.0)


class Stop(Exception):
    """The request is known."""


def test_every_time_that_was_given_with_the_job_holds_for_the_adopted_one(monkeypatch: pytest.MonkeyPatch) -> None:
    told = seen(Job("a" * 32, SPEC, Blob.of(b""), 1.8e9), {}, own=True)
    there = Elsewhere(DeviceId("o" * 52), type(told).model_validate_json(told.model_dump_json()), 1.8e9, live=False)
    asked: list[jobs.JobRequest] = []

    async def body(request: Any, model: Any) -> Any:
        return model()

    async def find(prefix: str) -> Elsewhere:
        return there

    def make_spec(node: Any, anew: jobs.JobRequest, data: bytes) -> Spec:
        asked.append(anew)
        raise Stop

    monkeypatch.setattr(jobs, "body", body)
    monkeypatch.setattr(jobs, "make_spec", make_spec)
    inspection = SimpleNamespace(find=find, linked=lambda owner: False)
    node: Any = SimpleNamespace(inspection=inspection, peers=SimpleNamespace(peers={}))
    with pytest.raises(Stop):
        asyncio.run(jobs.JobsView(node).adopt(SimpleNamespace(match_info={"id": "aa"})))  # type: ignore[arg-type]
    assert (asked[0].by_s, asked[0].wait_s, asked[0].expire_s) == (5.0, 30.0, 60.0)
