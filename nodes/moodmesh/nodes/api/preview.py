"""/privacy/request: what a job would say to the device that runs it, and which devices may be told; nothing is handed in."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from moodmesh.nodes.api.guard import body
from moodmesh.nodes.api.jobs import JobRequest, make_spec, read_input
from moodmesh.nodes.jobs.model import Attempt, Job
from moodmesh.nodes.jobs.said import reserve, start
from moodmesh.nodes.messages import INLINE_BYTES, Blob, Message
from moodmesh.nodes.services import Services
from moodmesh.tasks.task import TaskSpec

EXAMPLE = "0" * 32
"""In place of the id that the job would get: it is drawn at random."""


def routes(node: Services) -> list[web.RouteDef]:
    """The routes of this noun."""

    async def preview(request: web.Request) -> web.Response:
        asked = await body(request, JobRequest)
        data = read_input(asked.input)
        spec = make_spec(node, asked, data)
        blob = Blob.of(data) if len(data) <= INLINE_BYTES else Blob(size=len(data), id="0" * 64)
        job = Job(EXAMPLE, spec, blob, node.clock.wall())
        variant = spec.variant or _best(node.tasks[spec.task].spec)
        attempt = Attempt(job.id, 1, node.identity.id, variant, "OFFERED", {}, job.created)
        names, me = node.peers.names(), node.identity.id
        may = [name for peer, name in names.items() if peer != me and _may(node, job, peer)]
        return web.json_response({
            "task": spec.task, "personal": spec.personal, "shared": spec.shared, "devices": sorted(may),
            "messages": [_shown(message) for message in (reserve(job, attempt, 0.0), start(job, attempt, spec.expire_s, None))],
        })  # fmt: skip

    return [web.post("/privacy/request", preview)]


def _best(spec: TaskSpec) -> str:
    return max(spec.variants, key=lambda variant: variant.quality).name


def _may(node: Services, job: Job, peer: Any) -> bool:
    """Whether this device may tell that peer; what the peer permits is its own affair."""
    return (job.spec.on in (None, peer)) and (not job.spec.personal or node.peers.trusted(peer, shared=job.spec.shared))


def _shown(message: Message) -> dict[str, Any]:
    sent = message.envelope()
    return {"kind": sent.kind, "bytes": len(sent.body), "text": sent.body.decode()}
