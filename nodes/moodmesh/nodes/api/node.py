"""/status, /health, /config, /tasks, /models, /token: this node itself."""

from __future__ import annotations

import os
import sys
from dataclasses import asdict
from typing import Any

from aiohttp import web

from moodmesh.mesh.identity import grouped
from moodmesh.nodes import probe
from moodmesh.nodes.peers import COPIED, COPIED_REMEDY
from moodmesh.nodes.services import Part, Services

HEAVY = ("torch", "ray", "onnxruntime", "faiss", "matplotlib", "transformers", "numpy", "scipy", "sklearn")


def routes(node: Services) -> list[web.RouteDef]:
    """The routes of this noun."""

    async def status(_: web.Request) -> web.Response:
        return web.json_response(await status_of(node))

    async def health(_: web.Request) -> web.Response:
        why = node.store.trouble
        disk = Part("failed", why, "it is tried again; this is over with the next write that succeeds") if why else Part("ok")
        copied = {f"identity of {name}": Part("failed", COPIED, COPIED_REMEDY) for name in node.peers.copied().values()}
        parts = {name: asdict(part) for name, part in (node.health | {"disk": disk} | copied).items()}
        state = "failed" if any(p["state"] == "failed" for p in parts.values()) else "ok"
        return web.json_response({"state": state, "parts": parts})

    async def config(_: web.Request) -> web.Response:
        values = {f"{s}.{k}": v for s, table in node.config.model_dump(mode="json").items() for k, v in table.items()}
        return web.json_response({"values": values, "origins": dict(node.origins)})

    async def tasks(_: web.Request) -> web.Response:
        return web.json_response(tasks_of(node))

    return [
        web.get("/status", status),
        web.get("/health", health),
        web.get("/config", config),
        web.get("/tasks", tasks),
    ]


async def status_of(node: Services) -> dict[str, Any]:
    """Who this is and what it does right now."""
    dynamic = node.capabilities.dynamic()
    battery = probe.battery()
    return {
        "name": node.name,
        "device": node.identity.id,
        "device_grouped": grouped(node.identity.id),
        "home": str(node.home),
        "pid": os.getpid(),
        "uptime_s": node.clock.now() - node.started,
        "profile": node.config.node.profile,
        "port": node.endpoint.port,
        "bound_at": node.started,
        "engine": node.pool.engine,
        "slots": node.pool.slots,
        "free_slots": dynamic.free_slots,
        "running": len(dynamic.running),
        "cores": probe.cores(),
        "memory_free_mb": dynamic.memory_free_mb,
        "gpus": probe.gpus(),
        "power": dynamic.power,
        "battery": asdict(battery),
        "loaded": dynamic.loaded,
        "peers": len(node.pairs),
        "linked": len(list(node.peers.linked())),
        "duplicate": [
            {"device": device, "name": name, "us": device == node.identity.id} for device, name in node.peers.copied().items()
        ],
        "ready": node.ready,
        "heavy_modules": [name for name in HEAVY if name in sys.modules],
    }


def tasks_of(node: Services) -> dict[str, Any]:
    """Installed tasks with their variants and this device's rates; broken plug-ins and why."""
    found = []
    for name, task in sorted(node.tasks.items()):
        variants = []
        for v in task.spec.variants:
            rate, guess = node.capabilities.rate(name, v.name)
            card = v.card
            variants.append(
                {
                    "name": v.name,
                    "quality": v.quality,
                    "memory_mb": v.memory_mb,
                    "seconds_per_unit": rate.mean,
                    "observations": rate.count,
                    "guess": guess,
                    "load_s": rate.load_s,
                    "model": card.name if card else None,
                    "present": card is None or node.models.find(card) is not None,
                }
            )
        spec = task.spec
        found.append(
            {
                "name": name,
                "version": spec.version,
                "summary": spec.summary,
                "unit": spec.unit,
                "personal": spec.personal,
                "params": spec.request.model_json_schema().get("properties", {}),
                "variants": variants,
                "escalation": {"small": way.small, "large": way.large} if (way := spec.escalation) else None,
            }
        )
    return {"tasks": found, "broken": dict(node.broken)}
