"""What a device with a free slot asks of the mesh: a job held back, else one from a longer queue (routing §7)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.background import Background
from moodmesh.nodes.jobs.network import Network
from moodmesh.nodes.messages import Take
from moodmesh.nodes.placement.pull import Field, Heap, Waiting, gain, pull, totals
from moodmesh.nodes.placement.pull import Take as Choice
from moodmesh.nodes.placement.view import Device

ANSWER_S = 1.0
GAP_S, SILENT_GAP_S = 0.2, 2.0
Admits = Callable[[DeviceId, str, float], bool]


class Pulling:
    """The asking side of an executor. Each question keeps a slot free until it is answered, a second at most."""

    def __init__(self, network: Network, clock: Clock, admits: Admits, look: Callable[[], None]) -> None:
        """`admits(peer, class, units)`: whether this device would grant it now; `look`: called when a slot is free again, or
        when patience has lasted long enough."""
        self._net, self._clock, self._admits, self._look = network, clock, admits, look
        self._asked: list[tuple[DeviceId, float]] = []
        self._not_before: dict[DeviceId, float] = {}
        self._vain: dict[DeviceId, int] = {}
        self._timer = Background()
        self._look_at = 0.0

    @property
    def kept(self) -> int:
        """Slots kept for answers."""
        return len(self._asked)

    def anything(self) -> bool:
        """Whether any peer, or this device, has something to take."""
        return any(self._net.heaps().values()) or any(self._net.waiting().values())

    def answered(self, peer: DeviceId, *, reserved: bool) -> bool:
        """The peer reserves what it was asked for, or has nothing: its slot is no longer kept. False when it was not asked."""
        one = next((one for one in self._asked if one[0] == peer), None)
        if one is None:
            return False
        self._asked.remove(one)
        if not reserved:
            self.disappointed(peer, GAP_S)
        return True

    def kept_word(self, peer: DeviceId) -> None:
        """What it reserved has begun to come."""
        self._vain.pop(peer, None)

    def disappointed(self, peer: DeviceId, pause_s: float) -> None:
        """Who offers and does not give is asked ever more seldom: no slot stays empty for it."""
        times = self._vain[peer] = min(6, self._vain.get(peer, 0) + 1)
        self._not_before[peer] = self._clock.now() + pause_s * 2 ** (times - 1)

    def ask(self, local_key: float | None, idle_s: float) -> bool:
        """Ask for what is held back, where that is better than the best local job; True when a slot is now kept for it."""
        heaps = {peer: kept for peer, held in self._net.heaps().items() if (kept := [h for h in held if self._may(peer, h)])}
        if not heaps:
            return False
        devices = self._net.devices()
        fields = _fields([heap for held in heaps.values() for heap in held], [d for d in devices if not d.here])
        now, seen = self._clock.now(), _from(devices)
        found = [
            pull(seen[peer], idle_s, local_key, {heap.kind: {peer: heap} for heap in held}, fields, now)
            for peer, held in heaps.items()
        ]
        takes = [one for one in found if isinstance(one, Choice)]
        if takes:
            best = min(takes, key=lambda take: take.key)
            return self._send(best.submitter, best.kind, newest=best.newest, queued=False)
        if later := [one for one in found if isinstance(one, float)]:
            self._look_in(min(later))
        return False

    def steal(self) -> bool:
        """Ask for the waiting job that gains most from running here at once."""
        waiting = {peer: list(jobs) for peer, jobs in self._net.waiting().items()}
        if not any(waiting.values()):
            return False
        seen = _from(self._net.devices())
        best, peer, one = 0.0, None, None
        for submitter, jobs in waiting.items():
            for job in jobs:
                won = gain(job, seen[submitter])
                if won > best and self._may(submitter, job):
                    best, peer, one = won, submitter, job
        return peer is not None and one is not None and self._send(peer, one.kind, newest=False, queued=True)

    async def close(self) -> None:
        """No more timers."""
        await self._timer.finish(cancel=True)

    def _may(self, peer: DeviceId, one: Heap | Waiting) -> bool:
        units = one.oldest[0] if isinstance(one, Heap) else one.units
        soon = self._clock.now() < self._not_before.get(peer, 0.0)
        return not soon and all(peer != asked for asked, _ in self._asked) and self._admits(peer, one.kind, units)

    def _send(self, peer: DeviceId, kind: str, *, newest: bool, queued: bool) -> bool:
        task, _, variant = kind.partition("/")
        if not self._net.send(peer, Take(task=task, variant=variant, newest=newest, queued=queued)):
            return False
        now = self._clock.now()
        self._asked.append((peer, now))
        self._not_before[peer] = now + GAP_S
        self._timer.spawn(self._forget(peer, now))
        return True

    async def _forget(self, peer: DeviceId, at: float) -> None:
        await self._clock.sleep(ANSWER_S)
        if (peer, at) in self._asked:
            self._asked.remove((peer, at))
            self.disappointed(peer, SILENT_GAP_S)
            self._look()

    def _look_in(self, seconds: float) -> None:
        """Look again when patience has lasted; one timer is enough."""
        at, now = self._clock.now() + seconds + 0.001, self._clock.now()
        if not now < self._look_at <= at:
            self._look_at = at
            self._timer.spawn(self._wait(seconds + 0.001))

    async def _wait(self, seconds: float) -> None:
        await self._clock.sleep(seconds)
        self._look_at = 0.0
        self._look()


def _from(devices: Sequence[Device]) -> Mapping[DeviceId, Device]:
    """This device as far away as each peer sees it."""
    me = next(device for device in devices if device.here)
    return {d.id: me if d.here else replace(me, here=False, rtt_s=d.rtt_s, bandwidth=d.bandwidth) for d in devices}


def _fields(heaps: Sequence[Heap], others: Sequence[Device]) -> Mapping[str, Field]:
    """Of each class: what the other devices would do with it."""
    held, sizes = totals(heaps), Counter[str]()
    for heap in heaps:
        sizes[heap.kind] += heap.size
    return {kind: Field(kind, units / count, sizes[kind] // count, others, held) for kind, (count, units) in held.items()}
