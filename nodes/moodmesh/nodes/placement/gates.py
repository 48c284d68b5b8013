"""Hard gates, checked before scoring (routing §6): each names itself and says in a few words why it is closed."""

from __future__ import annotations

from dataclasses import dataclass

from moodmesh.nodes.messages import VariantDoc
from moodmesh.nodes.placement.view import Ask, Device

MEMORY_MARGIN = 1.1
DISK_SPARE_MB = 1024
LIMITED_SECONDS = 10.0
PERSONAL = "personal input goes to own devices only: `moodmesh peers allow NAME --preset own` makes it one, or use --public"


@dataclass(frozen=True)
class Gate:
    """A closed gate: its stable name, and why."""

    name: str
    detail: str


def device_gate(ask: Ask, device: Device) -> Gate | None:
    """The first gate that bars a device whatever the variant; None when all are open."""
    task = device.capability.tasks.get(ask.task) if device.capability else None
    checks = (
        (ask.on not in (None, device.id), "on", "the job asks for another device"),
        (not device.present, "absent", f"not heard for {device.absent_s:.0f} s" + (device.trouble and f": {device.trouble}")),
        (device.suspect, "suspect", "silent for more than 2 s"),
        (device.capability is None, "documents", "its capabilities have not arrived yet"),
        (device.id in ask.failed_on, "failed", "an attempt of this job failed there"),
        (device.backoff, "backoff", "refused three times in 10 s, or sent a broken result"),
        (device.id in ask.refused_by, "backoff", f"it refused this job again and again: {ask.refused_by.get(device.id)}"),
        (device.full, "full", "it holds as many attempts of this device as it may"),
        (ask.personal and not device.own, "personal", PERSONAL),
        (task is None, "permission", f"{ask.task} is not offered to this device: not installed there, or no rule allows it"),
        (task is not None and task.version != ask.version, "version", f"another version of {ask.task}"),
    )
    return next((Gate(name, detail) for closed, name, detail in checks if closed), None)


def variant_gate(ask: Ask, device: Device, name: str, doc: VariantDoc, service_s: float) -> Gate | None:
    """The first gate that bars one variant on a device; None when all are open. `service_s` is the predicted service time."""
    now = device.dynamic
    need = doc.memory_mb * MEMORY_MARGIN
    megabytes = (ask.input_bytes + ask.result_bytes) / 1e6 + DISK_SPARE_MB
    checks = [
        (not doc.within_reach, "model", "its model is not there, and no peer linked with it has it: `moodmesh models pull`"),
    ]
    if now is not None:
        limited = now.power in ("limited", "unknown")
        checks += [
            (now.power == "no", "power", "battery below its floor, or mains only"),
            (limited and not device.here and not device.owns_us, "power", "limited power: own devices' jobs only"),
            (limited and service_s > LIMITED_SECONDS, "power", f"limited power: {service_s:.0f} s is more than 10 s"),
            (now.quiet and not device.here, "hours", "quiet hours of its owner"),
            (need > now.memory_free_mb, "memory", f"{need:.0f} MB of {now.memory_free_mb} MB"),
            (megabytes > now.disk_free_mb, "disk", f"{megabytes:.0f} MB of {now.disk_free_mb} MB"),
        ]
    checks.append((ask.variant not in (None, name), "variant", f"the job asks for {ask.variant}"))  # last: it alone is a choice
    return next((Gate(name, detail) for closed, name, detail in checks if closed), None)
