"""What a restart of the submitter must not change: where its jobs go, and how long they may wait (routing §7, §8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.seams import DeviceId, LinkClosed
from moodmesh.nodes import daemon
from moodmesh.nodes.blobs import NodeBlobs
from moodmesh.nodes.messages import Blob, Capability
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


async def lost_while_away(world: World, units: float = 100.0) -> tuple[Node, Node, str]:
    """A job on another device, which ends it, as it runs on battery, while its owner is away."""
    asks, box = world.nodes[:2]
    job = await asks.submit(units=units, on=box)
    await asyncio.sleep(2)
    asks.crash()
    await asyncio.sleep(8)
    assert not box.workers
    return asks, box, job


def test_what_was_lost_by_our_own_restart_is_no_reason_to_leave_its_device_alone() -> None:
    async def story(world: World) -> None:
        asks, box, job = await lost_while_away(world)
        await asks.start()
        async with asyncio.timeout(20):
            while len(attempts(asks, job)) < 2:
                await asyncio.sleep(0.01)
        (first, second) = asks.rows("SELECT finished, created, message FROM attempt WHERE job=? ORDER BY number", job)
        assert second["created"] - first["finished"] < 0.6
        assert first["message"] == f"this device was restarted meanwhile: {box.id[:6]} no longer holds it"
        await asyncio.sleep(1)
        box.crash()  # and this is its own loss
        await box.start()
        await asyncio.sleep(0.9)
        assert attempts(asks, job) == [(box.id, "LOST")] * 2
        await asyncio.sleep(2)
        assert attempts(asks, job)[2:] == [(box.id, "RUNNING")]

    simulate(story)


@pytest.mark.parametrize("heard", [True, False])
def test_what_is_lost_after_a_restart_once_its_device_was_heard_is_its_own_loss(heard: bool) -> None:
    async def story(world: World) -> None:
        asks, box = world.nodes
        job = await asks.submit(units=100.0, on=box)
        await asyncio.sleep(2)
        asks.crash()
        if not heard:
            box.crash()
        await asyncio.sleep(0.5)
        await asks.start()
        await asyncio.sleep(1)
        box.crash()
        await box.start()
        await asyncio.sleep(6)
        (lost,) = [row["message"] for row in asks.rows("SELECT message FROM attempt WHERE job=? AND state='LOST'", job)]
        assert lost.startswith("this device was restarted") != heard

    simulate(story)


def test_a_job_outlives_the_restarts_of_its_own_submitter_while_its_input_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def inline(call: Callable[..., Any], *args: Any) -> Any:
        return call(*args)

    monkeypatch.setattr(asyncio, "to_thread", inline)  # threads know nothing of virtual time

    async def story(world: World) -> None:
        a, b = world.nodes

        async def travel(artefact: str, source: DeviceId, size: int) -> Any:
            links = world.links.get((b.id, a.id))
            for _ in range(30):
                await asyncio.sleep(0.1)
                if links is None or links.closed:
                    raise LinkClosed("link lost during a transfer")
            return SimpleNamespace(read_bytes=lambda: b"input")

        async def put(data: bytes) -> Blob:
            return Blob(size=len(data), id="a" * 64)

        blobs = b.executor._blobs = NodeBlobs(tmp_path / "artefacts", b.peers, b.jobs, b.clock)
        blobs._fetch = travel  # type: ignore[method-assign]
        blobs.store = SimpleNamespace(delete=lambda artefact: None)  # type: ignore[assignment]
        a.submitter._blobs.put = put  # type: ignore[method-assign]
        job = await a.submit(on=b)
        for _ in range(5):  # after each loss its device is left alone for longer
            async with asyncio.timeout(100):
                while not any(e.start is not None for e in b.executor._held.values()):
                    await asyncio.sleep(0.1)
            a.crash()
            await asyncio.sleep(0.5)
            await a.start()
        await asyncio.sleep(300)
        states = [row["state"] for row in a.rows("SELECT state FROM attempt WHERE job=? ORDER BY number", job)]
        assert status(a, job)[0] == "SUCCEEDED"
        assert states[-1] == "COMMITTED"
        assert len(states) > 5
        assert set(states[:-1]) == {"LOST"}

    simulate(story)
