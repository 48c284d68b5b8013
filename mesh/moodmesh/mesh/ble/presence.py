"""Who is near by radio: smoothed signal, hysteresis, staleness. Pure; a hint, never a truth (mesh-lessons §4, system 2)."""

from __future__ import annotations

from dataclasses import dataclass, field

WEIGHT = 0.3
STALE_S = 25.0
ENTER_DBM, LEAVE_DBM = -92.0, -98.0
LARGEST = 256


@dataclass
class _Near:
    signal: float
    at: float
    inside: bool


@dataclass
class Presence:
    """Keys (an address and what it shows) with their smoothed signal in dBm; at most 256, the stalest give way."""

    _known: dict[bytes, _Near] = field(default_factory=dict)

    def heard(self, key: bytes, rssi: float, now: float) -> float | None:
        """Note an advertisement; its smoothed signal while it is near, None while it is too weak to count.

        Near begins at -92 dBm and ends below -98, so that somebody at the edge does not come and go.
        """
        known = self._known.get(key)
        if known is None or now - known.at > STALE_S:
            self._make_room(now)
            known = self._known[key] = _Near(rssi, now, False)
        known.signal += WEIGHT * (rssi - known.signal)
        known.at = now
        known.inside = known.signal >= (LEAVE_DBM if known.inside else ENTER_DBM)
        return known.signal if known.inside else None

    def _make_room(self, now: float) -> None:
        self._known = {key: near for key, near in self._known.items() if now - near.at <= STALE_S}
        if len(self._known) >= LARGEST:
            del self._known[min(self._known, key=lambda key: self._known[key].at)]
