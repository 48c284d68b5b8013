"""Late binding (routing §7): which jobs are held back for better devices, and what a free device takes of them.

A submitter holds a job back when the best device present is far slower than one that is known, or when the faster ones together
would finish it sooner. What it holds it tells its peers, as counts and seconds; a device with a free slot takes what suits it.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Iterable, Mapping
from itertools import accumulate
from typing import NamedTuple

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.messages import VariantDoc
from moodmesh.nodes.placement.gates import variant_gate
from moodmesh.nodes.placement.queue import order_key
from moodmesh.nodes.placement.terms import load_s, longer
from moodmesh.nodes.placement.view import Ask, Device

OFF_PLACE = 6.0
PATIENCE = 0.1
WORTH_WAITING = 10.0
ACCEPT = 0.8
SAME_GROUP = 2.0
MOVE_S = 0.02
HAND_S = 0.03
DISTRUST = 3.0


class Heap(NamedTuple):
    """What a submitter holds back of one class (`task/variant`): how many, their units and the bytes of their inputs and
    results together, and its oldest and newest job: units, and since when it waits on the reader's monotonic clock."""

    kind: str
    jobs: int
    units: float
    size: int
    oldest: tuple[float, float]
    newest: tuple[float, float]


class Waiting(NamedTuple):
    """A job that waits in another device's queue: its input bytes, and the predicted seconds until its result."""

    kind: str
    units: float
    input_bytes: int
    remaining_s: float


class Take(NamedTuple):
    """A decision to take a job: from whom, which one, and how it compares (`key`: smaller goes first)."""

    submitter: DeviceId
    kind: str
    newest: bool
    key: float


def may_pull(device: Device) -> bool:
    """Whether a device gets what it asks for. One whose claims proved off by three times is not believed when it says what it
    could take: work reaches it by placement alone, which corrects."""
    return device.worth < DISTRUST


def service_s(device: Device, kind: str, units: float) -> float | None:
    """Predicted service seconds of a class on a device, corrected; None when it does not offer it."""
    per_unit = device.pace.get(kind)
    return None if per_unit is None else units * per_unit


def takes_s(device: Device, kind: str, units: float, size: int) -> float | None:
    """Predicted seconds of a class on a device with nothing to wait for: its way there and back, its model, its work."""
    service, doc = service_s(device, kind, units), _doc(device, kind)
    if service is None or doc is None:
        return None
    way = 0.0 if device.here else 2 * device.rtt_s + size / device.bandwidth
    return way + load_s(device, kind, doc) + service + device.hand


def _doc(device: Device, kind: str) -> VariantDoc | None:
    task, _, variant = kind.partition("/")
    doc = device.capability.tasks.get(task) if device.capability else None
    return doc.variants.get(variant) if doc else None


def _able(device: Device, kind: str, here: float) -> bool:
    """Whether a device that offers a class could run it now: its memory, its power, its model."""
    task, _, variant = kind.partition("/")
    doc = _doc(device, kind)
    return doc is not None and variant_gate(Ask("", task, 0, 1.0), device, variant, doc, here) is None


class Field:
    """One class of work across all known devices: who is fastest, and when the faster ones would be through with it.

    What counts is how long a job takes there altogether (`takes_s`); its work alone says what goes before it and after it.
    """

    def __init__(
        self, kind: str, units: float, size: int, devices: Iterable[Device], heaps: Mapping[str, tuple[int, float]]
    ) -> None:
        """Of jobs of so many units and bytes. `heaps`: of every class held back anywhere, count and units."""
        rows = []
        self._absent = []
        for device in devices:
            if (takes := takes_s(device, kind, units, size)) is None:
                continue
            here = device.pace[kind] * units
            if device.present and _able(device, kind, here):
                rows.append((takes, _backlog(device), *_beside(device, here, heaps), device.name))
            elif not device.present:
                self._absent.append((takes, device.absent_s, device.name))
        rows.sort(key=lambda row: row[:6])
        self._first = rows[0][6] if rows else ""
        self._slots = list(accumulate(row[5] for row in rows))
        self._queued = list(accumulate(row[3] for row in rows))
        self._held = list(accumulate((row[4] for row in rows), max))
        self._takes = [row[0] for row in rows]
        self._backlogs = list(accumulate(row[1] for row in rows))
        self._drains = list(accumulate(row[2] for row in rows))
        self.present = self._takes[0] if rows else math.inf

    def ahead(self, mine: float) -> float:
        """A: seconds until the devices at least 20 % faster than `mine` have finished all that is held back of this class and
        of shorter ones; infinite without such a device."""
        count = bisect_right(self._takes, ACCEPT * mine)
        if not count:
            return math.inf
        drain = self._drains[count - 1]
        own = self._backlogs[count - 1] / count + (1 / drain if drain else 0.0) + self.present
        longer = self._queued[count - 1] + self._held[count - 1]
        return own + longer * self.present / self._slots[count - 1]

    def known(self, mine: float) -> float:
        """The least it takes on any device known, absent ones counted; one that has been away for ten times as long as the
        job would take a device this slow is not waited for any more."""
        return self.fastest(mine)[0]

    def fastest(self, mine: float) -> tuple[float, float, str]:
        """What `known` says, with how long that device has been away (0 when it is here) and its name."""
        away = (row for row in self._absent if row[1] <= WORTH_WAITING * mine)
        return min([(self.present, 0.0, self._first), *away], key=lambda row: row[0])

    def off_place(self, mine: float) -> bool:
        """Whether a device this slow is no place for it."""
        return mine > OFF_PLACE * self.known(mine)


