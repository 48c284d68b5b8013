"""What the devices of a simulated mesh say about themselves, in bytes of real messages; beside it, what saying it to all costs.

Not counted, being the same for both: what belongs to one attempt, from `reserve` to its result, and the beats of its lease.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Literal

from moodmesh.nodes.bench.routing.world import NAMES
from moodmesh.nodes.bench.scale.gossip import on_the_wire
from moodmesh.nodes.messages import Capability, Dynamic, HeapDoc, Heartbeat, Message, Pool, TaskDoc, VariantDoc, WaitingDoc
from moodmesh.nodes.peers import BEAT_IDLE_S, BEAT_LIVE_S

RATE_MOVED = 0.05
DEVICE, ADDRESS, NUMBER = "b" * 52, "10.100.100.100:47100", 12.3456


class Good(Message):
    """Devices that are good at a class of work, as far as the sender knows: device, address, seconds per unit."""

    kind: Literal["good"] = "good"
    of: dict[str, list[tuple[str, str, float]]]


def size(message: Message) -> int:
    """Bytes of a message on the wire."""
    return on_the_wire(message.envelope())


BEAT = size(Heartbeat(seq=1000, echo=1000, held_s=NUMBER, mine=[], yours=[]))


@lru_cache(None)
def _document_size(free: int, running: int, queue: tuple[tuple[str, int], ...]) -> int:
    return size(Dynamic(
        revision=1000, valid_s=10.0, free_slots=free, running=[NUMBER] * running, queue={k: (n, NUMBER) for k, n in queue},
        power="ok", quiet=False, memory_free_mb=8000, disk_free_mb=90_000, loaded=list(NAMES),
    ))  # fmt: skip


@lru_cache(None)
def _capability_size(classes: int) -> int:
    measured = VariantDoc(
        quality=1, memory_mb=1000, mean=NUMBER, log_mean=NUMBER, log_var=NUMBER, count=10, guess=False, load_s=NUMBER
    )
    tasks = {name.split("/")[0]: TaskDoc(version=1, variants={"base": measured}) for name in NAMES[:classes]}
    return size(Capability(revision=1000, engine="process", slots=1, own=False, cores=8, gpus=[], tasks=tasks))


@lru_cache(None)
def _pool_size(held: int, waiting: int) -> int:
    heap = HeapDoc(
        task="image", variant="base", count=10, units=NUMBER, size=10**7, oldest=(NUMBER, NUMBER), newest=(NUMBER, NUMBER)
    )
    one = WaitingDoc(task="image", variant="base", units=NUMBER, input_bytes=10**6, remaining_s=NUMBER)
    return size(Pool(held=[heap] * held, waiting=[one] * waiting))


@lru_cache(None)
def _good_size(counts: tuple[int, ...]) -> int:
    return size(Good(of={kind: [(DEVICE, ADDRESS, NUMBER)] * n for kind, n in zip(NAMES, counts, strict=True)}))


class Traffic:
    """Bytes that each device sent between two moments: to those who know it (`few`); said to all it would be `full`."""

    def __init__(self, devices: int, since: float, until: float) -> None:
        self._devices, self._since, self._until = devices, since, until
        self.few, self.full = [0.0] * devices, [0.0] * devices
        self.knowers, self.known, self._links = [0] * devices, [0] * devices, 0
        self._told: list[tuple[float, object]] = [(0.0, None)] * devices
        self._rates: dict[int, Sequence[float]] = {}
        self._pooled: set[int] = set()

    def document(self, index: int, now: Dynamic, rates: Sequence[float], busy: bool, at: float) -> None:
        """How busy a device is, told when that changed, and at least every second of work; and rates that moved by 5 %."""
        queue = tuple((kind, count) for kind, (count, _) in now.queue.items())
        last, before = self._told[index]
        shape, again = (now.free_slots, len(now.running), queue), int((at - last) / (BEAT_LIVE_S if busy else BEAT_IDLE_S))
        if shape != before or again:
            self._told[index] = at, shape
            self._say(index, max(1, again) * _document_size(*shape), self.knowers[index], at)
        known = self._rates.setdefault(index, rates)
        if any(abs(rate - old) > RATE_MOVED * old for rate, old in zip(rates, known, strict=True)):
            self._rates[index] = rates
            self._say(index, _capability_size(len(rates)), self.knowers[index], at)

    def pool(self, index: int, held: int, waiting: int, at: float) -> None:
        """What a submitter holds back and has waiting, in classes; unless it had nothing and said so."""
        if held or waiting or index in self._pooled:
            self._say(index, _pool_size(held, waiting), self.known[index], at)
        (self._pooled.add if held or waiting else self._pooled.discard)(index)

    def swap(self, index: int, good: Sequence[Sequence[int]], at: float) -> None:
        """A device tells one other which it knows to be good; with everybody known there is no such message."""
        if self._since <= at <= self._until:
            self.few[index] += _good_size(tuple(map(len, good)))

    def link(self, index: int, before: Iterable[int], now: Iterable[int], at: float) -> None:
        """A device gets to know others, which send it what they can do, and leaves some."""
        was, known = set(before) - {index}, set(now) - {index}
        new, old = known - was, was - known
        self.known[index] = len(known)
        for other in new:
            self.knowers[other] += 1
            if self._since <= at <= self._until:
                self._links += 1
                self.few[other] += _capability_size(len(NAMES))
        for other in old:
            self.knowers[other] -= 1

    def _say(self, index: int, size_: int, listeners: int, at: float) -> None:
        if self._since <= at <= self._until:
            self.few[index] += size_ * listeners
            self.full[index] += size_ * (self._devices - 1)

    def links_per_s(self) -> float:
        """How often a device gets to know another."""
        return self._links / (self._until - self._since) / self._devices

    def per_s(self) -> tuple[list[float], list[float]]:
        """Bytes per second of each device: few, full; with a heartbeat to each neighbour every ten seconds."""
        seconds = self._until - self._since
        degrees = [knowers + known for knowers, known in zip(self.knowers, self.known, strict=True)]
        few = [b / seconds + BEAT * degree / BEAT_IDLE_S for b, degree in zip(self.few, degrees, strict=True)]
        return few, [b / seconds + BEAT * (self._devices - 1) / BEAT_IDLE_S for b in self.full]
