"""HTTP to the daemon over its Unix socket, with the standard library only."""

from __future__ import annotations

import builtins
import contextlib
import http.client
import json
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from moodmesh.nodes.errors import NoDaemon, NodeError, NotFound, Refused, UsageError
from moodmesh.nodes.home import home
from moodmesh.nodes.pool.rundir import run_dir

SOCKET = "api.sock"
RETRY_S = 0.3
ENDED = ("SUCCEEDED", "FAILED", "STOPPED")
TOKEN_FILE = "api.token"  # noqa: S105 - a file name


class Unreachable(NodeError):
    """The daemon went away in the middle of an answer."""


@contextlib.contextmanager
def outliving(job: str) -> Iterator[None]:
    """While a job is waited for: an error that the daemon is gone says that the job is not, and how to get its result."""
    try:
        yield
    except (NoDaemon, Unreachable) as error:
        how = f"`moodmesh up`, then `moodmesh job result {job[:8]} --out FOLDER --wait`"
        raise type(error)(f"{error}; job {job[:8]} goes on when the daemon is back: {how}") from error


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout: float | None) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


class Client:
    """The daemon of one home. Every method raises the error tree of `nodes.errors`, by what the daemon answered."""

    def __init__(self, where: Path | None = None, timeout: float | None = 30) -> None:
        self._home, self._timeout = where or home(), timeout

    def get(self, *path: str, **query: Any) -> Any:
        """GET, as JSON."""
        return self._json("GET", path, query, None)

    def post(self, *path: str, body: Mapping[str, Any] | None = None) -> Any:
        """POST a JSON object."""
        return self._json("POST", path, {}, body or {})

    def delete(self, *path: str) -> Any:
        """DELETE."""
        return self._json("DELETE", path, {}, {})

    def bytes(self, *path: str) -> bytes:
        """GET, as bytes."""
        with self._open("GET", path, {}, None, self._timeout) as response:
            return response.read()

    def events(self, *path: str, method: str = "GET", body: Mapping[str, Any] | None = None) -> Iterator[dict[str, Any]]:
        """Server-sent events until the daemon ends them."""
        with self._open(method, path, {}, body, None) as response:
            try:
                for line in response:
                    if line.startswith(b"data: "):
                        yield json.loads(line[6:])
            except (OSError, http.client.HTTPException) as error:
                raise Unreachable("the daemon stopped in the middle of an answer; jobs go on after `moodmesh up`") from error

    def parts(self, job: str, patience_s: float = 60) -> Iterator[builtins.bytes]:
        """The parts of a job's answer, each as it comes, until the job has ended; how, its status tells. Goes on where it was
        after a lost connection or a restart of the daemon; `NodeError` when that is not back within `patience_s`."""
        known, lost_at = 0, None
        while True:
            try:
                for event in self.events("jobs", job, "events"):
                    lost_at = None
                    if not event.get("owner_here", True):  # they are there: this says so
                        self.bytes("jobs", job, "parts", "0")
                    while known < event.get("streamed", 0):
                        yield self.bytes("jobs", job, "parts", str(known))
                        known += 1
                    if event.get("status") in ENDED:
                        return
            except (NoDaemon, Unreachable):
                lost_at = lost_at or time.monotonic()
                if time.monotonic() - lost_at > patience_s:
                    raise
            time.sleep(RETRY_S)

    def _json(self, method: str, path: tuple[str, ...], query: Mapping[str, Any], body: Mapping[str, Any] | None) -> Any:
        with self._open(method, path, query, body, self._timeout) as response:
            return json.loads(response.read())

    @contextlib.contextmanager
    def _open(
        self,
        method: str,
        path: tuple[str, ...],
        query: Mapping[str, Any],
        body: Mapping[str, Any] | None,
        timeout: float | None,
    ) -> Iterator[http.client.HTTPResponse]:
        if not all(path):
            raise UsageError("a name or an id is empty: `moodmesh peers list` and `moodmesh job list` show what there is")
        target = "/" + "/".join(quote(part, safe="") for part in path) + (f"?{urlencode(query)}" if query else "")
        with contextlib.closing(_UnixConnection(run_dir(self._home, create=False) / SOCKET, timeout)) as connection:
            response = self._ask(connection, method, target, body)
            if response.status >= 400:
                raise _error(response.status, response.read())
            yield response

    def _ask(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: Mapping[str, Any] | None
    ) -> http.client.HTTPResponse:
        try:
            headers = {"Authorization": f"Bearer {(self._home / TOKEN_FILE).read_text().strip()}"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, target, json.dumps(body) if body is not None else None, headers)
            return connection.getresponse()
        except TimeoutError:
            raise Unreachable("the daemon does not answer; look at its log, or restart it") from None
        except (OSError, http.client.HTTPException):
            raise NoDaemon(f"no daemon runs for {self._home}: start it with `moodmesh up`") from None


def _error(status: int, body: bytes) -> NodeError:
    try:
        found = json.loads(body)["error"]
        reason, message = str(found["reason"]), str(found["message"])
    except (ValueError, KeyError, TypeError):
        reason, message = "http", f"the daemon answered {status}"
    if status == 404:
        return NotFound(message)
    if status in (400, 415):
        return UsageError(message)
    return Refused(message, reason) if status in (401, 403, 409) else NodeError(message)
