"""A job stopped after its owner has gone: at once where it runs, for good when the owner is back, and by nobody who may not."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.access import Access
from moodmesh.nodes.api import elsewhere
from moodmesh.nodes.errors import Refused
from moodmesh.nodes.jobs import inspection, stopping
from moodmesh.nodes.jobs.replicas import Elsewhere
from moodmesh.nodes.jobs.stopping import Stopping
from moodmesh.nodes.messages import Inspect, Inspected
from moodmesh.nodes.peers import Peers
from moodmesh.nodes.permissions import Limits

from .replicas import kept, simulate, there
from .sim import SEE, Node, World, spy, status
from .test_submitter_restart import restart

FRIEND = {**SEE, "test.*": Limits()}
"""May look into jobs and run some, and is no own device."""


async def orphan(world: World, on: Node, units: float = 100) -> str:
    """A job of the first device that runs on another one when the first dies."""
    a = world.nodes[0]
    job = await a.submit(units=units, on=on)
    await asyncio.sleep(3)
    a.crash()
    await asyncio.sleep(7)
    assert on.workers, "it runs on, detached"
    return job


async def asked_to_stop(executor: Node, asker: Node, owner: DeviceId, job: str, warrant: str) -> str | None:
    """What the executor answers to a device that asks it straight away; None: nothing."""
    answer = await asker.inspection.asking.ask_to_stop(executor.id, owner, job, warrant)
    return answer.refused if answer else None


async def comes_back(owner: Node) -> None:
    await owner.start()
    await asyncio.sleep(3)


@pytest.mark.parametrize("runs_here", [True, False])
def test_a_job_of_a_device_that_is_gone_is_ended_at_once_and_stopped_when_its_owner_is_back(runs_here: bool) -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        runner, asker = (c, c) if runs_here else (c, b)
        job = await orphan(world, runner)
        began = world.now()
        held = await asker.inspection.cancel(await there(asker, job[:8]))
        assert world.now() - began < 2
        assert not runner.workers
        assert not runner.rows("SELECT * FROM execution")
        again = await asker.inspection.cancel(await there(asker, job[:8]))
        assert again.words == f"nothing of it runs on {asker.peers.names()[runner.id]}"
        assert held.stop is not None
        assert held.words == f"ended on {asker.peers.names()[runner.id]}"
        assert (await there(asker, job)).stop == (await asker.inspection.newest(9))[0].stop is not None
        await comes_back(a)
        assert status(a, job)[0] == "STOPPED"
        await asyncio.sleep(10)
        found = await there(asker, job)
        assert (found.job.status, found.stop) == ("STOPPED", None)
        await asyncio.sleep(120)
        assert status(a, job)[0] == "STOPPED", "cancelled stays cancelled"
        assert not any(node.workers for node in world.nodes)

    simulate(story, seeing=((0, 1), (0, 2)))


def shown(node: Node, found: Elsewhere) -> dict[str, Any]:
    """As `job show` has it."""
    services: Any = SimpleNamespace(identity=node.identity, peers=node.peers, inspection=node.inspection, clock=node.clock)
    return elsewhere.show(services, found)


def test_what_was_ended_is_shown_as_ended_where_it_ran_and_where_it_was_asked_for_until_its_owner_is_back() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await orphan(world, c)
        before = shown(c, await there(c, job))
        assert (before["message"], before["attempts"][0]["state"]) == ("", "RUNNING")
        await b.inspection.cancel(await there(b, job))
        b.crash()
        await b.start()
        await asyncio.sleep(2)
        said = f"ended on {c.id[:6]} for its user"
        for node, words in ((b, f"{elsewhere.WAITS}; {said}"), (c, said)):
            found = shown(node, await there(node, job))
            (attempt,) = found["attempts"]
            assert (found["message"], attempt["state"]) == (words, "CANCELLED")
            assert attempt["message"] == elsewhere.ENDED
        await comes_back(a)
        await asyncio.sleep(10)
        for node in (b, c):
            found = shown(node, await there(node, job))
            assert (found["status"], found["message"]) == ("STOPPED", "")
            assert found["attempts"][0]["message"] not in ("", elsewhere.ENDED), "its owner knows better"
            assert not any(row["ended"] for row in node.rows("SELECT ended FROM replica"))

    simulate(story, seeing=((0, 1), (0, 2)))


@pytest.mark.parametrize("linked", [True, False])
def test_what_a_device_did_not_confirm_is_said_with_the_reason(linked: bool) -> None:
    async def story(world: World) -> None:
        _, b, c = world.nodes
        job = await orphan(world, c)
        found = await there(b, job)
        if linked:
            c.inspection.stopping._here = lambda owner: True  # type: ignore[method-assign]
        else:
            c.crash()
        held = await b.inspection.cancel(found)
        why = "refused: the owner is linked there, or not known" if linked else "no answer"
        assert held.words.startswith(f"not confirmed by {c.id[:6]} ({why}): there it may run on")

    simulate(story)


def test_a_cancel_outlives_a_restart_of_the_device_it_waits_on_and_is_asked_again_until_it_is_answered() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await orphan(world, c)
        await b.inspection.cancel(await there(b, job))
        b.crash()
        await asyncio.sleep(2)
        await b.start()
        await asyncio.sleep(2)
        assert (await there(b, job)).stop is not None
        drop, b.peers.inspection = b.peers.inspection, lambda peer, message: None  # the answer is lost, again and again
        await comes_back(a)
        b.peers.inspection = drop
        b.inspection.stopping.deliver(a.id)
        await asyncio.sleep(3)
        assert status(a, job)[0] == "STOPPED"
        assert (await b.inspection.replicas.stops(a.id)) == []

    simulate(story)


def test_a_result_that_waits_for_its_owner_goes_with_the_cancel() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await orphan(world, c, units=15)
        await asyncio.sleep(15)
        assert [row["phase"] for row in c.rows("SELECT phase FROM execution")] == ["DELIVERING"]
        await b.inspection.cancel(await there(b, job))
        assert c.rows("SELECT * FROM execution") == []
        await comes_back(a)
        assert status(a, job)[0] == "STOPPED"

    simulate(story)


def test_a_job_that_its_owner_finished_first_is_not_stopped() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await a.submit(units=3, on=a)
        await asyncio.sleep(1)
        b.crash()  # it knows of a running job
        await asyncio.sleep(10)
        a.crash()
        await b.start()
        await asyncio.sleep(1)
        held = await b.inspection.cancel(await there(b, job))
        assert (held.stop is not None, held.words) == (True, "")
        await comes_back(a)
        assert status(a, job)[0] == "SUCCEEDED"
        await asyncio.sleep(10)
        assert (await b.inspection.replicas.stops(a.id)) == []
        with pytest.raises(Refused, match="already ended"):
            await b.inspection.cancel(await there(b, job))
        assert c.workers == {}

    simulate(story)


def test_an_owner_that_has_not_read_its_journal_yet_is_asked_again() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await orphan(world, c)
        await b.inspection.cancel(await there(b, job))
        await a.start()
        known, a.submitter._open = a.submitter._open, {}
        await asyncio.sleep(3)
        assert status(a, job)[0] in ("PENDING", "RUNNING")
        assert (await b.inspection.replicas.stops(a.id)) == [job]
        a.submitter._open = known
        await asyncio.sleep(6)
        assert status(a, job)[0] == "STOPPED"

    simulate(story)


@pytest.mark.parametrize("away_s", [0.0, 3.0, 60.0])
def test_a_stopped_job_is_not_offered_again_before_its_owner_has_heard_of_that(away_s: float) -> None:
    """Neither while the device that stopped it has no link yet, nor while its word is on the way. Who is not back within five
    seconds is not waited for."""

    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await orphan(world, c)
        await b.inspection.cancel(await there(b, job))
        world.connecting = False
        await restart(a, [b, c])
        world.link(a, c)
        await asyncio.sleep(away_s)
        assert status(a, job)[0] != "STOPPED"
        world.link(a, b)
        await asyncio.sleep(3)
        assert status(a, job)[0] == "STOPPED"
        tried = a.rows("SELECT state FROM attempt WHERE job=?", job)
        assert len(tried) == (1 if away_s < 5 else 2)

    simulate(story, seeing=((0, 1), (0, 2)))


# -- attacks: each defence is also taken out, and then the attack succeeds ----------------------------------------------------


@pytest.mark.parametrize("mutation", ["", "signature", "owner"])
def test_a_device_that_may_only_look_stops_nothing_by_any_way(monkeypatch: pytest.MonkeyPatch, mutation: str) -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        await a.access.allow(b.id, FRIEND, instead=True)
        job = await orphan(world, c)
        assert kept(b)[a.id, job].warrant is None
        if mutation == "signature":
            monkeypatch.setattr(Peers, "verify", lambda self, peer, data, signature: True)
        found = await there(b, job)
        if mutation != "signature":
            with pytest.raises(Refused, match="own devices alone"):
                await b.inspection.cancel(found)
        forged = b.peers.sign(stopping.warranted(job, b.id)).hex()
        await asked_to_stop(c, b, a.id, job, forged)
        assert bool(c.workers) == (mutation != "signature")
        if mutation == "owner":
            monkeypatch.setattr(Access, "owns", lambda self, peer: True)
        await b.inspection.replicas.stop(a.id, job)  # and it delivers what it may not ask for
        await comes_back(a)
        assert (status(a, job)[0] == "STOPPED") == (mutation == "owner")

    simulate(story)


@pytest.mark.parametrize("mutation", ["", "holder", "job", "present", "permission"])
def test_a_warrant_holds_for_one_job_in_one_hand_while_the_owner_is_away(
    monkeypatch: pytest.MonkeyPatch, mutation: str
) -> None:
    """`d` has a warrant of `b` for one job; `c` runs that job, another one of the same owner, and one of its own."""

    async def story(world: World) -> None:
        a, b, c, d = world.nodes
        other = await a.submit(units=1, on=a)
        job = await a.submit(units=300, on=c)
        own = await c.submit(units=300, on=d)
        await asyncio.sleep(3)
        warrant = {of: str(kept(b)[of].warrant) for of in ((a.id, job), (c.id, own))}
        early = a.peers.sign(stopping.warranted(other, b.id)).hex()
        if mutation in ("holder", "job"):
            signed = stopping.warranted
            monkeypatch.setattr(
                stopping, "warranted",
                lambda of, holder: signed(of, b.id) if mutation == "holder" else signed(other, holder),
            )  # fmt: skip
        if mutation == "present":
            monkeypatch.setattr(Stopping, "_here", lambda self, owner: False)
        assert await asked_to_stop(c, b, a.id, job, warrant[a.id, job]) == ("" if mutation == "present" else "permission")
        if mutation == "present":  # the executor itself is the owner of this one
            assert await asked_to_stop(c, b, c.id, own, warrant[c.id, own]) in ("", "ended")
            return
        a.crash()
        await asyncio.sleep(7)
        assert await asked_to_stop(c, b, c.id, own, warrant[c.id, own]) == "permission"
        assert await asked_to_stop(c, d, a.id, job, warrant[a.id, job]) == ("" if mutation == "holder" else "permission")
        assert await asked_to_stop(c, b, a.id, job, early) == ("" if mutation == "job" else "permission")
        assert bool(c.workers) == (mutation not in ("holder", "job"))
        if not mutation:  # and it is good for what it was given for
            assert await asked_to_stop(c, b, a.id, job, warrant[a.id, job]) == ""
            assert not c.workers

    simulate(story, 4, ((0, 1), (2, 1)))


@pytest.mark.parametrize("defended", [True, False])
def test_a_cancel_that_waits_is_worth_nothing_once_the_permission_is_taken_back(
    monkeypatch: pytest.MonkeyPatch, defended: bool
) -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        job = await a.submit(units=200, on=c)
        await asyncio.sleep(3)
        world.islands = [{b.id}]
        await asyncio.sleep(40)
        await b.inspection.cancel(await there(b, job))
        await a.access.allow(b.id, FRIEND, instead=True)
        if not defended:
            monkeypatch.setattr(Access, "owns", lambda self, peer: True)
        world.islands = []
        await asyncio.sleep(10)
        assert status(a, job)[0] == ("RUNNING" if defended else "STOPPED")
        assert (await b.inspection.replicas.stops(a.id)) == []

    simulate(story)


@pytest.mark.parametrize("defended", [True, False])
def test_a_flood_of_requests_to_stop_is_answered_a_few_at_a_time(monkeypatch: pytest.MonkeyPatch, defended: bool) -> None:
    if not defended:
        monkeypatch.setattr(inspection, "AT_ONCE", 10**6)

    async def story(world: World) -> None:
        a, b, c = world.nodes
        sent = spy(c, Inspected)
        running: list[Any] = []
        stop = c.executor.stop

        async def slow(requester: DeviceId, jobs: Any) -> bool:
            running.append(jobs)
            await asyncio.sleep(1)
            return await stop(requester, jobs)

        c.inspection.stopping._running.stop = slow  # type: ignore[method-assign]
        job = await orphan(world, c)
        said = str(kept(b)[a.id, job].warrant)
        for n in range(500):
            c.inspection.hear(b.id, Inspect(ask=n, what="stop", job=job, owner=a.id, warrant=said))
        await asyncio.sleep(0.5)
        assert len(running) == (inspection.AT_ONCE if defended else 500)
        await asyncio.sleep(2)
        assert len(sent) == len(running)
        assert not c.workers

    simulate(story)
