from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moodmesh.mesh.artefacts import messages
from moodmesh.mesh.artefacts.manifest import CHUNK_SIZE, Manifest, manifest_of
from moodmesh.mesh.artefacts.store import RESERVE, ArtefactStore, Part
from moodmesh.mesh.artefacts.transfers import Transfers
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.errors import BadMessage, Corrupt, NoSpace, NotFound
from moodmesh.mesh.frames import CHUNK, Caps
from moodmesh.mesh.link import PeerLink
from moodmesh.mesh.memory import MemoryNet
from moodmesh.mesh.pairs import Pairs
from moodmesh.mesh.seams import DeviceId, Envelope, LinkClosed
from moodmesh.nodes.bench.fuzz import mutants

from .support import Recorder, new_identity, pair_with


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


class Side(Recorder):
    """A device with a store, which hands what it reads to its transfers and counts the chunk bytes it got."""

    def __init__(self, root: Path, **store: object) -> None:
        super().__init__()
        self.store = ArtefactStore(root, **store)  # type: ignore[arg-type]
        self.readable: set[tuple[DeviceId, str]] = set()
        self.transfers = Transfers(self.store, lambda peer, artefact: (peer, artefact) in self.readable)
        self.chunk_bytes = 0
        self.cut_after: int | None = None

    async def put(self, data: bytes, media: str = "application/octet-stream") -> str:
        return await asyncio.to_thread(self.store.put, data, media)

    def link_down(self, peer: DeviceId, reason: str) -> None:
        self.transfers.drop(peer)
        super().link_down(peer, reason)

    async def _read(self, link: PeerLink) -> None:
        try:
            while True:
                envelope = await link.receive()
                self.chunk_bytes += len(envelope.body) if envelope.kind == CHUNK else 0
                if self.cut_after is not None and self.chunk_bytes > self.cut_after:
                    self.cut_after = None
                    await link.close()
                self.got.put_nowait(Envelope(envelope.kind, b""))
                await self.transfers.handle(link, envelope)
        except LinkClosed:
            pass


@dataclass
class Trio:
    """Three paired devices: `ann` has artefacts, `bob` fetches, `eve` is paired with both and permitted nothing."""

    ann: Side
    bob: Side
    eve: Side
    net: MemoryNet
    ids: dict[Side, DeviceId]

    async def link(self, one: Side, other: Side) -> PeerLink:
        links = self.net._members[self.ids[one]].links
        target = self.ids[other]
        return await links.dial(target, [self.net.address(target)], self.net.rid(target))


Side.__hash__ = object.__hash__  # type: ignore[method-assign]


@pytest.fixture
async def trio(tmp_path: Path) -> AsyncIterator[Trio]:
    net = MemoryNet(SystemClock())
    identities = [new_identity() for _ in range(3)]
    sides = [Side(tmp_path / name) for name in ("ann", "bob", "eve")]
    caps = Caps(messages.CAPS)
    for identity, side in zip(identities, sides, strict=True):
        pairs = Pairs()
        for other in identities:
            if other is not identity:
                pairs.add(pair_with(other))
        net.join(identity.id, pairs, side, caps)
    yield Trio(*sides, net, {side: identity.id for identity, side in zip(identities, sides, strict=True)})
    for side in sides:
        await side.transfers.close()
    for identity in identities:
        await net._members[identity.id].links.close()
    for side in sides:
        await asyncio.gather(*side.readers)


@pytest.mark.parametrize("size", [0, 1, CHUNK_SIZE, CHUNK_SIZE + 1, 3 * CHUNK_SIZE])
async def test_an_artefact_crosses_whole(trio: Trio, size: int) -> None:
    data = noise(size)
    artefact = await trio.ann.put(data, "text/plain")
    trio.ann.readable.add((trio.ids[trio.bob], artefact))
    path = await trio.bob.transfers.fetch(await trio.link(trio.bob, trio.ann), artefact)
    assert path.read_bytes() == data
    manifest = await asyncio.to_thread(trio.bob.store.manifest, artefact)
    assert manifest.id == artefact == hashlib.sha256(manifest.encode()).hexdigest()
    assert await trio.bob.transfers.fetch(await trio.link(trio.bob, trio.ann), artefact) == path


