"""Hard gates, checked before scoring (routing §6): each names itself and says in a few words why it is closed."""

from __future__ import annotations

from dataclasses import dataclass

from moodmesh.nodes.messages import Active, Dynamic, Power, TaskDoc, VariantDoc
from moodmesh.nodes.placement.view import Ask, Device

MEMORY_MARGIN = 1.1
DISK_SPARE_MB = 1024
LIMITED_SECONDS = 10.0
PERSONAL = (
    "personal input goes to own devices only: `moodmesh peers allow NAME --preset own` makes it one, or use --public "
    "(make music: --share)"
)
SHARED = "a mood, also a coarse one, goes to own devices and those with mood.share only: `moodmesh peers allow NAME mood.share`"


@dataclass(frozen=True)
class Gate:
    """A closed gate: its stable name, and why."""

    name: str
    detail: str


@dataclass(frozen=True)
class State:
    """What the owner of this device set, as it holds now: what its document says of it, without the rest."""

    power: Power
    quiet: bool
    active: Active | None = None


def device_gate(ask: Ask, device: Device) -> Gate | None:
    """The first gate that bars a device whatever the variant; None when all are open."""
    if ask.on is not None and ask.on != device.id:
        return Gate("on", "the job asks for another device")
    if not device.present:
        since = f"not heard for {device.absent_s:.0f} s" if device.absent_s >= 1 else "gone just now"
        return Gate("absent", since + (device.trouble and f": {device.trouble}"))
    if device.suspect:
        return Gate("suspect", "silent for more than 2 s")
    if device.capability is None:
        return Gate("documents", "its capabilities have not arrived yet")
    if device.id in ask.failed_on:
        return Gate("failed", "an attempt of this job failed there")
    if device.backoff:
        return Gate("backoff", "refused three times in 10 s, or sent a broken result")
    if device.id in ask.refused_by:
        return Gate(
            "backoff", f"it refused this job again and again, failed it or lost it a moment ago: {ask.refused_by[device.id]}"
        )
    if device.full:
        return Gate("full", "it holds as many attempts of one submitter as it may")
    if ask.personal and not device.own and not (ask.shared and device.told_moods):
        return Gate("personal", SHARED if ask.shared else PERSONAL)
    if ask.streams and not device.streams:
        return Gate("version", "its Moodmesh is older and cannot hand on an answer part by part: update it there")
    return _task_gate(ask, device.capability.tasks.get(ask.task))


def _task_gate(ask: Ask, task: TaskDoc | None) -> Gate | None:
    if task is None:
        return Gate("permission", f"{ask.task} is not offered to its submitter: not installed there, or no rule allows it")
    return Gate("version", f"another version of {ask.task}") if task.version != ask.version else None


def variant_gate(ask: Ask, device: Device, name: str, doc: VariantDoc, service_s: float) -> Gate | None:
    """The first gate that bars one variant on a device; None when all are open. `service_s` is the predicted service time."""
    if not doc.within_reach:
        return Gate("model", "its model is not there, or damaged, and no peer linked with it has it: `moodmesh doctor` there")
    now = device.dynamic
    need_mb = doc.memory_mb * MEMORY_MARGIN + (ask.input_bytes + ask.result_bytes) / 1e6  # both are held whole
    gate = _state_gate(ask, device, now, need_mb, service_s) if now is not None else None
    if gate is None and ask.variant is not None and ask.variant != name:  # last: it alone is a choice
        return Gate("variant", f"the job asks for {ask.variant}")
    return gate


def owner_gate(now: Dynamic | State, *, here: bool, own: bool, service_s: float) -> Gate | None:
    """The gate that what its owner set closes now for a job of `service_s` predicted seconds; None when all are open. It also
    ends what runs. `here`: the job is of the device itself; `own`: of another one that it counts among its own."""
    if now.power == "no":
        return Gate("power", "battery below its floor, or mains only")
    if now.power != "ok" and not here and not own:
        return Gate("power", "limited power: own devices' jobs only")
    if now.power != "ok" and service_s > LIMITED_SECONDS:
        return Gate("power", f"limited power: {service_s:.0f} s is more than 10 s")
    if now.quiet and not here:
        return Gate("hours", "quiet hours of its owner")
    return None if here else _active_gate(now.active, own=own, service_s=service_s)


def _active_gate(active: Active | None, *, own: bool, service_s: float) -> Gate | None:
    """For jobs of other devices: who hands one in at this device is at it, and asked for just that."""
    if active == "no":
        return Gate("active", "somebody is at it: it works for no other device then")
    why = "whether somebody is at it is not known" if active == "unknown" else "somebody is at it"
    if active is not None and not own:
        return Gate("active", f"{why}: own devices' jobs only")
    if active is not None and service_s > LIMITED_SECONDS:
        return Gate("active", f"{why}: {service_s:.0f} s is more than 10 s")
    return None


def _state_gate(ask: Ask, device: Device, now: Dynamic, need_mb: float, service_s: float) -> Gate | None:
    if gate := owner_gate(now, here=device.here, own=device.owns_us, service_s=service_s):
        return gate
    if need_mb > now.memory_free_mb:
        return Gate("memory", f"{need_mb:.0f} MB of {now.memory_free_mb} MB")
    disk_mb = (ask.input_bytes + ask.result_bytes) / 1e6 + DISK_SPARE_MB
    return Gate("disk", f"{disk_mb:.0f} MB of {now.disk_free_mb} MB") if disk_mb > now.disk_free_mb else None
