"""/rooms and /privacy: rooms and what they told, and what has left this device for them."""

from __future__ import annotations

import asyncio
from typing import Any, Literal

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from moodmesh.nodes.api.guard import body
from moodmesh.nodes.errors import NotFound, UsageError
from moodmesh.nodes.rooms.live import Rooms, Seat
from moodmesh.nodes.rooms.model import MOST_EVERY, PREFIX, Descriptor, create, read_code
from moodmesh.nodes.rooms.mood import filtered, shown
from moodmesh.nodes.rooms.words import consent
from moodmesh.nodes.services import Services
from moodmesh.privacy.release.budget import EPOCH_S, total
from moodmesh.privacy.release.ledger import Charge, Closed, Line

Every = Field(1, ge=1, le=MOST_EVERY)


class CreateRequest(BaseModel):
    """What `room create` asks; `people`: names of paired devices, of a circle; `eps`: 4 in an on-demand room when not said."""

    model_config = ConfigDict(extra="forbid")

    name: str
    kind: Literal["circle", "on-demand", "ambient"]
    eps: int | None = None
    open: bool = False
    people: list[str] = []
    trust: Literal["verified", "assumed"] = "verified"
    every: int = Every
    agreed: bool = False


class JoinRequest(BaseModel):
    """What `room join` asks: a code, the name of an invitation, or of an open room near."""

    model_config = ConfigDict(extra="forbid")

    room: str
    trust: Literal["verified", "assumed"] = "verified"
    every: int = Every
    agreed: bool = False


class PaceRequest(BaseModel):
    """How often to take part."""

    model_config = ConfigDict(extra="forbid")

    every: int = Every


class InviteRequest(BaseModel):
    """Whom to tell."""

    model_config = ConfigDict(extra="forbid")

    peer: str


def routes(node: Services, rooms: Rooms) -> list[web.RouteDef]:
    """The routes of this noun."""
    view = RoomsView(node, rooms)
    return [
        web.get("/rooms", view.list),
        web.post("/rooms", view.create),
        web.post("/rooms/join", view.join),
        web.get("/rooms/{name}", view.show),
        web.delete("/rooms/{name}", view.leave),
        web.post("/rooms/{name}/ask", view.ask),
        web.post("/rooms/{name}/pace", view.pace),
        web.post("/rooms/{name}/invite", view.invite),
        web.get("/privacy/ledger", view.ledger),
        web.post("/privacy/accept", view.accept),
        web.get("/privacy/preview", view.preview),
    ]


