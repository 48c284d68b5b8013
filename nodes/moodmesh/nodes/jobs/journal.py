"""The journal: every transition of a job or an attempt, on disk before the message it precedes (routing §8)."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.model import OPEN, Attempt, AttemptState, Job, Spec, Status, may_change, may_step
from moodmesh.nodes.jobs.outgoing import Outgoing
from moodmesh.nodes.jobs.parts import join
from moodmesh.nodes.messages import Blob, Provenance, Result
from moodmesh.nodes.store import Store

MOST_FENCES, MOST_EFFECTS = 1000, 100_000
"""Fences kept for each requester: of pure tasks, and of tasks with effects."""
_TRIM = (
    "DELETE FROM fence WHERE requester=? AND effects=0 AND rowid <= "
    "(SELECT rowid FROM fence WHERE requester=? AND effects=0 ORDER BY rowid DESC LIMIT 1 OFFSET ?)"
)


@dataclass(frozen=True)
class After:
    """What a job is after something happened to it."""

    status: Status
    substate: str = ""
    message: str = ""


class Jobs:
    """The submitter's side: jobs of this device, their attempts and logs."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def accept(self, job: Job) -> None:
        """Before `accepted` is answered: the job and its input; and its first attempt, when it has one already."""

        def write(db: sqlite3.Connection) -> None:
            spec = _json(asdict(job.spec))
            db.execute(
                "INSERT INTO job (id, task, spec, input, status, substate, message, created) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (job.id, job.spec.task, spec, _dump(job.input), job.status, job.substate, job.message, job.created),
            )
            for attempt in job.attempts:
                _insert(db, attempt)

        await self._store.write("job.accept", write)

    async def offer(self, attempt: Attempt) -> None:
        """Before `reserve` is sent: the fence, the device, and the table it was chosen from."""
        await self._store.write("attempt.offer", lambda db: _insert(db, attempt))

    async def step(self, attempt: Attempt, state: AttemptState, message: str = "", **times: float) -> None:
        """An attempt's next state; a step that is not allowed changes nothing."""
        if not may_step(attempt.state, state):
            return
        change: dict[str, Any] = {"state": state, "message": message or attempt.message, **times}
        new = replace(attempt, **change)
        await self._store.write(f"attempt.{state.lower()}", lambda db: _update(db, new))
        vars(attempt).update(change)

    async def end(self, job: Job, attempt: Attempt, state: AttemptState, message: str, at: float, then: After) -> None:
        """The end of an attempt and what follows for its job, in one transaction: a crash between them would forget why."""
        change: dict[str, Any] = {"state": state, "message": message or attempt.message, "finished": at}
        if not may_step(attempt.state, state):
            change = {}
        new = replace(attempt, **change)
        finished = None if then.status in OPEN else at

        def write(db: sqlite3.Connection) -> bool:
            _update(db, new)
            return _change(db, job.id, then, finished)

        if await self._store.write(f"attempt.{state.lower()}", write):
            job.status, job.substate, job.message, job.finished = then.status, then.substate, then.message, finished
        vars(attempt).update(change)

    async def status(self, job: Job, status: Status, substate: str = "", message: str = "", at: float | None = None) -> bool:
        """A job's next status, with the time `at` when it ends; False, and nothing changed, when that step is not allowed."""
        if not may_change(job.status, status):
            return False

        after = After(status, substate, message)
        if not await self._store.write(f"job.{status.lower()}", lambda db: _change(db, job.id, after, at)):
            return False
        job.status, job.substate, job.message, job.finished = status, substate, message, at
        return True

    async def commit(self, job: Job, attempt: Attempt, result: Result, at: float) -> bool:
        """The one conditional update that makes a result visible; False when another result was, or the job was stopped. Of an
        attempt that was lost and delivers all the same, both is kept."""
        outputs = _json({name: blob.model_dump(exclude_none=True) for name, blob in (result.outputs or {}).items()})
        provenance = _json({**_maybe(result.provenance), "signature": result.signature})
        worked, words = result.provenance.seconds if result.provenance is not None else None, attempt.message
        if attempt.state == "LOST":
            words = f"was given up ({words}), its result came all the same"

        def write(db: sqlite3.Connection) -> bool:
            won = db.execute(
                "UPDATE job SET status='SUCCEEDED', substate='', message='', winner=?, output=?, provenance=?, finished=? "
                "WHERE id=? AND status IN ('PENDING', 'RUNNING')",
                (attempt.number, outputs, provenance, at, job.id),
            )
            if won.rowcount == 1:
                db.execute(
                    "UPDATE attempt SET state='COMMITTED', finished=?, worked=?, message=? WHERE job=? AND number=?",
                    (at, worked, words, job.id, attempt.number),
                )
            return won.rowcount == 1

        if not await self._store.write("job.commit", write):
            return False
        job.status, job.substate, job.message, job.winner = "SUCCEEDED", "", "", attempt.number
        job.finished, job.share = at, 1.0
        attempt.state, attempt.finished, attempt.worked, attempt.message = "COMMITTED", at, worked, words
        return True

    async def answer(self, job: Job, outputs: dict[str, Blob], provenance: dict[str, Any], at: float) -> bool:
        """The same for a job that others answered; False when it had ended."""
        named = _json({name: blob.model_dump(exclude_none=True) for name, blob in outputs.items()})

        def write(db: sqlite3.Connection) -> bool:
            won = db.execute(
                "UPDATE job SET status='SUCCEEDED', substate='', message='', output=?, provenance=?, finished=? "
                "WHERE id=? AND status IN ('PENDING', 'RUNNING')",
                (named, _json(provenance), at, job.id),
            )
            return won.rowcount == 1

        if not await self._store.write("job.answer", write):
            return False
        job.status, job.substate, job.message, job.finished, job.share = "SUCCEEDED", "", "", at, 1.0
        return True

    async def keep_part(self, job: Job, attempt: int, data: bytes) -> bool:
        """Keep the next part of an answer; False, and nothing changed, when that is here already or the job has ended."""

        def write(db: sqlite3.Connection) -> bool:
            kept = db.execute(
                "INSERT INTO part (job, number, attempt, data) SELECT id, ?, ?, ? FROM job "
                "WHERE id=? AND status IN ('PENDING', 'RUNNING') AND (SELECT count(*) FROM part WHERE job=id) = ?",
                (job.parts, attempt, data, job.id, job.parts),
            )
            return kept.rowcount == 1

        if not await self._store.write("job.part", write):
            return False
        job.parts, job.part_bytes = job.parts + 1, job.part_bytes + len(data)
        return True

    async def part(self, job: str, number: int) -> bytes | None:
        """One part of an answer; None when it is not here yet."""
        query = "SELECT data FROM part WHERE job=? AND number=?"
        row = await self._store.read(lambda db: db.execute(query, (job, number)).fetchone())
        return None if row is None else bytes(row["data"])

    async def parts(self, job: str) -> list[bytes]:
        """The parts of an answer that are here, in order."""
        query = "SELECT data FROM part WHERE job=? ORDER BY number"
        return await self._store.read(lambda db: [bytes(row["data"]) for row in db.execute(query, (job,))])

    async def log(self, job: str, attempt: int, seq: int, at: float, line: str) -> None:
        """Keep one log line; a repeated number is dropped."""

        def write(db: sqlite3.Connection) -> None:
            db.execute("INSERT OR IGNORE INTO job_log VALUES (?, ?, ?, ?, ?)", (job, attempt, seq, at, line))

        await self._store.write("job.log", write)

    async def last_line(self, job: str, attempt: int) -> int:
        """The number of the last kept line of an attempt; 0 without any."""
        query = "SELECT max(seq) AS last FROM job_log WHERE job=? AND attempt=?"
        return await self._store.read(lambda db: db.execute(query, (job, attempt)).fetchone()["last"] or 0)

    async def logs(self, job: str) -> list[dict[str, Any]]:
        """The kept lines of a job, in order."""
        query = "SELECT attempt, seq, at, line FROM job_log WHERE job=? ORDER BY attempt, seq"
        return await self._store.read(lambda db: [dict(row) for row in db.execute(query, (job,))])

    async def tail(self, job: str, count: int) -> list[dict[str, Any]]:
        """The last `count` lines of a job, in order."""
        query = "SELECT attempt, seq, at, line FROM job_log WHERE job=? ORDER BY attempt DESC, seq DESC LIMIT ?"
        return await self._store.read(lambda db: [dict(row) for row in reversed(db.execute(query, (job, count)).fetchall())])

    async def recent(self, since: float, count: int) -> list[str]:
        """Ids of the newest jobs that were accepted after a wall time, newest first."""
        query = "SELECT id FROM job WHERE created > ? ORDER BY created DESC LIMIT ?"
        return await self._store.read(lambda db: [row["id"] for row in db.execute(query, (since, count))])

    async def load(self, *, only_open: bool = False, parts: bool = True, limit: int = 1000) -> list[Job]:
        """The newest jobs with their attempts, oldest first; without `parts`, those that the user handed in."""
        query = (
            "SELECT * FROM job WHERE (finished IS NULL OR ?) "
            "AND (? OR NOT json_valid(spec) OR json_extract(spec, '$.parent') IS NULL) ORDER BY created DESC LIMIT ?"
        )

        def read(db: sqlite3.Connection) -> list[Job]:
            return [_job(db, row) for row in reversed(db.execute(query, (not only_open, parts, limit)).fetchall())]

        return await self._store.read(read)

    async def find(self, prefix: str) -> list[Job]:
        """Jobs whose id begins with `prefix`, at most two: one, none, or ambiguous."""
        query = "SELECT * FROM job WHERE id >= ? AND id < ? LIMIT 2"
        return await self._store.read(lambda db: [_job(db, row) for row in db.execute(query, (prefix, prefix + "g"))])

    async def output(self, job: str) -> tuple[dict[str, Blob], dict[str, Any]] | None:
        """The committed outputs and their signed provenance; None before success."""

        def read(db: sqlite3.Connection) -> tuple[dict[str, Blob], dict[str, Any]] | None:
            row = db.execute("SELECT output, provenance FROM job WHERE id=? AND output IS NOT NULL", (job,)).fetchone()
            if row is None:
                return None
            return {n: Blob.model_validate(b) for n, b in json.loads(row["output"]).items()}, json.loads(row["provenance"])

        return await self._store.read(read)

    async def name(self, artefact: str) -> bool:
        """Whether any job of this device still names an artefact, as input or output."""
        query = "SELECT 1 FROM job WHERE instr(input, ?) OR instr(output, ?) LIMIT 1"
        return await self._store.read(lambda db: db.execute(query, (artefact, artefact)).fetchone() is not None)

    async def age(self, passed_s: float, keep_s: float) -> list[Blob]:
        """So many seconds have passed for all jobs that have ended: delete those kept for longer than `keep_s`; the blobs
        they named."""

        def write(db: sqlite3.Connection) -> list[Blob]:
            db.execute("UPDATE job SET kept_s = kept_s + ? WHERE finished IS NOT NULL", (passed_s,))
            return _named(db.execute("DELETE FROM job WHERE kept_s > ? RETURNING input, output", (keep_s,)).fetchall())

        return await self._store.write("job.age", write)

    async def forget(self, job: str) -> list[Blob]:
        """Delete a job that has ended, with its parts, so that nothing of it is left on the disk; the blobs it named."""
        query = (
            "DELETE FROM job WHERE id = ? OR (json_valid(spec) AND json_extract(spec, '$.parent') = ?) RETURNING input, output"
        )
        found = await self._store.write("job.forget", lambda db: _named(db.execute(query, (job, job)).fetchall()))
        await self._store.scrub()
        return found


