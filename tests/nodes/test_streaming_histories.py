"""Parts of an answer as bytes, on their way, and over random histories of three nodes: each is here once (routing §14.2)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moodmesh.nodes.errors import Refused
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.outgoing import Outgoing
from moodmesh.nodes.jobs.parts import join, split
from moodmesh.nodes.placement.gates import Gate
from moodmesh.tasks.parts import MOST_PARTS, PART_BYTES, STREAM_BYTES

from .sim import STREAM, Faults, World
from .streams import same_pace
from .trouble import outcome


@given(st.lists(st.binary(max_size=50), max_size=20))
def test_parts_come_out_as_they_went_in(made: list[bytes]) -> None:
    assert split(join(made)) == made


@given(st.binary(max_size=60))
def test_bytes_are_parts_or_an_error(data: bytes) -> None:
    with contextlib.suppress(ValueError):
        assert join(split(data)) == data


def test_no_more_parts_are_read_than_an_answer_may_have() -> None:
    assert len(split(join([b""] * MOST_PARTS))) == MOST_PARTS
    large = [bytes(PART_BYTES)] * (STREAM_BYTES // PART_BYTES)
    assert len(split(join(large))) == len(large)
    for bad in (join([b""] * (MOST_PARTS + 1)), join([*large] * 2), join([bytes(PART_BYTES + 1)]), b"\0\0\0\2x", b"\0\0"):
        with pytest.raises(ValueError, match=r"cut short|more bytes"):
            split(bad)


def test_what_is_acknowledged_is_not_said_again() -> None:
    out = Outgoing((b"held",))
    for index in range(1, 8):
        out.add(index, b"%d" % index)
    assert [index for index, _ in out.due()] == [1, 2, 3, 4]
    assert not list(out.due())
    assert out.acknowledge(3)
    assert not out.acknowledge(2), "an older word changes nothing"
    assert [index for index, _ in out.due()] == [5, 6]
    out.sent = out.acked
    assert [index for index, _ in out.due()] == [3, 4, 5, 6]
    assert out.acknowledge(10**6), "what was never made cannot be held"
    assert (out.acked, out.left) == (8, [])
    large = Outgoing([bytes(PART_BYTES)] * 5, 0)
    assert [index for index, _ in large.due()] == [0, 1], "of large ones two"
    assert large.acknowledge(1)
    assert [index for index, _ in large.due()] == [2]
    again = Outgoing.kept(join([b"6", b"7"]), 6)
    assert [index for index, _ in again.due()] == [6, 7]


# -- random histories ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Blow:
    """Something that happens `after` so many seconds."""

    after: float
    what: str
    node: int


blows = st.lists(
    st.builds(
        Blow,
        st.floats(0.1, 3),
        st.sampled_from(["crash", "start", "crash at a write", "full", "cut", "heal", "break", "gate", "stop"]),
        st.integers(0, 2),
    ),
    max_size=8,
)
networks = st.builds(
    Faults, st.sampled_from([0.0, 0.05, 0.3]), st.sampled_from([0.0, 0.3, 0.9]), st.sampled_from([0.0, 0.3]), st.just(0.1)
)


async def strike(world: World, blow: Blow, job: str) -> None:
    node = world.nodes[blow.node]
    match blow.what:
        case "crash":
            node.crash()
        case "start" if node.dead:
            await node.start()
        case "crash at a write":
            node.disk.crash_in = 2
        case "full":
            node.disk.full = True
        case "cut":
            world.islands = [{node.id}]
        case "heal":
            world.islands, node.disk.full = [], False
            node.gate = lambda peer, ask: None
        case "break":
            world.break_links()
        case "gate" if not node.dead:
            node.gate = lambda peer, ask: Gate("power", "unplugged")
            node.executor.give_back()
        case "stop" if blow.node == 0 and blow.after > 2.5 and not node.dead:
            with contextlib.suppress(Refused, Exception):
                await node.submitter.cancel(job)


async def history(world: World, struck: list[Blow], faults: Faults) -> list[str]:
    """A job whose answer comes part by part, while things happen; what was wrong, and what was told of it twice."""
    await world.start()
    same_pace(world)
    await asyncio.sleep(1)
    told: Counter[Any] = Counter()
    usual = Hub.tell

    def tell(self: Hub, kind: str, **facts: Any) -> None:
        if kind == "part":
            told[facts["job"], facts["index"]] += 1
            assert facts["streamed"] == facts["index"] + 1
        usual(self, kind, **facts)

    a = world.nodes[0]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Hub, "tell", tell)
        job = await a.submit(STREAM, 8.0)
        world.faults = faults
        for blow in struck:
            await asyncio.sleep(blow.after)
            await strike(world, blow, job)
        for node in world.nodes:
            node.gate = lambda peer, ask: None
        await world.settle()
    return world.verdict({job}) + [f"told twice: {what}" for what, count in told.items() if count > 1]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(blows, networks, st.integers(0, 1000))
def test_each_part_is_here_once_whatever_breaks(struck: list[Blow], faults: Faults, seed: int) -> None:
    logging.disable(logging.CRITICAL)
    try:
        wrong = outcome(lambda world: history(world, struck, faults), seed)
    finally:
        logging.disable(logging.NOTSET)
    assert not wrong, wrong
