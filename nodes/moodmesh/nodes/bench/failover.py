"""bench failover: how long until a job runs elsewhere once its device dies, or is not heard of any more."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from moodmesh.nodes.bench import work_task
from moodmesh.nodes.bench.fleet import Fleet, FleetFailed, Member
from moodmesh.nodes.bench.mesh import interpreter
from moodmesh.nodes.bench.report import Report, p
from moodmesh.nodes.cli.output import progress
from moodmesh.nodes.peers import LOST_S, RECONNECT_S

RUNS, QUICK_RUNS = 50, 4
ASKS, WORKS, SPARE = "asks", "works", "spare"
PACES = {ASKS: 6.0, WORKS: 1.0, SPARE: 2.0}
"""Learned by each device from its own benchmark: a job goes to `works`, and then to `spare`."""
LONG_S = 60.0
START_S = 30.0
Break = Callable[[Fleet, Member], None]


def run(quick: bool, runs: int | None = None) -> Report:
    """Each way to lose an executor in the midst of an attempt, from the loss to the same job's first line elsewhere."""
    report, count = Report("failover", quick), runs or (QUICK_RUNS if quick else RUNS)
    crash, *silences = LOSSES.items()
    with progress("failover") as bar, ThreadPoolExecutor(len(silences)) as beside:
        bar(0.0, crash[0])
        found = {crash[0]: _measured(*crash[1], count)}
        bar(0.3, " and ".join(what for what, _ in silences))  # beside each other: they are nearly all waiting
        waiting = {what: beside.submit(_measured, *loss, count) for what, loss in silences}
        found |= {what: future.result() for what, future in waiting.items()}
    for what, times in found.items():
        report.row(f"{what} to the first line elsewhere", times)
    silent = [seconds for what, _ in silences for seconds in found[what]]
    report.row("reference: starting a bare interpreter", [interpreter() for _ in range(QUICK_RUNS)])
    report.notes.append(
        f"a broken link has {RECONNECT_S} s to come back; an attempt is lost {LOST_S} s after the last word, which came "
        "before the loss: so it may take less"
    )
    report.summary = {
        f"{name}_{q}_s": round(p(times, share), 3)
        for name, times in (("crash", found[crash[0]]), ("silent", silent))
        for q, share in (("p50", 0.5), ("p95", 0.95))
    }
    return report


def _killed(fleet: Fleet, member: Member) -> None:
    member.kill()


def _started(fleet: Fleet, member: Member) -> None:
    member.start()


def _stopped(fleet: Fleet, member: Member) -> None:
    member.stop()


def _continued(fleet: Fleet, member: Member) -> None:
    member.cont()


def _held(fleet: Fleet, member: Member) -> None:
    """Nothing of it reaches anyone any more, and nobody is told."""
    assert fleet.relays is not None
    for other in set(fleet.members) - {member.name}:
        fleet.relays.set(member.name, other, "hold")


def _healed(fleet: Fleet, member: Member) -> None:
    assert fleet.relays is not None
    fleet.relays.heal()


LOSSES: dict[str, tuple[Break, Break]] = {
    "crash (SIGKILL)": (_killed, _started),
    "silence (SIGSTOP)": (_stopped, _continued),
    "silence (a dead wire)": (_held, _healed),
}


def _measured(lose: Break, regain: Break, count: int) -> list[float]:
    """The seconds of `count` losses, one after the other, on one fleet."""
    fleet = Fleet(PACES, {"pool.eager": "true"}, paces=PACES)
    try:
        fleet.start()
        return [_once(fleet, number, lose, regain) for number in range(count)]
    finally:
        fleet.close()


def _once(fleet: Fleet, number: int, lose: Break, regain: Break) -> float:
    _wait_until_informed(fleet)
    asks, works = fleet.members[ASKS], fleet.members[WORKS]
    with tempfile.TemporaryDirectory(dir=fleet.root) as folder:
        params = {"seconds": LONG_S, "tag": f"job{number}", "ledger": folder}
        job = asks.client.post("jobs", body={"task": work_task.WORK, "params": params})["id"]
        _first_line(Path(folder), lambda ran: ran.device == WORKS, asks, job)
        time.sleep(0.5 + number % 10 / 10)  # at every phase of the heartbeat
        began = time.monotonic()
        lose(fleet, works)
        elsewhere = _first_line(Path(folder), lambda ran: ran.device != WORKS, asks, job).first - began
        asks.client.post("jobs", job, "cancel")
        regain(fleet, works)
        fleet.wait("idle again", lambda m: m.client.get("status")["running"] == 0)
    return elsewhere


def _first_line(ledger: Path, wanted: Callable[[work_task.Ran], bool], asks: Member, job: str) -> work_task.Ran:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if found := [ran for ran in work_task.read(ledger) if wanted(ran)]:
            return found[0]
        time.sleep(0.005)
    shown = asks.client.get("jobs", job, "explain")
    raise FleetFailed(f"the job did not start there within {START_S:.0f} s: is this machine busy? {shown}")


def _wait_until_informed(fleet: Fleet) -> None:
    """Every pool is warm, and who asks knows how fast the others are, and that they are free."""
    fleet.wait("ready", lambda m: m.client.get("status")["ready"])
    fleet.wait("linked", fleet.linked)
    asks = fleet.members[ASKS]
    end = time.monotonic() + 30
    while not all(_informed(asks, name) for name in (WORKS, SPARE)):
        if time.monotonic() > end:
            raise FleetFailed(f"{ASKS} heard no documents of the others; its log ends:\n{asks.log()}")
        time.sleep(0.02)


def _informed(asks: Member, name: str) -> bool:
    found = asks.client.get("peers", name)
    tasks = found["capability"]["tasks"] if found["capability"] else {}
    known = work_task.WORK in tasks and not tasks[work_task.WORK]["variants"]["only"]["guess"]
    return known and bool(found["dynamic"]) and found["dynamic"]["free_slots"] > 0
