"""What a restart of the submitter must not change: where its jobs go, and how long they may wait (routing §7, §8)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.nodes import daemon
from moodmesh.nodes.messages import Capability
from moodmesh.nodes.pairbook import PairBook
from moodmesh.nodes.store import Store

from .sim import IDENTITIES, Node, World, attempts, simulate, status

DOCUMENT = Capability(revision=1, engine="memory", slots=1, own=True, cores=1, gpus=[], tasks={})


async def restart(node: Node, known: list[Node]) -> None:
    """Its process dies and starts anew, and remembers what these devices could do."""
    node.crash()
    usual = node._build

    def build() -> None:
        usual()
        for other in known:
            node.peers.remember(other.id, other.offers.document(node.id), 0.0)

    node._build = build  # type: ignore[method-assign]
    await node.start()


def test_a_job_without_an_attempt_waits_for_links_after_a_restart() -> None:
    """Else it would go to the only device that is there in the first moment: this one."""

    async def story(world: World) -> None:
        asks, box = world.nodes
        box.crash()
        world.connecting = False
        await asyncio.sleep(1)
        job = await asks.submit(units=20, on=box)
        asks.disk.db.execute("UPDATE job SET spec=json_remove(spec, '$.on')")
        await box.start()
        await restart(asks, [box])
        await asyncio.sleep(2)
        assert attempts(asks, job) == []
        world.connecting = True
        await asyncio.sleep(2)
        assert [device for device, _ in attempts(asks, job)] == [box.id]

    simulate(story)


def test_a_job_does_not_wait_longer_than_five_seconds_for_links_after_a_restart() -> None:
    async def story(world: World) -> None:
        asks, box = world.nodes
        box.crash()
        await asyncio.sleep(1)
        job = await asks.submit(units=1, on=box)
        asks.disk.db.execute("UPDATE job SET spec=json_remove(spec, '$.on')")
        await restart(asks, [box])
        await asyncio.sleep(4.5)
        assert attempts(asks, job) == []
        await asyncio.sleep(4)
        assert status(asks, job)[0] == "SUCCEEDED"

    simulate(story)


async def test_the_time_this_device_was_off_is_no_absence_of_others(tmp_path: Path) -> None:
    store, now = Store(tmp_path / "store"), 1000.0
    store.open()
    book = PairBook(store, Pairs(), lambda: now)
    here, gone = (identity for identity in IDENTITIES[:2])
    for identity in (here, gone):
        await book.add(Pair(identity.id, identity.id[:6], identity.credential.certificate, b"k" * 32))
    await book.seen({here.id: DOCUMENT, gone.id: DOCUMENT})
    now = 1300.0
    await book.seen({here.id: DOCUMENT})
    now = 90_000.0
    again = PairBook(store, Pairs(), lambda: now)
    await again.load()
    assert {peer: away_s for peer, (_, away_s) in again.away().items()} == {here.id: 0.0, gone.id: 300.0}
    store.close()


async def test_who_is_here_is_on_disk_once_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    """A crash says nothing: what was stored when a link came up would make a device that was here all along long absent."""
    monkeypatch.setattr(daemon, "SEEN_S", 0.01)
    written: list[object] = []

    async def seen(documents: object) -> None:
        written.append(documents)

    here = {IDENTITIES[0].id: DOCUMENT}
    node: Any = SimpleNamespace(peers=SimpleNamespace(seen=lambda: here), book=SimpleNamespace(seen=seen))
    task = asyncio.create_task(daemon.Node._remember_peers(node))
    await asyncio.sleep(0.1)
    task.cancel()
    assert len(written) > 1
    assert written[0] == here
