"""Predicted completion: S(j, d) = max(T_in, Q) + L + E + T_out, the smallest wins (routing §4)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.messages import VariantDoc
from moodmesh.nodes.placement.gates import Gate, device_gate, variant_gate
from moodmesh.nodes.placement.view import Ask, Device

TIE = 0.02
Z90, Z95 = 1.2816, 1.6449
PENDING = Gate("documents", "how busy it is has not arrived yet")


@dataclass(frozen=True)
class Terms:
    """The parts of a prediction, in seconds. `service` is the device's `claim`, corrected by what its claims were worth so far;
    `service_p90` and `service_p95` are a slow service."""

    transfer: float
    queue: float
    load: float
    claim: float
    service: float
    back: float
    service_p90: float
    service_p95: float

    @property
    def total(self) -> float:
        """S(j, d)."""
        return max(self.transfer, self.queue) + self.load + self.service + self.back

    def quantile(self, service: float) -> float:
        """The total with another service time."""
        return self.total - self.service + service


@dataclass(frozen=True)
class Row:
    """One device and variant in the table of a decision: terms, or the gate that barred it."""

    device: DeviceId
    name: str
    here: bool
    variant: str | None
    quality: int
    guess: bool
    terms: Terms | None
    gate: Gate | None


@dataclass(frozen=True)
class Placement:
    """Every row of a decision, and the chosen one; None when nothing can run the job now."""

    rows: tuple[Row, ...]
    chosen: Row | None


def place(ask: Ask, devices: Iterable[Device]) -> Placement:
    """Decide where a job runs. Every device appears, with terms or a gate; the order of `devices` changes nothing."""
    rows = [row for device in sorted(devices, key=lambda d: d.id) for row in _rows(ask, device)]
    open_rows = [row for row in rows if row.terms is not None]
    contenders = _contenders(ask, open_rows)
    best = min((row.terms.total for row in contenders if row.terms), default=0.0)
    chosen = min(contenders, key=lambda row: _order(ask, row, best), default=None)
    if chosen is not None:
        rows = [_beaten(row, chosen, ask) for row in rows]
    rows.sort(key=lambda row: (row is not chosen, row.terms.total if row.terms else math.inf, row.name))
    return Placement(tuple(rows), chosen)


def terms(ask: Ask, device: Device, name: str, doc: VariantDoc) -> Terms:
    """The predicted seconds of one variant on one device."""
    claim = ask.units * doc.mean
    typical = claim * math.exp(device.correction)
    spread = math.sqrt(doc.log_var)
    slow = [ask.units * math.exp(doc.log_mean + z * spread + device.correction) for z in (Z90, Z95)]
    loaded = device.dynamic is not None and f"{ask.task}/{name}" in device.dynamic.loaded
    fetch = doc.fetch_bytes / device.bandwidth
    return Terms(
        transfer=0.0 if device.here else device.rtt_s + ask.input_bytes / device.bandwidth,
        queue=queue_seconds(device, typical) + (device.rtt_s if device.stale else 0.0),
        load=0.0 if loaded else doc.load_s + fetch + (device.dynamic.start_s if device.dynamic is not None else 0.0),
        claim=claim,
        service=typical,
        back=0.0 if device.here else device.rtt_s + ask.result_bytes / device.bandwidth,
        service_p90=max(slow[0], typical),
        service_p95=max(slow[1], typical),
    )


def queue_seconds(device: Device, service_s: float) -> float:
    """Seconds until a slot is free for a job of this length: queues run short work first, so longer work does not count."""
    now, slots = device.dynamic, max(1, device.capability.slots if device.capability else 1)
    if now is None:
        return 0.0
    if now.free_slots > 0 and device.pending_s == 0:
        return 0.0
    ahead = sum(seconds for count, seconds in now.queue.values() if count and seconds / count <= service_s)
    return (sum(now.running) + ahead + device.pending_s) / slots


def _rows(ask: Ask, device: Device) -> list[Row]:
    base = Row(device.id, device.name, device.here, None, 0, False, None, None)
    gate = device_gate(ask, device)
    if gate is None and device.dynamic is None:
        gate = PENDING
    if gate is not None or device.capability is None:
        return [replace(base, gate=gate)]
    return [_row(ask, device, base, name, doc) for name, doc in sorted(device.capability.tasks[ask.task].variants.items())]


def _row(ask: Ask, device: Device, base: Row, name: str, doc: VariantDoc) -> Row:
    row = replace(base, variant=name, quality=doc.quality, guess=doc.guess)
    found = terms(ask, device, name, doc)
    gate = variant_gate(ask, device, name, doc, found.service)
    return replace(row, gate=gate) if gate else replace(row, terms=found)


def _contenders(ask: Ask, rows: Sequence[Row]) -> Sequence[Row]:
    """The rows that compete: the best quality present; with a deadline the best that meets it; with `fast` all."""
    if ask.by_s is not None:
        in_time = [row for row in rows if _slow(row) <= ask.by_s]
        rows = in_time or rows
        if not in_time:
            return rows
    elif ask.quality == "fast":
        return rows
    best = max((row.quality for row in rows), default=0)
    return [row for row in rows if row.quality == best]


def _slow(row: Row) -> float:
    """The seconds that 9 of 10 such jobs stay within."""
    return row.terms.quantile(row.terms.service_p90) if row.terms else math.inf


def _order(ask: Ask, row: Row, best: float) -> tuple[float, bool, bool, int, str]:
    """Smallest total first; within 2 % of the best: known rates, here, quality, then a hash so that many do not herd."""
    assert row.terms is not None

    total = best if row.terms.total <= best * (1 + TIE) else row.terms.total
    spread = hashlib.sha256(f"{ask.job}{row.device}".encode()).hexdigest()
    return (total, row.guess, not row.here, -row.quality, spread)


def _beaten(row: Row, chosen: Row, ask: Ask) -> Row:
    """Say of a lower quality that it did not compete, and of a higher one that it would be too late."""
    if row.terms is None or row is chosen:
        return row
    if ask.by_s is not None and row.quality > chosen.quality:
        return replace(row, gate=Gate("deadline", f"9 of 10 take up to {_slow(row):.3g} s, {ask.by_s:.3g} s are left"))
    if row.quality >= chosen.quality or (ask.quality == "fast" and ask.by_s is None):
        return row
    return replace(row, gate=Gate("quality", f"{chosen.variant} is present: {row.variant} only on request"))
