"""What every radio shows of one beacon, and that more pairs than slots take turns (pairing §4)."""

from __future__ import annotations

import os

import pytest

from moodmesh.mesh.discovery.datagram import decode
from moodmesh.mesh.discovery.hello import HelloFinder
from moodmesh.mesh.discovery.mdns import read, txt
from moodmesh.mesh.memory import ManualClock
from moodmesh.mesh.seams import Beacon, Sighting


def hello_slots(beacon: Beacon) -> frozenset[bytes]:
    """The slots in the datagram that a finder sends for this beacon, as another one sights them."""
    speaker, listener, seen = HelloFinder(clock=ManualClock()), HelloFinder(clock=ManualClock()), list[Sighting]()
    listener._seen = seen.append
    data = speaker._encode(1, beacon)  # type: ignore[arg-type]
    assert decode(data) is not None
    listener._heard(data, ("192.0.2.1", 4000))
    return seen[0].tags


def mdns_slots(beacon: Beacon) -> frozenset[bytes]:
    found = read({k.encode(): v.encode() for k, v in txt(beacon).items()}, "192.0.2.1", beacon.port, 0)
    assert found is not None
    return found.tags


@pytest.mark.parametrize("pairs", [0, 1, 16])
def test_two_radios_show_the_same_slots_so_that_comparing_them_counts_nobody(pairs: int) -> None:
    beacon = Beacon(os.urandom(16), 4000, tuple(os.urandom(4) for _ in range(pairs)))
    assert hello_slots(beacon) == mdns_slots(beacon)
    assert hello_slots(beacon) == hello_slots(beacon)
    assert hello_slots(beacon) >= set(beacon.tags)


@pytest.mark.parametrize(
    ("pairs", "turns_hello", "turns_mdns"), [(17, 1, 2), (64, 1, 4), (256, 1, 16), (257, 2, 17), (500, 2, 32)]
)
def test_more_pairs_than_slots_take_turns_by_epoch(pairs: int, turns_hello: int, turns_mdns: int) -> None:
    real = {n.to_bytes(4, "big") for n in range(pairs)}

    def shown(turns: int, slots: object) -> set[bytes]:
        beacons = [Beacon(os.urandom(16), 4000, tuple(sorted(real)), turn=turn) for turn in range(turns)]
        return set().union(*(slots(beacon) for beacon in beacons)) & real  # type: ignore[operator]

    assert shown(turns_hello, hello_slots) == real
    assert shown(turns_mdns, mdns_slots) == real


def test_mutation_without_turns_some_pairs_are_never_shown() -> None:
    real = tuple(n.to_bytes(4, "big") for n in range(300))
    shown = set().union(*(hello_slots(Beacon(os.urandom(16), 4000, real, turn=0)) for _ in range(5)))
    assert len(shown & set(real)) == 256
