"""A permission to run jobs that is taken back while there are some, and a pair that ends."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.api.peers import PeersView
from moodmesh.nodes.messages import Start
from moodmesh.nodes.permissions import Limits

from .sim import PURE, World, simulate, status


def test_personal_input_stays_when_the_owner_thinks_better_of_it_while_it_waits() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        long = await b.submit(units=20, on=b)
        await asyncio.sleep(0.5)
        job = await a.submit(units=1, on=b, personal=True)
        await asyncio.sleep(1)
        started: list[Start] = []
        send = a.peers.send
        a.peers.send = lambda peer, m: (started.append(m) if isinstance(m, Start) else None, send(peer, m))[1]  # type: ignore[method-assign]
        await a.access.allow(b.id, {"test.*": Limits()}, instead=True)
        await asyncio.sleep(30)
        assert status(b, long)[0] == "SUCCEEDED"
        assert status(a, job)[0] == "PENDING"
        assert started == []
        await a.access.allow(b.id, {"own.device": Limits()})
        await asyncio.sleep(30)
        assert status(a, job)[0] == "SUCCEEDED"

    simulate(story)


def test_a_forgotten_peer_loses_its_rules_in_memory_too() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        assert b.access.may(a.id, PURE)
        b.peers._pair_changed(a.id, None)
        assert not b.access.may(a.id, PURE)

    simulate(story)


def test_whoever_loses_an_attempt_reads_a_name_and_why() -> None:
    async def story(world: World) -> None:
        a, b, c = world.nodes
        b.peers.peers[a.id].name = a.peers.peers[b.id].name = a.peers.peers[c.id].name = "den"
        denied, vanished = await a.submit(units=30, on=b), await a.submit(units=30, on=c)
        await asyncio.sleep(3)
        await b.access.deny(a.id)
        await b.executor.drop_peer(a.id)
        c.executor._held.clear()
        await asyncio.sleep(3)
        said = [a.rows("SELECT state, message FROM attempt WHERE job=?", job)[0] for job in (denied, vanished)]
        assert [tuple(row) for row in said] == [
            ("LOST", "given back: revoked, this device may no longer run it there"),
            ("LOST", "den no longer holds it"),
        ]

    simulate(story, 3)


def test_a_device_that_is_forgotten_ends_what_it_runs_for_this_one() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        b.mains = True
        job = await a.submit(units=100)
        await asyncio.sleep(3)
        assert b.workers

        async def forget(peer: DeviceId) -> None:
            """As the pair book does: the link closes at once."""
            world.connecting = False
            world.links[a.id, b.id].broken("forgotten")
            world.links[b.id, a.id].broken("forgotten")
            a.peers._pair_changed(peer, None)

        book = SimpleNamespace(find=lambda name: a.peers._pairs.get(b.id), forget=forget)
        view = PeersView(SimpleNamespace(book=book, peers=a.peers, submitter=a.submitter))  # type: ignore[arg-type]
        await view.forget(SimpleNamespace(match_info={"name": "b"}))  # type: ignore[arg-type]
        await asyncio.sleep(2)
        assert not b.workers
        assert not b.rows("SELECT * FROM execution")
        assert a.rows("SELECT state, message FROM attempt WHERE number=1")[0][:] == ("LOST", "the peer was forgotten")
        assert [device for _, _, device in world.ran] == [b.id, a.id]
        assert status(a, job)[0] == "RUNNING"

    simulate(story)
