"""A job as another device may see it: cut to a bounded size, and to what that device may know. Pure (routing §8).

Never in it: input, result, values of parameters. What the task itself said (log lines, the words of an error) follows the
input: of a personal job own devices alone see it. The hash of an input that is not personal goes to own devices too, so that
they can adopt the job; of a personal one there is none, since whoever knows the hash of a short text can guess the text.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from moodmesh.nodes.jobs.model import Attempt, Job
from moodmesh.nodes.messages import (
    SEEN_ATTEMPTS,
    SEEN_LINES,
    SEEN_PARAMS,
    SEEN_ROWS,
    SEEN_TERMS,
    Seen,
    SeenAttempt,
    SeenEscalation,
    SeenGate,
    SeenLine,
    SeenRow,
    SeenTable,
)  # fmt: skip
from moodmesh.nodes.placement.explain import COLUMNS

TABLES = 3
LONGEST, LONGEST_NAME, LONGEST_S = 200, 64, 1e9
_NUMBERS = (*COLUMNS, "p95")
_ROW = ("device", "name", "here", "variant", "chosen", "gate")


def seen(
    job: Job,
    names: Mapping[Any, str],
    *,
    own: bool,
    lines: Sequence[Mapping[str, Any]] = (),
    brief: bool = False,
    provenance: Mapping[str, Any] | None = None,
    warrant: str | None = None,
) -> Seen:
    """What a device may see of a job; `own`: it has `own.device`. `brief`: one attempt, without tables and log.
    `provenance` of the answer is needed where two variants gave it."""
    s, words = job.spec, own or not job.spec.personal
    attempts = (
        [a for a in job.attempts if a.number == job.winner] or job.attempts[-1:] if brief else job.attempts[-SEEN_ATTEMPTS:]
    )
    tables = [] if brief else attempts[-TABLES:]
    quotes = not words and (s.escalate is not None or any(a.state == "ERRORED" for a in job.attempts))
    return Seen(
        id=job.id, task=s.task, version=s.version, personal=s.personal, variant=s.variant, on=s.on, quality=s.quality,
        by_s=_bounded(s.by_s), expire_s=_bounded(s.expire_s), wait_s=_bounded(s.wait_s), seed=s.seed,
        given=sorted(name for name in s.params if len(name) <= LONGEST_NAME)[:SEEN_PARAMS],
        units=s.units, input_bytes=s.input_bytes, result_bytes=s.result_bytes,
        input_sha256=s.input_sha256 if own and not s.personal else None, adopted_from=s.adopted_from, parent=s.parent,
        escalation=_escalation(job, names, provenance or {}, words), warrant=warrant,
        created=job.created, finished=job.finished, status=job.status, substate=cut(job.substate),
        message="" if quotes else cut(job.message), share=job.share, winner=job.winner,
        attempts=[_attempt(a, names, words, a in tables) for a in attempts],
        now=_table(job.explain) if job.status == "PENDING" and job.explain and not brief else None,
        lines=[_line(line) for line in lines[-SEEN_LINES:]] if words and not brief else [],
    )  # fmt: skip


def _bounded(seconds: float | None) -> float | None:
    return None if seconds is None else min(seconds, LONGEST_S)


def _escalation(job: Job, names: Mapping[Any, str], made: Mapping[str, Any], words: bool) -> SeenEscalation | None:
    """How two variants answer it: what was said before, and how it went, with the words of errors for `words` alone."""
    if job.spec.escalate is None:
        return None
    went = made.get("escalation") or {}
    known = {k: v[0] for k, v in job.spec.figures.items()} | went.get("figures", {})
    devices = [part["device"] for role, part in made.get("parts", {}).items() if role == "small" or went["sent"]]
    return SeenEscalation(
        share=job.spec.escalate, measure=cut(job.spec.measure), figures=known,
        sent=went.get("sent"), of=went.get("of"), why=cut(went.get("why", "")) if words else "",
        ran_on=cut(" + ".join(dict.fromkeys(names.get(d, d) for d in devices))),
    )  # fmt: skip


def cut(text: str) -> str:
    """A text of at most 200 characters."""
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"


def _attempt(a: Attempt, names: Mapping[Any, str], words: bool, table: bool) -> SeenAttempt:
    message = a.message if words or a.state != "ERRORED" else a.message.partition(":")[0]
    return SeenAttempt(
        number=a.number, device=a.device, name=cut(names.get(a.device, a.device)), variant=a.variant, state=a.state,
        created=a.created, reserved=a.reserved, started=a.started, finished=a.finished, message=cut(message),
        worked=a.worked, table=_table(a.explain) if table and a.explain else None,
    )  # fmt: skip


def _line(line: Mapping[str, Any]) -> SeenLine:
    return SeenLine(attempt=line["attempt"], seq=line["seq"], at=line["at"], line=cut(line["line"]))


def _table(explain: Mapping[str, Any]) -> SeenTable:
    return SeenTable(why=cut(explain["why"]), rows=[_row(row) for row in explain["rows"][:SEEN_ROWS]])


def _row(row: Mapping[str, Any]) -> SeenRow:
    more = [(k, v) for k, v in row.items() if k not in _ROW]
    terms = [(k, float(v)) for k, v in more if isinstance(v, (int, float)) and not isinstance(v, bool) and math.isfinite(v)]
    notes = [(k, v if isinstance(v, bool) else cut(v)) for k, v in more if isinstance(v, (bool, str))]
    gate = SeenGate(name=row["gate"]["name"], detail=cut(row["gate"]["detail"])) if row["gate"] else None
    return SeenRow(
        device=row["device"], name=cut(row["name"]), variant=row["variant"], chosen=row["chosen"], gate=gate,
        terms=dict(terms[:SEEN_TERMS]), notes=dict(notes[:SEEN_TERMS]),
    )  # fmt: skip


def table(found: SeenTable | None, me: str) -> dict[str, Any]:
    """A table as `placement.explain.summary` gives it, read on device `me`."""
    if found is None:
        return {"rows": [], "chosen": None, "why": "its table was not kept"}
    rows = [_shown(row, me) for row in found.rows]
    return {
        "rows": rows,
        "chosen": next((r for r in rows if r["chosen"] and {"total", "p95"} <= r.keys()), None),
        "why": found.why,
    }


def _shown(row: SeenRow, me: str) -> dict[str, Any]:
    notes = {k: v for k, v in row.notes.items() if k not in _NUMBERS}
    declared = {"device": row.device, "name": row.name, "here": row.device == me, "variant": row.variant, "chosen": row.chosen}
    return notes | row.terms | declared | {"gate": row.gate.model_dump() if row.gate else None}


def differs(job: Seen, data: bytes, params: Mapping[str, Any]) -> str:
    """What of an input and parameters given anew is not what the job had; empty when nothing is, as far as is known here."""
    if len(data) != job.input_bytes:
        return f"its input had {job.input_bytes} bytes, this one has {len(data)}: give the same file with --input"
    if job.input_sha256 is not None and hashlib.sha256(data).hexdigest() != job.input_sha256:
        return "this is another input (its SHA-256 differs): give the same file with --input"
    if sorted(params) != sorted(job.given):
        had = ", ".join(job.given) or "none"
        return f"its parameters were: {had}; give the same ones with -p (their values stay with the owner of the job)"
    return ""
