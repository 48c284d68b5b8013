"""What is told of a room goes past those who listen for jobs."""

from __future__ import annotations

import asyncio
from typing import Any, cast

from mesh.sittings import LoopClock
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.replication import Replication


async def test_an_event_of_a_room_is_no_event_of_a_job() -> None:
    nobody = cast(Any, None)
    replication = Replication(nobody, nobody, nobody, nobody, LoopClock(asyncio.get_running_loop()))
    hub = Hub(watch=replication.changed)
    hub.tell("room", room="a1", name="cafe", what="nothing", why="too few")
    assert not replication._steps
