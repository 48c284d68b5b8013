"""Ways between members over the pinned links of paired devices: how circles talk, and rooms on a link without a network."""

from __future__ import annotations

import base64
import binascii
import itertools
from collections.abc import Awaitable, Callable

from moodmesh.mesh.rooms.sitting import Inbox
from moodmesh.mesh.seams import DeviceId, LinkClosed
from moodmesh.nodes.background import Background
from moodmesh.nodes.messages import RoomWord

Key = tuple[DeviceId, bool, int]
MOST_WAYS = 64
UNREAD = 4 << 20
"""Bytes of one peer that wait to be read, in all its ways."""


class Way:
    """A `Place` to a paired device."""

    def __init__(self, ways: Ways, key: Key) -> None:
        self._ways, self._key = ways, key
        self.peer, self.unread = key[0], 0
        self.slow = ways.slow(key[0])
        self._inbox = Inbox()

    def post(self, data: bytes) -> None:
        """Lost when the link is gone: `receive` then tells."""
        self._ways.say(self._key, data)

    def heard(self, data: bytes) -> None:
        """It came from the other end."""
        self.unread += len(data)
        self._inbox.put(data)

    def over(self) -> None:
        """Nothing more comes."""
        self._inbox.end()

    async def receive(self) -> bytes:
        """`LinkClosed` after the last."""
        data = await self._inbox.receive()
        self.unread -= len(data)
        return data

    def close(self) -> None:
        """The other end hears of it."""
        self._ways.end(self._key)

    def address(self, door: bytes) -> bytes:
        """Paired devices are reached by who they are."""
        return self._key[0].encode("ascii")


class Ways:
    """All of them. `send` queues a message for a linked peer; `serve` gets what a peer opened; `slow`: linked by radio."""

    def __init__(
        self,
        send: Callable[[DeviceId, RoomWord], bool],
        serve: Callable[[Way], Awaitable[None]],
        slow: Callable[[DeviceId], bool] = lambda peer: False,
    ) -> None:
        self._send, self._serve, self.slow = send, serve, slow
        self._ways: dict[Key, Way] = {}
        self._numbers = itertools.count(1)
        self._background = Background()

    def open(self, peer: DeviceId) -> Way:
        """A new one; `LinkClosed` without a link."""
        key = (peer, True, next(self._numbers))
        if not self._send(peer, RoomWord(way=key[2], opened=True, data="")):
            raise LinkClosed("no link")
        self._ways[key] = Way(self, key)
        return self._ways[key]

    def hear(self, peer: DeviceId, word: RoomWord) -> None:
        """`opened`: whether its sender opened the way."""
        key = (peer, not word.opened, word.way)
        way = self._ways.get(key)
        if way is None and word.opened and not word.end and sum(k[0] == peer for k in self._ways) < MOST_WAYS:
            way = self._ways[key] = Way(self, key)
            self._background.spawn(self._served(way))
        if way is None:
            return
        if word.data:
            try:
                way.heard(base64.b64decode(word.data, validate=True))
            except binascii.Error:
                self.end(key)
            if sum(w.unread for k, w in self._ways.items() if k[0] == peer) > UNREAD:
                self.end(key)  # nobody reads as fast as this peer sends
        if word.end:
            self._ways.pop(key, None)
            way.over()

    async def _served(self, way: Way) -> None:
        await self._serve(way)

    def down(self, peer: DeviceId) -> None:
        """The link is gone, and what went over it."""
        for key in [key for key in self._ways if key[0] == peer]:
            self._ways.pop(key).over()

    def say(self, key: Key, data: bytes) -> None:
        """One message."""
        if key in self._ways:
            self._send(key[0], RoomWord(way=key[2], opened=key[1], data=base64.b64encode(data).decode()))

    def end(self, key: Key) -> None:
        """No more over this way."""
        way = self._ways.pop(key, None)
        if way is not None:
            self._send(key[0], RoomWord(way=key[2], opened=key[1], data="", end=True))
            way.over()

    async def finish(self) -> None:
        """End them all."""
        for key in list(self._ways):
            self.end(key)
        await self._background.finish(cancel=True)
