"""What a simulated device says of itself: the rates it begins with, what it offers, and how others see it."""

from __future__ import annotations

import math

from moodmesh.nodes import rates
from moodmesh.nodes.bench.routing.engine import Box
from moodmesh.nodes.bench.routing.world import KINDS, NAMES
from moodmesh.nodes.messages import Capability, TaskDoc, VariantDoc
from moodmesh.nodes.placement.view import Device
from moodmesh.nodes.rates import Rate

FIELDS = tuple(Device.__dataclass_fields__)


def changed(view: Device, **changes: object) -> Device:
    """What `dataclasses.replace` gives, in a tenth of its time: 200 devices are seen anew with every job."""
    made = object.__new__(Device)
    made.__dict__.update({name: view.__dict__[name] for name in FIELDS}, **changes)
    return made


def priors(box: Box) -> list[Rate | None]:
    """What the benchmark at install found: the truth with an error."""
    pairs = zip(box.machine.seconds, box.machine.prior, strict=True)
    return [
        rates.first(seconds * error / box.machine.flattery, 0.0, 0.0) if seconds < math.inf else None
        for seconds, error in pairs
    ]


def capability(box: Box, known: list[Rate | None], revision: int, *, cold: bool) -> Capability:
    """What it offers, at the rates it has learned."""
    tasks = {}
    for name, rate in zip(NAMES, known, strict=True):
        if rate is not None:
            task, _, variant = name.partition("/")
            tasks[task] = TaskDoc.model_construct(
                version=1, variants={variant: _variant(rate, KINDS[name].load_s if cold else 0.0)}
            )
    slots = box.machine.slots
    return Capability.model_construct(revision=revision, engine="sim", slots=slots, own=True, cores=1, gpus=[], tasks=tasks)


def _variant(rate: Rate, load_s: float) -> VariantDoc:
    return VariantDoc.model_construct(
        quality=1, memory_mb=1, mean=rate.mean, log_mean=rate.log_mean, log_var=rate.log_var, count=rate.count, guess=False,
        within_reach=True, load_s=load_s, fetch_bytes=0,
    )  # fmt: skip
