"""/models: the cards of this installation, which files are here, and fetching one from a peer by its hash (systems S30)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import asdict
from typing import Any

from aiohttp import web

from moodmesh.nodes.api.guard import while_asked
from moodmesh.nodes.errors import NotFound, Refused
from moodmesh.nodes.services import Services
from moodmesh.tasks.models import Card


def routes(node: Services) -> list[web.RouteDef]:
    """The routes of this noun."""

    async def list_(_: web.Request) -> web.Response:
        return web.json_response({"models": [_shown(node, *found) for found in _cards(node).values()]})

    async def show(request: web.Request) -> web.Response:
        return web.json_response(_shown(node, *_find(node, request.match_info["name"])))

    async def pull(request: web.Request) -> web.StreamResponse:
        """Server-sent events: `progress` with the share, then `done` or `failed`; leaving gives the fetch up."""
        _, _, card = _find(node, request.match_info["name"])
        if node.models.find(card) is None and not list(node.peers.linked()):
            raise Refused("no peer is linked: `moodmesh near` shows who is there, `moodmesh pair` adds one", "no_peer")
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        await response.prepare(request)
        told: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        pulling = asyncio.create_task(_pull(node, card, told))
        try:
            event: dict[str, Any] = {"event": ""}
            async with while_asked(request):
                while event["event"] not in ("done", "failed"):
                    event = await told.get()
                    await response.write(f"data: {json.dumps(event)}\n\n".encode())
        finally:
            pulling.cancel()
            await asyncio.gather(pulling, return_exceptions=True)
        return response

    return [web.get("/models", list_), web.get("/models/{name}", show), web.post("/models/{name}/pull", pull)]


async def _pull(node: Services, card: Card, told: asyncio.Queue[dict[str, Any]]) -> None:
    try:
        source = await node.pulled.pull(card, lambda share: told.put_nowait({"event": "progress", "share": share}))
    except OSError as error:
        told.put_nowait({"event": "failed", "message": str(error)})
    else:
        node.peers.retell()
        told.put_nowait({"event": "done", "from": source or None, "bytes": card.bytes})


def _cards(node: Services) -> dict[str, tuple[str, str, Card]]:
    """Task, variant and card of each model by the model's name; what helps all variants is of none (`-`)."""
    found = [(task, of, card) for task, plugin in sorted(node.tasks.items()) for of, card in plugin.spec.cards().items()]
    return {card.name: (task, "-" if of == card.name else of, card) for task, of, card in found}


def _find(node: Services, name: str) -> tuple[str, str, Card]:
    cards = _cards(node)
    if name not in cards:
        raise NotFound(f"no model is called {name[:64]!r}; there are: {', '.join(cards) or 'none'}")
    return cards[name]


def _shown(node: Services, task: str, variant: str, card: Card) -> dict[str, Any]:
    facts = {key: value for key, value in asdict(card).items() if key not in ("folder", "data")}
    return facts | {"data": list(card.data), "task": task, "variant": variant, "present": node.models.find(card) is not None}
