"""How many strangers may be inside at once, decided at `accept`, before a byte of TLS (pairing §3, §9)."""

from __future__ import annotations

import ipaddress
from collections import Counter, deque
from dataclasses import dataclass

_REMEMBERED = 4096


@dataclass(frozen=True)
class Limits:
    """Unauthenticated connections in all, per address, per loopback address; failures a minute before an address waits."""

    total: int = 64
    per_address: int = 4
    per_loopback: int = 32
    failures: int = 5
    window_s: float = 60.0


class Admission:
    """Counts unauthenticated connections by address; `now` is monotonic seconds."""

    def __init__(self, limits: Limits | None = None) -> None:
        self._limits = limits or Limits()
        self._inside: Counter[str] = Counter()
        self._failures: dict[str, deque[float]] = {}

    @property
    def inside(self) -> int:
        """Unauthenticated connections now."""
        return self._inside.total()

    def enter(self, address: str, now: float) -> bool:
        """Take a place, or say no."""
        limits = self._limits
        per_address = limits.per_loopback if is_loopback(address) else limits.per_address
        if self.inside >= limits.total or self._inside[address] >= per_address or self._waits(address, now):
            return False
        self._inside[address] += 1
        return True

    def leave(self, address: str, now: float, failed: bool) -> None:
        """Give a place back; `failed` when the connection ended before it was authenticated."""
        self._inside[address] -= 1
        if self._inside[address] <= 0:
            del self._inside[address]
        if failed and not is_loopback(address):
            self._note_failure(address, now)

    def _waits(self, address: str, now: float) -> bool:
        recent = self._failures.get(address, ())
        return sum(at > now - self._limits.window_s for at in recent) > self._limits.failures

    def _note_failure(self, address: str, now: float) -> None:
        recent = self._failures.pop(address, None) or deque(maxlen=self._limits.failures + 1)
        recent.append(now)
        self._failures[address] = recent
        if len(self._failures) > _REMEMBERED:
            del self._failures[next(iter(self._failures))]


def is_loopback(address: str) -> bool:
    """Whether an IP literal (an IPv6 one may have a scope) is this machine's own."""
    try:
        return ipaddress.ip_address(address).is_loopback
    except ValueError:
        return False
