"""What was sighted, by which radio, how fresh: one table for every finder, pure and bounded (mesh-lessons §4)."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from moodmesh.mesh.address import Address
from moodmesh.mesh.reach import by_radio
from moodmesh.mesh.rid import SHOWN_BYTES
from moodmesh.mesh.seams import Sighting

LARGEST = 500
"""Sightings by one radio."""


@dataclass(frozen=True)
class Seen:
    """One device as sighted now, by its rid, or as much of it as its radio shows; what is by radio comes last."""

    rid: bytes
    radios: tuple[str, ...]
    addresses: tuple[Address, ...]
    age_s: float
    tags: frozenset[bytes]
    nameplate: int | None
    windows: tuple[Address, ...]
    rooms: tuple[Address, ...] = ()
    signal: float | None = None


class Table:
    """Sightings by (rid, radio, host): a goodbye from one address hides nothing that was sighted at another.

    A hello that fell silent takes the mDNS sighting of its rid with it: mDNS lingers.
    """

    def __init__(self) -> None:
        self._by_key: dict[tuple[bytes, str, str], Sighting] = {}
        self._sizes: Counter[str] = Counter()
        """By radio: each has its own share, so that a flood on one hides nobody on another."""

    def put(self, sighting: Sighting, now: float) -> bool:
        """Add or renew, and whether it is new: it was not there, or stale. A `ttl_s` of 0 removes.

        When full, what is stale goes first, then the weakest by that radio if a newcomer's signal is stronger (the nearest
        stays); any other newcomer is dropped.
        """
        key = (sighting.rid, sighting.radio, sighting.host)
        if sighting.ttl_s <= 0:
            if self._drop(key) and sighting.radio == "hello":
                self._drop((sighting.rid, "mdns", sighting.host))
            return False
        before = self._by_key.get(key)
        if before is None:
            if self._sizes[sighting.radio] >= LARGEST:
                self._expire(now)
            if self._sizes[sighting.radio] >= LARGEST and not self._gives_way(sighting):
                return False
            self._sizes[sighting.radio] += 1
        self._by_key[key] = sighting
        return before is None or now - before.at > before.ttl_s

    def _gives_way(self, newcomer: Sighting) -> bool:
        """Drop the weakest by the radio of a newcomer if that is nearer."""
        kept = [(s.signal, key) for key, s in self._by_key.items() if s.radio == newcomer.radio and s.signal is not None]
        weakest, key = min(kept, default=(0.0, None))
        return key is not None and newcomer.signal is not None and weakest < newcomer.signal and self._drop(key)

    def _drop(self, key: tuple[bytes, str, str]) -> bool:
        if self._by_key.pop(key, None) is None:
            return False
        self._sizes[key[1]] -= 1
        return True

    def now(self, now: float) -> list[Seen]:
        """Every device that is fresh, the freshest first."""
        self._expire(now)
        longest: dict[bytes, bytes] = {}
        by_rid: defaultdict[bytes, list[Sighting]] = defaultdict(list)
        for sighting in sorted(self._by_key.values(), key=lambda s: -len(s.rid)):
            longer = longest.setdefault(sighting.rid[:SHOWN_BYTES], sighting.rid)  # radios show more or less of a rid
            by_rid[longer if longer.startswith(sighting.rid) else sighting.rid].append(sighting)
        return sorted((_merge(rid, found, now) for rid, found in by_rid.items()), key=lambda seen: seen.age_s)

    def _expire(self, now: float) -> None:
        stale = {key for key, s in self._by_key.items() if now - s.at > s.ttl_s}
        fresh = {rid for rid, radio, _ in self._by_key.keys() - stale if radio == "hello"}
        silent = {rid for rid, radio, _ in stale if radio == "hello"} - fresh
        self._by_key = {k: s for k, s in self._by_key.items() if k not in stale and not (k[1] == "mdns" and k[0] in silent)}
        self._sizes = Counter(radio for _, radio, _ in self._by_key)


def _merge(rid: bytes, sightings: Sequence[Sighting], now: float) -> Seen:
    newest = max(sightings, key=lambda s: s.at)
    ordered = sorted(sightings, key=lambda s: (by_radio(s.host), -s.at))
    tags = frozenset().union(*(s.tags for s in ordered))
    windows = tuple(dict.fromkeys((s.host, s.window_port) for s in ordered if s.window_port is not None))
    rooms = tuple(dict.fromkeys((s.host, s.room_port) for s in ordered if s.room_port is not None))
    return Seen(
        rid, tuple(dict.fromkeys(s.radio for s in ordered)), tuple(dict.fromkeys((s.host, s.port) for s in ordered)),
        now - newest.at, tags, newest.nameplate, windows, rooms,
        next((s.signal for s in ordered if s.signal is not None), None),
    )  # fmt: skip
