"""Who may speak to the local API: bearer token, exact Host and Origin, JSON bodies; errors as JSON (pairing §8)."""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import logging
import os
import secrets
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from aiohttp import web
from pydantic import BaseModel, ValidationError

from moodmesh.mesh.errors import MeshError
from moodmesh.nodes.errors import NodeError, NotFound, Refused, UsageError

TOKEN_FILE = "api.token"  # noqa: S105 - a file name
TOKEN_CHARS = 43
MAX_BODY = 96 * 2**20
GONE_S = 0.2
SAFE = ("GET", "HEAD")
HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
}
Body = TypeVar("Body", bound=BaseModel)
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]
log = logging.getLogger(__name__)


def token_of(home: Path) -> str:
    """The token of this node, made when there is none, or only a piece of one."""
    file = home / TOKEN_FILE
    if file.exists() and len(token := file.read_text().strip()) >= TOKEN_CHARS:
        file.chmod(0o600)
        return token
    return new_token(home)


def new_token(home: Path) -> str:
    """Replace the token (256 bits, file mode 0600, atomic)."""
    token = secrets.token_urlsafe(32)
    new = home / f"{TOKEN_FILE}.new"
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(token)
        file.flush()
        os.fsync(file.fileno())
    new.replace(home / TOKEN_FILE)
    return token


class Guard:
    """The middleware. `port` is the loopback TCP port, None on the Unix socket, which has no Host to forge."""

    def __init__(self, token: str, port: int | None) -> None:
        self.token, self._port = token, port

    @web.middleware
    async def check(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """Check, answer, and turn errors into JSON with the right status."""
        response = self._barred(request) or await _answer(request, handler)
        if not response.prepared:
            response.headers.update(HEADERS)
        return response

    def _barred(self, request: web.Request) -> web.Response | None:
        if self._port is None:
            if not _ours(request):
                return failure(403, "foreign", "this socket serves its own user only")
        else:
            hosts = {f"{name}:{self._port}" for name in ("127.0.0.1", "[::1]", "localhost")}
            origin = request.headers.get("Origin")
            if request.headers.get("Host") not in hosts or (
                origin is not None and origin not in {f"http://{h}" for h in hosts}
            ):
                return failure(403, "foreign", "this address serves its own device only")
            if request.headers.get("Sec-Fetch-Site", "none") not in ("same-origin", "none"):
                return failure(403, "foreign", "cross-site requests are refused")
        if request.method not in (*SAFE, "POST", "PUT", "DELETE"):
            return failure(405, "method", "use GET, POST, PUT or DELETE")
        given = request.headers.get("Authorization", "").encode(errors="surrogateescape")
        if not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return failure(401, "token", "a bearer token is needed; the command line reads it from the node's home")
        if (request.content_length or 0) > MAX_BODY:
            return _too_large()
        if request.method not in SAFE and request.content_type != "application/json":
            return failure(415, "content_type", "send application/json")
        return None


def _ours(request: web.Request) -> bool:
    """Whether the process at the other end of a Unix socket is of this user, or root; where the system does not tell: yes."""
    end = request.get_extra_info("socket")
    if end is None or not hasattr(socket, "SO_PEERCRED"):
        return True
    _, uid, _ = struct.unpack("3i", end.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid in (os.getuid(), 0)


async def body(request: web.Request, model: type[Body]) -> Body:
    """The JSON body of a request; ValidationError for anything else, whatever the bytes."""
    try:
        content = await request.read()
    except (ConnectionError, web.RequestPayloadError):
        raise UsageError("the request was cut off: nothing was done") from None
    return model.model_validate_json(content)


@contextlib.asynccontextmanager
async def while_asked(request: web.Request) -> AsyncIterator[None]:
    """Cancel the handler when whoever asked has gone: aiohttp lets it wait on for what nobody will read."""
    handler = asyncio.current_task()
    assert handler is not None

    async def watch() -> None:
        while request.transport is not None:  # noqa: ASYNC110 - there is no event for it
            await asyncio.sleep(GONE_S)
        handler.cancel()

    watching = asyncio.create_task(watch())
    try:
        yield
    finally:
        watching.cancel()


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except ValidationError as error:
        first = error.errors()[0]
        return failure(400, "usage", f"{'.'.join(map(str, first['loc'])) or 'request'}: {first['msg'].lower()}")
    except NotFound as error:
        return failure(404, "not_found", str(error))
    except UsageError as error:
        return failure(400, "usage", str(error))
    except Refused as error:
        return failure(409, error.reason, str(error))
    except (NodeError, MeshError) as error:
        return failure(500, "failed", str(error))
    except ConnectionResetError:
        return failure(400, "gone", "whoever asked has gone")
    except web.HTTPRequestEntityTooLarge:
        return _too_large()
    except web.HTTPException as error:
        return failure(error.status, "http", error.reason)
    except Exception as error:
        log.exception("a request failed")
        return failure(500, "internal", f"{type(error).__name__}: see the daemon's log")


def _too_large() -> web.Response:
    return failure(413, "too_large", f"at most {MAX_BODY >> 20} MiB are taken in one request: split the input")


def failure(status: int, reason: str, message: str) -> web.Response:
    """An error as every client reads it."""
    return web.json_response({"error": {"reason": reason, "message": message}}, status=status)
