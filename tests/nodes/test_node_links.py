"""Nodes and their links: what is overtaken on one, a peer that reads nothing, a copy of a device, twenty of them at once."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from moodmesh.mesh.memory import MemoryNet
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.nodes.bench.virtual import LoopClock, VirtualLoop, run
from moodmesh.nodes.messages import Heartbeat

from .sim import World, simulate, status


def test_a_heartbeat_that_was_overtaken_is_ignored() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=5, on=b)
        await asyncio.sleep(3)
        peer = b.peers.peers[a.id]
        await b.peers._beaten(peer, Heartbeat(seq=peer.their_seq, echo=0, held_s=0.0, mine=[], yours=[]))
        await asyncio.sleep(5)
        assert status(a, job)[0] == "SUCCEEDED"
        (count,) = a.rows("SELECT count(*) FROM attempt WHERE job=?", job)
        assert count[0] == 1

    simulate(story)


def test_a_peer_that_takes_nothing_for_long_loses_its_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("moodmesh.nodes.peers.UNREAD_S", 4.0)

    async def story(world: World) -> None:
        a, b = world.nodes
        link = world.links[a.id, b.id]

        async def stuck(envelope):
            await asyncio.sleep(1000)

        link.send = stuck  # type: ignore[method-assign]
        reasons = []
        link.us.peers.link_down = lambda peer, reason: reasons.append(reason)  # type: ignore[method-assign]
        a.peers.tell_rights(b.id)
        await asyncio.sleep(5)
        assert reasons == ["it has read nothing for 4 s"]

    simulate(story)


def test_a_copy_that_is_gone_is_forgotten_after_a_while() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        a.peers.link_duplicate(b.id, "peer")
        b.peers.link_duplicate(a.id, "us")
        assert list(a.peers.copied()) == list(b.peers.copied()) == [b.id]
        await asyncio.sleep(130)
        assert not a.peers.copied()
        assert not b.peers.copied()

    simulate(story)


def test_twenty_nodes_on_real_links_find_each_other_and_run_a_job_each() -> None:
    loop = VirtualLoop()

    async def story() -> None:
        world = World(loop, 3, count=20)
        for node in world.nodes:
            await node.start()
        net = MemoryNet(LoopClock(loop), delay_s=0.002)
        books = {node.id: Pairs() for node in world.nodes}
        for one, other in itertools.permutations(world.nodes, 2):
            books[one.id].add(Pair(other.id, other.id[:6], other.identity.credential.certificate, b"k" * 32))
        links = {node.id: net.join(node.id, books[node.id], node.peers) for node in world.nodes}
        for one, other in itertools.combinations(world.nodes, 2):
            links[one.id].seek(other.id, [net.address(other.id)], net.rid(other.id))
        await asyncio.sleep(5)
        assert {len(list(node.peers.linked())) for node in world.nodes} == {19}
        jobs = [(node, await node.submit(units=1)) for node in world.nodes]
        await asyncio.sleep(30)
        assert {status(node, job)[0] for node, job in jobs} == {"SUCCEEDED"}
        assert len({device for _, _, device in world.ran}) > 5
        await asyncio.gather(*(link.close() for link in links.values()))

    run(story(), loop)
