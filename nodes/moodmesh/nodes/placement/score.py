"""Predicted completion: S(j, d) = max(T_in, Q) + L + E + T_out, the smallest wins (routing §4)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.messages import VariantDoc
from moodmesh.nodes.placement.gates import Gate, device_gate, variant_gate
from moodmesh.nodes.placement.view import Ask, Device

TIE = 0.02
Z90, Z95 = 1.2816, 1.6449
PENDING = Gate("documents", "how busy it is has not arrived yet")


class Terms(NamedTuple):
    """The parts of a prediction, in seconds. `service` is the device's `claim`, corrected by what its claims were worth so far;
    `log_mean` and `log_var` are of the logarithm of the corrected service."""

    transfer: float
    queue: float
    load: float
    claim: float
    service: float
    back: float
    displaced: float
    log_mean: float
    log_var: float

    @property
    def cost(self) -> float:
        """What placement minimises: the prediction, and what longer jobs that wait there lose by it."""
        return self.total + self.displaced

    @property
    def total(self) -> float:
        """S(j, d)."""
        return max(self.transfer, self.queue) + self.load + self.service + self.back

    def slow(self, z: float) -> float:
        """The total when the service is `z` standard deviations slow, and never less than the prediction."""
        return self.total + max(0.0, math.exp(self.log_mean + z * math.sqrt(self.log_var)) - self.service)


class Row(NamedTuple):
    """One device and variant in the table of a decision: terms, or the gate that barred it."""

    device: DeviceId
    name: str
    here: bool
    variant: str | None = None
    quality: int = 0
    guess: bool = False
    terms: Terms | None = None
    gate: Gate | None = None


@dataclass(frozen=True)
class Placement:
    """Every row of a decision, and the chosen one; None when nothing can run the job now. `taken`: it
    chose itself, being free."""

    rows: tuple[Row, ...]
    chosen: Row | None
    taken: bool = False


def place(ask: Ask, devices: Iterable[Device]) -> Placement:
    """Decide where a job runs. Every device appears, with terms or a gate; the order of `devices` changes nothing."""
    rows = [row for device in devices for row in _rows(ask, device)]
    chosen = _best(ask, _contenders(ask, [row for row in rows if row.terms is not None]))
    if chosen is not None and (ask.quality == "best" or ask.by_s is not None):
        rows = [_beaten(row, chosen, ask) for row in rows]
    return Placement(tuple(rows), chosen)


def terms(ask: Ask, device: Device, name: str, doc: VariantDoc) -> Terms:
    """The predicted seconds of one variant on one device."""
    claim = ask.units * doc.mean
    typical = claim * math.exp(device.correction) if device.correction else claim
    there = back = 0.0
    if not device.here:
        there = device.rtt_s + ask.input_bytes / device.bandwidth
        back = device.rtt_s + ask.result_bytes / device.bandwidth
    queue = queue_seconds(device, typical) + (device.rtt_s if device.stale else 0.0)
    log_mean = math.log(ask.units) + doc.log_mean + device.correction
    return Terms(
        there, queue, _load(ask, device, name, doc), claim, typical, back, displaced_s(device, typical), log_mean, doc.log_var
    )


def _load(ask: Ask, device: Device, name: str, doc: VariantDoc) -> float:
    """Seconds until the model is in memory, from the network and through a cold engine if it must be."""
    now = device.dynamic
    if now is not None and f"{ask.task}/{name}" in now.loaded:
        return 0.0
    return doc.load_s + doc.fetch_bytes / device.bandwidth + (now.start_s if now is not None else 0.0)


def queue_seconds(device: Device, service_s: float) -> float:
    """Seconds until a slot is free for a job of this length: queues run short work first, so longer work does not count."""
    now = device.dynamic
    if now is None or (now.free_slots > 0 and device.pending_s == 0):
        return 0.0
    slots = max(1, device.capability.slots if device.capability else 1)
    ahead = sum(seconds for count, seconds in now.queue.values() if count and seconds / count <= service_s)
    return (sum(now.running) + ahead + device.pending_s) / slots


def displaced_s(device: Device, service_s: float) -> float:
    """Seconds that longer jobs in a device's queue wait more, together, when one of this length goes before them."""
    now = device.dynamic
    if now is None or not now.queue:
        return 0.0
    longer = sum(count for count, seconds in now.queue.values() if count and seconds / count > service_s)
    return longer * service_s / max(1, device.capability.slots if device.capability else 1)


def _rows(ask: Ask, device: Device) -> list[Row]:
    gate = device_gate(ask, device)
    if gate is None and device.dynamic is None:
        gate = PENDING
    if gate is not None or device.capability is None:
        return [Row(device.id, device.name, device.here, gate=gate)]
    return [_row(ask, device, name, doc) for name, doc in device.capability.tasks[ask.task].variants.items()]


def _row(ask: Ask, device: Device, name: str, doc: VariantDoc) -> Row:
    found = terms(ask, device, name, doc)
    gate = variant_gate(ask, device, name, doc, found.service)
    return Row(device.id, device.name, device.here, name, doc.quality, doc.guess, None if gate else found, gate)


def _contenders(ask: Ask, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows that compete: the best quality present; with a deadline the best that meets it; with `fast` all."""
    if ask.by_s is not None:
        in_time = [row for row in rows if row.terms and row.terms.slow(Z90) <= ask.by_s]
        rows = in_time or rows
        if not in_time:
            return rows
    elif ask.quality == "fast":
        return rows
    best = max((row.quality for row in rows), default=0)
    return [row for row in rows if row.quality == best]


def _best(ask: Ask, rows: Sequence[Row]) -> Row | None:
    """Smallest cost first; within 2 % of it: known rates, here, quality, then a hash so that many do not herd."""
    totals = [(row.terms.cost, row) for row in rows if row.terms is not None]
    limit = min((total for total, _ in totals), default=0.0) * (1 + TIE)
    return min((row for total, row in totals if total <= limit), key=lambda row: _tie(ask, row), default=None)


def _tie(ask: Ask, row: Row) -> tuple[bool, bool, int, str]:
    return (row.guess, not row.here, -row.quality, hashlib.sha256(f"{ask.job}{row.device}{row.variant}".encode()).hexdigest())


def _beaten(row: Row, chosen: Row, ask: Ask) -> Row:
    """Say of a lower quality that it did not compete, and of a higher one that it would be too late."""
    if row.terms is None or row.quality == chosen.quality:
        return row
    if row.quality > chosen.quality:
        late = f"9 of 10 take up to {row.terms.slow(Z90):.3g} s, {ask.by_s:.3g} s are left"
        return row._replace(gate=Gate("deadline", late)) if ask.by_s is not None else row
    return row._replace(gate=Gate("quality", f"{chosen.variant} is present: {row.variant} only on request"))
