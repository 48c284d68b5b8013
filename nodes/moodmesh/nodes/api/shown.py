"""Jobs as JSON: what `job show`, `list` and the rest print."""

from __future__ import annotations

from collections.abc import Mapping
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
        "streamed": job.parts,
        "streamed_bytes": job.part_bytes,
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
        "cancel_asked": None,
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


def escalated(node: Services, job: Job, parts: list[tuple[str, Job]], told: Mapping[str, Any] | None) -> dict[str, Any]:
    """A job that two variants answer: as `show`, with its parts, and what it is worth beside each of them alone: before the
    answer with all of the share, then with what was sent."""
    shown = [{"role": role, **show(node, part)} for role, part in parts]
    worth = {"share": job.spec.escalate, "measure": job.spec.measure}
    known = {name: found[0] for name, found in job.spec.figures.items()} | (told or {}).get("figures", {})
    return together(node, show(node, job), shown, told, worth, known, "here")


def together(
    node: Services, job: dict[str, Any], parts: list[dict[str, Any]], told: Mapping[str, Any] | None, worth: dict[str, Any],
    known: Mapping[str, float], where: str,
) -> dict[str, Any]:  # fmt: skip
    """A shown job and its shown parts as one. `told`: how it was answered, once it was; `worth`: share and measure; `known`:
    the figures of the variants; `where`: what the device of the small one is called."""
    way = node.tasks[job["task"]].spec.escalation if job["task"] in node.tasks else None
    small, large = (way.small, way.large) if way else ("small", "large")
    both = told is not None and told["sent"] > 0
    used = [part for part in parts if part["status"] == "SUCCEEDED" and (both or part["role"] == "small")]
    quality = {
        "variant": f"{small}+{large}" if told is None or both else small, "best_present": large, **worth,
        "words": _worth(_who_answers(told, worth["share"], small, large, where), known, small, large, worth["measure"]),
        **(told or {}), "figures": {name: [value] for name, value in known.items()},
    }  # fmt: skip
    ran_on = " + ".join(dict.fromkeys(str(part["ran_on"]) for part in used)) or job["ran_on"]
    return job | {
        "variant": quality["variant"], "ran_on": ran_on, "why": _outcome(parts, told, small, large), "quality": quality,
        "parts": parts,
    }  # fmt: skip


def _who_answers(told: Mapping[str, Any] | None, share: float, small: str, large: str, where: str) -> str:
    """Which variant answers how much: what is expected before the run, what came of it after."""
    if told is None:
        return f"{small} answers {where}, at most {share:.0%} goes to {large}"
    if told["sent"]:
        return f"{small} answers {where}, {told['sent']} of {told['of']} are {large}'s"
    return f"{small} answers {where}, none is {large}'s"


def _worth(who: str, known: Mapping[str, float], small: str, large: str, measure: str) -> str:
    names = (f"{small}+{large}", large, small)
    if not known.keys() >= set(names):
        return f"{who}; what that is worth was not measured"
    both, theirs, ours = (figure(known[name]) for name in names)
    return f"{who}: {both} where {large} alone has {theirs} and {small} {ours}, {measure}"


def _outcome(parts: list[dict[str, Any]], told: Mapping[str, Any] | None, small: str, large: str) -> str:
    """Which variant answered what, and why."""
    if told is None:
        return ""
    if told["why"] or not told["sent"]:
        return str(told["why"])
    where = next((f", on {part['ran_on']}" for part in parts if part["role"] == "large"), "")
    return f"{told['sent']} of {told['of']} answers are {large}'s{where}: those it was expected to improve most"
