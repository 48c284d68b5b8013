"""/jobs: submit, list, show, explain, logs, cancel, result, events, adopt."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hashlib
import json
import secrets
from dataclasses import replace
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.api import elsewhere
from moodmesh.nodes.api.guard import body, while_asked
from moodmesh.nodes.api.shown import escalated, show
from moodmesh.nodes.errors import NotFound, Refused, UsageError
from moodmesh.nodes.jobs.model import Job, Spec
from moodmesh.nodes.jobs.replicas import Elsewhere
from moodmesh.nodes.jobs.seen import differs
from moodmesh.nodes.jobs.sizes import sizes
from moodmesh.nodes.moods.asked import Personal, kept
from moodmesh.nodes.placement.explain import summary
from moodmesh.nodes.services import Services
from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.task import Request, Task, TaskSpec

Parts = list[tuple[str, Job]]
LONGEST_INDEX = 9


class JobRequest(BaseModel):
    """What `job submit` asks; `input` is base64. `personal`: it tells how the owner feels, whatever the task; see `kept`."""

    model_config = ConfigDict(extra="forbid")

    task: str
    params: dict[str, Any] = {}
    input: str = ""
    variant: str | None = None
    on: str | None = None
    by_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    expire_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    wait_s: float | None = Field(None, gt=0, allow_inf_nan=False)
    quality: Literal["best", "fast"] = "best"
    escalate: float | None = Field(None, gt=0, le=1)
    public: bool = False
    personal: Personal | None = None
    seed: int | None = Field(None, ge=-(2**63), lt=2**63)


class AdoptRequest(BaseModel):
    """What `job adopt` asks: what the owner of the job alone has. `input` is base64."""

    model_config = ConfigDict(extra="forbid")

    params: dict[str, Any] = {}
    input: str = ""
    on: str | None = None
    public: bool = False


def routes(node: Services) -> list[web.RouteDef]:
    """The routes of this noun."""
    view = JobsView(node)
    return [
        web.post("/jobs", view.submit),
        web.get("/jobs", view.list),
        web.get("/jobs/{id}", view.show),
        web.get("/jobs/{id}/explain", view.explain),
        web.get("/jobs/{id}/logs", view.logs),
        web.get("/jobs/{id}/result", view.result),
        web.get("/jobs/{id}/files/{name}", view.file),
        web.get("/jobs/{id}/parts/{index}", view.part),
        web.get("/jobs/{id}/events", view.follow),
        web.post("/jobs/{id}/cancel", view.cancel),
        web.post("/jobs/{id}/adopt", view.adopt),
        web.delete("/jobs/{id}", view.forget),
    ]


class JobsView:
    """Handlers over one node."""

    def __init__(self, node: Services) -> None:
        self._node = node

    async def submit(self, request: web.Request) -> web.Response:
        """Accept a job; the answer comes once it is on disk."""
        asked = await body(request, JobRequest)
        data = read_input(asked.input)
        return web.json_response(await self._handed_in(make_spec(self._node, asked, data), data), status=201)

    async def _handed_in(self, spec: Spec, data: bytes) -> dict[str, Any]:
        owner = self._node.submitter if spec.escalate is None else self._node.escalations
        return await self._shown(await owner.submit(spec, data))

    async def adopt(self, request: web.Request) -> web.Response:
        """A new job of this device with what another one's asked; that one stays its owner's alone, whatever comes of this."""
        asked, there = await body(request, AdoptRequest), await self._look(request)
        if not isinstance(there, Elsewhere):
            raise Refused(f"job {there.id[:8]} is of this device already", "own_job")
        data, job = read_input(asked.input), there.job
        if self._node.inspection.linked(there.owner):
            raise Refused(elsewhere.owner_present(self._node, there), "owner_present")
        if job.parent is not None:
            raise Refused(f"{job.id[:8]} is a part of {job.parent[:8]}: `moodmesh job adopt {job.parent[:8]}`", "part")
        if why := differs(job, data, asked.params):
            raise UsageError(f"job {job.id[:8]}: {why}")
        anew = JobRequest(
            task=job.task, params=asked.params, variant=job.variant, on=asked.on or elsewhere.device_asked(self._node, there),
            by_s=job.by_s, expire_s=job.expire_s, wait_s=job.wait_s, quality=job.quality, public=asked.public, seed=job.seed,
            personal="own" if job.personal and not personal_by_itself(self._node, job.task) else None,
            escalate=job.escalation.share if job.escalation else None,
        )  # fmt: skip
        spec = replace(make_spec(self._node, anew, data), adopted_from=job.id)
        return web.json_response(await self._handed_in(spec, data), status=201)

    async def list(self, request: web.Request) -> web.Response:
        """The newest jobs of this device, oldest first; with `all` those of other devices that it may see, too."""
        limit = request.query.get("limit", "50")
        if not limit.isdecimal() or not 1 <= int(limit) <= 1000:
            raise UsageError("limit: a number from 1 to 1000")
        jobs = await self._node.jobs.load(parts=False, limit=int(limit))
        found = [await self._shown(self._node.escalations.fresh(job)) for job in jobs]
        if request.query.get("all"):
            found += [elsewhere.show(self._node, there) for there in await self._node.inspection.newest(int(limit))]
        now = self._node.clock.wall()
        return web.json_response({"jobs": sorted(found, key=lambda job: min(now, float(job["created"])))})

    async def show(self, request: web.Request) -> web.Response:
        """One job with its attempts."""
        job = await self._look(request)
        if isinstance(job, Elsewhere):
            return web.json_response(elsewhere.show(self._node, job, await self._node.inspection.parts(job)))
        return web.json_response(await self._shown(job))

    async def explain(self, request: web.Request) -> web.Response:
        """Why it ran where it ran, or what it waits for: the table of every attempt, and the present one while pending."""
        job = await self._look(request)
        if isinstance(job, Elsewhere):
            return web.json_response(elsewhere.explain(self._node, job, await self._node.inspection.parts(job)))
        found = {**await self._shown(job), **self._explained(job)}
        for part, (_, of) in zip(found.get("parts", []), await self._parts(job), strict=False):
            part |= self._explained(of)
        return web.json_response(found)

    def _explained(self, job: Job) -> dict[str, Any]:
        waits = job.status == "PENDING" and job.spec.escalate is None
        now = summary(self._node.submitter.placement(job)) if waits else None
        return {"now": now, "tables": [a.explain for a in job.attempts]}

    async def logs(self, request: web.Request) -> web.Response:
        """The kept lines; of a job in two parts, those of both."""
        job = await self._look(request)
        if isinstance(job, Elsewhere):
            return web.json_response(elsewhere.logs(self._node, job, await self._node.inspection.parts(job)))
        ids = [job.id, *(part.id for _, part in await self._parts(job))]
        lines = [line for id_ in ids for line in await self._node.jobs.logs(id_)]
        return web.json_response({"id": job.id, "status": job.status, "lines": lines})

    async def result(self, request: web.Request) -> web.Response:
        """The one visible result, with who made it."""
        job = await self._find(request)
        found = await self._node.jobs.output(job.id)
        if found is None:
            raise Refused(_no_result(job), "no_result")
        outputs, provenance = found
        value = json.loads(await self._node.blobs.get(outputs["value"], self._node.identity.id))
        files = {name: blob.size for name, blob in outputs.items() if name != "value"}
        return web.json_response({**await self._shown(job), "result": value, "provenance": provenance, "files": files})

    async def file(self, request: web.Request) -> web.Response:
        """One named file of the result."""
        job = await self._find(request)
        outputs, _ = await self._node.jobs.output(job.id) or ({}, {})
        name = request.match_info["name"]
        if name not in outputs or name == "value":
            raise NotFound(f"job {job.id[:8]} has no file {name!r}; `moodmesh job result` lists them")
        return web.Response(body=await self._node.blobs.get(outputs[name], self._node.identity.id))

    async def part(self, request: web.Request) -> web.Response:
        """One part of the answer, counted from 0, as soon as it is here."""
        job, index = await self._find(request), request.match_info["index"]
        if not (index.isascii() and index.isdecimal() and len(index) <= LONGEST_INDEX):
            raise UsageError("a part is named by its number, from 0")
        data = await self._node.jobs.part(job.id, int(index))
        if data is None:
            raise NotFound(_no_part(job, int(index)))
        return web.Response(body=data)

    async def cancel(self, request: web.Request) -> web.Response:
        """Stop it."""
        job = await self._look(request)
        if isinstance(job, Elsewhere):
            return web.json_response(elsewhere.show(self._node, await self._node.inspection.cancel(job)))
        return web.json_response(await self._shown(await self._node.escalations.cancel(job.id)))

    async def forget(self, request: web.Request) -> web.Response:
        """Delete one of this device that has ended: what it was asked, its result, its log."""
        job = await self._find(request)
        if job.open:
            raise Refused(f"job {job.id[:8]} has not ended: `moodmesh job cancel {job.id[:8]}` first", "open")
        if job.spec.parent is not None:
            raise Refused(
                f"{job.id[:8]} is a part of {job.spec.parent[:8]}: `moodmesh job forget {job.spec.parent[:8]}`", "part"
            )
        for blob in await self._node.jobs.forget(job.id):
            await self._node.blobs.drop(blob)
        return web.json_response({"forgotten": job.id})

    async def follow(self, request: web.Request) -> web.StreamResponse:
        """Server-sent events of one job until it ends."""
        job = await self._look(request)
        if isinstance(job, Elsewhere):
            return await elsewhere.follow(self._node, request, job)
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        async with while_asked(request), self._node.events.listen() as queue:
            await response.prepare(request)
            job = await self._node.escalations.find(job.id)
            await elsewhere.send(response, {"event": "job", **await self._shown(job)})
            while job.open:
                try:
                    async with asyncio.timeout(15):
                        event = await queue.get()
                except TimeoutError:
                    await response.write(b": alive\n\n")
                    continue
                if event.get("job") == job.id:
                    await elsewhere.send(response, event | ({"id": job.id} if event["event"] == "job" else {}))
                    if event.get("status") in ("SUCCEEDED", "FAILED", "STOPPED"):
                        break
        return response

    async def _look(self, request: web.Request) -> Job | Elsewhere:
        return await self._node.inspection.find(request.match_info["id"])

    async def _find(self, request: web.Request) -> Job:
        """A job of this device; of another one there is no result here."""
        found = await self._look(request)
        if isinstance(found, Elsewhere):
            raise Refused(elsewhere.no_result(self._node, found), "not_here")
        return found

    async def _parts(self, job: Job) -> Parts:
        return [] if job.spec.escalate is None else [*(await self._node.escalations.parts(job)).items()]

    async def _shown(self, job: Job) -> dict[str, Any]:
        """A job as JSON, with its parts where two variants answer it."""
        if job.spec.escalate is None:
            return show(self._node, job)
        while True:
            status, parts = job.status, await self._parts(job)
            _, provenance = await self._node.jobs.output(job.id) or ({}, {})
            if job.status == status:  # else it went on while we read, and what we read is of no one moment
                return escalated(self._node, job, parts, provenance.get("escalation"))


def personal_by_itself(node: Services, task: str) -> bool:
    """Whether all input of a task is personal; of another one, a job is when it was made from a mood, or a file was given."""
    return task in node.tasks and node.tasks[task].spec.personal


def read_input(given: str) -> bytes:
    """The input of a request, which is base64; `UsageError` when it is not."""
    try:
        return base64.b64decode(given, validate=True)
    except binascii.Error:
        raise UsageError("input is not base64") from None


def make_spec(node: Services, asked: JobRequest, data: bytes) -> Spec:
    """The job's specification; `UsageError` names what is wrong with the request and what would be right."""
    task = node.tasks.get(asked.task)
    if task is None:
        broken = f" (its plug-in is broken: {node.broken[asked.task]})" if asked.task in node.broken else ""
        raise NotFound(f"no task {asked.task!r} here{broken}; installed: {', '.join(sorted(node.tasks)) or 'none'}")
    variants = [v.name for v in task.spec.variants]
    if asked.by_s is not None and asked.quality == "fast":
        raise UsageError(
            "--by takes the best quality that is done in time, --quality fast whatever is soonest: give one of them"
        )
    if asked.variant is not None and asked.variant not in variants:
        raise UsageError(f"{asked.task} has no variant {asked.variant!r}; it has {', '.join(variants)}")
    if asked.personal is not None:
        if asked.public:
            raise UsageError(
                "this request was kept to own devices, or tells how you feel, and never goes to everybody: leave --public out"
            )
        asked = asked.model_copy(update={"params": kept(asked.params, asked.personal)})
    seed = asked.seed if asked.seed is not None else secrets.randbits(31)
    request = _request(task, asked, data, seed)
    try:
        units, size = sizes(task, request)
    except InvalidInput as error:
        raise UsageError(str(error)) from None
    by_itself = task.spec.personal or (task.spec.personal_input and bool(data))
    personal = asked.personal is not None or (by_itself and not asked.public)
    return Spec(
        task=asked.task, version=task.spec.version, params=dict(request.params), units=units, input_bytes=len(data),
        result_bytes=size, personal=personal, effects=task.spec.effects, seed=seed,
        variant=asked.variant, on=_device(node, asked.on), quality=asked.quality, by_s=asked.by_s, expire_s=asked.expire_s,
        wait_s=asked.wait_s, streams=task.spec.streams, escalate=asked.escalate, shared=asked.personal == "mood.share",
        input_sha256=None if personal else hashlib.sha256(data).hexdigest(), **_figures(task.spec, asked),
    )  # fmt: skip


