"""The node's side of discovery without a network: what is shown at each rotation, and what a sighting leads to (pairing §4)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from types import SimpleNamespace
from typing import Any

import pytest

from mesh.support import Recorder, new_identity, pair_with
from moodmesh.mesh.ble.payload import SLOT_BYTES
from moodmesh.mesh.memory import ManualClock, MemoryNet
from moodmesh.mesh.pairs import Pairs
from moodmesh.mesh.rid import Rids, pair_tag
from moodmesh.mesh.seams import Beacon, Sighting
from moodmesh.nodes.config import Config, MeshSection
from moodmesh.nodes.discovery import Discovery


class Shown:
    """A radio that keeps what it is told to show."""

    radio = "hello"
    id_bytes = 16

    def __init__(self) -> None:
        self.beacons: list[Beacon] = []

    def show(self, beacon: Beacon) -> None:
        self.beacons.append(beacon)


def node(pairs: Pairs) -> Any:
    """As much of a node as discovery touches: a store or a book of names is not part of it."""
    sought: list[Any] = []
    links = SimpleNamespace(seek=lambda *hint, fresh: sought.append((*hint, fresh)), get=lambda peer: None)
    clock = ManualClock()
    endpoint = SimpleNamespace(rids=Rids(clock), port=4000, links=links)
    config = Config(mesh=MeshSection(hello=False, mdns=False))
    return SimpleNamespace(config=config, endpoint=endpoint, pairs=pairs, clock=clock, health={}, sought=sought)


def opened(pairs: Pairs | None = None) -> tuple[Any, Discovery, Shown]:
    found, radio = node(pairs or Pairs()), Shown()
    discovery = Discovery(found)
    discovery._finders.append(radio)  # type: ignore[arg-type]
    return found, discovery, radio


def test_rid_tags_filling_and_turn_change_together_and_only_then() -> None:
    pairs = Pairs()
    pairs.add(pair_with(new_identity()))
    found, discovery, radio = opened(pairs)
    discovery.open_window(37, 5555, lambda sock, host: None)
    discovery.close_window()
    pairs.add(pair_with(new_identity(), os.urandom(32)))
    first = radio.beacons[0]
    assert (first.nameplate, first.window_port) == (37, 5555)
    assert {(b.nameplate, b.window_port) for b in radio.beacons[1:]} == {(None, None)}
    assert {(b.rid, b.spare, b.turn) for b in radio.beacons} == {(first.rid, first.spare, 0)}
    assert len(set(radio.beacons[-1].slots(16)) - set(first.slots(16))) == 1, "a new pair takes one slot; the filling stays"
    found.endpoint.rids.rotate()
    after = radio.beacons[-1]
    assert after.rid != first.rid
    assert after.turn == 1
    assert not set(after.spare) & set(first.spare)
    assert not set(after.slots(16)) & set(first.slots(16))


def sighting(pair: Any, rid: bytes, host: str) -> Sighting:
    return Sighting("hello", rid, host, 6666, frozenset({pair_tag(pair.k_pair, rid)}), 0.0, 10.0)


def test_a_sighting_with_a_tag_is_dialled_and_changes_nothing_else() -> None:
    pairs = Pairs()
    pairs.add(pair := pair_with(new_identity()))
    before = list(pairs)
    found, discovery, _ = opened(pairs)
    discovery._sighted(sighting(pair, b"r" * 16, "192.0.2.66"))
    discovery._sighted(sighting(pair_with(new_identity(), b"x" * 32), b"s" * 16, "192.0.2.67"))
    assert found.sought == [(pair.peer, [("192.0.2.66", 6666)], b"r" * 16, True)]
    assert list(pairs) == before


@pytest.mark.parametrize(("radio", "host", "size"), [("hello", "192.0.2.66", 16), ("ble", "ble/C0:00:00:00:00:01", 3)])
@pytest.mark.parametrize("away", ["silent", "said goodbye"])
async def test_who_was_away_and_is_back_is_dialled_at_once_and_nobody_at_each_sighting(
    monkeypatch: pytest.MonkeyPatch, radio: str, host: str, size: int, away: str
) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.5)
    pairs = Pairs()
    pairs.add(pair := pair_with(new_identity()))
    found, discovery, _ = opened(pairs)
    clock, net = found.clock, MemoryNet(found.clock)
    links = found.endpoint.links = net.join(new_identity().id, pairs, Recorder())
    dialled: list[float] = []
    at = net._at
    monkeypatch.setattr(net, "_at", lambda address: dialled.append(clock.now()) or at(address))  # nobody is there

    def heard(ttl_s: float = 10.0) -> None:
        rid = b"r" * size
        tag = pair_tag(pair.k_pair, rid)[: SLOT_BYTES if size < 16 else None]
        discovery._sighted(Sighting(radio, rid, host, 6666, frozenset({tag}), clock.now(), ttl_s))

    for _ in range(60):
        heard()
        await clock.advance(4)
    assert 5 <= len(dialled) <= 12, "one that is there all the time is dialled with back-off"
    tries = len(dialled)
    while len(dialled) == tries:
        heard()
        await clock.advance(1)
    if away == "silent":
        await clock.advance(11)
    else:
        heard(ttl_s=0)
        await clock.advance(1)
    assert len(dialled) == tries + 1
    for _ in range(8):
        heard()
        await clock.advance(1)
    assert len(dialled) >= tries + 2
    assert dialled[tries + 1] == pytest.approx(clock.now() - 8, abs=0.5)
    assert len(dialled) <= tries + 6, "from then on with the first steps of the back-off"
    await links.close()


async def test_a_finder_that_fails_in_a_way_nobody_thought_of_is_told_and_ends_nothing() -> None:
    class Broken(Shown):
        async def run(self, seen: Any) -> None:
            raise KeyError("what a library did not expect")

    found, discovery, _ = opened()
    task = asyncio.create_task(discovery._supervise(Broken()))  # type: ignore[arg-type]
    await asyncio.sleep(0.1)
    assert not task.done()
    part = found.health["finder hello"]
    assert (part.state, "KeyError" in part.detail) == ("failed", True)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


@pytest.mark.parametrize("turns", range(5))
async def test_a_finder_that_fails_while_the_node_stops_is_not_tried_again(turns: int) -> None:
    """A radio may go with the machine; a TaskGroup of Python 3.11 then loses that it was to end."""
    gone, runs = asyncio.Event(), 0

    class Going(Shown):
        async def run(self, seen: Any) -> None:
            nonlocal runs
            runs += 1
            with contextlib.suppress(BaseExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(self._go())
            raise OSError("the radio is gone")

        async def _go(self) -> None:
            await gone.wait()
            raise OSError("the radio is gone")

    _, discovery, _ = opened()
    task = asyncio.create_task(discovery._supervise(Going()))  # type: ignore[arg-type]
    await asyncio.sleep(0.01)
    gone.set()
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait({task}, timeout=1)
    assert (task.cancelled(), runs) == (True, 1)
