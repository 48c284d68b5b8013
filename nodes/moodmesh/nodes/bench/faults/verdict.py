"""What must hold after a run, read from the journals and from what the workers themselves wrote down."""

from __future__ import annotations

import bisect
import contextlib
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodmesh.nodes.bench import work_task
from moodmesh.nodes.bench.fleet import DETACHED_S, Fleet, Member
from moodmesh.nodes.errors import NodeError
from moodmesh.nodes.jobs.executor import GRACE_S, LEASE_S
from moodmesh.nodes.placement.explain import BESIDE, TOOK
from moodmesh.nodes.reset import STORE_FILE

if TYPE_CHECKING:
    from moodmesh.nodes.bench.faults.play import Played

WATCH = """
CREATE TABLE watched (what TEXT);
CREATE TRIGGER ended AFTER UPDATE OF status, substate, message, winner, output, finished ON job
WHEN OLD.status IN ('SUCCEEDED', 'FAILED', 'STOPPED')
BEGIN INSERT INTO watched VALUES ('changed after its end: ' || OLD.id || OLD.status || NEW.status); END;
CREATE TRIGGER committed AFTER UPDATE OF winner ON job WHEN NEW.winner IS NOT NULL
BEGIN INSERT INTO watched VALUES ('commit ' || NEW.id); END;
"""
"""Triggers that keep in a store what its rows no longer show: every commit, and every change of a job that had ended."""
SLACK_S = 1.0
"""What this harness may be wrong by, on a busy machine, about when something was heard or ended."""
SECOND_STAGE: Mapping[str, Callable[[Mapping[str, Any]], bool]] = {
    "taken": lambda attempt: TOOK in attempt["explain"],
    "moved": lambda attempt: attempt["state"] == "WITHDRAWN",
    "hedged": lambda attempt: BESIDE in attempt["explain"],
}
"""What an attempt can have come by: a free device took the job, out of a queue at times; it runs beside a first one."""
OPEN = "status IN ('PENDING', 'RUNNING')"


@dataclass(frozen=True)
class Breach:
    """Something that must never be: `lost`, `duplicate`, `orphan`, or another kind; and what was seen."""

    kind: str
    what: str


def watch(home: Path) -> None:
    """Put the triggers into the store of a home whose daemon does not run."""
    with contextlib.closing(sqlite3.connect(home / STORE_FILE)) as db:
        db.executescript(WATCH)


def open_work(home: Path) -> int:
    """Jobs that have not ended, and attempts that a device still holds."""
    (found,) = rows(home, f"SELECT (SELECT count(*) FROM job WHERE {OPEN}) + (SELECT count(*) FROM execution) AS n")  # noqa: S608
    return int(found["n"])


def rows(home: Path, query: str, *values: object) -> list[sqlite3.Row]:
    """Read a journal."""
    with contextlib.closing(sqlite3.connect(f"file:{home / STORE_FILE}?mode=ro", uri=True, timeout=10)) as db:
        db.row_factory = sqlite3.Row
        return db.execute(query, values).fetchall()


def judge(fleet: Fleet, played: Played) -> tuple[list[Breach], Counter[str]]:
    """Every breach of a run, and how its jobs ended."""
    ran = work_task.read(played.ledger)
    jobs = {m.name: _jobs(m, played.seed) for m in fleet.members.values()}
    outcomes = Counter(job["status"] for found in jobs.values() for job in found)
    outcomes["gave_up"] = sum(job["substate"] == "attempts_exhausted" for found in jobs.values() for job in found)
    outcomes["attempts"] = len(ran)
    for attempt in (a for found in jobs.values() for job in found for a in job["attempts"]):
        outcomes.update(name for name, was in SECOND_STAGE.items() if was(attempt))
    owners = {job["tag"]: name for name, found in jobs.items() for job in found}
    breaches = [
        *_promises(played, jobs),
        *(b for m in fleet.members.values() for b in _ends(m, jobs[m.name])),
        *_cancelled(played, jobs, ran, sum(end - start for m in fleet.members.values() for start, end in m.stops)),
        *_leases(fleet, owners, ran),
        *_once(jobs, ran),
        *(Breach("orphan", f"{r} ran on after its daemon") for m in fleet.members.values() for r in _outlived(m, ran)),
        *(Breach("orphan", f"{p} belongs to no daemon") for p in fleet.strays()),
        *(Breach("died", what) for what in played.died),
    ]
    if played.settled_s is None:
        breaches.append(Breach("unlinked" if played.unlinked else "unsettled", "not in peace when patience ended"))
    return breaches, outcomes


def _jobs(member: Member, seed: int) -> list[dict[str, Any]]:
    query = "SELECT *, json_extract(spec, '$.params.tag') AS tag FROM job WHERE tag LIKE ?"
    found = [dict(row) for row in rows(member.home, query, f"r{seed}-%")]
    for job in found:
        attempts = rows(member.home, "SELECT number, device, state, message, explain FROM attempt WHERE job=?", job["id"])
        job["attempts"] = [dict(row) for row in attempts]
    return found


