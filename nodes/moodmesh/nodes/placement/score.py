"""Which device is predicted to return the result first (routing §4): the smallest cost wins, every device can be explained."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.messages import VariantDoc
from moodmesh.nodes.placement.gates import Gate, device_gate, variant_gate
from moodmesh.nodes.placement.terms import Terms, terms
from moodmesh.nodes.placement.view import Ask, Device

TIE = 0.02
Z90, Z95 = 1.2816, 1.6449
ROUNDING = 1 - 1e-9
PENDING = Gate("documents", "how busy it is has not arrived yet")


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
    """A decision: the chosen row, None when nothing can run the job now, and those it was weighed against. `taken`: the
    device chose itself, being free; `beside`: who has the attempts that run long, where this is one beside them; `held`: the
    chosen one is the best of the moment, and the job is held back all the same."""

    ask: Ask
    devices: tuple[Device, ...]
    chosen: Row | None
    weighed: tuple[Row, ...] = ()
    taken: bool = False
    beside: frozenset[DeviceId] = frozenset()
    held: bool = False

    @cached_property
    def rows(self) -> tuple[Row, ...]:
        """Every device as it was then, with terms or a gate; made when somebody asks."""
        return tuple(self.verdict(row) for device in self.devices for row in _rows(self.ask, device))

    def able(self, variant: str) -> frozenset[DeviceId]:
        """The devices that could run a variant then."""
        return frozenset(row.device for row in self.rows if row.terms is not None and row.variant == variant)

    def at(self, device: DeviceId, variant: str) -> Row | None:
        """The row of one device and variant that may run it now."""
        found = (self.verdict(row) for d in self.devices if d.id == device for row in _rows(self.ask, d))
        return next((row for row in found if row.variant == variant and row.terms is not None and row.gate is None), None)

    def is_chosen(self, row: Row) -> bool:
        """Whether it is the chosen one."""
        return self.chosen is not None and (row.device, row.variant) == (self.chosen.device, self.chosen.variant)

    @property
    def late(self) -> bool:
        """Whether what was chosen is not likely to be done by the time asked for."""
        by_s, terms = self.ask.by_s, self.chosen.terms if self.chosen is not None else None
        return by_s is not None and terms is not None and terms.slow(Z90) > by_s

    @property
    def any_quality(self) -> bool:
        """Whether all variants competed: with `fast`, and where none is in time."""
        return self.late if self.ask.by_s is not None else self.ask.quality == "fast"

    def verdict(self, row: Row) -> Row:
        """Say of a lower quality that it did not compete, and of a higher one that it would be too late."""
        ask, chosen = self.ask, self.chosen
        if self.any_quality or chosen is None or row.terms is None or row.quality == chosen.quality:
            return row
        if row.quality > chosen.quality:
            late = f"9 of 10 take up to {row.terms.slow(Z90):.3g} s, {ask.by_s:.3g} s are left" if ask.by_s is not None else ""
            return row._replace(gate=Gate("deadline", late)) if late else row
        return row._replace(gate=Gate("quality", f"{chosen.variant} is present: {row.variant} only on request"))


Offer = tuple[float, int, str]
"""A variant that a device offers: the seconds it takes at least; the number of the device, which orders equals; its name."""


def place(ask: Ask, devices: Iterable[Device]) -> Placement:
    """Decide where a job runs. The order of `devices` changes nothing."""
    search = Search(ask, tuple(devices))
    chosen = search.best()
    return Placement(ask, search.devices, chosen, tuple(search.weighed.values()))


class Search:
    """The smallest cost, without weighing everything: whose work, after what runs there now, takes longer than the best so
    far takes altogether cannot win. So devices are weighed in this order, and the rest is left."""

    def __init__(self, ask: Ask, devices: tuple[Device, ...]) -> None:
        self.ask, self.devices = ask, devices
        self.weighed: dict[tuple[int, str], Row] = {}
        self._offers: dict[int, list[Offer]] = {}
        for number, device in enumerate(devices):
            for quality, per_unit, variant in device.offers.get(ask.task, ()):
                least = (per_unit * ask.units + device.wait) * ROUNDING
                self._offers.setdefault(quality, []).append((least, number, variant))

    def best(self) -> Row | None:
        """The best quality present; with a deadline the best that meets it; with `fast`, or when none is in time, any. Of
        what is late, the one that is soonest done in 9 of 10 cases: it was asked to be in time, and not to spare others."""
        ask, qualities = self.ask, sorted(self._offers, reverse=True)
        if ask.by_s is not None or ask.quality == "best":
            for quality in qualities:
                if found := self._best_of(self._offers[quality], ask.by_s):
                    return found
        every = [offer for quality in qualities for offer in self._offers[quality]]
        found = self._best_of(every, None, late=ask.by_s is not None)
        for quality in qualities:  # what the answer could have been worth is said with it
            if found is not None and quality > found.quality:
                self._best_of(self._offers[quality], -1.0)
        return found

    def _best_of(self, offers: list[Offer], by_s: float | None, *, late: bool = False) -> Row | None:
        """The smallest cost of those in time, None when none is; where all are `late`, the smallest time of 9 in 10."""
        rows: list[tuple[float, Row]] = []
        limit, seen = math.inf, False
        for offer in sorted(offers):
            if offer[0] > limit or (seen and by_s is not None and offer[0] > by_s):
                break
            row = self._row(offer)
            if row.terms is not None:
                seen = True
                if by_s is None or row.terms.slow(Z90) <= by_s:
                    cost = row.terms.slow(Z90) if late else row.terms.cost
                    rows.append((cost, row))
                    limit = min(limit, cost * (1 + TIE))
        return min((row for cost, row in rows if cost <= limit), key=lambda row: _tie(self.ask, row), default=None)

    def _row(self, offer: Offer) -> Row:
        _, number, variant = offer
        if (key := (number, variant)) not in self.weighed:
            device = self.devices[number]
            gate = _gate(self.ask, device)
            if gate is not None or device.capability is None:
                self.weighed[key] = Row(device.id, device.name, device.here, gate=gate)
            else:
                doc = device.capability.tasks[self.ask.task].variants[variant]
                self.weighed[key] = _row(self.ask, device, variant, doc)
        return self.weighed[key]


def _gate(ask: Ask, device: Device) -> Gate | None:
    return device_gate(ask, device) or (PENDING if device.dynamic is None else None)


def _rows(ask: Ask, device: Device) -> list[Row]:
    gate = _gate(ask, device)
    if gate is not None or device.capability is None:
        return [Row(device.id, device.name, device.here, gate=gate)]
    return [_row(ask, device, name, doc) for name, doc in device.capability.tasks[ask.task].variants.items()]


def _row(ask: Ask, device: Device, name: str, doc: VariantDoc) -> Row:
    found = terms(ask, device, name, doc)
    gate = variant_gate(ask, device, name, doc, found.service)
    return Row(device.id, device.name, device.here, name, doc.quality, doc.guess, None if gate else found, gate)


def _tie(ask: Ask, row: Row) -> tuple[bool, bool, int, str]:
    """Within 2 %: known rates first, here, quality, then a hash so that many do not herd."""
    return (row.guess, not row.here, -row.quality, hashlib.sha256(f"{ask.job}{row.device}{row.variant}".encode()).hexdigest())
