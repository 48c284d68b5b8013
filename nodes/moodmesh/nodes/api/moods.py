"""/moods: what the owner feels, for this device alone."""

from __future__ import annotations

from typing import Any

from aiohttp import web
from pydantic import BaseModel, ConfigDict, Field

from moodmesh.nodes.api.guard import body
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.moods.journal import DAY_S, MoodJournal
from moodmesh.nodes.moods.state import SAID, SAID_SD, Told, mood, quadrant, track
from moodmesh.nodes.services import Services
from moodmesh.privacy.shared import CELLS

HOURS = {"today": 24.0, "week": 7 * 24.0}


class FeelRequest(BaseModel):
    """An observation: said outright, or what words came to with their standard deviations."""

    model_config = ConfigDict(extra="forbid")

    source: str = Field(SAID, pattern=r"^[a-z]{1,16}$")
    valence: float = Field(ge=-1, le=1, allow_inf_nan=False)
    arousal: float = Field(ge=-1, le=1, allow_inf_nan=False)
    valence_sd: float = Field(SAID_SD, gt=0, le=2, allow_inf_nan=False)
    arousal_sd: float = Field(SAID_SD, gt=0, le=2, allow_inf_nan=False)


def routes(node: Services, journal: MoodJournal) -> list[web.RouteDef]:
    """The routes of this noun."""

    def now() -> dict[str, Any]:
        felt = mood(journal.told, node.clock.wall())
        if felt is None:
            return {"mood": None}
        value = {"valence": felt.valence, "arousal": felt.arousal, "word": quadrant(felt.valence, felt.arousal)}
        return {"mood": {**value, "valence_sd": felt.valence_sd, "arousal_sd": felt.arousal_sd}}

    def look() -> None:
        node.sharing.look(peer.id for peer in node.peers.linked())

    def shared() -> dict[str, Any]:
        names, others = node.peers.names(), [peer.id for peer in node.peers.linked()]
        words = {p: quadrant(m.valence - CELLS // 2, m.arousal - CELLS // 2) for p, m in node.sharing.heard.items()}
        return {
            "with": [names[p] for p in others if node.access.may(p, "mood.share")],
            "from": [{"name": names[p], "word": word} for p, word in words.items()],
        }

    async def feel(request: web.Request) -> web.Response:
        asked = await body(request, FeelRequest)
        await journal.add(Told(at=node.clock.wall(), **asked.model_dump()))
        look()
        return web.json_response(now(), status=201)

    async def show(request: web.Request) -> web.Response:
        span = request.query.get("span", "today")
        if span not in HOURS:
            raise UsageError(f"a span is one of {', '.join(HOURS)}")
        wall, since = node.clock.wall(), node.clock.wall() - 3600 * HOURS[span]
        states = [{"at": at, "valence": v.mean, "arousal": a.mean} for at, v, a in track(journal.told, wall) if at >= since]
        days = [day._asdict() for day in await journal.days(since - DAY_S)]
        return web.json_response({**now(), "states": states, "days": days, "shared": shared()})

    async def export(_: web.Request) -> web.Response:
        days = [day._asdict() for day in await journal.days(0.0)]
        return web.json_response({"told": [t._asdict() for t in journal.told], "days": days})

    async def erase(_: web.Request) -> web.Response:
        gone = await journal.erase()
        look()
        return web.json_response({"erased": gone})

    return [
        web.post("/moods", feel), web.get("/moods", show), web.get("/moods/export", export), web.delete("/moods", erase),
    ]  # fmt: skip
