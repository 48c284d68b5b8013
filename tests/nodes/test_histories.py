"""Random histories of three nodes (routing §14.2): a job is answered once, and no worker outlives its lease."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3

import pytest

from moodmesh.nodes.errors import Refused
from moodmesh.nodes.jobs.executor import Executor
from moodmesh.nodes.jobs.journal import Executions, Held, Jobs
from moodmesh.nodes.jobs.model import Attempt, Job
from moodmesh.nodes.messages import Result

from .sim import EFFECTS, PURE, Died, Faults, World
from .trouble import History, first_bad, outcome, trouble

SEEDS = range(24)


async def history(world: World, effects: float = 0.3) -> list[str]:
    """Ten jobs in half a minute of trouble, then peace; what was wrong at the end."""
    await world.start()
    rnd, accepted = world.random, set()
    for _ in range(10):
        await asyncio.sleep(rnd.uniform(0, 2))
        node = rnd.choice(world.nodes)
        others = [n for n in world.nodes if n is not node]
        if not node.dead:
            on = rnd.choice([None, *others])
            task = EFFECTS if rnd.random() < effects else PURE
            try:
                accepted.add(await node.submit(task, units=rnd.choice([0.2, 1.0, 6.0]), on=on))
            except (Exception, Died, asyncio.CancelledError):
                assert node.dead or node.disk.full
        trouble(world)
    await asyncio.sleep(rnd.uniform(0, 5))
    await world.settle()
    return world.verdict(accepted)


@pytest.fixture(autouse=True)
def _quiet(caplog: pytest.LogCaptureFixture) -> None:
    """Killed nodes say a lot."""
    caplog.set_level("CRITICAL")


@pytest.mark.parametrize("seed", SEEDS)
def test_every_job_is_answered_once_whatever_breaks(seed: int) -> None:
    faults = Faults(drop=0.05, duplicate=0.1, reorder=0.1, delay=0.2) if seed % 2 else Faults()
    wrong = outcome(history, seed, faults=faults)
    assert not wrong, f"seed {seed}: {wrong}"


# -- each safeguard removed: some history must go wrong (routing §14.2) ------------------------------------------------


async def stopped_at_the_end(world: World) -> list[str]:
    """The user stops a job in the moment in which its result arrives."""
    await world.start()
    node = world.nodes[0]
    job = await node.submit(units=1.0, on=node)
    await asyncio.sleep(0.99 + world.random.uniform(0, 0.03))
    with contextlib.suppress(Refused):
        await node.submitter.cancel(job)
    await world.settle()
    return world.verdict({job})


async def storm(world: World) -> list[str]:
    """Short jobs with effects, while every message may come twice, and late."""
    await world.start()
    await asyncio.sleep(1)
    world.faults = Faults(duplicate=0.9, reorder=0.5, delay=0.3)
    jobs = set()
    for _ in range(15):
        jobs.add(await world.nodes[0].submit(EFFECTS, units=0.1, on=world.nodes[1]))
        await asyncio.sleep(0.3)
    await world.settle()
    return world.verdict(jobs)


async def cut_off(world: World, silent_s: float = 20) -> list[str]:
    """The submitter of a long job is cut off without a word."""
    await world.start()
    await asyncio.sleep(1)
    job = await world.nodes[0].submit(units=50, on=world.nodes[1])
    await asyncio.sleep(world.random.uniform(0.5, 3))
    world.islands = [{world.nodes[0].id}]
    await asyncio.sleep(silent_s)
    for node in world.nodes:
        node.slow = 1.0
    await world.settle()
    return world.verdict({job})


async def detached(world: World) -> list[str]:
    """The same on mains: what runs may go on without its submitter, and takes ten times what it should."""
    for node in world.nodes:
        node.mains, node.slow = True, 10.0
    return await cut_off(world, 120)


async def rough(world: World) -> list[str]:
    return await history(world, effects=1.0)


@pytest.mark.parametrize("story", [stopped_at_the_end, storm, cut_off, detached])
def test_directed_histories_end_well(story: History) -> None:
    for seed in range(8):
        wrong = outcome(story, seed)
        assert not wrong, f"seed {seed}: {wrong}"


def test_without_the_conditional_update_a_stopped_job_succeeds_after_all(monkeypatch: pytest.MonkeyPatch) -> None:
    async def commit(self: Jobs, job: Job, attempt: Attempt, result: Result, at: float) -> bool:
        def write(db: sqlite3.Connection) -> None:
            db.execute("UPDATE job SET status='SUCCEEDED', winner=?, finished=? WHERE id=?", (attempt.number, at, job.id))

        await self._store.write("job.commit", write)
        job.status, job.winner, job.finished = "SUCCEEDED", attempt.number, at
        return True

    monkeypatch.setattr(Jobs, "commit", commit)
    assert first_bad("changed after its end", stopped_at_the_end) is not None


def test_without_the_fence_what_has_effects_runs_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async def grant(self: Executions, held: Held, *, effects: bool) -> str:
        def write(db: sqlite3.Connection) -> None:
            db.execute(
                "INSERT OR IGNORE INTO execution (requester, job, number, task, variant, phase, personal, units, created)"
                " VALUES (?, ?, ?, ?, ?, 'RESERVED', 0, 1, 0)",
                (held.requester, held.job, held.number, held.task, held.variant),
            )

        await self._store.write("execution.grant", write)
        return ""

    monkeypatch.setattr(Executions, "grant", grant)
    assert first_bad("effects ran", storm) is not None


def test_without_the_journal_before_the_message_what_has_effects_runs_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    accept, offer = Jobs.accept, Jobs.offer
    late: set[asyncio.Task[None]] = set()

    async def offered(self: Jobs, attempt: Attempt) -> None:
        async def later() -> None:
            await asyncio.sleep(2)
            await offer(self, attempt)

        late.add(asyncio.create_task(later()))

    async def accepted(self: Jobs, job: Job) -> None:
        first, job.attempts = job.attempts, []
        await accept(self, job)
        job.attempts = first
        for attempt in first:
            await offered(self, attempt)

    monkeypatch.setattr(Jobs, "offer", offered)
    monkeypatch.setattr(Jobs, "accept", accepted)
    assert first_bad("effects ran", rough) is not None


def test_without_the_end_of_the_lease_a_worker_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Executor, peer: str) -> None:
        pass

    monkeypatch.setattr(Executor, "lapse", nothing)
    assert first_bad("outlived its lease", cut_off) is not None


def test_without_the_end_of_the_detached_lease_a_worker_outlives_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def nothing(self: Executor, key: object, lease_s: float) -> None:
        pass

    monkeypatch.setattr(Executor, "_detached", nothing)
    assert first_bad("outlived its lease", detached) is not None
