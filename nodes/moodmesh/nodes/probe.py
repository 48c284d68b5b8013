"""What this device is and has right now: cores, memory, GPUs, disk, power (psutil; NVML where it is installed)."""

from __future__ import annotations

import functools
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import psutil

from moodmesh.nodes.config import PowerSection
from moodmesh.nodes.messages import Power

MB = 2**20
Reading = TypeVar("Reading")


@dataclass(frozen=True)
class Battery:
    """The battery as the system reports it; `percent` None when there is one that cannot be read."""

    present: bool
    percent: float | None = None
    mains: bool = True


@functools.cache
def cores() -> int:
    """Physical cores, or logical ones where the system does not tell."""
    return psutil.cpu_count(logical=False) or psutil.cpu_count() or 1


def free_memory_mb(cap_mb: int) -> int:
    """Memory that jobs may take now, at most `cap_mb` when that is set."""
    free: int = psutil.virtual_memory().available // MB
    return min(free, cap_mb) if cap_mb else free


def free_disk_mb(where: Path) -> int:
    """Free space of the file system that holds `where`."""
    return shutil.disk_usage(where).free // MB


class Recent(Generic[Reading]):
    """A reading that is taken at most once a second: sensors are files, and documents are made many times a second."""

    def __init__(self, read: Callable[[], Reading]) -> None:
        self._read, self._at = read, -1.0

    def __call__(self) -> Reading:
        """The value, at most a second old."""
        if time.monotonic() - self._at >= 1.0:
            self._value, self._at = self._read(), time.monotonic()
        return self._value


def gpus() -> list[str]:
    """Name and memory of each NVIDIA GPU; empty without one, its driver or the `gpu` extra."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except Exception:  # noqa: BLE001 - no package, no driver, no card: all mean none
        return []
    try:
        handles = [pynvml.nvmlDeviceGetHandleByIndex(i) for i in range(pynvml.nvmlDeviceGetCount())]
        return [
            f"{_text(pynvml.nvmlDeviceGetName(h))} {pynvml.nvmlDeviceGetMemoryInfo(h).total // MB} MB"[:64] for h in handles
        ]
    finally:
        pynvml.nvmlShutdown()


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)


def battery() -> Battery:
    """The battery now. A reading of 0 % while running is a broken sensor, not an empty battery."""
    read = getattr(psutil, "sensors_battery", None)
    found = read() if read else None
    if found is None:
        return Battery(present=False)
    percent = float(found.percent) if found.percent and found.percent > 0 else None
    return Battery(True, percent, bool(found.power_plugged))


def power(rules: PowerSection, now: Battery) -> Power:
    """How much this device may work: `ok`, `limited` (short jobs of own devices), `no`; `unknown` counts as limited."""
    if not now.present or now.mains:
        return "ok"
    if rules.mains_only:
        return "no"
    if now.percent is None:
        return "unknown"
    return "no" if now.percent < rules.battery_floor else "limited"