def _named(rows: Sequence[sqlite3.Row]) -> list[Blob]:
    outputs = [blob for row in rows if row["output"] for blob in json.loads(row["output"]).values()]
    return [Blob.model_validate_json(row["input"]) for row in rows] + [Blob.model_validate(o) for o in outputs]


@dataclass
class Held:
    """An attempt as the executor's journal holds it; `parts` of its answer where its submitter wants them as they come."""

    requester: DeviceId
    job: str
    number: int
    task: str
    variant: str
    phase: str
    personal: bool
    units: float
    result: Result | None
    created: float
    parts: Outgoing | None = None


class Executions:
    """The executor's side: what this device granted, until its result is acknowledged; and the fences it obeyed."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def grant(self, held: Held, *, effects: bool) -> str:
        """Before `granted` is sent; why not, when this or a higher attempt of the job was obeyed before (fence), else empty.

        A fence bars what comes twice or late. Without it a task with effects could run twice: those are all kept, and whoever
        has too many gets no more. A pure task would at worst be worked on twice, its result accepted once: of those the
        newest of each requester are kept, as a message that is overtaken is overtaken by few.
        """

        def write(db: sqlite3.Connection) -> str:
            key = (held.requester, held.job)
            row = db.execute("SELECT number FROM fence WHERE requester=? AND job=?", key).fetchone()
            if row is not None and row["number"] >= held.number:
                return "this or a later attempt of the job was already obeyed"
            if effects and row is None and _fences(db, held.requester) >= MOST_EFFECTS:
                return f"{MOST_EFFECTS} jobs that may run only once are remembered already, for 30 days each"
            db.execute(
                "INSERT OR REPLACE INTO fence (requester, job, number, at, effects) VALUES (?, ?, ?, ?, ?)",
                (*key, held.number, held.created, effects),
            )
            db.execute(_TRIM, (held.requester, held.requester, MOST_FENCES))
            db.execute(
                "INSERT OR IGNORE INTO execution (requester, job, number, task, variant, phase, personal, units, created)"
                " VALUES (?, ?, ?, ?, ?, 'RESERVED', ?, ?, ?)",
                (*key, held.number, held.task, held.variant, held.personal, held.units, held.created),
            )
            return ""

        return await self._store.write("execution.grant", write)

    async def phase(self, held: Held, phase: str) -> None:
        """Before the worker starts (RUNNING), or inputs are fetched (STAGING)."""
        held.phase = phase
        await self._store.write(f"execution.{phase.lower()}", lambda db: _phase(db, held, phase))

    async def deliver(self, held: Held, result: Result) -> None:
        """Before `result` is sent: kept until it is acknowledged, with the parts before it that are not. `held` has it once
        it is on disk, and not before."""
        parts, first = (join(held.parts.left), held.parts.acked) if held.parts is not None else (b"", 0)

        def write(db: sqlite3.Connection) -> None:
            _phase(db, held, "DELIVERING")
            db.execute(
                "UPDATE execution SET result=?, parts=?, first_part=? WHERE requester=? AND job=? AND number=?",
                (_dump(result), parts, first, held.requester, held.job, held.number),
            )

        await self._store.write("execution.delivering", write)
        held.phase, held.result = "DELIVERING", result

    async def forget(self, held: Held) -> None:
        """After `result_ack`, `cancel` or a lapsed lease: row, inputs and result are gone."""
        query = "DELETE FROM execution WHERE requester=? AND job=? AND number=?"
        key = (held.requester, held.job, held.number)
        await self._store.write("execution.forget", lambda db: db.execute(query, key))
        if held.personal and held.result is not None:
            await self._store.scrub()

    async def age(self, passed_s: float, result_s: float, fence_s: float) -> list[tuple[str, str, int]]:
        """So many seconds have passed for results and fences: drop fences kept for longer than `fence_s`; the attempts whose
        result was kept for longer than `result_s`."""

        def write(db: sqlite3.Connection) -> list[tuple[str, str, int]]:
            db.execute("UPDATE fence SET kept_s = kept_s + ?", (passed_s,))
            db.execute("DELETE FROM fence WHERE kept_s > ?", (fence_s,))
            db.execute("UPDATE execution SET kept_s = kept_s + ? WHERE result IS NOT NULL", (passed_s,))
            return [
                tuple(row) for row in db.execute("SELECT requester, job, number FROM execution WHERE kept_s > ?", (result_s,))
            ]

        return await self._store.write("execution.age", write)

    async def load(self) -> list[Held]:
        """Everything still held, for a restart."""
        query = "SELECT * FROM execution ORDER BY created"
        return await self._store.read(lambda db: [_held(row) for row in db.execute(query)])


def _fences(db: sqlite3.Connection, requester: DeviceId) -> int:
    """How many jobs with effects of a requester are remembered."""
    found = db.execute("SELECT count(*) FROM fence WHERE requester=? AND effects=1", (requester,)).fetchone()
    return int(found[0])


def _update(db: sqlite3.Connection, a: Attempt) -> None:
    db.execute(
        "UPDATE attempt SET state=?, message=?, reserved=?, started=?, finished=? WHERE job=? AND number=?",
        (a.state, a.message, a.reserved, a.started, a.finished, a.job, a.number),
    )


def _change(db: sqlite3.Connection, job: str, to: After, finished: float | None) -> bool:
    """A job's next status; False when it had already ended."""
    done = db.execute(
        "UPDATE job SET status=?, substate=?, message=?, finished=? WHERE id=? AND status IN ('PENDING', 'RUNNING')",
        (to.status, to.substate, to.message, finished, job),
    )
    return done.rowcount == 1


