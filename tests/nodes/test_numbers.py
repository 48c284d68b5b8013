"""Numbers that fit no message: refused before a job is accepted, and whatever slips through breaks that job alone."""

from __future__ import annotations

import asyncio
import json
import math
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.nodes.api.jobs import JobRequest, make_spec
from moodmesh.nodes.bench.work_task import WORK, WorkTask
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.jobs import execution, executor
from moodmesh.nodes.jobs.desk import Held, Live
from moodmesh.nodes.jobs.inspection import INSPECT
from moodmesh.nodes.jobs.model import Attempt, Job, Spec
from moodmesh.nodes.jobs.pooled import pool_for
from moodmesh.nodes.messages import LONGEST_S, MOST_UNITS, Blob, Reserve
from moodmesh.nodes.permissions import Limits

from .sim import PURE, World, simulate, status

SPEC = Spec(PURE, 1, {"units": 1.0}, 1.0, 5, 10, False, False, 1)


# -- before anything is accepted ---------------------------------------------------------------------------------------


class Odd(WorkTask):
    """A task that counts as it is told."""

    def __init__(self, units: Any = 1.0, size: Any = 40) -> None:
        self._units, self._size = units, size

    def units(self, request: Any) -> float:
        return self._units  # type: ignore[no-any-return]

    def result_bytes(self, request: Any) -> int:
        return self._size  # type: ignore[no-any-return]


def spec_of(task: WorkTask, seconds: Any = 1.0) -> Spec:
    node = SimpleNamespace(tasks={WORK: task}, broken={}, peers=SimpleNamespace(peers={}))
    return make_spec(node, JobRequest(task=WORK, params={"seconds": seconds}), b"")  # type: ignore[arg-type]


@pytest.mark.parametrize("seconds", [math.nan, math.inf, -math.inf, "nan", "inf", "1e400"])
def test_a_parameter_that_is_no_finite_number_is_refused_by_name(seconds: object) -> None:
    with pytest.raises(UsageError, match=r"parameter seconds: .*finite"):
        spec_of(WorkTask(), seconds)


@pytest.mark.parametrize("units", [0.0, -1.0, math.nan, math.inf, 1e300, MOST_UNITS * 1.01])
def test_units_that_fit_no_message_are_refused_with_what_would_fit(units: float) -> None:
    with pytest.raises(UsageError, match=r"seconds of bench.work: ask for more than 0 and at most 1e\+12"):
        spec_of(Odd(units))


@pytest.mark.parametrize("size", [-1, 2**53 + 1, math.inf, math.nan])
def test_a_result_that_fits_no_message_is_refused(size: float) -> None:
    with pytest.raises(UsageError, match="larger than any file"):
        spec_of(Odd(size=size))


def test_parameters_that_fit_no_message_are_refused() -> None:
    node = SimpleNamespace(tasks={WORK: WorkTask()}, broken={}, peers=SimpleNamespace(peers={}))
    asked = JobRequest(task=WORK, params={"seconds": 1.0, "tag": "x" * 200_000})
    with pytest.raises(UsageError, match="hand large data in with --input"):
        make_spec(node, asked, b"")  # type: ignore[arg-type]


@pytest.mark.parametrize("units", [MOST_UNITS, 1e-9, 7])
def test_what_fits_is_taken(units: float) -> None:
    spec = spec_of(Odd(units))
    ask = Reserve(
        job="0" * 32, attempt=1, task=WORK, version=1, variant="only", units=spec.units, input_bytes=0,
        result_bytes=spec.result_bytes, personal=False, waited=0.0,
    )  # fmt: skip
    assert Reserve.model_validate_json(ask.model_dump_json()).units == units


# -- what slips through all the same -----------------------------------------------------------------------------------


def test_a_job_that_cannot_be_said_ends_and_harms_no_other() -> None:
    async def story(world: World) -> None:
        a, _ = world.nodes
        job = await a.submitter.submit(replace(SPEC, units=1e300), b"input")
        await asyncio.sleep(10)
        assert status(a, job.id) == ("FAILED", "internal")
        assert [r["state"] for r in a.rows("SELECT state FROM attempt WHERE job=?", job.id)] == ["CANCELLED"]
        assert not a.submitter.desk.live
        assert not a.submitter._open
        good = await a.submit()
        await asyncio.sleep(5)
        assert status(a, good)[0] == "SUCCEEDED"

    simulate(story)


def test_one_that_cannot_be_said_after_a_restart_ends_too() -> None:
    async def story(world: World) -> None:
        a, _ = world.nodes
        job = await a.submit(units=30)
        a.crash()
        a.disk.db.execute("UPDATE job SET spec=replace(spec, '\"units\": 30', '\"units\": 1e300') WHERE id=?", (job,))
        a.disk.db.execute("UPDATE attempt SET state='LOST' WHERE job=?", (job,))
        await a.start()
        await asyncio.sleep(20)
        assert status(a, job) == ("FAILED", "internal")

    simulate(story)


