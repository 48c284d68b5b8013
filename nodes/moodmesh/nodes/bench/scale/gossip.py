"""What a node says about itself, in bytes: one node with everything that talks, its peers on links in memory, time virtual."""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any, cast

from moodmesh.mesh.frames import Caps, encode
from moodmesh.mesh.seams import DeviceId, Envelope, LinkClosed
from moodmesh.nodes.bench.scale.rig import SERVICE_S, Rig
from moodmesh.nodes.bench.virtual import LoopClock, VirtualLoop, run
from moodmesh.nodes.kinds import FEATURES, KINDS, parse
from moodmesh.nodes.messages import Blob, Granted, Heartbeat, Message, Reserve, Result, ResultAck, Start

GOSSIP = ("heartbeat", "capability", "dynamic", "pool", "rights")
CAPS = Caps({kind: model.cap for kind, model in KINDS.items()})
TLS_BYTES, MASK_BYTES = 22, 2  # a record of TLS 1.3; every second end of a link masks what it sends, with four bytes
LOAD, WARM_S, IDLE_S, BUSY_S = 0.7, 20.0, 120.0, 30.0


class Bystander:
    """The far end of a link: answers heartbeats, and asks for the jobs it is told to."""

    slow, pieces, features = False, 0, frozenset(FEATURES)

    def __init__(self, peer: DeviceId, heard: Counter[str]) -> None:
        self.peer, self.address, self._heard = peer, ("10.0.0.1", 1), heard
        self._inbox: asyncio.Queue[Envelope | None] = asyncio.Queue()
        self._seq = 0

    async def send(self, envelope: Envelope) -> None:
        """What the node says: counted, and answered."""
        self._heard[envelope.kind] += on_the_wire(envelope)
        match parse(envelope):
            case Heartbeat() as beat:
                self._seq += 1
                self.say(Heartbeat(seq=self._seq, echo=beat.seq, held_s=0.0, mine=beat.yours, yours=[]))
            case Granted() as granted if granted.start_in_s < 1:
                self.say(
                    Start(job=granted.job, attempt=1, params={"text": "fine " * 20}, input=Blob.of(b""), seed=1)
                )  # fmt: skip
            case Result() as result:
                self.say(ResultAck(job=result.job, attempt=1))

    def say(self, message: Message) -> None:
        """Let the node hear a message."""
        self._inbox.put_nowait(message.envelope())

    async def receive(self) -> Envelope:
        """What the node hears."""
        if (envelope := await self._inbox.get()) is None:
            raise LinkClosed("gone")
        return envelope

    async def close(self, code: int = 0, reason: str = "closed") -> None:
        """End it."""
        self._inbox.put_nowait(None)


def on_the_wire(envelope: Envelope) -> int:
    """Bytes of a message in its WebSocket frame and its TLS record."""
    size = len(encode(envelope, CAPS).data)
    return size + (2 if size < 126 else 4) + MASK_BYTES + TLS_BYTES


def bytes_per_s(devices: int, *, busy: bool) -> dict[str, float]:
    """What one of so many devices sends, per second and kind of message; busy: it works at seven tenths for the others."""
    loop = VirtualLoop()
    with tempfile.TemporaryDirectory() as folder:
        rig = Rig(devices - 1, LoopClock(loop), Path(folder))
        return run(_measured(rig, busy), loop)


async def _measured(rig: Rig, busy: bool) -> dict[str, float]:
    heard = Counter[str]()
    await rig.permit()
    await rig.submitter.resume()
    serving = asyncio.ensure_future(rig.peers.run())
    await asyncio.sleep(0)
    links = [Bystander(other.id, heard) for other in rig.others]
    for link in links:
        rig.peers.link_up(cast(Any, link))
    asking = asyncio.ensure_future(_ask(rig, links)) if busy else None
    await asyncio.sleep(WARM_S)
    heard.clear()
    seconds = BUSY_S if busy else IDLE_S
    await asyncio.sleep(seconds)
    found = {kind: round(size / seconds, 1) for kind, size in sorted(heard.items())}
    await rig.executor.close()
    for task in (asking, serving):
        if task is not None:
            task.cancel()
    return found


async def _ask(rig: Rig, links: list[Bystander]) -> None:
    """Jobs of two seconds from anyone, as many as keep one slot busy for seven tenths of the time."""
    draw, number = random.Random(1), 0  # noqa: S311 - a benchmark's draw
    version = next(iter(rig.tasks.values())).spec.version
    while True:
        await asyncio.sleep(draw.expovariate(LOAD / SERVICE_S))
        number += 1
        draw.choice(links).say(Reserve(
            job=f"{number:032x}", attempt=1, task="emotion.text", version=version, variant="tiny", units=100.0, input_bytes=10,
            result_bytes=1000, personal=False, waited=0.0,
        ))  # fmt: skip
