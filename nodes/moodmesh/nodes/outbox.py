"""What waits to be written to one link. A peer that does not read must not grow this node's memory (pairing §9.8)."""

from __future__ import annotations

import asyncio
from collections import deque

from moodmesh.mesh.seams import Envelope
from moodmesh.nodes.messages import Message, Result, Start

ROOM = 16 * 2**20
_ENTRY = 1024  # what a place here costs, about, without the bytes of the message


class Outbox:
    """Messages in order, up to `room` bytes. Inputs and results are held by their jobs in any case: each waits here once,
    and only its place counts."""

    def __init__(self, room: int = ROOM) -> None:
        self._room = self._whole = room
        self._waiting: deque[tuple[Envelope | Message, int]] = deque()
        self._large: set[int] = set()
        self._news = asyncio.Event()

    @property
    def size(self) -> int:
        """Bytes that wait."""
        return self._whole - self._room

    def put(self, message: Message) -> bool:
        """Add a message; False when there is no room: the peer has not read for long, and its link is to be closed."""
        large = isinstance(message, (Start, Result))
        if large and id(message) in self._large:
            return True
        entry = message if large else message.envelope()
        size = _ENTRY + (len(entry.body) if isinstance(entry, Envelope) else 0)
        if size > self._room:
            return False
        self._room -= size
        self._waiting.append((entry, size))
        self._large |= {id(message)} if large else set()
        self._news.set()
        return True

    async def get(self) -> Envelope:
        """The next one, once there is one."""
        while not self._waiting:
            self._news.clear()
            await self._news.wait()
        entry, size = self._waiting.popleft()
        self._room += size
        if isinstance(entry, Envelope):
            return entry
        self._large.discard(id(entry))
        return entry.envelope()
