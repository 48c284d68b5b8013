from __future__ import annotations

import asyncio
import itertools
import random

import pytest

from moodmesh.mesh.links import Links
from moodmesh.mesh.memory import ManualClock, MemoryFinder, MemoryNet, settle
from moodmesh.mesh.pairs import Pairs
from moodmesh.mesh.rid import match
from moodmesh.mesh.seams import Beacon, DeviceId, Envelope, Sighting

from .support import Recorder, new_identity, pair_with


class Fleet:
    """Devices on one memory net, all paired with each other."""

    def __init__(self, count: int, delay_s: float = 0.0) -> None:
        self.clock = ManualClock()
        self.net = MemoryNet(self.clock, delay_s)
        identities = [new_identity() for _ in range(count)]
        self.ids = [identity.id for identity in identities]
        self.pairs = {identity.id: Pairs() for identity in identities}
        for one, other in itertools.combinations(identities, 2):
            self.pairs[one.id].add(pair_with(other))
            self.pairs[other.id].add(pair_with(one))
        self.events = {device: Recorder() for device in self.ids}
        self.links = {device: self.net.join(device, self.pairs[device], self.events[device]) for device in self.ids}

    def seek(self, us: DeviceId, peer: DeviceId) -> None:
        self.links[us].seek(peer, [self.net.address(peer)], self.net.rid(peer))

    def restart(self, device: DeviceId) -> Links:
        self.net.leave(device)
        self.links[device] = self.net.join(device, self.pairs[device], self.events[device])
        return self.links[device]

    async def close(self) -> None:
        await asyncio.gather(*(links.close() for links in self.links.values()))
        await settle()


async def test_twenty_nodes_all_dialling_both_ways_end_with_one_link_a_pair() -> None:
    fleet = Fleet(20, delay_s=0.001)
    for one, other in itertools.permutations(fleet.ids, 2):
        fleet.seek(one, other)
    await fleet.clock.advance(5)
    for device in fleet.ids:
        assert {link.peer for link in fleet.links[device]} == set(fleet.ids) - {device}
        for link in fleet.links[device]:
            theirs = fleet.links[link.peer].get(device)
            assert theirs is not None
            assert theirs.dialler == link.dialler
            await link.send(Envelope("hi", b'{"from":"%s"}' % device.encode()))
    await fleet.clock.advance(1)
    assert {events.got.qsize() for events in fleet.events.values()} == {19}
    assert not any(events.duplicates for events in fleet.events.values())
    await fleet.close()


async def test_a_lost_link_comes_back_by_itself_and_under_the_last_rid_heard() -> None:
    fleet = Fleet(2)
    one, other = fleet.ids
    fleet.seek(one, other)
    await fleet.clock.advance(1)
    fleet.net._members[other].rids.rotate()
    fleet.net._members[other].rids.rotate()
    await settle()
    assert fleet.links[one].get(other).rid == fleet.net.rid(other)
    fleet.net.cut(one)
    await settle()
    assert fleet.links[one].get(other) is None
    assert fleet.events[one].down.get_nowait() == (other, "connection lost")
    await fleet.clock.advance(2)
    assert fleet.links[one].get(other) is not None
    await fleet.close()


async def test_a_partition_loses_frames_silently_and_a_dial_through_it_fails_until_it_heals() -> None:
    fleet = Fleet(3)
    one, other, third = fleet.ids
    for peer in (other, third):
        fleet.seek(one, peer)
    await fleet.clock.advance(1)
    fleet.net.partition([one, other], [third])
    await fleet.links[one].get(other).send(Envelope("near", b"{}"))
    await fleet.links[one].get(third).send(Envelope("far", b"{}"))
    await settle()
    assert fleet.events[other].got.qsize() == 1
    assert fleet.events[third].got.empty()
    await fleet.links[one].get(third).close()
    await fleet.clock.advance(30)
    assert fleet.links[one].get(third) is None
    assert fleet.links[third].get(one) is not None, "a half-open link: only a heartbeat can tell"
    fleet.net.heal()
    await fleet.clock.advance(120)
    assert fleet.links[one].get(third) is not None
    assert fleet.events[third].duplicates == [], "the old link answers no probe, so the new one is no copy"
    await fleet.close()


async def test_a_restarted_device_is_no_copy() -> None:
    fleet = Fleet(2)
    one, other = fleet.ids
    fleet.seek(one, other)
    await fleet.clock.advance(1)
    fleet.net.partition([one])  # power loss: no goodbye
    old = fleet.links[one]
    fleet.restart(one)
    await old.close()
    fleet.net.heal()
    fleet.seek(one, other)
    await fleet.clock.advance(5)
    assert fleet.links[one].get(other) is not None
    assert fleet.events[other].duplicates == []
    await fleet.close()


async def test_a_copied_identity_is_refused_and_everybody_is_told() -> None:
    fleet = Fleet(2)
    one, other = fleet.ids
    fleet.seek(one, other)
    await fleet.clock.advance(1)
    first, told = fleet.links[one].get(other), Recorder()
    copy = fleet.net.join(one, fleet.pairs[one], told)
    copy.seek(other, [fleet.net.address(other)], fleet.net.rid(other))
    await fleet.clock.advance(5)
    assert fleet.links[one].get(other) is first
    assert copy.get(other) is None
    assert told.duplicates == [(other, "us")]
    assert fleet.events[one].duplicates == [(other, "us")]
    assert fleet.events[other].duplicates == [(one, "peer")]
    await copy.close()
    await fleet.close()


async def test_finders_hear_each_other_and_say_goodbye() -> None:
    fleet = Fleet(2)
    one, other = fleet.ids
    heard: list[Sighting] = []
    here, there = MemoryFinder(fleet.net, one), MemoryFinder(fleet.net, other)
    rid = fleet.net.rid(other)
    there.show(Beacon(rid, 1234, (b"tag1",)))
    tasks = [asyncio.create_task(here.run(heard.append)), asyncio.create_task(there.run(lambda sighting: None))]
    await settle()
    assert [(sighting.rid, sighting.port, sighting.tags) for sighting in heard] == [(rid, 1234, frozenset({b"tag1"}))]
    assert match(heard[0].tags, rid, fleet.pairs[one]) == []
    await here.ask(fleet.net.address(other)[0])
    tasks[1].cancel()
    await settle()
    assert [sighting.ttl_s for sighting in heard] == [10.0, 10.0, 0.0]
    tasks[0].cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_only_news_starts_the_back_off_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(random, "random", lambda: 0.5)
    fleet = Fleet(2)
    one, other = fleet.ids
    address, rid = fleet.net.address(other), fleet.net.rid(other)
    fleet.net.partition([one])
    tries: list[float] = []
    ask = fleet.net.connect

    async def counted(*call: object) -> object:
        tries.append(fleet.clock.now())
        return await ask(*call)  # type: ignore[arg-type]

    fleet.net.connect = counted  # type: ignore[method-assign,assignment]
    for _ in range(60):
        fleet.links[one].seek(other, [address], rid)
        await fleet.clock.advance(4)
    assert 5 <= len(tries) <= 12, "the same sighting every 4 s does not hurry the back-off"
    before = len(tries)
    fleet.links[one].seek(other, [address], rid, fresh=True)
    await fleet.clock.advance(1)
    assert tries[before] == pytest.approx(fleet.clock.now() - 1, abs=0.2)
    await fleet.close()
