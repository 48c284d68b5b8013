"""Jobs as JSON: what `job show`, `list` and the rest print."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from moodmesh.nodes.jobs.model import Job
from moodmesh.nodes.placement.afterwards import compared
from moodmesh.nodes.placement.quality import figure, stated
from moodmesh.nodes.services import Services


def show(node: Services, job: Job) -> dict[str, Any]:
    """A job as JSON: status, where it ran, its attempts."""
    names = {p.id: p.name for p in node.peers.peers.values()}
    done = next((a for a in job.attempts if a.number == job.winner), None)
    last = done or (job.attempts[-1] if job.attempts else None)
    return {
        "id": job.id,
        "task": job.spec.task,
        "status": job.status,
        "substate": job.substate,
        "message": job.message,
        "share": job.share,
        "ran_on": names.get(done.device, done.device) if done else None,
        "variant": last.variant if last else job.spec.variant,
        "why": (last.explain if last else job.explain).get("why", ""),
        "quality": None
        if job.spec.parent
        else stated(last.explain if last else job.explain, job.spec.measure, job.spec.figures),
        "public": not job.spec.personal,
        "created": job.created,
        "finished": job.finished,
        "adopted_from": job.spec.adopted_from,
        "owner": node.name,
        "owner_device": node.identity.id,
        "owner_here": True,
        "owner_absent": False,
        "age_s": 0.0,
        "attempts": [
            {f.name: getattr(a, f.name) for f in fields(a) if f.name not in ("explain", "job")}
            | {"name": names.get(a.device, a.device), "compared": compared(vars(a), a.explain)}
            for a in job.attempts
        ],
    }


def escalated(node: Services, job: Job, parts: list[tuple[str, Job]], told: dict[str, Any] | None) -> dict[str, Any]:
    """A job that two variants answer: as `show`, with its parts, and what it is worth beside each of them alone."""
    shown = [{"role": role, **show(node, part)} for role, part in parts]
    way = node.tasks[job.spec.task].spec.escalation if job.spec.task in node.tasks else None
    small, large = (way.small, way.large) if way else ("small", "large")
    both = told is not None and told["sent"] > 0
    used = [part for part in shown if part["status"] == "SUCCEEDED" and (both or part["role"] == "small")]
    quality = {
        "variant": f"{small}+{large}" if told is None or both else small, "best_present": large, "share": job.spec.escalate,
        "measure": job.spec.measure, "figures": job.spec.figures, "words": _expected(job, small, large), **(told or {}),
    }  # fmt: skip
    ran_on = " + ".join(dict.fromkeys(str(part["ran_on"]) for part in used))
    return show(node, job) | {
        "variant": quality["variant"], "ran_on": ran_on or None, "why": _outcome(shown, told, small, large), "quality": quality,
        "parts": shown,
    }  # fmt: skip


def _expected(job: Job, small: str, large: str) -> str:
    """What is to be expected of the share, said before the run."""
    most = f"{small} answers here, at most {job.spec.escalate:.0%} goes to {large}"
    found = job.spec.figures
    if f"{small}+{large}" not in found:
        return f"{most}; what that is worth was not measured"
    both, theirs, ours = (figure(found[name][0]) for name in (f"{small}+{large}", large, small))
    return f"{most}: {both} where {large} alone has {theirs} and {small} {ours}, {job.spec.measure}"


def _outcome(parts: list[dict[str, Any]], told: dict[str, Any] | None, small: str, large: str) -> str:
    """Which variant answered what, and why."""
    if told is None:
        return ""
    if told["why"]:
        return str(told["why"])
    where = next((part["ran_on"] for part in parts if part["role"] == "large"), "")
    return f"{told['sent']} of {told['of']} answers are {large}'s, on {where}: those it was expected to improve most"