def _insert(db: sqlite3.Connection, a: Attempt) -> None:
    db.execute(
        "INSERT INTO attempt (job, number, device, variant, state, explain, created) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (a.job, a.number, a.device, a.variant, a.state, _json(a.explain), a.created),
    )


def _phase(db: sqlite3.Connection, held: Held, phase: str) -> None:
    db.execute(
        "UPDATE execution SET phase=? WHERE requester=? AND job=? AND number=?",
        (phase, held.requester, held.job, held.number),
    )


def _job(db: sqlite3.Connection, row: sqlite3.Row) -> Job:
    attempts = db.execute("SELECT * FROM attempt WHERE job=? ORDER BY number", (row["id"],)).fetchall()
    held = db.execute("SELECT count(*), total(length(data)) FROM part WHERE job=?", (row["id"],)).fetchone()
    return Job(
        id=row["id"],
        spec=Spec(**json.loads(row["spec"])),
        input=Blob.model_validate_json(row["input"]),
        created=row["created"],
        status=row["status"],
        substate=row["substate"],
        message=row["message"],
        winner=row["winner"],
        finished=row["finished"],
        share=1.0 if row["status"] == "SUCCEEDED" else 0.0,
        parts=int(held[0]),
        part_bytes=int(held[1]),
        attempts=[Attempt(**{**dict(a), "explain": json.loads(a["explain"])}) for a in attempts],
    )


def _held(row: sqlite3.Row) -> Held:
    names: Sequence[str] = ("requester", "job", "number", "task", "variant", "phase", "units", "created")
    result = Result.model_validate_json(row["result"]) if row["result"] else None
    parts = Outgoing.kept(row["parts"], row["first_part"]) if row["parts"] else None
    return Held(**{name: row[name] for name in names}, personal=bool(row["personal"]), result=result, parts=parts)


def _json(value: Any) -> str:
    """JSON that SQLite reads; ValueError for NaN and Infinity, which are none."""
    return json.dumps(value, allow_nan=False)


def _dump(blob: Blob | Result) -> str:
    return blob.model_dump_json(exclude_none=True)


def _maybe(provenance: Provenance | None) -> dict[str, Any]:
    return provenance.model_dump() if provenance else {}