def _promises(played: Played, jobs: dict[str, list[dict[str, Any]]]) -> Iterator[Breach]:
    """No accepted job is lost: each is there, and ended as jobs may end."""
    known = {job["id"] for found in jobs.values() for job in found}
    for accepted in played.accepted.values():
        if accepted.id not in known:
            yield Breach("lost", f"{accepted} is in no journal")
    for job in (job for found in jobs.values() for job in found):
        once = job["task"] == work_task.EFFECT and job["substate"] in ("unknown_outcome", "task_error")
        if job["status"] in ("PENDING", "RUNNING"):
            yield Breach("lost", f"never ended: {_told(job)}")
        elif job["status"] == "FAILED" and not once and not exhausted(job["substate"], job["attempts"]):
            yield Breach("lost", f"failed: {_told(job)}")


def exhausted(reason: str, attempts: Sequence[Mapping[str, Any]]) -> bool:
    """Whether a job that says so was tried as often as a job may be: ten losses, four errors, two of them of the task."""
    ends = Counter(a["state"] for a in attempts)
    ends["task"] = sum(a["state"] == "ERRORED" and a["message"].startswith("task_error") for a in attempts)
    return reason == "attempts_exhausted" and (ends["LOST"] >= 10 or ends["ERRORED"] >= 4 or ends["task"] >= 2)


def _ends(member: Member, jobs: list[dict[str, Any]]) -> Iterator[Breach]:
    """One visible result for a job that succeeded, none for another; and no end was ever changed."""
    for job in jobs:
        said = [row["what"] for row in rows(member.home, "SELECT what FROM watched WHERE what LIKE ?", f"%{job['id']}%")]
        commits = [a["number"] for a in job["attempts"] if a["state"] == "COMMITTED"]
        good = job["status"] == "SUCCEEDED"
        if len(commits) > 1 or sum(what.startswith("commit") for what in said) > 1:
            yield Breach("duplicate", f"{said}: {_told(job)}")
        elif commits != ([job["winner"]] if good else []) or good != (job["output"] is not None):
            yield Breach("winner", _told(job))
        for what in said:
            if not what.startswith("commit"):
                yield Breach("changed", f"{what}: {_told(job)}")
        if good:
            yield from _readable(member, job)


def _readable(member: Member, job: dict[str, Any]) -> Iterator[Breach]:
    try:
        found = member.client.get("jobs", job["id"], "result")["result"]
    except NodeError as error:
        yield Breach("result", f"{error}: {_told(job)}")
    else:
        if found != {"tag": job["tag"]}:
            yield Breach("result", f"{found} is not its result: {_told(job)}")


def _cancelled(
    played: Played, jobs: dict[str, list[dict[str, Any]]], ran: list[work_task.Ran], stood: float
) -> Iterator[Breach]:
    """What a daemon said is stopped stays so; its worker is gone, at the latest with its lease (`stood`: who stood still)."""
    most = LEASE_S + DETACHED_S + GRACE_S + SLACK_S + stood
    status = {job["id"]: job for found in jobs.values() for job in found}
    for number, at in played.cancelled.items():
        job = status.get(played.accepted[number].id)
        if job is None:
            continue
        if job["status"] != "STOPPED":
            yield Breach("cancelled", f"was stopped, and is not: {_told(job)}")
        if late := [one for one in ran if one.tag == job["tag"] and one.last > at + most]:
            yield Breach("cancelled", f"{late[0].last - at:.1f} s later it still ran: {_told(job)}")


def _leases(fleet: Fleet, owners: dict[str, str], ran: list[work_task.Ran]) -> Iterator[Breach]:
    """No worker of a peer's attempt runs longer after the last word of that peer than the lease and its grace.

    A device that stood still judges nobody: for it the lease counts anew from when it went on (routing §9).
    """
    assert fleet.relays is not None
    for one in ran:
        owner = owners.get(one.tag, one.device)
        if owner == one.device:
            continue
        stops = fleet.members[one.device].stops
        heard = sorted([*fleet.relays.heard(by=one.device, of=owner), *(end for _, end in stops)])
        for tick in one.ticks:
            place = bisect.bisect(heard, tick)
            silent = tick - heard[place - 1] if place else 0.0
            if silent > LEASE_S + DETACHED_S + GRACE_S + SLACK_S and not any(start <= tick <= end for start, end in stops):
                yield Breach("lease", f"{one.tag} ran on {one.device} {silent:.1f} s after the last word of {owner}")
                break


def _once(jobs: dict[str, list[dict[str, Any]]], ran: Iterable[work_task.Ran]) -> Iterator[Breach]:
    """A task with effects started at most once."""
    effects = {job["tag"] for found in jobs.values() for job in found if job["task"] == work_task.EFFECT}
    for tag, count in Counter(one.tag for one in ran if one.tag in effects).items():
        if count > 1:
            yield Breach("effects", f"{tag} ran {count} times")


def _outlived(member: Member, ran: Iterable[work_task.Ran]) -> Iterator[str]:
    for one in ran:
        if one.device == member.name and any(one.first < kill and one.last > kill + GRACE_S for kill in member.kills):
            yield f"{one.tag} (pid {one.pid}) on {one.device}"


def _told(job: dict[str, Any]) -> str:
    attempts = ", ".join(f"{a['number']} {a['device'][:8]} {a['state']} {a['message']}" for a in job["attempts"])
    return f"{job['tag']} {job['id'][:8]} {job['status']} {job['substate']} {job['message']} [{attempts}]"
