"""Jobs of other devices as the local API shows them: in the shape of this device's own, with their age."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Collection, Sequence
from typing import Any

from aiohttp import web

from moodmesh.nodes.api.guard import while_asked
from moodmesh.nodes.api.shown import together
from moodmesh.nodes.errors import NotFound
from moodmesh.nodes.jobs.model import ATTEMPT_LIVE, OPEN
from moodmesh.nodes.jobs.replicas import Elsewhere
from moodmesh.nodes.jobs.seen import table
from moodmesh.nodes.placement.afterwards import compared
from moodmesh.nodes.services import Services

Parts = Sequence[tuple[str, Elsewhere]]
WAITS = "cancel asked for, waits for its owner"
ENDED = "ended for its user, while its owner is away"
LOOK_S = 1.0
"""Between two looks of whoever follows a job of another device."""


def owner(node: Services, there: Elsewhere) -> str:
    """What the device that submitted it is called here."""
    return node.peers.names().get(there.owner, there.owner)


def show(node: Services, there: Elsewhere, parts: Parts = ()) -> dict[str, Any]:
    """A job as JSON; its owner alone knows better. Of one that two variants answer, as one with its parts."""
    e = there.job.escalation
    if e is None:
        return _show(node, there)
    shown = [{"role": role, **_show(node, part)} for role, part in parts]
    told = None if e.sent is None else {"sent": e.sent, "of": e.of, "why": e.why}
    worth = {"share": e.share, "measure": e.measure}
    return together(node, _show(node, there), shown, told, worth, e.figures, f"on {owner(node, there)}")


def _show(node: Services, there: Elsewhere) -> dict[str, Any]:
    job, waits = there.job, there.stop is not None and there.job.status in OPEN
    ended = there.ended if job.status in OPEN else frozenset()
    done = next((a for a in job.attempts if a.number == job.winner), None)
    last = done or (job.attempts[-1] if job.attempts else None)
    return {
        "id": job.id,
        "task": job.task,
        "status": job.status,
        "substate": job.substate,
        "message": "; ".join(filter(None, (WAITS if waits else "", _ended(there, ended)))) or job.message,
        "share": job.share,
        "streamed": 0,
        "streamed_bytes": 0,
        "ran_on": done.name if done else (job.escalation.ran_on if job.escalation else "") or None,
        "variant": last.variant if last else job.variant,
        "why": (last.table.why if last.table else "") if last else (job.now.why if job.now else ""),
        "quality": None,
        "public": not job.personal,
        "created": job.created,
        "finished": job.finished,
        "adopted_from": job.adopted_from,
        "cancel_asked": there.stop if waits else None,
        "owner": owner(node, there),
        "owner_device": there.owner,
        "owner_here": False,
        "owner_absent": not node.inspection.linked(there.owner),
        "age_s": 0.0 if there.live else max(0.0, node.clock.wall() - there.at),
        "attempts": [
            a.model_dump(exclude={"table"})
            | {"compared": compared(a.model_dump(), table(a.table, node.identity.id))}
            | ({"state": "CANCELLED", "message": ENDED} if a.device in ended and a.state in ATTEMPT_LIVE else {})
            for a in job.attempts
        ],
    }


def _ended(there: Elsewhere, ended: Collection[str]) -> str:
    """What came of a cancel while the owner is away; empty without one."""
    names = [a.name for a in there.job.attempts if a.device in ended]
    return there.words or (f"ended on {', '.join(dict.fromkeys(names))} for its user" if names else "")


def explain(node: Services, there: Elsewhere, parts: Parts = ()) -> dict[str, Any]:
    """Why it ran where it ran, as far as its owner told."""
    shown = show(node, there, parts) | _tables(node, there)
    for found, (_, part) in zip(shown.get("parts", []), parts, strict=False):
        found |= _tables(node, part)
    return shown


def _tables(node: Services, there: Elsewhere) -> dict[str, Any]:
    me = node.identity.id
    now = table(there.job.now, me) if there.job.now else None
    return {"now": now, "tables": [table(a.table, me) for a in there.job.attempts]}


def logs(node: Services, there: Elsewhere, parts: Parts = ()) -> dict[str, Any]:
    """The last lines of its log; of a job in two parts, those of both."""
    told = [line for one in (there, *(part for _, part in parts)) for line in one.job.lines]
    return show(node, there, parts) | {"lines": [line.model_dump() for line in told]}


def no_result(node: Services, there: Elsewhere) -> str:
    """Why there is no result here, and what helps."""
    short, name = there.job.id[:8], owner(node, there)
    if node.inspection.linked(there.owner):
        return f"the result of {short} is with {name}, which submitted it: `moodmesh job result {short}` there"
    return f"the result of {short} is with {name}, which is absent: `moodmesh job adopt {short}` runs the job anew here"


def owner_present(node: Services, there: Elsewhere) -> str:
    """Why a job is not run anew while its owner is here, and what helps."""
    short, name = there.job.id[:8], owner(node, there)
    if there.job.status in OPEN:
        return f"{name} is here and goes on with {short}: wait for it, or `moodmesh job cancel {short}` first"
    if there.job.status == "SUCCEEDED":
        return f"{name} is here and has the result of {short}: `moodmesh job result {short}` there"
    return f"{name} is here, and {short} is {there.job.status} there: `moodmesh job show {short}` says why; submit it anew"


def device_asked(node: Services, there: Elsewhere) -> str | None:
    """The device that the job was for (`--on`), where that is known here; never the one that is gone."""
    return there.job.on if there.job.on in node.peers.peers and there.job.on != there.owner else None


async def follow(node: Services, request: web.Request, there: Elsewhere) -> web.StreamResponse:
    """Server-sent events of a job, looked at every second, until it ends or its owner is gone."""
    response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
    known = {(line.attempt, line.seq) for line in there.job.lines}
    async with while_asked(request):
        await response.prepare(request)
        await send(response, {"event": "job", **show(node, there)})
        while there.job.status in OPEN and node.inspection.linked(there.owner):
            await asyncio.sleep(LOOK_S)
            try:
                found = await node.inspection.find(there.job.id)
            except NotFound:
                break
            assert isinstance(found, Elsewhere)
            there = found
            for line in there.job.lines:
                if (line.attempt, line.seq) not in known:
                    known.add((line.attempt, line.seq))
                    await send(response, {"event": "log", "job": there.job.id, **line.model_dump()})
            await send(response, {"event": "job", **show(node, there)})
    return response


async def send(response: web.StreamResponse, event: dict[str, Any]) -> None:
    """One server-sent event."""
    await response.write(f"data: {json.dumps(event)}\n\n".encode())
