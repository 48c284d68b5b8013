"""An error that nobody expected costs an attempt or a job, says so, and harms nothing else."""

from __future__ import annotations

import asyncio

import pytest

from moodmesh.nodes.jobs.pursuit import Pursuit
from moodmesh.nodes.messages import Result

from .sim import World, simulate, status


def test_an_unexpected_error_ends_the_attempt_and_not_the_job(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        heard, failures = Pursuit._heard, iter([KeyError("a fault of ours")])

        async def broken(self, live, message):
            if isinstance(message, Result) and (error := next(failures, None)):
                raise error
            return await heard(self, live, message)

        monkeypatch.setattr(Pursuit, "_heard", broken)
        job = await a.submit(units=1, on=b)
        await asyncio.sleep(20)
        assert status(a, job)[0] == "SUCCEEDED"
        states = [row["state"] for row in a.rows("SELECT state FROM attempt WHERE job=? ORDER BY number", job)]
        assert states.count("COMMITTED") == 1, "its result came again, or it ran again"
        assert next(failures, None) is None, "the error was met"
        assert not b.executor._held

    simulate(story)


def test_a_job_that_cannot_be_placed_at_all_fails_with_a_reason(caplog: pytest.LogCaptureFixture) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.crash()
        await asyncio.sleep(10)
        job = await a.submit(units=1, on=b)

        def broken(job, devices):
            raise KeyError("a fault of ours")

        a.submitter.desk.placement = broken  # type: ignore[method-assign]
        a.disk.full = True
        a.submitter.look_again()
        await asyncio.sleep(30)
        a.disk.full = False
        await asyncio.sleep(10)
        (row,) = a.rows("SELECT status, substate, message FROM job WHERE id=?", job)
        assert (row["status"], row["substate"]) == ("FAILED", "internal")
        assert "Submit the job again" in row["message"]
        assert not a.submitter._open
        assert not a.submitter._drivers

    simulate(story)
