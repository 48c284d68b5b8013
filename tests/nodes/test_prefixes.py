"""An id may be shortened to a unique prefix: of several jobs that begin with it, on whatever device, none is acted on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from moodmesh.nodes.errors import NotFound
from moodmesh.nodes.jobs.model import Job, Spec
from moodmesh.nodes.jobs.replicas import Elsewhere
from moodmesh.nodes.permissions import Limits

from .sim import PURE, Node, World, simulate

SPEC = Spec(PURE, 1, {"units": 500.0}, 500.0, 5, 10, False, False, 1)
OURS, THEIRS, OTHERS = (f"7f3{end * 29}" for end in "abc")


async def submit(node: Node, id_: str) -> None:
    await node.world.loop.create_task(node.submitter.submit(SPEC, b"input", id_), context=node._context())


def told(where: Callable[[Node, Node, Node], list[tuple[Node, str]]], keeping: tuple[str, ...]) -> None:
    """The second device may look into jobs of the others; of those it keeps what is named, and may ask for the rest."""

    async def story(world: World) -> None:
        a, b, c = world.nodes
        for node in (a, c):
            await node.access.allow(b.id, {"jobs.inspect.all": Limits()})
        await asyncio.sleep(2)
        for node, id_ in where(a, b, c):
            await submit(node, id_)
        await asyncio.sleep(2)
        for row in b.rows("SELECT owner, job FROM replica"):
            if row["job"] not in keeping:
                b.disk.db.execute("DELETE FROM replica WHERE job=?", (row["job"],))
        with pytest.raises(NotFound, match="several jobs begin with '7f3'") as said:
            await b.inspection.find("7f3")
        for node, id_ in where(a, b, c):
            assert f"{id_} ({'here' if node is b else b.peers.names()[node.id]})" in str(said.value)
            found = await b.inspection.find(id_)
            assert isinstance(found, Job if node is b else Elsewhere)
            assert await b.inspection.find(id_[:4])

    simulate(story, 3)


@pytest.mark.parametrize("keeping", [(), (THEIRS,)])
def test_one_of_this_device_and_one_of_another(keeping: tuple[str, ...]) -> None:
    told(lambda a, b, c: [(b, OURS), (a, THEIRS)], keeping)


@pytest.mark.parametrize("keeping", [(), (THEIRS,), (THEIRS, OTHERS)])
def test_two_of_other_devices(keeping: tuple[str, ...]) -> None:
    told(lambda a, b, c: [(a, THEIRS), (c, OTHERS)], keeping)


def test_two_of_this_device() -> None:
    told(lambda a, b, c: [(b, OURS), (b, OTHERS)], ())
