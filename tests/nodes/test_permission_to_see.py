"""A permission to look into jobs that is taken back, or a pair that ends: what was told is gone, and nothing more is told."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.replicas import Replicas
from moodmesh.nodes.messages import Inspect, Inspected, Replica, Rights
from moodmesh.nodes.pairbook import PairBook
from moodmesh.nodes.permissions import Limits

from .replicas import example, kept, simulate, there
from .sim import Node, World, spy


def untold(story_end: Callable[[Node, Node], Awaitable[None]], keeps: bool = False) -> None:
    """After `story_end` the other device holds nothing of this one's jobs within a second, and is told nothing more."""

    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(1)
        assert kept(b)
        await story_end(a, b)
        await asyncio.sleep(1)
        sent = spy(a, Replica, Inspected)
        assert bool(kept(b)) == keeps
        b.peers.send(a.id, Inspect(ask=1, what="show", job=job))
        await a.submit(units=1, on=a)
        a.events.tell("job", job=job, status="RUNNING", substate="more", message="", attempts=1)
        await asyncio.sleep(3)
        assert [peer for _, peer, _ in sent if peer == b.id] == []

    simulate(story)


async def deny(a: Node, b: Node) -> None:
    await a.access.deny(b.id)


async def forget(a: Node, b: Node) -> None:
    await PairBook(b.disk, b.peers._pairs, b.clock.wall).forget(a.id)  # type: ignore[arg-type]
    a.world.connecting = False
    a.world.links[a.id, b.id].broken("forgotten")


async def forget_there(a: Node, b: Node) -> None:
    await PairBook(a.disk, a.peers._pairs, a.clock.wall).forget(b.id)  # type: ignore[arg-type]


@pytest.mark.parametrize("end", [deny, forget])
def test_a_permission_that_is_taken_away_takes_the_replicas_with_it(end: Callable[[Node, Node], Awaitable[None]]) -> None:
    untold(end)


def test_a_forgotten_peer_is_told_nothing_more() -> None:
    untold(forget_there, keeps=True)


def test_replicas_outlive_a_revocation_where_nothing_listens_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def keep(self: Replicas, owner: DeviceId) -> None:
        pass

    monkeypatch.setattr(Replicas, "forget", keep)
    untold(deny, keeps=True)


def test_a_device_that_is_no_longer_ones_own_leaves_nothing_here_and_tells_nothing_more() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(1)
        assert kept(b)
        await b.access.allow(a.id, {"test.*": Limits()}, instead=True)
        await asyncio.sleep(1)
        assert kept(b) == {}
        sent = spy(a, Replica)
        a.events.tell("job", job=job, status="RUNNING", substate="more", message="", attempts=1)
        await asyncio.sleep(1)
        assert not sent
        assert (await there(b, job)).live, "its owner still lets us ask"

    simulate(story)


def test_a_permission_taken_back_in_the_middle_of_a_round_holds_at_once() -> None:
    async def story(world: World) -> None:
        a, b, _ = world.nodes
        sent, read = spy(a, Replica), []

        async def tail(job: str, count: int) -> list[dict[str, Any]]:
            read.append(job)
            await a.access.deny(b.id)
            return []

        a.jobs.tail = tail  # type: ignore[method-assign]
        job = await a.submit(units=30, on=a)
        await asyncio.sleep(2)
        assert read == [job], "it was about to be told"
        assert not sent

    simulate(story)


def test_what_waits_to_be_written_of_a_forgotten_peer_is_not_written_and_the_rest_is() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        for owner in (a, c):
            b.inspection.hear(owner.id, Replica(job=example("e" * 32)))
        await PairBook(b.disk, b.peers._pairs, b.clock.wall).forget(a.id)  # type: ignore[arg-type]
        await asyncio.sleep(1)
        assert set(kept(b)) == {(c.id, "e" * 32)}
        b.inspection.hear(c.id, Replica(job=example("d" * 32)))
        b.inspection.hear(c.id, Rights(actions=[], name="c"))
        await asyncio.sleep(1)
        assert kept(b) == {}

    simulate(story)
