"""The local API's two doors: the Unix socket always, loopback TCP when `api.port` is set."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

from aiohttp import web

from moodmesh.nodes import metrics
from moodmesh.nodes.api import jobs, models, moods, node, peers, preview
from moodmesh.nodes.api import pairing as pairs
from moodmesh.nodes.api import rooms as room_routes
from moodmesh.nodes.api.guard import MAX_BODY, Guard, new_token, token_of
from moodmesh.nodes.discovery import Discovery
from moodmesh.nodes.errors import Refused
from moodmesh.nodes.pairing import Pairing
from moodmesh.nodes.rooms.live import Rooms
from moodmesh.nodes.services import Part, Services


@contextlib.asynccontextmanager
async def serve(services: Services, discovery: Discovery, pairing: Pairing, rooms: Rooms, path: Path) -> AsyncIterator[None]:
    """Answer on the socket at `path` (0600, in a 0700 directory) until the block ends."""
    token = token_of(services.home)
    guards = [Guard(token, None)]
    nouns = [
        *node.routes(services),
        *jobs.routes(services),
        *preview.routes(services),
        *peers.routes(services, discovery),
        *pairs.routes(pairing),
        *models.routes(services),
        *moods.routes(services, services.moods),
        *room_routes.routes(services, rooms),
        *metrics.routes(services, discovery),
    ]
    runners = [await _runner(services, nouns, guards, 0)]
    path.unlink(missing_ok=True)
    try:
        await web.UnixSite(runners[0], str(path)).start()
        os.chmod(path, 0o600)
        if port := services.config.api.port:
            guards.append(Guard(token, port))
            runners.append(await _runner(services, nouns, guards, 1))
            try:
                await web.TCPSite(runners[1], "127.0.0.1", port).start()
            except OSError as error:
                raise Refused(f"api.port {port} is taken ({error.strerror}); choose another, or 0 for none", "port") from None
            services.health["api"] = Part("ok", f"http://127.0.0.1:{port}")
        yield
    finally:
        for runner in runners:
            await runner.cleanup()
        path.unlink(missing_ok=True)


async def _runner(services: Services, nouns: list[web.RouteDef], guards: list[Guard], mine: int) -> web.AppRunner:
    app = web.Application(middlewares=[guards[mine].check], client_max_size=MAX_BODY)

    async def rotate(_: web.Request) -> web.Response:
        token = new_token(services.home)
        for guard in guards:
            guard.token = token
        return web.json_response({"rotated": True})

    app.add_routes([*nouns, web.post("/token/rotate", rotate)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    return runner
