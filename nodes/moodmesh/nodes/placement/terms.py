"""Predicted completion: S(j, d) = max(T_in, Q) + L + E + T_out + H (routing §4), and what it costs the others."""

from __future__ import annotations

import math
from typing import NamedTuple

from moodmesh.nodes.messages import VariantDoc
from moodmesh.nodes.placement.view import Ask, Device

SAME = 1.05


class Terms(NamedTuple):
    """The parts of a prediction, in seconds. `service` is the device's `claim`, corrected by what its claims were worth so far;
    `log_mean` and `log_var` are of the logarithm of the corrected service; `hand` is what messages and journals took of late,
    `hand_dev` how much that varied."""

    transfer: float
    queue: float
    load: float
    claim: float
    service: float
    back: float
    displaced: float
    log_mean: float
    log_var: float
    hand: float = 0.0
    hand_dev: float = 0.0

    @property
    def cost(self) -> float:
        """What placement minimises: the prediction, and what longer jobs that wait there lose by it."""
        return self.total + self.displaced

    @property
    def total(self) -> float:
        """S(j, d)."""
        return max(self.transfer, self.queue) + self.load + self.service + self.back + self.hand

    @property
    def alone(self) -> float:
        """The total where nothing has to be waited for, and nothing is sent ahead."""
        return self.transfer + self.load + self.service + self.back + self.hand

    @property
    def likely(self) -> float:
        """The total with the median of the service: half of such jobs take less. Its mean, in the total, is longer."""
        return self.total - self.service + min(self.service, math.exp(self.log_mean))

    def slow(self, z: float) -> float:
        """The total when the service is `z` standard deviations slow, and never less than the prediction."""
        work = max(0.0, math.exp(self.log_mean + z * math.sqrt(self.log_var)) - self.service)
        return self.total + math.hypot(work, z * self.hand_dev)


def terms(ask: Ask, device: Device, name: str, doc: VariantDoc) -> Terms:
    """The predicted seconds of one variant on one device."""
    claim = ask.units * doc.mean
    typical = claim * device.worth
    there = back = 0.0
    if not device.here:
        there = device.rtt_s + ask.input_bytes / device.bandwidth
        back = device.rtt_s + ask.result_bytes / device.bandwidth
    queue = queue_seconds(device, claim) + (device.rtt_s if device.stale else 0.0)
    log_mean = math.log(ask.units) + doc.log_mean + device.correction
    return Terms(
        there,
        queue,
        load_s(device, f"{ask.task}/{name}", doc),
        claim,
        typical,
        back,
        displaced_s(device, claim),
        log_mean,
        doc.log_var,
        device.hand,
        device.hand_dev,
    )


def load_s(device: Device, kind: str, doc: VariantDoc) -> float:
    """Seconds until the model is in memory, from the network and through a cold engine if it must be."""
    now = device.dynamic
    if now is not None and kind in now.loaded:
        return 0.0
    return doc.load_s + doc.fetch_bytes / device.bandwidth + (now.start_s if now is not None else 0.0)


def queue_seconds(device: Device, claim_s: float) -> float:
    """Seconds until a slot is free for a job that the device claims to do in so many: queues run short work first, so longer
    work does not count. What it says of its queue are claims, too."""
    now = device.dynamic
    if now is None or not now.queue or (now.free_slots > 0 and device.pending_s == 0):
        return device.wait
    ahead = sum(seconds for count, seconds in now.queue.values() if count and not longer(seconds / count, claim_s))
    return device.wait + ahead * device.worth / device.slots


def displaced_s(device: Device, claim_s: float) -> float:
    """Seconds that longer jobs in a device's queue wait more, together, when one of this length goes before them."""
    now = device.dynamic
    if now is None or not now.queue:
        return 0.0
    behind = sum(count for count, seconds in now.queue.values() if count and longer(seconds / count, claim_s))
    return behind * claim_s * device.worth / device.slots


def longer(seconds: float, claim_s: float) -> bool:
    """Whether work is longer than this, and not the same: rates move by as much before anybody is told."""
    return seconds > SAME * claim_s
