"""Attack 14 on real daemons: what a device sends in one epoch does not tell which one it was in another (room-mood §10)."""

from __future__ import annotations

import random
import ssl
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from moodmesh.nodes.bench import work_task
from moodmesh.nodes.bench.roomfaults.capture import noted, told, turns
from moodmesh.nodes.bench.roomfaults.linking import compare
from moodmesh.nodes.bench.roomfaults.play import Play
from moodmesh.nodes.bench.roomfaults.schedule import NAMES, Plan
from moodmesh.nodes.bench.roomfaults.town import Town
from moodmesh.nodes.bench.roomfaults.witness import epoch_begin

KEEPERS = ("ann", "bob", "cat")
LATE = "dan"
EPOCHS, ALONE = 3, 3
WITHIN_S, APART_S = 0.05, 0.3
MUTATIONS = f"""
import asyncio, os
from moodmesh.mesh import tls
from moodmesh.mesh.discovery import mdns
from moodmesh.mesh.rid import Rids
who = os.environ[{work_task.DEVICE!r}]
if who == "ann":  # its mDNS name is kept
    kept = mdns.new_label()
    mdns.new_label = lambda: kept
if who == "bob":  # its rid is kept
    rids = Rids.__init__
    def same(self, clock):
        rid = os.urandom(16)
        rids(self, clock, lambda: rid)
    Rids.__init__ = same
if who == "cat":  # its epoch certificate is kept
    usual, shown = tls.epoch_credential, []
    tls.epoch_credential = lambda rid: (shown or shown.append(usual(rid)) or shown)[0]
if who == {LATE!r}:  # its mDNS name turns late
    register = mdns.MdnsFinder._register
    async def late(self, *args):
        await asyncio.sleep(0.3)
        await register(self, *args)
    mdns.MdnsFinder._register = late
"""


class Seen(NamedTuple):
    """`shown`: the certificates that a stranger was shown, by device and epoch."""

    homes: dict[str, tuple[Path, int]]
    shown: dict[tuple[str, int], list[bytes]]


@pytest.fixture(scope="module")
def seen() -> Iterator[Seen]:
    """Six devices in a room, ann and bob paired, that lived for some epochs; a stranger asked each for its certificates."""
    names = NAMES[:6]
    town = Town(names, names[:2], MUTATIONS, {"mesh.mdns": "true"})
    shown: dict[tuple[str, int], list[bytes]] = {}
    try:
        town.open(names)
        for number in range(EPOCHS):
            played = Play(town, names, Plan(number, random.randrange(6), ()), number).run()
            assert town.testimony.of(played.epoch, "opened"), played
            for name, member in town.members.items():
                listener = [e for e in noted(member.home) if e.get("of") == "listener"][-1]["to"]
                shown[name, played.epoch] = [certificate(port) for port in (member.home_made.port, listener)]
        for _ in range(ALONE):
            turned_alone(town)
        yield Seen({name: (member.home, member.home_made.port) for name, member in town.members.items()}, shown)
    finally:
        town.close()


def turned_alone(town: Town) -> None:
    """The next epoch begins for one device after the other: what is timed does not wait for five others on the same cores."""
    town.epoch += 1
    for member in town.members.values():
        member.knobs.set(clock_s=epoch_begin(town.epoch) + 1.0 - time.time())
        time.sleep(APART_S)


def certificate(port: int) -> bytes:
    """What a listener shows to a stranger."""
    return ssl.PEM_cert_to_DER_cert(ssl.get_server_certificate(("127.0.0.1", port), timeout=10))


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_bytes_of_two_epochs_tell_a_device_only_where_it_keeps_an_identifier(seen: Seen) -> None:
    """Half of the devices were made to keep one: their mDNS name, their rid, the certificate that strangers see."""
    sent, said = told(seen.homes), defaultdict[str, dict[int, list[bytes]]](dict)
    for (name, epoch), certificates in seen.shown.items():
        said[name][epoch] = sent[name][epoch] + certificates
    found = compare(said)
    assert {one.who for one in found if one.linked} == set(KEEPERS), [str(one) for one in found]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_all_identifiers_turn_together(seen: Seen) -> None:
    """Within 50 ms of each other, from when the hello and mDNS first say the new one and when the process has the others; the
    median of the boundaries, for this machine does other things as well."""
    for name in seen.homes.keys() - set(KEEPERS):
        found = turns(seen.homes[name][0])[EPOCHS:]
        assert len(found) == ALONE
        assert all(turned.keys() == {"rid", "certificate", "listener", "hello", "mdns"} for turned in found)
        spread = sorted(max(turned.values()) for turned in found)[ALONE // 2]
        assert (spread > WITHIN_S) == (name == LATE), (name, found)
