"""Hundreds of devices: what is left out of a decision changes nothing, and what is remembered of a device is still true."""

from __future__ import annotations

import asyncio
import random
import statistics
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from moodmesh.mesh.memory import ManualClock
from moodmesh.nodes import rates
from moodmesh.nodes.bench.scale.gossip import GOSSIP, bytes_per_s
from moodmesh.nodes.bench.scale.rig import Rig, documents
from moodmesh.nodes.capabilities import GUESS_S_PER_UNIT
from moodmesh.nodes.peer import AVOID_S, BACKOFF_S, SUSPECT_S
from moodmesh.nodes.placement.afterwards import compared, words
from moodmesh.nodes.placement.explain import ALL, SHOWN, summary, table
from moodmesh.nodes.placement.score import TIE, place
from moodmesh.nodes.placement.view import Ask, Device


@pytest.fixture
def rig(tmp_path: Path) -> Rig:
    found = Rig(99, ManualClock(), tmp_path)
    asyncio.run(found.permit())
    draw = random.Random(3)
    for other in found.others[:90]:
        p = found.peers.peers[other.id]
        p.link = cast(Any, SimpleNamespace(peer=other.id))
        p.capability, p.dynamic = documents(found, draw)
        p.dynamic_at = 0.0
    return found


def asks(rig: Rig) -> list[Ask]:
    draw, version = random.Random(4), rig.tasks["emotion.text"].spec.version
    ways: list[dict[str, Any]] = [{}, {"quality": "fast"}, {"by_s": 1.0}, {"by_s": 0.01}, {"variant": "tiny"}]
    return [Ask(f"{n:032x}", "emotion.text", version, draw.lognormvariate(2, 2), 10**5, **ways[n % 5]) for n in range(100)]


def test_the_choice_is_that_of_weighing_every_device(rig: Rig) -> None:
    devices, fewer, late = rig.peers.devices(), 0, 0
    for ask in asks(rig):
        found = place(ask, devices)
        assert found.chosen is not None
        assert found.chosen.terms is not None
        able = [row for row in found.rows if row.terms]
        if ask.by_s is not None and any(row.terms.slow(1.2816) <= ask.by_s for row in able if row.terms):
            able = [row for row in able if row.terms and row.terms.slow(1.2816) <= ask.by_s]
        if ask.quality == "best" and found.chosen.terms.slow(1.2816) <= (ask.by_s or 1e9):
            assert found.chosen.quality == max(row.quality for row in able)
            able = [row for row in able if row.quality == found.chosen.quality]
        counts = (lambda terms: terms.slow(1.2816)) if found.late else (lambda terms: terms.cost)
        least = min(counts(row.terms) for row in able if row.terms)
        assert least <= counts(found.chosen.terms) <= least * (1 + TIE)
        late += found.late
        fewer += len(found.weighed) < len(found.rows) / 2
    assert fewer > 50, "most decisions look at less than half"
    assert late > 5


def test_a_long_table_keeps_the_best_and_counts_the_rest(rig: Rig) -> None:
    ask = asks(rig)[1]
    found = summary(place(ask, rig.peers.devices()))
    assert ALL < 100
    assert len(found["rows"]) <= SHOWN + 2
    assert found["rows"][0]["chosen"]
    assert sum(found["rest"].values()) == 100 - len({row["device"] for row in found["rows"]})
    assert found["rest"]["absent"] == 9
    assert "9 that are absent" in table(found)[-1]
    best = max(row.quality for row in place(ask, rig.peers.devices()).rows if row.terms)
    assert max(row["quality"] for row in found["rows"]) == best, "what was given up for speed is in the table"


def view(rig: Rig) -> Device:
    return rig.peers.devices()[1]


def test_what_was_never_measured_here_is_guessed_from_what_peers_measured(rig: Rig) -> None:
    rig.capabilities._rates.clear()
    assert rig.capabilities.rate("emotion.text", "base")[0].mean == GUESS_S_PER_UNIT
    rig.capabilities.elsewhere = rig.peers.rates
    known = [p.capability for p in rig.peers.peers.values() if p.capability and not p.here]
    found = [capability.tasks["emotion.text"].variants["base"].mean for capability in known]
    rate, guess = rig.capabilities.rate("emotion.text", "base")
    assert guess
    assert rate.mean == pytest.approx(statistics.median(found))


