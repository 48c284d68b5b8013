"""Rooms of twins: whole sittings in memory, as the demo and a benchmark play them."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from moodmesh.mesh.rooms.member import Member
from moodmesh.mesh.rooms.relay import Relay
from moodmesh.mesh.rooms.wire import Message, Step
from moodmesh.nodes.bench.roomscale import bench
from moodmesh.nodes.bench.virtual import VirtualLoop, run
from moodmesh.nodes.demo.room.moods import Point
from moodmesh.nodes.demo.room.net import GATHERER, MEMBER, RELAY, Net
from moodmesh.nodes.demo.room.twins import Lived, Twin, live
from moodmesh.nodes.rooms.model import create

EPOCH = 3_000_000


def lived(
    tmp_path: Path, n: int, net: Net | None = None, crashes: dict[int, float] | None = None
) -> tuple[Lived, Net, list[Twin]]:
    room = create("x", "ambient") if n >= 30 else create("x", "on-demand", 4)
    twins, net = [Twin.new(tmp_path, i) for i in range(n)], net or Net(range(n))
    moods = [Point(0.3, -0.2)] * n
    return run(live(net, room, EPOCH, dict(enumerate(twins)), moods, crashes or {}), VirtualLoop()), net, twins


def test_an_ambient_room_of_twins_opens_the_sum_that_its_people_released_and_charges_each_once(tmp_path: Path) -> None:
    found, net, twins = lived(tmp_path, 30)
    assert len(found.opened) == 30
    assert found.right()
    assert {len(one.contributors) for one in found.opened.values()} == {30}
    for twin in twins:
        assert [line.what for line in twin.ledger.lines()] == ["charge", "opened"]
        assert twin.readings[0].valence == twins[0].readings[0].valence
    assert {role for _, role in net.seconds} == {MEMBER, GATHERER, RELAY}
    assert all(spent > 0 for spent in net.seconds.values())
    assert sum(net.messages[i, MEMBER] for i in range(30)) > 30 * 7


def test_twins_notice_a_sum_that_nobody_released(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Member._decoded

    def off_by_one(self: Member, *args: Any) -> Any:
        opened = honest(self, *args)
        assert opened is not None
        object.__setattr__(opened, "sums", (opened.sums[0] + 1, opened.sums[1]))
        return opened

    monkeypatch.setattr(Member, "_decoded", off_by_one)
    found, _, _ = lived(tmp_path, 5)
    assert len(found.opened) == 5
    assert not found.right()


def test_whoever_crashes_before_or_after_the_draw_does_not_keep_the_others_from_the_sum(tmp_path: Path) -> None:
    found, _, twins = lived(tmp_path, 8, crashes={3: 0.2, 6: 1.05})
    assert set(found.opened) == set(range(8)) - {3, 6}
    assert found.right()
    assert twins[3].ledger.lines() == ()


def test_an_ambient_room_that_misses_somebody_goes_on_when_its_relay_vanishes_while_shares_come_in(tmp_path: Path) -> None:
    class Dying(Net):
        """Its relay is gone with the first share that it gets."""

        died: int | None = None

        def carry(self, device: int) -> Callable[..., Awaitable[Any]]:
            usual = super().carry(device)

            async def carried(work: Callable[..., Any], *args: Any) -> Any:
                found = await usual(work, *args)
                shares = any(isinstance(arg, Message) and arg.step is Step.SHARES for arg in args)
                if self.died is None and shares and isinstance(getattr(work, "__self__", None), Relay):
                    self.died = device
                    self.keep = asyncio.ensure_future(self.down(device))
                return found

            return carried

    net = Dying(range(32))
    found, _, _ = lived(tmp_path, 32, net, crashes={7: 5.0})
    assert net.died not in (None, 7)
    assert set(found.opened) >= set(range(32)) - {net.died, 7}, found.why
    assert found.right()


@pytest.mark.slow
def test_the_benchmark_counts_by_role_and_notices_a_wrong_sum(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench, "QUICK", (10,))
    monkeypatch.setattr(bench, "SEED", 4)  # somebody vanishes before the draw
    report = bench.run(quick=True, out=tmp_path)
    assert not report.failed
    assert (tmp_path / "bench-roomscale.svg").exists()
    whole, thinned = report.rows
    assert (whole["told"], whole["contributors"], thinned["told"]) == (10, 10, 9)
    assert 0 < whole["gatherer_ms"] < whole["busiest_ms"]
    assert whole["committee_ms"] <= whole["busiest_ms"]
    assert whole["committee_bytes"] < whole["gatherer_bytes"]
    assert 1.0 <= whole["result_s"] <= 1.0 + 0.3 + 0.1
    assert "member_ms" not in whole  # ten are all in the committee
    monkeypatch.setattr(Lived, "_released", lambda self, opened: (0, 0))
    assert bench.run(quick=True).failed
