"""A job from a mood reaches own devices alone, whatever is asked; a coarse one also those that have `mood.share`."""

from __future__ import annotations

import asyncio

import pytest

from moodmesh.nodes.messages import Reserve, Start
from moodmesh.nodes.permissions import Limits
from moodmesh.nodes.placement import gates

from .sim import World, simulate, spy, status

MINE = {"test.*": Limits(), "own.device": Limits()}
FRIEND = {"test.*": Limits()}
TOLD = {"test.*": Limits(), "mood.share": Limits()}


async def only_others(world: World, rules: dict[str, Limits]) -> None:
    """The asking device cannot run anything; the others have these rules at it, and permit it all."""
    a = world.nodes[0]
    for other in world.nodes[1:]:
        await a.access.allow(other.id, rules, instead=True)
    a.gate = lambda peer, ask: gates.Gate("power", "unplugged")  # type: ignore[method-assign, assignment]
    await asyncio.sleep(1)


@pytest.mark.parametrize("asked", [{}, {"quality": "fast"}, {"by_s": 1.0}, {"shared": True}])
@pytest.mark.parametrize("named", [False, True])
def test_a_friend_is_never_told(asked: dict[str, object], named: bool) -> None:
    async def story(world: World) -> None:
        await only_others(world, FRIEND)
        a, b, _ = world.nodes
        said = spy(a, Reserve, Start)
        job = await a.submit(personal=True, on=b if named else None, **asked)
        await asyncio.sleep(30)
        assert status(a, job)[0] == "PENDING"
        assert [m for _, peer, m in said if peer != a.id] == []

    simulate(story, 3)


def test_with_mood_share_the_coarse_one_goes_and_the_fine_one_stays() -> None:
    async def story(world: World) -> None:
        await only_others(world, TOLD)
        a, *_ = world.nodes
        fine, coarse = await a.submit(personal=True), await a.submit(personal=True, shared=True)
        await asyncio.sleep(30)
        assert (status(a, fine)[0], status(a, coarse)[0]) == ("PENDING", "SUCCEEDED")

    simulate(story, 3)


def test_a_coarse_mood_stays_when_mood_share_is_taken_back_while_it_waits() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        await a.access.allow(b.id, TOLD, instead=True)
        long = await b.submit(units=20, on=b)
        await asyncio.sleep(0.5)
        job = await a.submit(units=1, on=b, personal=True, shared=True)
        await asyncio.sleep(1)
        started = spy(a, Start)
        await a.access.allow(b.id, FRIEND, instead=True)
        await asyncio.sleep(30)
        assert status(b, long)[0] == "SUCCEEDED"
        assert status(a, job)[0] == "PENDING"
        assert [m for _, peer, m in started if peer == b.id] == []
        await a.access.allow(b.id, {"mood.share": Limits()})
        await asyncio.sleep(30)
        assert status(a, job)[0] == "SUCCEEDED"

    simulate(story)


def test_without_the_gate_a_friend_would_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: no gate, and nobody asked again before the start."""
    gate = gates.device_gate

    def open_(ask: object, device: object) -> object:
        found = gate(ask, device)  # type: ignore[arg-type]
        return None if found is not None and found.name == "personal" else found

    for module in ("placement.score", "jobs.desk"):
        monkeypatch.setattr(f"moodmesh.nodes.{module}.device_gate", open_, raising=False)
    monkeypatch.setattr("moodmesh.nodes.peers.Peers.trusted", lambda *_, **__: True)
    with pytest.raises(AssertionError):
        test_a_friend_is_never_told({}, False)


def test_without_the_second_look_a_mood_would_leave_after_the_permission(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mutation: what was permitted when a place was asked for still is when the request leaves."""
    monkeypatch.setattr("moodmesh.nodes.peers.Peers.trusted", lambda *_, **__: True)
    with pytest.raises(AssertionError):
        test_a_coarse_mood_stays_when_mood_share_is_taken_back_while_it_waits()