class RoomsView:
    """Handlers over one node."""

    def __init__(self, node: Services, rooms: Rooms) -> None:
        self._node, self._rooms = node, rooms

    async def list(self, _: web.Request) -> web.Response:
        """Rooms joined, invitations, open rooms near."""
        names, joined = self._node.peers.names(), [self._shown(seat) for seat in self._rooms.seats.values()]
        invited = [{**_described(d), "by": names.get(by, by[:8])} for d, by in self._rooms.invited.values()]
        near = [_described(d) for d in await self._rooms.near()]
        return web.json_response({"rooms": joined, "invited": invited, "near": near})

    async def create(self, request: web.Request) -> web.Response:
        """Make a room and join it."""
        asked = await body(request, CreateRequest)
        people = tuple(self._node.book.find(name).peer for name in asked.people)
        mine = (self._node.identity.id,) if asked.kind == "circle" else ()
        hour = self._rooms.ledger.caps.hour
        eps = (4 if asked.kind == "on-demand" else 0) if asked.eps is None else asked.eps
        room = create(asked.name, asked.kind, eps, open=asked.open, people=(*people, *mine), hour=hour)
        await self._rooms.possible(room)
        return await self._agreed(room, asked)

    async def join(self, request: web.Request) -> web.Response:
        """By code, invitation, or from what is near; agreed to is a code alone: of a name, another room may be meant by now."""
        asked = await body(request, JoinRequest)
        if asked.agreed and not asked.room.startswith(PREFIX):
            raise UsageError("agree to the code of the room whose conditions were read: a name may mean another one by now")
        room = await self._meant(asked.room)
        await self._rooms.possible(room)
        return await self._agreed(room, asked)

    async def show(self, request: web.Request) -> web.Response:
        """One room."""
        return web.json_response(self._shown(self._find(request), readings=True))

    async def leave(self, request: web.Request) -> web.Response:
        """Nothing more is sent."""
        seat = self._find(request)
        await self._rooms.leave(seat)
        return web.json_response({"left": seat.room.name, "room": seat.room.descriptor.room})

    async def pace(self, request: web.Request) -> web.Response:
        """Take part more rarely, or more often."""
        seat, asked = self._find(request), await body(request, PaceRequest)
        await self._rooms.pace(seat, asked.every)
        return web.json_response(self._shown(seat))

    async def ask(self, request: web.Request) -> web.Response:
        """Have it told in this epoch."""
        seat = self._find(request)
        self._rooms.ask(seat)
        return web.json_response(self._shown(seat))

    async def invite(self, request: web.Request) -> web.Response:
        """A paired device is told of it."""
        seat, asked = self._find(request), await body(request, InviteRequest)
        pair = self._node.book.find(asked.peer)
        self._rooms.invite(seat, pair.peer)
        return web.json_response({"invited": pair.name, "room": seat.room.descriptor.room})

    async def ledger(self, _: web.Request) -> web.Response:
        """What was sent, what it cost, what was refused; closed, and how to open it, where it cannot be believed."""
        caps = self._rooms.ledger.caps
        try:
            lines = await asyncio.to_thread(self._rooms.ledger.lines)
            hour, day = await asyncio.to_thread(self._rooms.ledger.spent, self._rooms.epoch)
        except Closed as error:
            return web.json_response({"closed": str(error), "lines": [], "caps": caps._asdict()})
        told = [{**line.model_dump(), **_cost(line)} for line in lines]
        spent = {"hour": hour._asdict(), "day": day._asdict()}
        limits = {"hour": caps.hour._asdict(), "day": caps.day._asdict()}
        return web.json_response({"closed": None, "lines": told, "spent": spent, "caps": limits})

    async def accept(self, _: web.Request) -> web.Response:
        """A full day's charge, and a new ledger."""
        aside = await asyncio.to_thread(self._rooms.ledger.accept_full_day, self._rooms.epoch)
        return web.json_response({"aside": str(aside) if aside else None})

    async def preview(self, request: web.Request) -> web.Response:
        """The bytes that left in this epoch, or such as would; of a room not joined, also what would be agreed to."""
        text = request.query.get("room", "")
        try:
            room = self._rooms.find(text).room.descriptor
        except NotFound:
            room = await self._meant(text)
            await self._rooms.possible(room)
        told = await self._rooms.preview(room)
        words = [] if told["joined"] else consent(room, "verified", self._node.peers.names())
        return web.json_response({**told, "agree": words})

    # -- helpers -------------------------------------------------------------------------------------------------------

    async def _meant(self, text: str) -> Descriptor:
        if text.startswith(PREFIX):
            return read_code(text)
        known = [d for d, _ in self._rooms.invited.values()] + await self._rooms.near()
        found = {d.room: d for d in known if d.name == text or d.room.startswith(text)}
        if len(found) > 1:
            raise UsageError(f"several rooms are called {text}: give the beginning of an id, `moodmesh room list` shows it")
        if not found:
            raise NotFound(f"no invitation and no open room near is called {text!r}: `moodmesh room list`, or join by its code")
        return next(iter(found.values()))

    async def _agreed(self, room: Descriptor, asked: CreateRequest | JoinRequest) -> web.Response:
        """Without agreement: what is to be agreed to, and nothing else happens."""
        words = consent(room, asked.trust, self._node.peers.names())
        if not asked.agreed:
            return web.json_response({"agree": words, "room": {**_described(room), "code": room.code()}})
        seat = await self._rooms.join(room, asked.trust, asked.every)
        return web.json_response({**self._shown(seat), "agreed": words}, status=201)

    def _find(self, request: web.Request) -> Seat:
        return self._rooms.find(request.match_info["name"])

    def _shown(self, seat: Seat, *, readings: bool = False) -> dict[str, Any]:
        value, mood = shown(seat.room.descriptor.kind, seat.readings), filtered(seat.readings, self._node.clock.wall())
        last = seat.readings[-1] if seat.readings else None
        return {
            **_described(seat.room.descriptor), "code": seat.room.descriptor.code(), "trust": seat.room.trust,
            "every": seat.room.every,
            "joined": seat.room.joined, "state": seat.state, "epoch_left_s": self._rooms.left_s(),
            "mood": None if value is None else {**value._asdict(), "radius": value.radius, "rough": value.rough},
            "filtered": None if mood is None else mood._asdict(),
            "last": None if last is None else vars(last),
            "age_s": None if last is None else max(0.0, self._node.clock.wall() - last.epoch * EPOCH_S),
            **({"readings": [vars(r) for r in seat.readings]} if readings else {}),
        }  # fmt: skip


def _cost(line: Line) -> dict[str, float]:
    """What one release told of its sender at most; of a circle there is no such figure."""
    if not isinstance(line, Charge) or line.kind == "circle":
        return {}
    spent = total([line.price])
    return {"eps_room": spent.room, "eps_alone": spent.alone}


def _described(room: Descriptor) -> dict[str, Any]:
    return {**room.model_dump(), "least": room.least}
