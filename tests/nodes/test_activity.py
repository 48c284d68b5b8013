"""Somebody is at the device (`power.while_active`): what is read, what follows, and that nobody looks unless asked to."""

from __future__ import annotations

import asyncio
import ctypes
import sys
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from moodmesh.nodes import activity
from moodmesh.nodes.activity import ACTIVE_S, LOOK_S, Activity, barred, logind, mac, windows
from moodmesh.nodes.config import WhileActive
from moodmesh.nodes.doctor import software
from moodmesh.nodes.messages import Active, Dynamic
from moodmesh.nodes.placement.gates import State, owner_gate

from .sim import World, simulate

MANAGER = "IdleHint={}\nIdleSinceHintMonotonic={}\n"


@pytest.mark.parametrize(
    ("said", "idle"),
    [
        (MANAGER.format("no", 0), 0.0),
        (MANAGER.format("yes", 940_000_000), 60.0),
        (MANAGER.format("yes", 0), 1000.0),
        (MANAGER.format("yes", 10**12), 0.0),
        (MANAGER.format("yes", "soon"), None),
        ("IdleHint=yes", None),
        ("", None),
    ],
)
def test_what_logind_says(said: str, idle: float | None) -> None:
    assert logind(said, 1000.0) == idle


def test_what_macos_says() -> None:
    assert mac('  |   "HIDIdleTime" = 61500000000\n  |   "HIDParameters" = {}') == 61.5
    assert mac("") is None


@pytest.mark.parametrize(
    ("ticks", "at", "works", "idle"), [(5000, 2000, 1, 3.0), (500, 2**32 - 500, 1, 1.0), (5000, 0, 0, None)]
)
def test_what_windows_says(ticks: int, at: int, works: int, idle: float | None) -> None:
    def last_input(found: Any) -> int:
        assert found._obj.size == ctypes.sizeof(found._obj) == 8
        found._obj.at = at
        return works

    assert windows(SimpleNamespace(GetLastInputInfo=last_input), SimpleNamespace(GetTickCount=lambda: ticks)) == idle


@pytest.mark.skipif(sys.platform != "linux", reason="asks loginctl")
def test_a_system_that_does_not_tell_or_hangs_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert activity.idle_s() is None
    command = tmp_path / "loginctl"
    command.write_text("#!/bin/sh\necho IdleHint=no; echo IdleSinceHintMonotonic=0\n")
    command.chmod(0o700)
    assert activity.idle_s() == 0.0
    command.write_text("#!/bin/sh\necho IdleHint=no\nexit 1\n")
    assert activity.idle_s() is None
    command.write_text("#!/bin/sh\nexec /bin/sleep 60\n")
    monkeypatch.setattr(activity, "ANSWER_S", 0.1)
    assert activity.idle_s() is None


@pytest.mark.parametrize("rule", ["run", "limited", "no"])
def test_what_a_rule_makes_of_it(rule: WhileActive) -> None:
    held = None if rule == "run" else rule
    assert (barred(rule, 0.0), barred(rule, ACTIVE_S - 1), barred(rule, ACTIVE_S)) == (held, held, None)
    assert barred(rule, None) == (None if rule == "run" else "unknown")


class Slept(Exception):
    """Enough looks."""


def looks(rule: WhileActive, readings: list[float | None]) -> tuple[list[Active | None], list[int], list[float]]:
    """What an `Activity` bars before each look and after the last; the threads that looked; the pauses between looks."""
    found: list[Active | None] = []
    threads: list[int] = []
    pauses: list[float] = []

    def read() -> float | None:
        found.append(watched())
        threads.append(threading.get_ident())
        return readings[len(threads) - 1]

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == len(readings):
            raise Slept

    clock: Any = SimpleNamespace(sleep=sleep)
    watched = Activity(rule, clock, read)

    async def story() -> None:
        try:
            await watched.run()
        except Slept:
            found.append(watched())

    asyncio.run(story())
    return found, threads, pauses


