"""/peers: who is paired, what each may do, forgetting."""

from __future__ import annotations

import asyncio
import math
from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from moodmesh.mesh.pairs import Pair
from moodmesh.nodes.api.guard import body
from moodmesh.nodes.discovery import Discovery
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.permissions import ACTIONS, Limits, preset
from moodmesh.nodes.services import Services

TOLD_S = 0.2


class AllowRequest(BaseModel):
    """What `peers allow` asks: a preset, or actions with common limits."""

    model_config = ConfigDict(extra="forbid")

    preset: str | None = None
    actions: list[str] = []
    limits: Limits = Limits()


def routes(node: Services, discovery: Discovery) -> list[web.RouteDef]:
    """The routes of this noun."""
    view = PeersView(node)

    async def near(_: web.Request) -> web.Response:
        return web.json_response(discovery.near())

    return [
        web.get("/near", near),
        web.get("/peers", view.list),
        web.get("/peers/{name}", view.show),
        web.post("/peers/{name}/allow", view.allow),
        web.post("/peers/{name}/deny", view.deny),
        web.delete("/peers/{name}", view.forget),
    ]


class PeersView:
    """Handlers over one node."""

    def __init__(self, node: Services) -> None:
        self._node = node

    async def list(self, _: web.Request) -> web.Response:
        """Every pair."""
        return web.json_response({"peers": [self._show(pair) for pair in self._node.pairs]})

    async def show(self, request: web.Request) -> web.Response:
        """One pair with its rules and documents."""
        pair = self._find(request)
        state = self._node.peers.peers[pair.peer]
        documents = {
            "capability": state.capability.model_dump() if state.capability else None,
            "dynamic": state.dynamic.model_dump() if state.dynamic else None,
        }
        return web.json_response({**self._show(pair), **documents})

    async def allow(self, request: web.Request) -> web.Response:
        """Add rules."""
        pair, asked = self._find(request), await body(request, AllowRequest)
        if asked.preset is not None:
            if asked.actions or asked.limits != Limits():
                raise UsageError(
                    "a preset has its own actions and limits: give it alone, then `moodmesh peers allow NAME TASK` with limits"
                )
            try:
                rules = preset(asked.preset, self._node.tasks)
            except KeyError:
                raise UsageError(f"no preset {asked.preset!r}; there are none, friend and own") from None
        else:
            for action in asked.actions:
                families = sorted({task.split(".")[0] + ".*" for task in self._node.tasks})
                if action not in (known := [*sorted(self._node.tasks), *families, *ACTIONS]):
                    raise UsageError(f"no task or action {action!r} here; there are {', '.join(known)}")
            rules = dict.fromkeys(asked.actions, asked.limits)
        await self._node.access.allow(pair.peer, rules, instead=asked.preset is not None)
        await self._node.executor.drop_peer(pair.peer, keep=lambda task: self._node.access.may(pair.peer, task))
        return web.json_response(self._show(pair))

    async def deny(self, request: web.Request) -> web.Response:
        """Drop every rule; what runs for the peer is ended."""
        pair = self._find(request)
        await self._node.access.deny(pair.peer)
        await self._node.executor.drop_peer(pair.peer)
        return web.json_response(self._show(pair))

    async def forget(self, request: web.Request) -> web.Response:
        """Unpair; what it runs for this device it is told to end, where it still hears that, and such jobs go elsewhere."""
        pair = self._find(request)
        if self._node.submitter.live(pair.peer):
            self._node.peers.avoid(pair.peer)
            self._node.submitter.lost(pair.peer, "the peer was forgotten")
            await asyncio.sleep(TOLD_S)
        await self._node.book.forget(pair.peer)
        return web.json_response({"forgotten": pair.name, "device": pair.peer})

    def _find(self, request: web.Request) -> Pair:
        return self._node.book.find(request.match_info["name"])

    def _show(self, pair: Pair) -> dict[str, Any]:
        state = self._node.peers.peers[pair.peer]
        now = self._node.clock.now()
        link = state.link
        return {
            "name": pair.name,
            "device": pair.peer,
            "half": pair.half,
            "paired_at": pair.paired_at,
            "stored_at": self._node.book.stored.get(pair.peer),
            "state": "linked" if link else "away",
            "address": list(link.address) if link else None,
            "heard_s_ago": now - state.heard if link else None,
            "away_s": None if link else now - state.gone_since,
            "trouble": self._node.peers.trouble(pair.peer),
            "rtt_ms": state.rtt_s * 1000,
            "correction": math.exp(state.correction),
            "may": {a: lim.model_dump(exclude_defaults=True) for a, lim in self._node.access.rules(pair.peer).items()},
            "we_may": list(state.rights),
        }
