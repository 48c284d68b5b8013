"""The book of paired devices that the mesh works from; the node fills it from its store (pairing §5, §7)."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from .seams import DeviceId


@dataclass(frozen=True)
class Pair:
    """A device this one is paired with.

    `half`: no mutual link was seen yet, so it permits nothing (pairing §5.1). `paired_at`: seconds since 1970.
    """

    peer: DeviceId
    name: str
    certificate: bytes
    k_pair: bytes = field(repr=False)
    half: bool = False
    paired_at: float = 0.0


Watcher = Callable[[DeviceId, Pair | None], None]
"""Called after each change with the peer and its pair, None when it was removed."""


class Pairs:
    """At most one `Pair` a device; every change is told to the watchers before the call returns."""

    def __init__(self) -> None:
        self._pairs: dict[DeviceId, Pair] = {}
        self._watchers: list[Watcher] = []

    def __iter__(self) -> Iterator[Pair]:
        return iter(tuple(self._pairs.values()))

    def __len__(self) -> int:
        return len(self._pairs)

    def get(self, peer: DeviceId) -> Pair | None:
        """The pair with `peer`, None when there is none."""
        return self._pairs.get(peer)

    def add(self, pair: Pair) -> None:
        """Add or replace."""
        self._pairs[pair.peer] = pair
        self._tell(pair.peer, pair)

    def remove(self, peer: DeviceId) -> None:
        """Forget a pair (idempotent): its live link closes and its certificate is refused from now on."""
        if self._pairs.pop(peer, None) is not None:
            self._tell(peer, None)

    def watch(self, watcher: Watcher) -> None:
        """Tell `watcher` of every later change."""
        self._watchers.append(watcher)

    def _tell(self, peer: DeviceId, pair: Pair | None) -> None:
        for watcher in self._watchers:
            watcher(peer, pair)
