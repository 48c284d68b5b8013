"""A gate that closes while a job runs: it is handed back within two seconds, in words, and runs elsewhere (routing §6, §9)."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes import capabilities as module
from moodmesh.nodes import probe
from moodmesh.nodes.capabilities import Capabilities
from moodmesh.nodes.config import Config
from moodmesh.nodes.messages import Reserve
from moodmesh.nodes.permissions import Conditions, Limits, closed, denial
from moodmesh.nodes.placement.gates import Gate
from moodmesh.nodes.pool.memory import MemoryPool

from .sim import EFFECTS, PURE, Node, World, simulate, status

FLOOR = Gate("power", "battery below its floor, or mains only")


def attempts(node: Node, job: str) -> list[tuple[str, str, str]]:
    return [tuple(row) for row in node.rows("SELECT device, state, message FROM attempt WHERE job=? ORDER BY number", job)]


def watching(node: Node) -> asyncio.Task[None]:
    return node.world.loop.create_task(node.executor.watch(), context=node._context())


def shut(node: Node, *tasks: str) -> None:
    """Its battery fell below its floor: it takes none of these tasks."""
    node.gate = lambda peer, ask: FLOOR if ask.task in tasks else None


@pytest.mark.parametrize("own", [False, True])
def test_what_runs_is_given_back_within_two_seconds_and_runs_elsewhere(own: bool) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        a.slow = b.slow = 20.0  # far longer than predicted: it is surely under way
        asking = b if own else a
        b.offers._mean = 0.1  # the best for either
        await asyncio.sleep(12)
        looks = watching(b)
        job = await asking.submit(units=5)
        await asyncio.sleep(2)
        assert status(asking, job)[0] == "RUNNING"
        assert [device for device, _, _ in attempts(asking, job)] == [b.id]
        shut(b, PURE)
        await asyncio.sleep(1.5)
        first, second = attempts(asking, job)
        assert first == (b.id, "LOST", "given back: battery below its floor, or mains only")
        assert second[0] == a.id
        assert not b.workers
        await asyncio.sleep(120)
        assert status(asking, job)[0] == "SUCCEEDED"
        looks.cancel()

    simulate(story)


def test_what_waits_there_is_given_back_too_and_no_error_of_its() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        looks = watching(b)
        jobs = [await a.submit(units=30, on=b) for _ in range(3)]
        await asyncio.sleep(2)
        shut(b, PURE)
        await asyncio.sleep(2)
        for job in jobs:
            (_, *first), *later = attempts(a, job)
            assert first == ["LOST", f"given back: {FLOOR.detail}"]
            assert {state for _, state, _ in later} <= {"REFUSED"}, "asked again, and never an error of the job"
            assert status(a, job)[0] == "PENDING"
        assert not b.executor.busy()
        shut(b)
        await asyncio.sleep(150)
        assert [status(a, job)[0] for job in jobs] == ["SUCCEEDED"] * 3
        looks.cancel()

    simulate(story)


def test_a_job_with_effects_that_runs_is_left_to_its_end_and_one_that_waits_is_not_lost() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        looks = watching(b)
        runs, waits = await a.submit(EFFECTS, units=20, on=b), await a.submit(EFFECTS, units=40, on=b)
        await asyncio.sleep(3)
        shut(b, EFFECTS)
        await asyncio.sleep(2)
        assert status(a, runs)[0] == "RUNNING"
        assert status(a, waits)[0] == "PENDING"
        await asyncio.sleep(30)
        assert status(a, runs)[0] == "SUCCEEDED"
        shut(b)
        await asyncio.sleep(120)
        assert status(a, waits)[0] == "SUCCEEDED"
        assert [job for job, _, _ in world.ran] == [runs, waits], "each of them once"
        looks.cancel()

    simulate(story)


def test_what_is_done_and_only_to_be_delivered_is_not_given_back(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        job = await a.submit(units=5, on=b)
        deliver = b.executor._deliver

        async def closing(e: Any, result: Any) -> None:
            shut(b, PURE)
            b.executor.give_back()
            await deliver(e, result)

        monkeypatch.setattr(b.executor, "_deliver", closing)
        await asyncio.sleep(10)
        assert status(a, job)[0] == "SUCCEEDED"

    simulate(story)


# -- which gates close for what runs -----------------------------------------------------------------------------------

ME, PEER = DeviceId("me"), DeviceId("peer")
ASK = Reserve(
    job="0" * 32, attempt=1, task="test.pure", version=1, variant="tiny", units=14.0, input_bytes=0, result_bytes=0,
    personal=False, waited=0.0,
)  # fmt: skip


def device(monkeypatch: pytest.MonkeyPatch, battery: probe.Battery, owned: bool = True, **power: Any) -> Capabilities:
    """A device whose battery and rules are as given; a unit takes it a second."""
    monkeypatch.setattr(probe, "battery", lambda: battery)
    clock = SystemClock()
    config = Config.model_validate({"power": power})
    access: Any = SimpleNamespace(closed=lambda peer, action: None, owns=lambda peer: owned)
    unused: Any = None
    pool = MemoryPool(1, clock, unused)
    found = Capabilities(config, {}, unused, unused, access, pool, clock, Path(), ME)
    monkeypatch.setattr(found, "predicted_s", lambda task, variant, units: units)
    return found


MAINS, LOW, HALF, UNREADABLE = probe.Battery(True, 15), probe.Battery(True, 15, False), probe.Battery(True, 50, False), \
    probe.Battery(True, None, False)  # fmt: skip


@pytest.mark.parametrize(
    ("battery", "power", "peer", "units", "words"),
    [
        (MAINS, {}, PEER, 14, None),
        (LOW, {}, PEER, 1, "battery below its floor, or mains only"),
        (LOW, {}, ME, 1, "battery below its floor, or mains only"),
        (HALF, {"mains_only": True}, ME, 1, "battery below its floor, or mains only"),
        (HALF, {}, PEER, 14, "limited power: 14 s is more than 10 s"),
        (UNREADABLE, {}, PEER, 14, "limited power: 14 s is more than 10 s"),
        (HALF, {}, PEER, 9, None),
        (MAINS, {"quiet_hours": "0-24"}, PEER, 1, "quiet hours of its owner"),
        (MAINS, {"quiet_hours": "0-24"}, ME, 1, None),
    ],
)
def test_the_gates_of_power_and_hours_close_for_what_runs(
    monkeypatch: pytest.MonkeyPatch,
    battery: probe.Battery,
    power: dict[str, Any],
    peer: DeviceId,
    units: float,
    words: str | None,
) -> None:
    gate = device(monkeypatch, battery, **power).closed(peer, ASK.model_copy(update={"units": units}))
    assert (gate and gate.detail) == words


def test_limited_power_is_for_own_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    gate = device(monkeypatch, HALF, owned=False).closed(PEER, ASK.model_copy(update={"units": 1.0}))
    assert gate == Gate("power", "limited power: own devices' jobs only")


def test_memory_and_disk_are_for_starting_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.probe, "free_memory_mb", lambda cap: 0)
    monkeypatch.setattr(module.probe, "free_disk_mb", lambda where: 0)
    assert device(monkeypatch, MAINS).closed(PEER, ASK) is None


@pytest.mark.parametrize(
    ("limits", "here", "why"),
    [
        ({"hours": "8-18"}, Conditions(100.0, hour=18), "hours"),
        ({"mains_only": True}, Conditions(100.0, mains=False), "mains_only"),
        ({"battery_floor": 40}, Conditions(100.0, battery=39, mains=False), "battery_floor"),
        ({"expires": 99.0}, Conditions(100.0), "expired"),
        ({"concurrent": 1, "jobs_per_hour": 0, "seconds_per_day": 0, "largest_s": 1e-9}, Conditions(100.0), None),
    ],
)
def test_of_a_rule_the_conditions_close_and_what_is_used_up_does_not(
    limits: dict[str, Any], here: Conditions, why: str | None
) -> None:
    rules = {"test.pure": Limits(**limits)}
    assert closed(rules, "test.pure", here) == why
    assert why is None or denial(rules, "test.pure", [], SimpleNamespace(seconds=0, bytes=0), here) == why  # type: ignore[arg-type]
    assert closed({}, "test.pure", here) == "permission"
