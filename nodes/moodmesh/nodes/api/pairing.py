"""/pair: open a window and watch it, or join one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator

from aiohttp import web
from pydantic import BaseModel, ConfigDict

from moodmesh.mesh.errors import BadCode, PairingFailed
from moodmesh.nodes.api.guard import body, while_asked
from moodmesh.nodes.errors import Refused, UsageError
from moodmesh.nodes.pairing import Pairing


class JoinRequest(BaseModel):
    """What the guest typed or scanned, and where, if it was said; `near`: at the device with the strongest signal."""

    model_config = ConfigDict(extra="forbid")

    code: str
    at: str | None = None
    near: bool = False


def routes(pairing: Pairing) -> list[web.RouteDef]:
    """The routes of this noun."""

    async def host(request: web.Request) -> web.StreamResponse:
        """Server-sent events of a new window; it closes with the connection."""
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "Cache-Control": "no-store"})
        async with while_asked(request), contextlib.aclosing(pairing.host()) as events:
            async for event in events:
                if not response.prepared:
                    await response.prepare(request)
                await response.write(f"data: {json.dumps(event)}\n\n".encode())
        return response

    async def join(request: web.Request) -> web.Response:
        asked = await body(request, JoinRequest)
        with _refused():
            return web.json_response(await pairing.join(asked.code, asked.at, asked.near))

    async def nearest(request: web.Request) -> web.Response:
        with _refused():
            return web.json_response(await pairing.nearest())

    return [web.post("/pair", host), web.post("/pair/join", join), web.get("/pair/nearest", nearest)]


@contextlib.contextmanager
def _refused() -> Iterator[None]:
    try:
        yield
    except BadCode as error:
        raise UsageError(str(error)) from None
    except PairingFailed as error:
        raise Refused(str(error), type(error).__name__) from None
