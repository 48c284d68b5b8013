"""The guard of the local API line by line (pairing §8), on a real server; and each line removed lets its attack through."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import struct
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientSession, UnixConnector, web
from pydantic import BaseModel, ConfigDict

from moodmesh.mesh.errors import MeshError
from moodmesh.nodes.api import guard as guards
from moodmesh.nodes.api import server
from moodmesh.nodes.api.guard import HEADERS, Guard, body, new_token, token_of
from moodmesh.nodes.errors import NodeError, NotFound, Refused, StoreError, UsageError

TOKEN = "t" * 43
ERRORS = {
    "usage": UsageError("u"), "missing": NotFound("n"), "refused": Refused("r", "why"), "store": StoreError("s"),
    "mesh": MeshError("m"), "bug": KeyError("secret"),
}  # fmt: skip


class Note(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str


class Door:
    """A guarded server on loopback, and how to knock."""

    def __init__(self, port: int, reached: list[str]) -> None:
        self.port, self.reached = port, reached

    async def knock(self, method: str = "GET", path: str = "/x", data: bytes | None = None, **headers: str) -> Any:
        own = {"Host": f"127.0.0.1:{self.port}", "Authorization": f"Bearer {TOKEN}"}
        own |= {"Content-Type": "application/json"} if method not in ("GET", "HEAD") else {}
        own |= {key.replace("_", "-"): value for key, value in headers.items()}
        sent = {key: value for key, value in own.items() if value}
        async with (
            ClientSession(skip_auto_headers=["Content-Type"]) as session,
            session.request(method, f"http://127.0.0.1:{self.port}{path}", data=data, headers=sent) as answer,
        ):
            content = await answer.read()
            return SimpleNamespace(status=answer.status, headers=answer.headers, content=content)


@contextlib.asynccontextmanager
async def door() -> AsyncIterator[Door]:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    reached: list[str] = []

    async def note(request: web.Request) -> web.Response:
        reached.append(request.method)
        if request.method != "GET":
            await body(request, Note)
        return web.json_response({})

    async def fail(request: web.Request) -> web.Response:
        raise ERRORS[request.match_info["name"]]

    app = web.Application(middlewares=[Guard(TOKEN, port).check], client_max_size=1000)
    app.add_routes([web.get("/x", note), web.post("/x", note), web.get("/fail/{name}", fail)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        yield Door(port, reached)
    finally:
        await runner.cleanup()


async def test_the_owner_gets_in_under_each_of_the_three_names() -> None:
    async with door() as d:
        for name in ("127.0.0.1", "localhost", "[::1]"):
            answer = await d.knock(Host=f"{name}:{d.port}", Origin=f"http://{name}:{d.port}", Sec_Fetch_Site="same-origin")
            assert answer.status == 200
        assert (await d.knock("POST", data=b'{"text":"x"}')).status == 200


ATTACKS: dict[str, tuple[int, dict[str, str]]] = {
    "a foreign host (DNS rebinding)": (403, {"Host": "evil.example"}),
    "a foreign host with our port": (403, {"Host": "evil.example:{port}"}),
    "no port in the host": (403, {"Host": "127.0.0.1"}),
    "another port": (403, {"Host": "127.0.0.1:1"}),
    "a name that only looks local": (403, {"Host": "localhost.evil.example:{port}"}),
    "a foreign origin": (403, {"Origin": "http://evil.example"}),
    "an opaque origin": (403, {"Origin": "null"}),
    "the right origin under https": (403, {"Origin": "https://127.0.0.1:{port}"}),
    "a cross-site fetch": (403, {"Sec_Fetch_Site": "cross-site"}),
    "a same-site fetch": (403, {"Sec_Fetch_Site": "same-site"}),
    "no token": (401, {"Authorization": ""}),
    "a wrong token": (401, {"Authorization": "Bearer " + "x" * 43}),
    "a piece of the token": (401, {"Authorization": "Bearer " + TOKEN[:-1]}),
    "the token without its scheme": (401, {"Authorization": TOKEN}),
    "basic authentication": (401, {"Authorization": "Basic " + TOKEN}),
}


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_reaches_no_handler(name: str) -> None:
    status, headers = ATTACKS[name]
    async with door() as d:
        headers = {key: value.replace("{port}", str(d.port)) for key, value in headers.items()}
        for method in ("GET", "POST"):
            answer = await d.knock(method, data=b'{"text":"x"}' if method == "POST" else None, **headers)
            assert answer.status == status
            assert TOKEN.encode() not in answer.content
        assert (await d.knock(path="/nowhere", **headers)).status == status  # barred before routing
        assert d.reached == []


async def test_a_token_in_the_query_or_a_cookie_is_no_token() -> None:
    async with door() as d:
        for path in (f"/x?token={TOKEN}", f"/x?access_token={TOKEN}", f"/x?Authorization=Bearer%20{TOKEN}"):
            assert (await d.knock(path=path, Authorization="")).status == 401
        assert (await d.knock(Authorization="", Cookie=f"token={TOKEN}")).status == 401
        assert d.reached == []


async def test_a_header_of_bytes_that_are_no_text_is_refused_like_any_other() -> None:
    async with door() as d:
        reader, writer = await asyncio.open_connection("127.0.0.1", d.port)
        writer.write(b"GET /x HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nAuthorization: Bearer \xff\xfe\r\n\r\n" % d.port)
        assert b" 401 " in await reader.readline()
        writer.close()
        await writer.wait_closed()


@pytest.mark.parametrize("method", ["OPTIONS", "PATCH", "TRACE", "PROPFIND"])
async def test_other_methods_are_refused_and_nothing_is_said_about_origins(method: str) -> None:
    async with door() as d:
        answer = await d.knock(method, Origin=f"http://127.0.0.1:{d.port}", Access_Control_Request_Method="POST")
        assert answer.status == 405
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x"])
async def test_what_a_form_could_send_changes_nothing(kind: str) -> None:
    async with door() as d:
        assert (await d.knock("POST", data=b'{"text":"x"}', Content_Type=kind)).status == 415
        assert d.reached == []


@pytest.mark.parametrize(
    "data", [b"", b"{", b"[]", b'{"text":1}', b'{"text":"x","more":1}', b"[" * 900, b"\xff\xfe", b'{"text":"\\ud800"}']
)
async def test_a_body_that_is_not_what_it_should_be_is_refused_with_words(data: bytes) -> None:
    async with door() as d:
        answer = await d.knock("POST", data=data, Content_Type="application/json; charset=klingon")
        assert answer.status == 400
        assert b'"reason": "usage"' in answer.content


async def test_a_body_over_the_limit_is_refused() -> None:
    async with door() as d:
        assert (await d.knock("POST", data=b'{"text":"' + b"x" * 2000 + b'"}')).status == 413


@pytest.mark.parametrize(
    ("name", "status"), [("usage", 400), ("missing", 404), ("refused", 409), ("store", 500), ("mesh", 500), ("bug", 500)]
)
async def test_an_error_is_json_with_its_status_and_the_headers(name: str, status: int) -> None:
    async with door() as d:
        answer = await d.knock(path=f"/fail/{name}")
        assert answer.status == status
        assert b'{"error": {"reason"' in answer.content
        assert b"secret" not in answer.content
        assert HEADERS.items() <= dict(answer.headers).items()


@pytest.mark.parametrize(("path", "status"), [("/x", 200), ("/nowhere", 404)])
async def test_every_answer_carries_the_headers(path: str, status: int) -> None:
    async with door() as d:
        for answer in (await d.knock(path=path), await d.knock(path=path, Authorization=""), await d.knock(Host="evil")):
            assert HEADERS.items() <= dict(answer.headers).items()
        assert (await d.knock(path=path)).status == status


# -- each line removed -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "forged"),
    [
        ("a foreign host (DNS rebinding)", "Host"),
        ("a foreign origin", "Origin"),
        ("a cross-site fetch", "Sec-Fetch-Site"),
        ("a wrong token", "Authorization"),
    ],
)
async def test_with_a_check_removed_the_attack_passes(name: str, forged: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Guard._barred

    def blind(self: Guard, request: web.Request) -> web.Response | None:
        right = {"Host": f"127.0.0.1:{self._port}", "Origin": f"http://127.0.0.1:{self._port}",
                 "Sec-Fetch-Site": "none", "Authorization": f"Bearer {TOKEN}"}[forged]  # fmt: skip
        headers = request.headers.copy()
        headers[forged] = right
        return real(self, request.clone(headers=headers))

    monkeypatch.setattr(Guard, "_barred", blind)
    async with door() as d:
        assert (await d.knock(**ATTACKS[name][1])).status == 200


# -- the token and the socket ------------------------------------------------------------------------------------------


def test_the_token_has_256_bits_and_is_its_owners_alone(tmp_path: Path) -> None:
    first = new_token(tmp_path)
    assert len(first) == 43
    assert (tmp_path / "api.token").stat().st_mode & 0o777 == 0o600
    assert token_of(tmp_path) == first
    assert new_token(tmp_path) != first
    assert [p.name for p in tmp_path.iterdir()] == ["api.token"]


def test_an_empty_or_open_token_file_is_mended(tmp_path: Path) -> None:
    (tmp_path / "api.token").write_text("")
    assert len(token_of(tmp_path)) == 43
    (tmp_path / "api.token").chmod(0o644)
    token_of(tmp_path)
    assert (tmp_path / "api.token").stat().st_mode & 0o777 == 0o600


@contextlib.asynccontextmanager
async def local_api(home: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    """The real server with its real guard and no nouns but the token."""
    for noun in ("jobs", "node", "peers", "pairs", "models", "moods", "room_routes", "metrics"):
        monkeypatch.setattr(server, noun, SimpleNamespace(routes=lambda *parts: []))
    services = SimpleNamespace(
        home=home, config=SimpleNamespace(api=SimpleNamespace(port=0, metrics=False)), health={}, moods=None
    )
    async with server.serve(services, None, None, None, path):  # type: ignore[arg-type]
        yield


async def ask(path: Path, token: str, target: str = "/nowhere", method: str = "GET") -> int:
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    async with (
        ClientSession(connector=UnixConnector(str(path))) as session,
        session.request(method, f"http://localhost{target}", headers=headers) as answer,
    ):
        return answer.status


async def test_the_socket_is_its_owners_and_the_token_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "api.sock"
    async with local_api(tmp_path, path, monkeypatch):
        assert path.stat().st_mode & 0o777 == 0o600
        old = token_of(tmp_path)
        assert await ask(path, old) == 404
        assert await ask(path, "x" * 43) == 401
        assert await ask(path, old, "/token/rotate", "POST") == 200
        assert await ask(path, old) == 401
        assert await ask(path, token_of(tmp_path)) == 404
    assert not path.exists()


async def test_another_user_is_refused_at_the_socket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "api.sock"
    async with local_api(tmp_path, path, monkeypatch):
        token = token_of(tmp_path)
        assert await ask(path, token) == 404
        other = SimpleNamespace(calcsize=struct.calcsize, unpack=lambda layout, data: (1, os.getuid() + 12345, 1))
        monkeypatch.setattr(guards, "struct", other)  # of this module alone: the test runner's own thread unpacks too
        assert await ask(path, token) == 403


def test_node_errors_have_the_exit_codes_of_the_contract() -> None:
    codes = {NodeError: 1, StoreError: 1, UsageError: 2, NotFound: 2, Refused: 4}
    assert all(error.exit_code == code for error, code in codes.items())