def _figures(spec: TaskSpec, asked: JobRequest) -> dict[str, Any]:
    """What each variant is worth: the figures of its card; where two answer together, the quality measured for that."""
    if asked.escalate is None:
        cards = {v.name: v.card for v in spec.variants if v.card is not None and v.card.figures}
        measure = next((card.measure for card in cards.values()), "")
        return {"measure": measure, "figures": {name: list(card.figures) for name, card in cards.items()}}
    way = spec.escalation
    if spec.streams:
        raise UsageError(f"{spec.name} hands its answer on part by part, each made once: leave --escalate out")
    if way is None or spec.effects:
        raise UsageError(f"{spec.name} has no small and large model that answer together: leave --escalate out")
    if asked.variant is not None or asked.quality != "best":
        raise UsageError("--escalate takes the small and the large variant itself: leave --variant and --quality out")
    shares = {way.small: 0.0, way.large: 1.0, f"{way.small}+{way.large}": asked.escalate}
    known = {name: way.expected(share) for name, share in shares.items()}
    return {"measure": way.measure, "figures": {name: [value] for name, value in known.items() if value is not None}}


def _request(task: Task, asked: JobRequest, data: bytes, seed: int) -> Request:
    try:
        params = task.spec.request.model_validate(asked.params).model_dump(mode="json", exclude_unset=True)
    except ValidationError as error:
        first = error.errors()[0]
        known = ", ".join(task.spec.request.model_fields)
        where = ".".join(map(str, first["loc"]))
        raise UsageError(f"parameter {where}: {first['msg'].lower()}; {asked.task} takes {known}") from None
    return Request(params, data, seed)


def _device(node: Services, name: str | None) -> DeviceId | None:
    """A peer by name or id; this device by its own name or `here`."""
    if name is None:
        return None
    found = [p.id for p in node.peers.peers.values() if name in (p.name, p.id) or (p.here and name == "here")]
    if len(found) != 1:
        known = ", ".join(sorted(p.name for p in node.peers.peers.values()))
        raise NotFound(f"{'several peers are called' if found else 'no peer is called'} {name!r}; there are: {known}")
    return found[0]


def _no_part(job: Job, index: int) -> str:
    if not job.spec.streams:
        return f"{job.spec.task} hands nothing on before its result: `moodmesh job result {job.id[:8]}`"
    yet = "; follow its events to hear of the next" if job.open else f", and it is {job.status}"
    return f"part {index} of job {job.id[:8]} is not here: it has {job.parts} parts{' so far' if job.open else ''}{yet}"


def _no_result(job: Job) -> str:
    if job.open:
        return f"job {job.id[:8]} is {job.status}; add --wait, or see `moodmesh job show {job.id[:8]}`"
    return f"job {job.id[:8]} is {job.status} and has no result: {job.substate} {job.message}".strip()
