"""A task with effects whose input was cut on its way: it cannot have begun, so it may be tried again (routing §8)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from moodmesh.mesh.artefacts.messages import Want, bitmap
from moodmesh.mesh.frames import CHUNK
from moodmesh.mesh.seams import Envelope
from moodmesh.nodes.blobs import NodeBlobs
from moodmesh.nodes.jobs.model import Spec
from moodmesh.nodes.jobs.submitter import Submitter

from .sim import EFFECTS, Node, World, simulate, status
from .test_faulty_executors import attempts

CHUNKS, MIB = 4, 2**20
DATA = b"".join(bytes([n]) * MIB for n in range(CHUNKS))
SPEC = Spec(EFFECTS, 1, {"units": 5.0}, 5.0, len(DATA), 10, False, True, 1)


def on_disk(node: Node, root: Path) -> NodeBlobs:
    """Artefacts of a node travel over its links."""
    blobs = NodeBlobs(root / node.id[:6], node.peers, node.jobs, node.clock)
    node.submitter._blobs = node.submitter.desk.blobs = node.executor._blobs = blobs
    return blobs


async def sent(world: World, root: Path) -> tuple[Node, Node, str, list[bool]]:
    """An input that begins to travel; what its owner says of that meanwhile."""
    a, b = world.nodes
    here, _ = on_disk(a, root), on_disk(b, root)
    said: list[bool] = []
    gives = here.transfers._gives

    def heard(peer: Any, artefact: str, whole: bool) -> None:
        said.append(whole)
        gives(peer, artefact, whole)

    here.transfers._gives = heard
    spec = replace(SPEC, on=b.id)
    job = await world.loop.create_task(a.submitter.submit(spec, DATA), context=a._context())
    async with asyncio.timeout(5):
        while not said:
            await asyncio.sleep(0.01)
    return a, b, job.id, said


def cut(world: World) -> None:
    world.connecting = False
    world.break_links()


@pytest.fixture(autouse=True)
def _no_time_passes_in_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    async def at_once(call: Callable[..., Any], *args: Any) -> Any:
        with ThreadPoolExecutor(1) as thread:
            return thread.submit(call, *args).result()

    monkeypatch.setattr(asyncio, "to_thread", at_once)  # threads know nothing of virtual time


@pytest.mark.parametrize("known", [True, False])
def test_what_lacks_some_of_its_input_has_not_run_and_is_tried_again(
    known: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not known:
        monkeypatch.setattr(Submitter, "gives", lambda *_: None)

    async def story(world: World) -> None:
        a, b, job, said = await sent(world, tmp_path)
        cut(world)
        assert said == [False]
        await asyncio.sleep(2)
        assert status(a, job) == (("PENDING", "scoring") if known else ("FAILED", "unknown_outcome"))
        world.connecting = True
        await asyncio.sleep(30)
        assert [state for _, state in attempts(a, job)] == (["LOST", "COMMITTED"] if known else ["LOST"])
        assert [where for _, _, where in world.ran] == ([b.id] if known else [])

    simulate(story)


@pytest.mark.parametrize("runs", [True, False])
def test_what_may_have_the_whole_input_may_have_run(runs: bool, tmp_path: Path) -> None:
    """Also when the last of it was lost on the way: nobody knows."""

    async def story(world: World) -> None:
        a, b, job, said = await sent(world, tmp_path)
        link, chunks = world.links[a.id, b.id], list[bool]()
        usual = link.send

        async def send(envelope: Envelope) -> None:
            if envelope.kind == CHUNK:
                chunks.append(said[-1])
            await usual(envelope)

        link.send = send  # type: ignore[method-assign]
        while not said[-1]:
            await asyncio.sleep(0.001)
        assert chunks[-1], "known before the last of it is sent"
        await asyncio.sleep(1 if runs else 0)
        assert bool(world.ran) == runs
        cut(world)
        await asyncio.sleep(2)
        world.connecting = True
        await asyncio.sleep(30)
        assert status(a, job) == ("FAILED", "unknown_outcome")
        assert len(attempts(a, job)) == 1

    simulate(story)


@pytest.mark.parametrize("defended", [True, False])
def test_who_has_it_all_and_asks_once_more_gets_no_second_run(
    defended: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A hostile device runs it, asks for its input again, and breaks the link before that is whole."""
    if not defended:

        def forgetful(self: Submitter, peer: Any, artefact: str, whole: bool) -> None:
            for live in self.desk.live.values():
                live.lacks_input = not whole

        monkeypatch.setattr(Submitter, "gives", forgetful)

    async def story(world: World) -> None:
        a, b, job, said = await sent(world, tmp_path)
        await asyncio.sleep(1)
        assert (said[-1], len(world.ran)) == (True, 1)
        artefact = str(a.submitter._open[job].input.id)
        await world.links[b.id, a.id].send(Want(artefact=artefact, missing=bitmap(range(CHUNKS), CHUNKS)).envelope())
        while said[-1]:
            await asyncio.sleep(0.001)
        cut(world)
        await asyncio.sleep(2)
        assert status(a, job) == (("FAILED", "unknown_outcome") if defended else ("PENDING", "scoring"))

    simulate(story)