def _backlog(device: Device) -> float:
    """Seconds of work before a new job per slot."""
    now = device.dynamic
    if now is None or device.capability is None:
        return 0.0
    claimed = sum(now.running) + sum(seconds for _, seconds in now.queue.values())
    return claimed * device.worth / device.slots


def _beside(device: Device, here: float, heaps: Mapping[str, tuple[int, float]]) -> tuple[float, int, int, int]:
    """Beside a class of `here` seconds on this device: its slots per second of held work that would go before or with that (0
    without any), longer jobs in its queue, longer ones held back anywhere that it could run, its slots."""
    slots = device.capability.slots if device.capability else 1
    queue = device.dynamic.queue.values() if device.dynamic else ()
    queued = sum(count for count, seconds in queue if count and longer(seconds / count, here / device.worth))
    before, after = 0.0, 0
    for kind, (count, units) in heaps.items():
        seconds = service_s(device, kind, units / count) if count else None
        if seconds is not None and seconds <= here:
            before += count * seconds
        elif seconds is not None:
            after += count
    return slots / before if before else 0.0, queued, after, slots


def totals(heaps: Iterable[Heap]) -> dict[str, tuple[int, float]]:
    """Count and units per class, of all submitters."""
    found: dict[str, tuple[int, float]] = {}
    for heap in heaps:
        count, units = found.get(heap.kind, (0, 0.0))
        found[heap.kind] = (count + heap.jobs, units + heap.units)
    return found


def pull(
    me: Device,
    idle_s: float,
    local_key: float | None,
    heaps: Mapping[str, Mapping[DeviceId, Heap]],
    fields: Mapping[str, Field],
    now: float,
) -> Take | float | None:
    """What a device with a free slot takes of what is held back: a `Take`, the seconds after which to look again, or None.

    `me` is as far away as it is from those who hold it. `idle_s`: how long the slot has been free; `local_key`: the
    smallest key in its own queue, None when that is empty;
    `heaps`: class -> submitter -> what it holds.
    """
    best: Take | None = None
    later = math.inf
    for kind, held in heaps.items():
        found = _willing(me, idle_s, local_key is not None, kind, held, fields[kind])
        if isinstance(found, float):
            later = min(later, found)
        elif found is not None:
            take = _first(kind, held, found[0], newest=found[1], now=now)
            if best is None or take.key < best.key:
                best = take
    if best is not None and (local_key is None or best.key < local_key):
        return best
    return later if later < math.inf else None


def _willing(
    me: Device, idle_s: float, queued: bool, kind: str, held: Mapping[DeviceId, Heap], field: Field
) -> tuple[float, bool] | float | None:
    """Seconds per unit of a class here, and whether to take the newest; or how long its patience lasts; or None."""
    jobs = sum(heap.jobs for heap in held.values())
    units, size = (
        sum(heap.units for heap in held.values()) / max(1, jobs),
        sum(heap.size for heap in held.values()) // max(1, jobs),
    )
    if not held or (mine := takes_s(me, kind, units, size)) is None:
        return None
    if queued and mine > SAME_GROUP * field.present:  # one virtual queue for the fast ones only
        return None
    if mine + HAND_S > ACCEPT * field.ahead(mine):
        return None
    if field.off_place(mine) and idle_s < PATIENCE * mine:
        return PATIENCE * mine - idle_s
    return me.pace[kind], mine > SAME_GROUP * field.known(mine)


def _first(kind: str, held: Mapping[DeviceId, Heap], per_unit: float, *, newest: bool, now: float) -> Take:
    ends = ((submitter, heap.newest if newest else heap.oldest) for submitter, heap in held.items())
    keyed = ((order_key(units * per_unit, now - since), submitter) for submitter, (units, since) in ends)
    key, submitter = max(keyed) if newest else min(keyed)
    return Take(submitter, kind, newest, key)


def gain(waiting: Waiting, me: Device) -> float:
    """Seconds won by taking a job out of another device's queue, with margin; positive when it is worth moving. `me` is as
    far away as it is from who submitted it."""
    least, most = service_s(me, waiting.kind, waiting.units), ACCEPT * waiting.remaining_s - MOVE_S
    if least is None or least >= most:  # the work alone takes too long: nearly always
        return -math.inf if least is None else most - least
    mine = takes_s(me, waiting.kind, waiting.units, waiting.input_bytes)
    return -math.inf if mine is None else most - mine