async def test_a_device_is_remembered_only_while_it_is_as_it_was(rig: Rig) -> None:
    clock, p = cast(ManualClock, rig.peers._clock), rig.peers.peers[rig.others[0].id]
    assert view(rig) is view(rig)
    assert not view(rig).stale
    await clock.advance(10.001)
    assert view(rig).stale
    p.live_since = p.heard = clock.now()
    assert not view(rig).suspect
    await clock.advance(SUSPECT_S)
    assert not view(rig).suspect
    await clock.advance(0.001)
    assert view(rig).suspect
    p.heard = clock.now()
    assert not view(rig).suspect
    for _ in range(3):
        rig.peers.refused(p.id)
    assert view(rig).backoff
    await clock.advance(BACKOFF_S + 0.001)
    assert not view(rig).backoff
    rig.peers.avoid(p.id)
    assert view(rig).backoff
    await clock.advance(AVOID_S + 0.001)
    assert not view(rig).backoff
    assert view(rig).own
    await rig.access.deny(p.id)
    assert not view(rig).own
    before = view(rig).pace
    rig.peers.measured(p.id, 1.0, 3.0)
    assert view(rig).pace["emotion.text/tiny"] > before["emotion.text/tiny"]


CHOSEN = {
    "device": "d", "gate": None, "transfer": 0.1, "queue": 1.0, "load": 0.0, "service": 4.0, "back": 0.1, "hand": 0.1,
    "total": 5.2, "p95": 9.0,
}  # fmt: skip


def ended(started: float, finished: float, state: str = "COMMITTED") -> dict[str, Any]:
    times = {"created": 100.0, "started": 100 + started, "finished": 100 + finished}
    return {"state": state, **times, "worked": finished - started}


def test_afterwards_says_what_was_slower_than_predicted() -> None:
    other = CHOSEN | {"device": "e", "total": 6.0}
    barred, guessed = other | {"total": 1.0, "gate": {"name": "quality"}}, other | {"total": 1.0, "guess": True}
    explain = {"chosen": CHOSEN, "rows": [CHOSEN, other, barred, guessed]}
    found = compared(ended(1.0, 10.4), explain)
    assert found is not None
    assert found["ratio"] == pytest.approx(2.0)
    assert found["regret_s"] == 0, "no regret for a device that was ruled out, or only guessed, or where it was as hard"
    assert not found["within_p95"]
    told = words(found)
    assert "it took 10.4 s: 2.0 x the predicted median, the work itself 9.4 s instead of 4 s" in told[0]
    assert len(told) == 1, "it would have been as hard on the other"
    late = compared(ended(6.0, 10.2), explain)
    assert late is not None
    assert "until its first line 6 s instead of 1.05 s" in words(late)[0]
    right = compared(ended(1.0, 5.0), explain)
    assert right is not None
    assert "as predicted" in words(right)[0]
    waited = compared(ended(1.0, 25.0) | {"worked": 4.1}, explain)
    assert waited is not None
    assert "the way back, and until it was fetched, 19.9 s instead of 150 ms" in words(waited)[0], "the work was as predicted"
    assert waited["regret_s"] == pytest.approx(25 - 6.1)
    assert "18.9 s faster" in words(waited)[1]
    assert compared(ended(1.0, 5.0, "LOST"), explain) is None
    assert compared(ended(1.0, 5.0), {"chosen": None, "rows": []}) is None


def test_the_median_and_the_mean_are_told_apart_and_what_is_past_the_stated_bound_is_not_as_predicted() -> None:
    """`why` and the table of `job explain` have the mean."""
    chosen = CHOSEN | {"likely": 3.0, "p95": 5.5}
    told = words(compared(ended(1.0, 6.0), {"chosen": chosen, "rows": []}) or {})
    assert "2.0 x the predicted median" in told[0]
    assert told[0].endswith("(predicted: 3 s at the median, 5.2 s in the mean, 19 of 20 within 5.5 s)")
    close = chosen | {"likely": 5.2}
    told = words(compared(ended(1.0, 5.6), {"chosen": close, "rows": []}) or {})
    assert "as predicted" not in told[0]
    assert told[0].startswith("it took 5.6 s: 1.08 x the predicted median, ")
    sooner = words(compared(ended(1.0, 2.0), {"chosen": close, "rows": []}) or {})
    assert sooner[0].startswith("it took 2 s: 38% of the predicted median")


def test_what_messages_take_is_learned_and_bounded() -> None:
    known = None
    for _ in range(60):
        known = rates.handed(known, 0.03)
    assert rates.hand(known) == pytest.approx((0.03, 0.0), abs=1e-3)
    assert rates.hand(rates.handed(known, 1e9))[0] < 0.07, "one hang does not move it far"
    assert rates.hand(rates.handed(None, -5.0))[0] == pytest.approx(rates.LEAST_HAND_S)
    assert rates.hand(None) == (0.0, 0.0)


def test_the_bytes_of_gossip_are_those_of_the_publish_rules() -> None:
    idle, busy = bytes_per_s(3, busy=False), bytes_per_s(3, busy=True)
    assert set(idle) == {"heartbeat", "dynamic"}, "an idle mesh says no more"
    assert 2 * 0.1 * 60 < idle["heartbeat"] < 2 * 0.1 * 200, "one heartbeat of some bytes every ten seconds on each link"
    total = [sum(found.get(kind, 0.0) for kind in GOSSIP) for found in (idle, busy)]
    assert total[1] > 5 * total[0]
