"""Artefacts over links: both sides of the exchange in `messages` (routing §11).

One fetch at a time per link, so that a heartbeat waits behind one window at most. The node calls `handle` with every
envelope whose kind is in `messages.KINDS`, and `drop` when a link is down.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

from moodmesh.mesh.clock import Clock, SystemClock, within
from moodmesh.mesh.errors import BadMessage, Corrupt, NotFound
from moodmesh.mesh.frames import CHUNK
from moodmesh.mesh.seams import DeviceId, Envelope, Link, LinkClosed

from .manifest import Manifest
from .messages import Absent, Enough, Fetch, Have, Offered, Want, bitmap, indexes, pack_chunk, parse, unpack_chunk
from .store import ArtefactStore, Part

PATIENCE_S, RADIO_PATIENCE_S = 30.0, 300.0
"""For a chunk of 1 MiB: over a network, and by radio at some 4 kB a second."""
MOST_QUESTIONS = 16  # a peer asks for one artefact at a time; some questions of before may be on their way
_Inbox = asyncio.Queue[Envelope | LinkClosed]


class _Serving:
    """Chunks on their way out to one peer, and the room in its window."""

    def __init__(self, window: int) -> None:
        self.room = asyncio.Semaphore(window)
        self.unacknowledged: set[int] = set()

    def acknowledged(self, index: int) -> None:
        if index in self.unacknowledged:
            self.unacknowledged.discard(index)
            self.room.release()


class Transfers:
    """Fetches artefacts from peers, and serves those that `may_read(peer, artefact)` allows.

    `moved(peer, bytes, seconds)` hears of each chunk received, for the estimate of bandwidth; `gives(peer, artefact, whole)` of
    each time a peer is served: first that it lacks something, and, before the last chunk goes, that it may have the whole.
    """

    def __init__(
        self,
        store: ArtefactStore,
        may_read: Callable[[DeviceId, str], bool],
        clock: Clock | None = None,
        window: int = 1,
        moved: Callable[[DeviceId, int, float], None] = lambda peer, size, seconds: None,
        gives: Callable[[DeviceId, str, bool], None] = lambda peer, artefact, whole: None,
    ) -> None:
        self._store, self._may_read, self._clock = store, may_read, clock or SystemClock()
        self._window, self._moved, self._gives = window, moved, gives
        self._by_artefact: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._by_peer: defaultdict[DeviceId, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._inboxes: dict[DeviceId, tuple[str, _Inbox]] = {}
        self._serving: dict[DeviceId, tuple[str, _Serving, asyncio.Task[None]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._asked: Counter[DeviceId] = Counter()

    async def fetch(self, link: Link, artefact: str, largest: int | None = None) -> Path:
        """The file of an artefact, taken from the peer unless it is here; cut at any point, the next call goes on there.

        One of more than `largest` bytes is refused before anything of it is taken (`Corrupt`).
        `NotFound`, `NoSpace`, `Corrupt`, `LinkClosed`, and TimeoutError after 30 s without a chunk.
        """
        async with self._by_artefact[artefact], self._by_peer[link.peer]:
            if await asyncio.to_thread(self._store.has, artefact):
                return await asyncio.to_thread(self._store.path, artefact)
            inbox: _Inbox = asyncio.Queue(self._window + 2)
            self._inboxes[link.peer] = artefact, inbox
            try:
                return await self._receive(link, artefact, inbox, largest)
            finally:
                self._inboxes.pop(link.peer, None)

    async def handle(self, link: Link, envelope: Envelope) -> None:
        """Take one message of a peer; returns at once. A message outside the protocol closes the link."""
        try:
            self._take(link, envelope)
        except BadMessage:
            await link.close()

    def drop(self, peer: DeviceId) -> None:
        """The link to `peer` is down: fetches from it end with `LinkClosed`, serving stops."""
        self._stop_serving(peer)
        _, inbox = self._inboxes.get(peer, ("", None))
        if inbox is not None:
            while inbox.full():
                inbox.get_nowait()
            inbox.put_nowait(LinkClosed("link lost during a transfer"))

    async def close(self) -> None:
        """Stop serving everybody."""
        for peer in list(self._serving):
            self._stop_serving(peer)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _take(self, link: Link, envelope: Envelope) -> None:
        match envelope.kind:
            case "fetch":
                if self._asked[link.peer] >= MOST_QUESTIONS:
                    raise BadMessage("more questions than answers were read")
                self._spawn(self._describe(link, parse(Fetch, envelope).artefact))
                self._asked[link.peer] += 1
            case "want":
                self._start_serving(link, parse(Want, envelope))
            case "have":
                have = parse(Have, envelope)
                artefact, serving, _ = self._serving.get(link.peer, (None, None, None))
                if serving is not None and artefact == have.artefact:
                    serving.acknowledged(have.index)
            case "enough":
                if self._serving.get(link.peer, ("",))[0] == parse(Enough, envelope).artefact:
                    self._stop_serving(link.peer)
            case _:
                self._deliver(link.peer, envelope)

    def _deliver(self, peer: DeviceId, envelope: Envelope) -> None:
        """Hand a message to the fetch that waits for it; one for a fetch that has ended is late, and dropped."""
        waiting, inbox = self._inboxes.get(peer, ("", None))
        if inbox is None or _about(envelope) != waiting:
            return
        if inbox.full():
            raise BadMessage("more chunks than the window allows")
        inbox.put_nowait(envelope)

    async def _receive(self, link: Link, artefact: str, inbox: _Inbox, largest: int | None) -> Path:
        await link.send(Fetch(artefact=artefact).envelope())
        answer = await self._next(link, inbox)
        while answer.kind == CHUNK:  # still in flight from a fetch that was given up
            answer = await self._next(link, inbox)
        manifest = self._manifest(answer, artefact)
        if largest is not None and manifest.size > largest:
            raise Corrupt(f"it has {manifest.size} bytes, more than the {largest} that were promised")
        self._store.pin(artefact)
        try:
            part = await asyncio.to_thread(self._store.begin, manifest)
            if part.missing:
                wanted = bitmap(part.missing, len(manifest.chunks))
                await link.send(Want(artefact=artefact, missing=wanted, window=self._window).envelope())
            while part.missing:
                await self._receive_chunk(link, artefact, part, inbox)
            return await asyncio.to_thread(part.finish)
        except BaseException:
            self._spawn(link.send(Enough(artefact=artefact).envelope()))
            raise
        finally:
            self._store.unpin(artefact)

    async def _receive_chunk(self, link: Link, artefact: str, part: Part, inbox: _Inbox) -> None:
        started = self._clock.now()
        envelope = await self._next(link, inbox)
        if envelope.kind != CHUNK:
            raise NotFound("the peer has lost the artefact, or may no longer show it")
        _, index, data = unpack_chunk(envelope)
        await asyncio.to_thread(part.write, index, data)
        self._moved(link.peer, len(data), self._clock.now() - started)
        await link.send(Have(artefact=artefact, index=index).envelope())

    async def _next(self, link: Link, inbox: _Inbox) -> Envelope:
        item = await within(self._clock, _patience(link), inbox.get())
        if isinstance(item, LinkClosed):
            raise item
        return item

    @staticmethod
    def _manifest(envelope: Envelope, artefact: str) -> Manifest:
        if envelope.kind != Offered.kind:
            raise NotFound("the peer has no such artefact for this device")
        manifest = parse(Offered, envelope).manifest
        if manifest.id != artefact:
            raise Corrupt("the manifest is another artefact's")
        return manifest

    async def _describe(self, link: Link, artefact: str) -> None:
        answer: Offered | Absent = Absent(artefact=artefact)
        try:
            if self._may_read(link.peer, artefact):
                with contextlib.suppress(NotFound):
                    manifest = await asyncio.to_thread(self._store.manifest, artefact)
                    answer = Offered(artefact=artefact, manifest=manifest)
            await link.send(answer.envelope())
        finally:
            self._asked[link.peer] -= 1

    def _start_serving(self, link: Link, want: Want) -> None:
        self._stop_serving(link.peer)
        serving = _Serving(want.window)
        task = self._spawn(self._serve(link, want, serving))
        self._serving[link.peer] = want.artefact, serving, task

    def _stop_serving(self, peer: DeviceId) -> None:
        _, _, task = self._serving.pop(peer, (None, None, None))
        if task is not None:
            task.cancel()

    async def _serve(self, link: Link, want: Want, serving: _Serving) -> None:
        artefact = want.artefact
        self._store.pin(artefact)
        try:
            if not self._may_read(link.peer, artefact):
                raise NotFound("not permitted")
            manifest = await asyncio.to_thread(self._store.manifest, artefact)
            missing = indexes(want.missing, len(manifest.chunks))
            if missing:
                self._gives(link.peer, artefact, False)
            for index in missing:
                await within(self._clock, _patience(link), serving.room.acquire())
                data = await asyncio.to_thread(self._store.read_chunk, artefact, index)
                if index == missing[-1]:
                    self._gives(link.peer, artefact, True)
                serving.unacknowledged.add(index)
                await link.send(pack_chunk(artefact, index, data))
        except NotFound:
            await link.send(Absent(artefact=artefact).envelope())
        except BadMessage:
            await link.close()
        finally:
            self._store.unpin(artefact)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.get_running_loop().create_task(_quietly(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task


def _about(envelope: Envelope) -> str:
    """Which artefact a message of the sending side is about; `BadMessage`."""
    if envelope.kind == CHUNK:
        return unpack_chunk(envelope)[0]
    model: type[Offered] | type[Absent] = Offered if envelope.kind == Offered.kind else Absent
    return parse(model, envelope).artefact


async def _quietly(work: Coroutine[Any, Any, None]) -> None:
    with contextlib.suppress(LinkClosed, TimeoutError):
        await work


def _patience(link: Link) -> float:
    return RADIO_PATIENCE_S if link.slow else PATIENCE_S
