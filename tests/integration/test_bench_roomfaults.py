"""bench roomfaults: that it finds nothing here, that its plans repeat, and that it would find what is broken."""

from __future__ import annotations

import pytest

from moodmesh.nodes.bench import work_task
from moodmesh.nodes.bench.roomfaults import bench
from moodmesh.nodes.bench.roomfaults.linking import compare
from moodmesh.nodes.bench.roomfaults.schedule import NAMES, PHASES, schedule
from moodmesh.nodes.bench.roomfaults.verdict import TWICE

DEVICES = NAMES[:6]
STRUCK = 24
"""A seed that kills a device at the opening of its first epoch, and asks again; it is back in the next."""


def test_a_seed_is_its_plan_and_every_fault_comes_up_in_every_phase() -> None:
    assert list(schedule(5, 20)) == list(schedule(5, 20)) != list(schedule(6, 20))
    plans = [plan for seed in range(10) for _, plan in schedule(seed, 60)]
    done = {(fault.do, fault.phase) for plan in plans for fault in plan.faults}
    assert done >= {(do, phase) for do in ("kill", "stop", "leave") for phase in PHASES} | {("join", p) for p in PHASES[:2]}
    assert any(len(plan.faults) > 4 and plan.again for plan in plans)
    for seed in range(10):
        assert all(len(inside) >= 6 and len(set(inside)) == len(inside) for inside, _ in schedule(seed, 60))


def test_strings_in_common_are_told_from_chance() -> None:
    noise = iter(range(10**6))

    def some(size: int) -> bytes:
        return b"".join((next(noise) * 2654435761 % 2**32).to_bytes(4, "big") for _ in range(size // 4))

    said = {who: {epoch: [b"protocol" + some(400)] for epoch in range(4)} for who in "abcd"}
    assert not any(one.linked for one in compare(said))
    said["b"][3].append(said["b"][0][0][100:108])
    assert [one.who for one in compare(said) if one.linked] == ["b"], "also of epochs that are far apart"
    for epoch in range(4):
        said["c"][epoch] += [b"kept"[k:] + b"kept"[:k] + some(4) for k in range(4)]
    assert [one.who for one in compare(said) if one.linked] == ["b", "c"]


@pytest.mark.slow
@pytest.mark.timeout(120)
def test_a_room_that_is_struck_tells_right_sums_or_says_why() -> None:
    found, links = bench.play(STRUCK, 3, DEVICES, DEVICES[:3])  # too few of a sort to tell what links their epochs
    report = bench.report(True, STRUCK, found, links, 1.0)
    assert any("kill" in what for played, _ in found for what in played.done)
    assert report.summary["violations"] == report.summary["charged_twice"] == 0, report.notes
    assert report.summary["opened"] >= 2, report.rows


BROKEN = f"""
import os
from moodmesh.mesh.rooms.member import Member, Opened
from moodmesh.nodes.rooms.person import RoomPerson
from moodmesh.privacy.release import ledger
who = os.environ[{work_task.DEVICE!r}]
if who == "ann":  # a charge is made twice
    usual, charge = ledger._objection, ledger.Ledger.charge
    ledger._objection = lambda lines, new, caps: None
    def twice(self, new):
        charge(self, new)
        charge(self, new)
    ledger.Ledger.charge = twice
if who == "bob":  # what it encoded is not kept
    release, contribute = RoomPerson.release, Member.contribute
    def anew(self, draw):
        release(self, draw)
        return self.mechanism(draw.roster.n).encode(self.mood())
    def again(self):
        if self.draw is not None and not self.spoke:
            self._person.release(self.draw)
        return contribute(self)
    RoomPerson.release, Member.contribute = anew, again
if who == "cat":  # the sum is off by one
    decoded = Member._decoded
    def off(self, proposal, authors):
        found = decoded(self, proposal, authors)
        return found and Opened((found.sums[0] + 1, *found.sums[1:]), found.contributors, found.draw, found.unchecked)
    Member._decoded = off
if who == "dan":  # its key is that of its last run
    from moodmesh.mesh.rooms import transcript
    x, e = transcript.X25519PrivateKey.generate(), transcript.Ed25519PrivateKey.generate()
    keys = transcript.Keys.__init__
    transcript.Keys.__init__ = lambda self, run, nonce: keys(self, run, nonce, x, e)
"""


@pytest.mark.timeout(120)
@pytest.mark.slow
def test_what_is_broken_is_found() -> None:
    """A charge made twice, a value encoded anew, a sum off by one, a key used again: each in one of the devices."""
    seed = next(s for s in range(1000) if not any(plan.faults or plan.again for _, plan in schedule(s, 2, DEVICES)))
    found, links = bench.play(seed, 2, DEVICES, patch=BROKEN)
    breaches = [breach for _, verdict in found for breach in verdict.breaches]
    assert any(b.startswith(f"{TWICE}ann") for b in breaches), breaches
    assert "bob encoded its mood twice" in breaches
    assert any(b.startswith("cat opened [") for b in breaches), breaches
    assert any("different sums were seen" in b for b in breaches), breaches
    assert "a key was used in 2 runs" in breaches
    assert not any(name in b for name in ("eve", "fay") for b in breaches if "different" not in b), breaches
    assert bench.report(True, seed, found, links, 1.0).failed
