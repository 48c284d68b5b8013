"""What was sighted, by which radio, how fresh: one table for every finder, pure and bounded (mesh-lessons §4)."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from moodmesh.mesh.address import Address
from moodmesh.mesh.seams import Sighting

LARGEST = 1000


@dataclass(frozen=True)
class Seen:
    """One device as sighted now, by its rid."""

    rid: bytes
    radios: tuple[str, ...]
    addresses: tuple[Address, ...]
    age_s: float
    tags: frozenset[bytes]
    nameplate: int | None
    windows: tuple[Address, ...]
    rooms: tuple[Address, ...] = ()


class Table:
    """Sightings by (rid, radio, host): a goodbye from one address hides nothing that was sighted at another.

    A hello that fell silent takes the mDNS sighting of its rid with it: mDNS lingers.
    """

    def __init__(self) -> None:
        self._by_key: dict[tuple[bytes, str, str], Sighting] = {}

    def put(self, sighting: Sighting, now: float) -> None:
        """Add or renew; a `ttl_s` of 0 removes. When full, what is stale goes first, then newcomers are dropped."""
        key = (sighting.rid, sighting.radio, sighting.host)
        if sighting.ttl_s <= 0:
            if self._by_key.pop(key, None) is not None and sighting.radio == "hello":
                self._by_key.pop((sighting.rid, "mdns", sighting.host), None)
            return
        if key not in self._by_key and len(self._by_key) >= LARGEST:
            self._expire(now)
            if len(self._by_key) >= LARGEST:
                return
        self._by_key[key] = sighting

    def now(self, now: float) -> list[Seen]:
        """Every device that is fresh, the freshest first."""
        self._expire(now)
        rids = {sighting.rid for sighting in self._by_key.values()}
        found = [_merge(rid, [s for s in self._by_key.values() if s.rid == rid], now) for rid in rids]
        return sorted(found, key=lambda seen: seen.age_s)

    def _expire(self, now: float) -> None:
        stale = {key for key, s in self._by_key.items() if now - s.at > s.ttl_s}
        fresh = {rid for rid, radio, _ in self._by_key.keys() - stale if radio == "hello"}
        silent = {rid for rid, radio, _ in stale if radio == "hello"} - fresh
        self._by_key = {k: s for k, s in self._by_key.items() if k not in stale and not (k[1] == "mdns" and k[0] in silent)}


def _merge(rid: bytes, sightings: Iterable[Sighting], now: float) -> Seen:
    ordered = sorted(sightings, key=lambda s: -s.at)
    newest = ordered[0]
    tags = frozenset().union(*(s.tags for s in ordered))
    windows = tuple(dict.fromkeys((s.host, s.window_port) for s in ordered if s.window_port is not None))
    rooms = tuple(dict.fromkeys((s.host, s.room_port) for s in ordered if s.room_port is not None))
    return Seen(
        rid, tuple(dict.fromkeys(s.radio for s in ordered)), tuple(dict.fromkeys((s.host, s.port) for s in ordered)),
        now - newest.at, tags, newest.nameplate, windows, rooms,
    )  # fmt: skip