async def test_a_transfer_cut_at_99_percent_sends_less_than_1_1_mib_again(trio: Trio) -> None:
    data = noise(20 * CHUNK_SIZE)
    artefact = await trio.ann.put(data)
    trio.ann.readable.add((trio.ids[trio.bob], artefact))
    trio.bob.cut_after = int(0.99 * len(data))
    with pytest.raises(LinkClosed):
        await trio.bob.transfers.fetch(await trio.link(trio.bob, trio.ann), artefact)
    assert trio.bob.chunk_bytes > 0.95 * len(data)
    assert not trio.bob.store.has(artefact)
    trio.bob.chunk_bytes = 0
    again = Transfers(trio.bob.store, lambda peer, name: False)  # as after a restart: only the disk remembers
    trio.bob.transfers = again
    path = await again.fetch(await trio.link(trio.bob, trio.ann), artefact)
    assert path.read_bytes() == data
    assert 0 < trio.bob.chunk_bytes < 1.1 * 2**20


async def test_knowing_a_hash_is_no_permission_and_looks_like_absence(trio: Trio) -> None:
    artefact = await trio.ann.put(noise(100))
    link = await trio.link(trio.eve, trio.ann)
    refusals = []
    for probe in (artefact, "0" * 64):
        with pytest.raises(NotFound) as refused:
            await trio.eve.transfers.fetch(link, probe)
        refusals.append(str(refused.value))
    assert refusals[0] == refusals[1]
    await link.send(messages.Want(artefact=artefact, missing=messages.bitmap([0], 1)).envelope())
    kinds = [await trio.eve.got.get() for _ in range(3)]
    assert [envelope.kind for envelope in kinds] == ["absent"] * 3
    trio.ann.transfers._may_read = lambda peer, name: True  # the mutation: without the check the probe succeeds
    assert (await trio.eve.transfers.fetch(link, artefact)).exists()


