"""Results that wait here until their submitter has them (routing §8): offered again and again, forgotten once acknowledged."""

from __future__ import annotations

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.background import Background
from moodmesh.nodes.jobs.journal import Executions, Held
from moodmesh.nodes.jobs.network import Network
from moodmesh.nodes.jobs.outgoing import hand_on
from moodmesh.nodes.jobs.outputs import Outputs
from moodmesh.nodes.messages import Live, PartAck

KEEP_S = 24 * 3600.0
FENCE_KEEP_S = 30 * 24 * 3600.0
REPEAT_S = 5.0
Key = tuple[str, str, int]


class Delivery:
    """`waiting`: what ended here and is not forgotten yet; one without a result ended otherwise; a full disk kept its row."""

    def __init__(self, network: Network, executions: Executions, outputs: Outputs, clock: Clock) -> None:
        self._net, self._journal, self._outputs, self._clock = network, executions, outputs, clock
        self.waiting: dict[Key, Held] = {}
        self._tried: dict[Key, float] = {}
        self._background = Background()

    def offer(self, held: Held, unless: DeviceId | None = None) -> None:
        """Send a result that is on disk to its submitter, after the parts that go before it, unless that is named: it has no
        link up yet, or asks by itself."""
        key = held.requester, held.job, held.number
        again = key in self.waiting
        self.waiting[key] = held
        if held.result is not None and held.requester != unless:
            self._tried[key] = now = self._clock.now()
            if not hand_on(self._net, key, held.parts, now, again=again):
                self._net.send(held.requester, held.result)

    def acknowledged(self, held: Held, said: PartAck) -> None:
        """The submitter has so many parts of an attempt: it hears the next ones, or the result when there are none."""
        if held.parts is not None and held.parts.acknowledge(said.held):
            key = held.requester, held.job, held.number
            held.parts.at = self._tried[key] = self._clock.now()
            if not hand_on(self._net, key, held.parts, held.parts.at) and held.result is not None:
                self._net.send(held.requester, held.result)

    async def forget(self, key: Key) -> None:
        """Row, result and its data go; what a full disk keeps is tried again by `reconcile`, or by `expire`."""
        held = self.waiting.get(key)
        if held is None:
            return
        await self._journal.forget(held)
        self.waiting.pop(key, None)
        self._tried.pop(key, None)
        await self._outputs.drop(held.result)

    def reconcile(self, peer: DeviceId) -> None:
        """What the peer did not answer for long is said again; what a full disk kept is forgotten at last."""
        before = self._clock.now() - REPEAT_S
        for key, held in list(self.waiting.items()):
            if key[0] != peer or self._tried.get(key, 0.0) >= before:
                continue
            if held.result is not None:
                self.offer(held)
            else:
                self._tried[key] = self._clock.now()
                self._background.spawn(self.forget(key))

    async def expire(self, passed_s: float) -> None:
        """So many seconds have passed: forget results that nobody fetched for 24 hours, what could not be forgotten before,
        and old fences."""
        old = await self._journal.age(passed_s, KEEP_S, FENCE_KEEP_S)
        for key in [*old, *(k for k, held in self.waiting.items() if held.result is None)]:
            await self.forget(key)

    def live(self, peer: DeviceId) -> list[Live]:
        """The results that wait for a peer, for the heartbeat."""
        done = [k for k, held in self.waiting.items() if k[0] == peer and held.result is not None]
        return [Live(job=k[1], attempt=k[2], phase="DELIVERING") for k in done]

    def names(self, peer: DeviceId, artefact: str) -> bool:
        """Whether a result waiting for the peer names this artefact."""
        results = [held.result for held in self.waiting.values() if held.requester == peer and held.result]
        return any(blob.id == artefact for result in results for blob in (result.outputs or {}).values())

    async def close(self) -> None:
        """What is being forgotten is forgotten first."""
        await self._background.finish()
