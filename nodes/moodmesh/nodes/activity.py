"""Whether somebody is at this device, and what its owner lets it do meanwhile (`power.while_active`, routing §6)."""

from __future__ import annotations

import asyncio
import re
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

from moodmesh.mesh.clock import Clock
from moodmesh.nodes.config import WhileActive
from moodmesh.nodes.messages import Active

ACTIVE_S = 60.0
"""Who has touched it within so long is at it."""
LOOK_S, ANSWER_S = 3.0, 2.0
LOGIND = ("loginctl", "show-session", "--property=IdleHint", "--property=IdleSinceHintMonotonic")
IOREG = ("ioreg", "-r", "-d", "1", "-c", "IOHIDSystem")


def barred(rule: WhileActive, idle: float | None) -> Active | None:
    """What the rule makes of so many idle seconds; None when it bars nothing. What is not known counts as limited."""
    if rule == "run":
        return None
    if idle is None:
        return "unknown"
    return rule if idle < ACTIVE_S else None


class Activity:
    """What is barred now because somebody is at this device. With the rule `run` nobody ever looks."""

    def __init__(self, rule: WhileActive, clock: Clock, read: Callable[[], float | None] | None = None) -> None:
        self._rule, self._clock, self._read = rule, clock, read or idle_s
        self._idle: float | None = None

    def __call__(self) -> Active | None:
        """By the last look."""
        return barred(self._rule, self._idle)

    async def run(self) -> None:
        """Look every few seconds until cancelled, beside the event loop: it may take a process."""
        while self._rule != "run":
            self._idle = await asyncio.to_thread(self._read)
            await self._clock.sleep(LOOK_S)


def idle_s() -> float | None:
    """Seconds since somebody touched this device; None where the system does not tell. It may start a process."""
    if sys.platform == "win32":
        import ctypes

        return windows(ctypes.windll.user32, ctypes.windll.kernel32)
    return mac(_said(IOREG)) if sys.platform == "darwin" else logind(_said(LOGIND), time.monotonic())


def _said(command: tuple[str, ...]) -> str:
    try:
        return subprocess.run(command, capture_output=True, text=True, timeout=ANSWER_S, check=True).stdout
    except (OSError, ValueError, subprocess.SubprocessError):
        return ""


def logind(said: str, now: float) -> float | None:
    """What systemd-logind says of all sessions of the device: desktops tell it when they are idle, terminals when they were
    last typed at, and who plays a film holds it off. `now`: monotonic seconds."""
    found = dict(line.partition("=")[::2] for line in said.splitlines())
    if found.get("IdleHint") == "no":
        return 0.0
    since = found.get("IdleSinceHintMonotonic", "")
    return max(0.0, now - int(since) / 1e6) if found.get("IdleHint") == "yes" and since.isdecimal() else None


def mac(said: str) -> float | None:
    """What the I/O registry of macOS says of keyboard and pointer, in nanoseconds."""
    found = re.search(r'"HIDIdleTime" = (\d+)', said)
    return int(found[1]) / 1e9 if found else None


def windows(user32: Any, kernel32: Any) -> float | None:
    """What these libraries of Windows say of the last input; their clock of milliseconds goes round every 50 days."""
    import ctypes

    class LastInput(ctypes.Structure):
        _fields_ = (("size", ctypes.c_uint), ("at", ctypes.c_uint))

    last = LastInput(ctypes.sizeof(LastInput))
    if not user32.GetLastInputInfo(ctypes.byref(last)):
        return None
    return float((kernel32.GetTickCount() - last.at) % 2**32) / 1000
