"""Bytes larger than a message: artefacts on disk and over the links, and model files pulled by hash (routing §11)."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
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
from moodmesh.tasks.models import Card, ModelStore
from moodmesh.tasks.task import Task

MODEL_ANSWER_S = 10.0


class NodeBlobs:
    """Implements `jobs.network.Blobs`. An artefact is served only to whoever a live attempt, or a model offer, names."""

    def __init__(self, root: Path, peers: Peers, jobs: Jobs, clock: Clock) -> None:
        self.store = ArtefactStore(root)
        self._peers, self._jobs = peers, jobs
        self.transfers = Transfers(self.store, self._may_read, clock, moved=peers.transferred)
        self._offered: set[tuple[DeviceId, str]] = set()
        peers.transfers, peers.on_down = self._route, self.transfers.drop
        self._tasks: set[asyncio.Task[None]] = set()

    async def put(self, data: bytes) -> Blob:
        """Keep bytes (see `Blobs`)."""
        if len(data) <= INLINE_BYTES:
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
            path = await self._fetch(blob.id, source)
        except (MeshError, LinkClosed, TimeoutError) as error:
            raise OSError(str(error) or "the transfer timed out") from None
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

    async def _fetch(self, artefact: str, source: DeviceId) -> Path:
        if source != self._peers.me and not await asyncio.to_thread(self.store.has, artefact):
            link = self._peers.peers[source].link if source in self._peers.peers else None
            if link is None:
                raise LinkClosed("the device that has it is not linked")
            return await self.transfers.fetch(link, artefact)
        return await asyncio.to_thread(self.store.path, artefact)

    def _may_read(self, peer: DeviceId, artefact: str) -> bool:
        named = self._peers.submitter.names(peer, artefact) or self._peers.executor.names(peer, artefact)
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

    async def pull(self, card: Card) -> str:
        """Fetch a model file from the first linked peer that has it; its name. OSError when none has."""
        for peer in list(self._peers.linked()):
            artefact = await self._ask(peer.id, card.sha256)
            if artefact is not None:
                with contextlib.suppress(OSError):
                    data = await self._blobs.get(Blob(size=card.bytes, id=artefact), peer.id)
                    await asyncio.to_thread(self._store.add, card, data)
                    await asyncio.to_thread(self._blobs.store.delete, artefact)
                    return peer.name
        raise OSError(f"no linked peer has {card.name} ({card.sha256[:16]}); pair with a device that has it, or reinstall")

    async def hear(self, peer: DeviceId, message: SeekModel | HaveModel) -> None:
        """Answer a question of a peer, or take its answer."""
        if isinstance(message, HaveModel):
            waiting = self._answers.get((peer, message.sha256))
            if waiting is not None and not waiting.done():
                waiting.set_result(message.artefact)
            return
        artefact = None
        for name, task in self._tasks.items():
            for variant in task.spec.variants:
                if variant.card and variant.card.sha256 == message.sha256 and self._access.may(peer, name):
                    artefact = await self._offer(peer, variant.card)
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