def test_it_is_looked_at_every_few_seconds_and_never_on_the_event_loop() -> None:
    found, threads, pauses = looks("limited", [5.0, 100.0, None])
    assert found == ["unknown", "limited", None, "unknown"]
    assert threading.get_ident() not in threads
    assert pauses == [LOOK_S] * 3


def test_with_run_nobody_looks_and_no_peer_is_told() -> None:
    assert looks("run", [0.0]) == ([], [], [])
    known: Any = {
        "revision": 1, "valid_s": 10.0, "free_slots": 1, "running": [], "queue": {}, "power": "ok", "quiet": False,
        "memory_free_mb": 1, "disk_free_mb": 1, "loaded": [],
    }  # fmt: skip
    told = Activity("run", SimpleNamespace())  # type: ignore[arg-type]
    assert b"active" not in Dynamic(**known, active=told()).envelope().body
    assert b'"active":"no"' in Dynamic(**known, active="no").envelope().body


@pytest.mark.parametrize(
    ("active", "own", "seconds", "words"),
    [
        (None, False, 600, None),
        ("limited", True, 10, None),
        ("limited", True, 14, "somebody is at it: 14 s is more than 10 s"),
        ("limited", False, 1, "somebody is at it: own devices' jobs only"),
        ("unknown", True, 10, None),
        ("unknown", True, 14, "whether somebody is at it is not known: 14 s is more than 10 s"),
        ("unknown", False, 1, "whether somebody is at it is not known: own devices' jobs only"),
        ("no", True, 1, "somebody is at it: it works for no other device then"),
    ],
)
def test_the_gate_and_its_words(active: Active | None, own: bool, seconds: float, words: str | None) -> None:
    now = State("ok", False, active)
    gate = owner_gate(now, here=False, own=own, service_s=seconds)
    assert (gate and (gate.name, gate.detail)) == (words and ("active", words))
    assert owner_gate(now, here=True, own=True, service_s=seconds) is None, "who is at it asked for it"
    assert len(words or "") <= 64, "an attempt is given back in these words"


def test_a_job_that_runs_is_given_back_when_somebody_sits_down_and_explain_says_so() -> None:
    async def story(world: World) -> None:
        a, b = world.nodes
        state = State("ok", False)
        b.gate = lambda peer, ask: owner_gate(state, here=peer == b.id, own=True, service_s=ask.units)
        dynamic = b.offers.dynamic
        b.offers.dynamic = lambda peer=None: dynamic().model_copy(update={"active": state.active})  # type: ignore[method-assign]
        looking = world.loop.create_task(b.executor.watch(), context=b._context())
        job, own = await a.submit(units=30, on=b), await b.submit(units=12, on=b)
        await asyncio.sleep(3)
        state = State("ok", False, "no")
        await asyncio.sleep(3)
        assert a.submitter._open[job].attempts[0].message == "given back: somebody is at it: it works for no other device then"
        table = a.submitter.placement(a.submitter._open[job]).rows
        assert [row.gate.name for row in table if row.gate and row.device == b.id] == ["active"]
        state = State("ok", False)
        await asyncio.sleep(90)
        for node, id_ in ((a, job), (b, own)):
            assert (await node.jobs.find(id_))[0].status == "SUCCEEDED"
        assert [row["state"] for row in b.rows("SELECT state FROM attempt WHERE job=?", own)] == ["COMMITTED"]
        looking.cancel()

    simulate(story)


@pytest.mark.parametrize(
    ("idle", "rule", "state", "words"),
    [
        (5.0, "limited", "ok", "yes; power.while_active is limited"),
        (90.0, "no", "ok", "no, for 90 s; power.while_active is no"),
        (None, "run", "ok", "does not tell; power.while_active is run"),
        (None, "limited", "missing", "it counts as limited"),
    ],
)
def test_doctor_says_what_is_found(
    monkeypatch: pytest.MonkeyPatch, idle: float | None, rule: WhileActive, state: str, words: str
) -> None:
    monkeypatch.setattr(activity, "idle_s", lambda: idle)
    found = software._activity(rule)
    assert (found.state, words in found.detail, bool(found.remedy)) == (state, True, state != "ok")
