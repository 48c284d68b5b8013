"""Which worker runs the next attempt: one that has its model loaded, else a fresh one, else the one idle for longest."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from moodmesh.nodes.pool.seam import Work

Model = tuple[str, str]


@dataclass
class Slot:
    """One worker's place: the (task, variant) its worker has loaded, and whether it is running."""

    number: int
    loaded: Model | None = None
    busy: bool = False
    turn: int = 0  # when it was last given out


class Slots:
    """The slots of a pool."""

    def __init__(self, count: int) -> None:
        self.all = [Slot(number) for number in range(count)]
        self._turn = 0

    @contextmanager
    def taken(self, work: Work) -> Iterator[Slot]:
        """The best free slot, busy inside; RuntimeError when the caller runs more than there are."""
        slot = self._best((work.task, work.variant))
        self._turn += 1
        slot.busy, slot.turn = True, self._turn
        try:
            yield slot
        finally:
            slot.busy = False

    def _best(self, wanted: Model) -> Slot:
        free = [slot for slot in self.all if not slot.busy]
        if not free:
            raise RuntimeError(f"all {len(self.all)} slots are taken")
        return min(free, key=lambda slot: (slot.loaded != wanted, slot.loaded is not None, slot.turn))

    def loaded(self) -> frozenset[Model]:
        """What idle workers have in memory."""
        return frozenset(slot.loaded for slot in self.all if slot.loaded is not None and not slot.busy)