async def test_a_wrong_chunk_is_not_written(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    data = noise(2 * CHUNK_SIZE)
    artefact = await trio.ann.put(data)
    trio.ann.readable.add((trio.ids[trio.bob], artefact))
    read = trio.ann.store.read_chunk
    monkeypatch.setattr(
        trio.ann.store, "read_chunk", lambda name, index: bytes(CHUNK_SIZE) if index == 1 else read(name, index)
    )
    link = await trio.link(trio.bob, trio.ann)
    with pytest.raises(Corrupt):
        await trio.bob.transfers.fetch(link, artefact)
    half = await asyncio.to_thread(lambda: trio.bob.store.begin(trio.ann.store.manifest(artefact)))
    assert half.missing == {1}
    with monkeypatch.context() as mutation:  # without the check the wrong bytes are taken for the artefact
        mutation.setattr(Manifest, "fits", lambda self, index, chunk: index == 0 or len(chunk) == CHUNK_SIZE)
        (trio.bob.store._root / f"{artefact}.part").unlink()
        assert (await trio.bob.transfers.fetch(link, artefact)).read_bytes() != data


async def test_another_artefacts_manifest_is_refused(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    wanted, other = await trio.ann.put(noise(10)), await trio.ann.put(noise(11))
    trio.ann.readable.add((trio.ids[trio.bob], wanted))
    manifest = await asyncio.to_thread(trio.ann.store.manifest, other)
    monkeypatch.setattr(trio.ann.store, "manifest", lambda name: manifest)
    with pytest.raises(Corrupt):
        await trio.bob.transfers.fetch(await trio.link(trio.bob, trio.ann), wanted)


async def test_a_full_disk_is_said_before_a_byte_is_sent(trio: Trio, tmp_path: Path) -> None:
    artefact = await trio.ann.put(noise(2 * CHUNK_SIZE))
    trio.ann.readable.add((trio.ids[trio.bob], artefact))
    trio.bob.store._disk_free = lambda root: RESERVE + 2 * CHUNK_SIZE - 1
    with pytest.raises(NoSpace, match="2 MiB and 1 GiB of reserve are needed"):
        await trio.bob.transfers.fetch(await trio.link(trio.bob, trio.ann), artefact)
    assert trio.bob.chunk_bytes == 0
    assert list((tmp_path / "bob").iterdir()) == []
    trio.bob.store._disk_free = lambda root: RESERVE + 2 * CHUNK_SIZE
    assert (await trio.bob.transfers.fetch(await trio.link(trio.bob, trio.ann), artefact)).exists()


async def test_two_fetches_of_one_artefact_share_the_bytes(trio: Trio) -> None:
    artefact = await trio.ann.put(noise(3 * CHUNK_SIZE))
    trio.ann.readable.add((trio.ids[trio.bob], artefact))
    link = await trio.link(trio.bob, trio.ann)
    paths = await asyncio.gather(*(trio.bob.transfers.fetch(link, artefact) for _ in range(2)))
    assert paths[0] == paths[1]
    assert trio.bob.chunk_bytes < 3.1 * 2**20


async def test_a_cancelled_fetch_stops_the_sender_and_the_next_one_goes_on(trio: Trio) -> None:
    artefact = await trio.ann.put(noise(8 * CHUNK_SIZE))
    trio.ann.readable.add((trio.ids[trio.bob], artefact))
    link = await trio.link(trio.bob, trio.ann)
    task = asyncio.create_task(trio.bob.transfers.fetch(link, artefact))
    while trio.bob.chunk_bytes < 2 * CHUNK_SIZE:
        await trio.bob.got.get()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert (await trio.bob.transfers.fetch(link, artefact)).exists()
    assert trio.bob.chunk_bytes < 10 * 2**20


async def test_a_message_outside_the_protocol_closes_the_link(trio: Trio) -> None:
    for body in (b'{"artefact":"../../etc/passwd"}', b'{"artefact":1}', b"{}", b"{"):
        link = await trio.link(trio.eve, trio.ann)
        await link.send(Envelope("fetch", body))
        assert (await trio.eve.down.get())[0] == trio.ids[trio.ann]


async def test_more_chunks_than_the_window_close_the_link(trio: Trio) -> None:
    link = await trio.link(trio.bob, trio.ann)
    artefact = "ab" * 32
    fetching = asyncio.create_task(trio.bob.transfers.fetch(link, artefact))
    back = await trio.ann.up.get()
    trio.ann.transfers._may_read = lambda peer, name: False
    trio.bob.transfers._inboxes.clear()
    inbox: asyncio.Queue[Envelope | LinkClosed] = asyncio.Queue(1)
    await asyncio.sleep(0.05)
    trio.bob.transfers._inboxes[trio.ids[trio.ann]] = artefact, inbox
    for index in range(2):
        await back.send(messages.pack_chunk(artefact, index, b"x"))
    assert (await trio.bob.down.get())[0] == trio.ids[trio.ann]
    fetching.cancel()
    await asyncio.gather(fetching, return_exceptions=True)


async def test_questions_whose_answers_are_not_read_close_the_link(trio: Trio, monkeypatch: pytest.MonkeyPatch) -> None:
    link = await trio.link(trio.eve, trio.ann)
    back = await trio.ann.up.get()
    full = asyncio.Event()

    async def stuck(envelope: Envelope) -> None:
        await full.wait()

    monkeypatch.setattr(back, "send", stuck)
    for _ in range(200):
        with contextlib.suppress(LinkClosed):
            await link.send(Envelope("fetch", b'{"artefact":"' + b"0" * 64 + b'"}'))
    assert (await trio.eve.down.get())[0] == trio.ids[trio.ann]
    assert len(trio.ann.transfers._tasks) < 50
    full.set()


def test_the_oldest_use_is_evicted_first_and_a_pin_keeps(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path, quota=200_000)
    first, second, third = (store.put(noise(50_000, seed)) for seed in range(3))
    for age, artefact in enumerate((third, second, first)):
        os.utime(store._file(artefact), (age, age))
    store.path(third)
    store.pin(second)
    store.put(noise(70_000, 9))
    assert [store.has(artefact) for artefact in (first, second, third)] == [False, True, True]
    with pytest.raises(NoSpace):
        store.put(noise(190_000, 10))
    store.unpin(second)
    store.put(noise(190_000, 10))
    assert not store.has(second)
    assert not list(tmp_path.glob("*.part"))


def test_a_file_is_copied_and_a_torn_part_is_found_by_its_hashes(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.write_bytes(noise(3 * CHUNK_SIZE + 5))
    store = ArtefactStore(tmp_path / "store", disk_free=lambda root: 1 << 40, quota=1 << 40)
    artefact = store.put(source)
    assert store.path(artefact).read_bytes() == source.read_bytes()
    manifest = store.manifest(artefact)
    store.delete(artefact)
    part = store.begin(manifest)
    for index in (0, 3):
        part.write(index, source.read_bytes()[index * CHUNK_SIZE : (index + 1) * CHUNK_SIZE])
    with part._path.open("r+b") as file:
        file.write(b"torn")
    assert store.begin(manifest).missing == {0, 1, 2}


def test_a_part_deleted_meanwhile_does_not_come_back_with_holes(tmp_path: Path) -> None:
    store = ArtefactStore(tmp_path, disk_free=lambda root: 1 << 40, quota=1 << 40)
    chunks = [noise(CHUNK_SIZE, 1), noise(CHUNK_SIZE, 2)]
    manifest = manifest_of(chunks, "text/plain")
    part = store.begin(manifest)
    part.write(0, chunks[0])
    store.delete(manifest.id)
    with pytest.raises(NotFound):
        part.write(1, chunks[1])
    with pytest.raises(Corrupt):
        part.finish()


@pytest.mark.parametrize("name", ["../x", "/etc/passwd", "A" * 64, "a" * 63, "a" * 64 + "\n", ""])
def test_nothing_but_a_hash_names_a_file(tmp_path: Path, name: str) -> None:
    store = ArtefactStore(tmp_path)
    for method in (store.path, store.has, store.manifest, store.delete):
        with pytest.raises(NotFound):
            method(name)


@given(st.integers(0, 200).flatmap(lambda count: st.tuples(st.just(count), st.sets(st.integers(0, max(0, count - 1))))))
def test_bitmaps_round_trip(case: tuple[int, set[int]]) -> None:
    count, chosen = case
    chosen = chosen if count else set()
    assert set(messages.indexes(messages.bitmap(chosen, count), count)) == chosen


def test_parsers_take_anything() -> None:
    manifest = manifest_of([noise(10)], "text/plain")
    name = manifest.id
    samples = [
        messages.Offered(artefact=name, manifest=manifest).envelope().body,
        messages.Want(artefact=name, missing=messages.bitmap([3], 7), window=1).envelope().body,
        messages.Have(artefact=name, index=3).envelope().body,
        messages.bitmap([3], 7).encode(),
    ]
    for body in mutants(samples, 10_000):
        for model in (messages.Offered, messages.Want, messages.Have):
            with contextlib.suppress(BadMessage):
                messages.parse(model, Envelope("x", body))
        with contextlib.suppress(BadMessage):
            messages.unpack_chunk(Envelope(CHUNK, body))
        with contextlib.suppress(BadMessage):
            assert set(messages.indexes(body.decode("latin-1"), 7)) <= set(range(7))


def test_a_part_is_private(tmp_path: Path) -> None:
    part = Part(ArtefactStore(tmp_path), manifest_of([b"x"], "text/plain"), tmp_path / ("0" * 64 + ".part"))
    assert part._path.stat().st_mode & 0o077 == 0
