"""Links that break, or are replaced, say less than they seem to (routing §9)."""

from __future__ import annotations

import asyncio

import pytest

from .sim import EFFECTS, PURE, World, simulate, status


@pytest.mark.parametrize("task", [PURE, EFFECTS])
def test_links_that_come_back_late_after_this_device_slept_cost_no_attempt(task: str) -> None:
    """A laptop wakes up, and its radio takes two seconds more: what ran elsewhere meanwhile is not given up."""

    async def story(world: World) -> None:
        asks = world.nodes[0]
        job = await asks.submit(task, units=20)
        await asyncio.sleep(2)
        world.loop._timeless.now += 7.3  # type: ignore[attr-defined]
        world.connecting = False
        world.break_links()
        await asyncio.sleep(1.8)
        world.connecting = True
        await asyncio.sleep(30)
        assert status(asks, job)[0] == "SUCCEEDED"
        assert [row["state"] for row in asks.rows("SELECT state FROM attempt WHERE job=?", job)] == ["COMMITTED"]

    simulate(story)


def test_a_link_that_replaces_another_at_once_loses_no_word() -> None:
    """The writer of the old link had taken the first words meant for the new one: rights, told once a link."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        world.connecting = False
        world.break_links()
        await asyncio.sleep(1)
        asks.peers.peers[box.id].rights = box.peers.peers[asks.id].rights = ()
        world.link(asks, box)
        replaced = list(world.links.values())
        for node, other in ((asks, box), (box, asks)):
            node.inside(node.peers.link_down, other.id, "replaced by a newer link")
        world.link(asks, box)
        await asyncio.sleep(0)
        for link in replaced:
            link.closed = True
            link.inbox.put_nowait(None)
        await asyncio.sleep(1)
        assert asks.peers.peers[box.id].rights
        assert box.peers.peers[asks.id].rights

    simulate(story)
