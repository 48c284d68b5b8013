"""What is heard of pools in a simulated fleet: who holds what back, and who has what waiting in another device's queue."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.bench.routing.world import NAMES, moved
from moodmesh.nodes.placement.pull import Field, Heap, Waiting, totals
from moodmesh.nodes.placement.view import Device

FIELD_AGE_S = 0.1


def _no_heaps() -> dict[str, dict[DeviceId, Heap]]:
    return {name: {} for name in NAMES}


@dataclass
class Board:
    """What its readers have heard: by class and submitter what is held back, by submitter what waits elsewhere."""

    heaps: dict[str, dict[DeviceId, Heap]] = field(default_factory=_no_heaps)
    waiting: dict[int, Sequence[Waiting]] = field(default_factory=dict)
    _fields: dict[str, tuple[float, Field]] = field(default_factory=dict)
    _longest: list[tuple[int, Waiting]] | None = None

    def hear(self, index: int, held: Mapping[str, Heap], waiting: Sequence[Waiting]) -> None:
        """The newest word of one submitter replaces the one before."""
        name = DeviceId(str(index))
        for kind, heaps in self.heaps.items():
            if kind in held:
                heaps[name] = held[kind]
            else:
                heaps.pop(name, None)
        self._longest = None
        if waiting:
            self.waiting[index] = waiting
        else:
            self.waiting.pop(index, None)

    def longest(self) -> list[tuple[int, Waiting]]:
        """Of each class the one that has longest to go, and whose it is: jobs of a class are alike, so no other gains more."""
        if self._longest is None:
            best: dict[str, tuple[int, Waiting]] = {}
            for index, waiting in self.waiting.items():
                for one in waiting:
                    if one.kind not in best or one.remaining_s > best[one.kind][1].remaining_s:
                        best[one.kind] = index, one
            self._longest = list(best.values())
        return self._longest

    def asked(self, index: int, one: Waiting) -> None:
        """What is asked for is not asked for again before more is heard."""
        self.waiting[index] = [w for w in self.waiting[index] if w is not one]
        self._longest = None

    def totals(self) -> dict[str, tuple[int, float]]:
        """Count and units of what is held back, per class."""
        return totals(heap for held in self.heaps.values() for heap in held.values())

    def field(self, kind: str, now: float, devices: Callable[[], Iterable[Device]]) -> Field:
        """The field of a class, at most a moment old; `devices` as its readers know them."""
        at, found = self._fields.get(kind, (-math.inf, None))
        if found is None or now - at > FIELD_AGE_S:
            found = Field(kind, 1.0, moved(kind), devices(), self.totals())
            self._fields[kind] = now, found
        return found
