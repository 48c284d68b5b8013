"""What a submitter believes and keeps of what an executor sends: no forgery, no nonsense, and no end of anything."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from moodmesh.nodes.jobs import acceptance, submitter
from moodmesh.nodes.jobs.pursuit import MOST_WAITING
from moodmesh.nodes.messages import Blob, LogLine, ProgressNow, Provenance, Result

from .sim import PURE, World, simulate, status


def forged(job: str, **more: object) -> Result:
    return Result(job=job, attempt=1, outputs={"value": Blob.of(b"{}")}, **more)  # type: ignore[arg-type]


def test_forged_late_results_are_not_believed_and_end_nothing() -> None:
    provenance = dict.fromkeys(("engine", "model", "model_sha256"), "") | {
        "device": "x", "pid": 1, "task": PURE, "version": 1, "variant": "tiny", "seed": 1, "input_sha256": "0" * 64,
        "output_sha256": {"value": "0" * 64}, "started": 0.0, "finished": 0.0, "seconds": 0.0, "load_s": 0.0,
    }  # fmt: skip

    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        await asyncio.sleep(1)
        job = await a.submit(units=1, on=b)
        a.submitter._open[job].attempts.append(
            submitter.Attempt(job, 1, b.id, "tiny", "LOST", {}, 0.0)
        )  # as if it had been sent there before
        for lie in (
            forged(job),
            forged(job, signature="zz", provenance=Provenance(**provenance)),
            forged(job, signature="ab" * 64, provenance=Provenance(**provenance)),
        ):
            await a.submitter.hear(b.id, lie)
            await asyncio.sleep(0.1)
        assert status(a, job)[0] == "PENDING"
        assert not a.submitter._late_now

    simulate(story)


@pytest.mark.parametrize("data", [b"[" * 100_000, b'{"a":' * 100_000, b"[]", b"7"])
def test_a_value_that_is_no_object_or_endlessly_nested_is_none(data: bytes) -> None:
    with contextlib.suppress(ValueError):  # no JSON at all: the caller takes it as the same
        assert not acceptance._is_object(data)


def test_a_flood_of_messages_about_one_attempt_is_bounded() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=5, on=b)
        await asyncio.sleep(3)
        for seq in range(50_000):
            await a.submitter.hear(b.id, ProgressNow(job=job, attempt=1, seq=seq, share=0.5))
        assert a.submitter._pursuits[job]._inbox.qsize() <= MOST_WAITING
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"

    simulate(story)


def test_a_log_without_end_is_kept_to_a_limit_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=5, on=b)
        await asyncio.sleep(2)
        (live,) = a.submitter.desk.live.values()
        live.log_room = 10_000
        for seq in range(1, 300):
            b.peers.send(a.id, LogLine(job=job, attempt=1, seq=1000 + seq, line="x" * 100))
            await asyncio.sleep(0.01)
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"
        lines = [row["line"] for row in a.rows("SELECT line FROM job_log WHERE job=? ORDER BY seq", job)]
        assert 40 < len(lines) < 60
        assert "the log is full" in lines[-1]

    simulate(story)