@pytest.mark.parametrize("units", [0.0, math.nan])
def test_what_cannot_be_placed_or_written_leaves_no_input_behind(units: float) -> None:
    async def story(world: World) -> None:
        a, _ = world.nodes
        blobs, dropped = a.submitter._blobs, []
        keep = blobs.drop

        async def drop(blob: Blob) -> None:
            dropped.append(blob)
            await keep(blob)

        blobs.drop = drop  # type: ignore[method-assign]
        with pytest.raises(ValueError, match=r"math domain|Out of range"):
            await a.submitter.submit(replace(SPEC, units=units), b"input")
        assert len(dropped) == 1
        assert a.rows("SELECT * FROM job") == []
        assert not a.submitter.desk.live

    simulate(story)


def test_a_journal_that_has_such_a_job_from_before_still_lists_all() -> None:
    async def story(world: World) -> None:
        a, _ = world.nodes
        good = await a.submit()
        bad = await a.submit()
        await asyncio.sleep(5)
        a.disk.db.execute("UPDATE job SET spec=replace(spec, '\"units\": 1.0', '\"units\": NaN') WHERE id=?", (bad,))
        assert "NaN" in a.rows("SELECT spec FROM job WHERE id=?", bad)[0]["spec"]
        assert {job.id for job in await a.jobs.load(parts=False)} == {good, bad}

    simulate(story)


@pytest.mark.parametrize("units", ["NaN", "1e300", "0"])
def test_other_devices_are_shown_all_jobs_but_the_one_that_cannot_be_said(units: str) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        await a.access.allow(b.id, {INSPECT: Limits()})
        await asyncio.sleep(1)
        bad, good = await a.submit(), await a.submit()
        await asyncio.sleep(5)
        await b.inspection.replicas.forget(a.id)
        spec = json.loads(a.rows("SELECT spec FROM job WHERE id=?", good)[0]["spec"])
        text = json.dumps(spec).replace('"units": 1.0, "input', f'"units": {units}, "input')
        assert text != json.dumps(spec)
        a.disk.db.execute("UPDATE job SET spec=? WHERE id=?", (text, bad))
        found = await b.inspection.newest(10)
        assert [e.job.id for e in found] == [good]

    simulate(story)


# -- what a peer may ask -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("bounded", [True, False])
def test_a_peer_whose_work_lasts_longer_than_a_message_can_say_silences_nobody(
    monkeypatch: pytest.MonkeyPatch, bounded: bool
) -> None:
    """An attack: units that a message may carry, and seconds that none may. Without the bound it ends the victim's daemon."""
    if not bounded:
        for module in (executor, execution):
            monkeypatch.setattr(module, "bounded_s", lambda value: value)

    async def story(world: World) -> None:
        a, b = world.nodes
        busy = await b.submit(units=100, on=b)
        await asyncio.sleep(1)
        for number in range(3):
            ask = Reserve(
                job=f"{number:032x}", attempt=1, task=PURE, version=1, variant="tiny", units=MOST_UNITS, input_bytes=5,
                result_bytes=10, personal=False, waited=0.0,
            )  # fmt: skip
            a.peers.send(b.id, ask)
        await asyncio.sleep(1)
        assert b.serving.done() is not bounded
        if not bounded:
            return
        await b.submitter.cancel(busy)
        job = await b.submit(units=1, on=b)
        await asyncio.sleep(5)
        assert status(b, job)[0] == "SUCCEEDED"

    simulate(story)


def test_what_is_held_back_and_waits_elsewhere_is_told_within_bounds() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        desk, now = a.submitter.desk, a.clock.now()
        for n in range(3):
            job = Job(f"{n:032x}", replace(SPEC, units=MOST_UNITS), Blob.of(b""), 0.0)
            desk.held[job.id] = Held(job, f"{PURE}/tiny", now - 2 * LONGEST_S, lambda: frozenset({b.id}))
        attempt = Attempt("f" * 32, 1, c.id, "tiny", "RESERVED", {}, 0.0)
        live = Live(replace(job, id="f" * 32), attempt, 1e12, 1e12, may_run=lambda: frozenset({b.id}))
        desk.live[live.key] = live
        pool = pool_for(desk, b.id, now)
        assert [(doc.count, doc.units, doc.oldest[1]) for doc in pool.held] == [(3, MOST_UNITS, LONGEST_S)]
        assert [doc.remaining_s for doc in pool.waiting] == [LONGEST_S]

    simulate(story, 3)
