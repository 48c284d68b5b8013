"""Requests to other devices about jobs, each waiting for its one answer."""

from __future__ import annotations

import asyncio
import itertools
from typing import Literal

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.network import Neighbourhood
from moodmesh.nodes.messages import Inspect, Inspected

ANSWER_S = 2.0
What = Literal["show", "list", "cancel"]


class Asking:
    """What was asked and not yet answered."""

    def __init__(self, peers: Neighbourhood) -> None:
        self._peers = peers
        self.waiting: dict[tuple[DeviceId, int], asyncio.Future[Inspected]] = {}
        self._numbers = itertools.count(1)

    async def ask(self, owner: DeviceId, what: What, job: str) -> Inspected | None:
        """One request to the owner of jobs; None when it does not answer in time."""
        return await self._sent(owner, Inspect(ask=next(self._numbers), what=what, job=job))

    async def ask_to_stop(self, executor: DeviceId, owner: DeviceId, job: str, warrant: str) -> Inspected | None:
        """One request to a device that runs a job of an absent owner."""
        return await self._sent(executor, Inspect(ask=next(self._numbers), what="stop", job=job, owner=owner, warrant=warrant))

    async def _sent(self, peer: DeviceId, message: Inspect) -> Inspected | None:
        waiting: asyncio.Future[Inspected] = asyncio.get_running_loop().create_future()
        self.waiting[peer, message.ask] = waiting
        try:
            if not self._peers.send(peer, message):
                return None
            async with asyncio.timeout(ANSWER_S):
                return await waiting
        except TimeoutError:
            return None
        finally:
            del self.waiting[peer, message.ask]

    def hear(self, peer: DeviceId, message: Inspected) -> None:
        """An answer; it counts from the peer that was asked alone."""
        if (waiting := self.waiting.get((peer, message.ask))) is not None and not waiting.done():
            waiting.set_result(message)
