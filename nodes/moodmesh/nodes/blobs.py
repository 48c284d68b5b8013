"""Bytes larger than a message: artefacts on disk and over the links, and model files pulled by hash (routing §11)."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path

from moodmesh.mesh.artefacts.messages import KINDS
from moodmesh.mesh.artefacts.store import ArtefactStore
from moodmesh.mesh.artefacts.transfers import Transfers
from moodmesh.mesh.clock import Clock
from moodmesh.mesh.errors import MeshError
from moodmesh.mesh.link import PeerLink
from moodmesh.mesh.seams import DeviceId, Envelope, LinkClosed
from moodmesh.nodes.access import Access
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.messages import INLINE_BYTES, Blob, HaveModel, SeekModel
from moodmesh.nodes.peers import Peers
from moodmesh.tasks.errors import ModelError
from moodmesh.tasks.models import Card, ModelStore
from moodmesh.tasks.task import Task

MODEL_ANSWER_S = 10.0
INLINE_RADIO_BYTES = 4096
"""Where somebody is linked by radio: longer, and a message would hold up those after it for seconds."""


class NodeBlobs:
    """Implements `jobs.network.Blobs`. An artefact is served only to whoever a live attempt, or a model offer, names."""

    def __init__(self, root: Path, peers: Peers, jobs: Jobs, clock: Clock) -> None:
        self.store = ArtefactStore(root)
        self._peers, self._jobs = peers, jobs
        self.transfers = Transfers(self.store, self._may_read, clock, moved=self._moved, gives=peers.gives)
        self.watching: dict[DeviceId, Callable[[int], None]] = {}
        self._offered: set[tuple[DeviceId, str]] = set()
        peers.transfers = self._route
        peers.on_down.append(self.transfers.drop)
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, data: bytes) -> Blob:
        """Keep bytes (see `Blobs`)."""
        if len(data) <= (INLINE_RADIO_BYTES if self._peers.slow() else INLINE_BYTES):
            return Blob.of(data)
        try:
            artefact = await asyncio.to_thread(self.store.put, data)
        except MeshError as error:
            raise OSError(str(error)) from None
        return Blob(size=len(data), id=artefact)

    async def get(self, blob: Blob, source: DeviceId) -> bytes:
        """The bytes (see `Blobs`)."""
        if blob.id is None:
            return blob.data()
        try:
            path = await self._fetch(blob.id, source, blob.size)
        except TimeoutError:
            raise ConnectionError("the transfer timed out") from None
        except MeshError as error:
            raise OSError(str(error)) from None
        return await asyncio.to_thread(path.read_bytes)

    async def drop(self, blob: Blob) -> None:
        """Delete it here (see `Blobs`)."""
        if blob.id is not None and not await self._jobs.name(blob.id):
            await asyncio.to_thread(self.store.delete, blob.id)

    def keep(self, blob: Blob) -> None:
        """Pin it (see `Blobs`)."""
        if blob.id is not None:
            self.store.pin(blob.id)

    def release(self, blob: Blob) -> None:
        """Unpin it (see `Blobs`)."""
        if blob.id is not None:
            self.store.unpin(blob.id)

    def offer(self, peer: DeviceId, artefact: str) -> None:
        """Let a peer fetch an artefact outside any attempt: a model file it asked for."""
        self._offered.add((peer, artefact))

    def _moved(self, peer: DeviceId, size: int, seconds: float) -> None:
        self._peers.transferred(peer, size, seconds)
        if (watcher := self.watching.get(peer)) is not None:
            watcher(size)

    async def _fetch(self, artefact: str, source: DeviceId, size: int) -> Path:
        if source != self._peers.me and not await asyncio.to_thread(self.store.has, artefact):
            link = self._peers.peers[source].link if source in self._peers.peers else None
            if link is None:
                raise LinkClosed("the device that has it is not linked")
            return await self.transfers.fetch(link, artefact, size)
        return await asyncio.to_thread(self.store.path, artefact)

    def _may_read(self, peer: DeviceId, artefact: str) -> bool:
        named = self._peers.submitter.names(peer, artefact) or self._peers.executor.results.names(peer, artefact)
        return named or (peer, artefact) in self._offered

    def _route(self, link: PeerLink, envelope: Envelope) -> bool:
        """Hand a transfer message over; False when it is none."""
        if envelope.kind not in KINDS:
            return False
        task = asyncio.create_task(self.transfers.handle(link, envelope))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return True


class Models:
    """Model files pulled by hash from any linked peer that has them, and given to peers that may use the task."""

    def __init__(self, store: ModelStore, tasks: Mapping[str, Task], blobs: NodeBlobs, peers: Peers, access: Access) -> None:
        self._store, self._tasks, self._blobs, self._peers, self._access = store, tasks, blobs, peers, access
        self._answers: dict[tuple[DeviceId, str], asyncio.Future[str | None]] = {}
        self._pulling: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def pull(self, card: Card, progress: Callable[[float], None] = lambda share: None) -> str:
        """Fetch a model file from the first linked peer that has it; its name, "" when it was here. OSError when none has.

        `progress` hears the share of bytes that came, 0 to 1.
        """
        async with self._pulling[card.sha256]:
            with contextlib.suppress(ModelError):
                await asyncio.to_thread(self._store.path, card)
                return ""
            problems: list[str] = []
            for peer in list(self._peers.linked()):
                artefact = await self._ask(peer.id, card.sha256)
                if artefact is not None:
                    try:
                        await self._take(card, artefact, peer.id, progress)
                    except OSError as error:
                        problems.append(f"{peer.name}: {error}")
                    else:
                        return peer.name
        what = f"{card.name} ({card.sha256[:16]})"
        if problems:
            raise OSError(f"{what} could not be fetched: {'; '.join(problems)}")
        raise OSError(f"no linked peer has {what} for this device; pair with one that has it, or reinstall")

    async def _take(self, card: Card, artefact: str, peer: DeviceId, progress: Callable[[float], None]) -> None:
        """Fetch, and keep it if it is what the card says; the copy among the artefacts goes either way."""
        came = 0

        def moved(size: int) -> None:
            nonlocal came
            came += size
            progress(min(1.0, came / card.bytes))

        self._blobs.watching[peer] = moved
        try:
            data = await self._blobs.get(Blob(size=card.bytes, id=artefact), peer)
            await asyncio.to_thread(self._store.add, card, data)
        finally:
            self._blobs.watching.pop(peer, None)
            await asyncio.to_thread(self._blobs.store.delete, artefact)

    async def hear(self, peer: DeviceId, message: SeekModel | HaveModel) -> None:
        """Answer a question of a peer, or take its answer."""
        if isinstance(message, HaveModel):
            waiting = self._answers.get((peer, message.sha256))
            if waiting is not None and not waiting.done():
                waiting.set_result(message.artefact)
            return
        artefact = None
        for name, task in self._tasks.items():
            for card in task.spec.cards().values():
                if card.sha256 == message.sha256 and self._access.may(peer, name):
                    artefact = await self._offer(peer, card)
        self._peers.send(peer, HaveModel(sha256=message.sha256, artefact=artefact))

    async def _offer(self, peer: DeviceId, card: Card) -> str | None:
        file = self._store.find(card)
        if file is None:
            return None
        artefact = await asyncio.to_thread(self._blobs.store.put, file)
        self._blobs.offer(peer, artefact)
        return artefact

    async def _ask(self, peer: DeviceId, sha256: str) -> str | None:
        waiting: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        self._answers[peer, sha256] = waiting
        try:
            if not self._peers.send(peer, SeekModel(sha256=sha256)):
                return None
            async with asyncio.timeout(MODEL_ANSWER_S):
                return await waiting
        except TimeoutError:
            return None
        finally:
            self._answers.pop((peer, sha256), None)
