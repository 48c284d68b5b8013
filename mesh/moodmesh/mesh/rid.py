"""Random rotating identifiers, and the pair tags by which paired devices know each other (pairing §4)."""

from __future__ import annotations

import hmac
import os
from collections.abc import Callable, Collection, Iterable

from .clock import Clock
from .pairs import Pair
from .tagslots import TAG_BYTES

EPOCH_S = 600.0
RID_BYTES = 16
SHOWN_BYTES = 3
"""What every radio shows of a rid at least: its first bytes."""
_SHORTEST_S = 60.0


class Rids:
    """The current rid of this process and the one before it; both die with the process."""

    def __init__(self, clock: Clock, fresh: Callable[[], bytes] = lambda: os.urandom(RID_BYTES)) -> None:
        self._clock, self._fresh = clock, fresh
        self.current = fresh()
        self.previous: bytes | None = None
        self._watchers: list[Callable[[], None]] = []

    @property
    def valid(self) -> tuple[bytes, ...]:
        """The rids a dialler may still use, newest first."""
        return (self.current,) if self.previous is None else (self.current, self.previous)

    def watch(self, watcher: Callable[[], None]) -> None:
        """Call `watcher` after each rotation."""
        self._watchers.append(watcher)

    def rotate(self) -> None:
        """Draw the next rid and tell the watchers."""
        self.previous, self.current = self.current, self._fresh()
        for watcher in self._watchers:
            watcher()

    async def run(self) -> None:
        """Rotate at every 10-minute boundary of the wall clock, so that devices rotate together, until cancelled."""
        while True:
            await self._clock.sleep(seconds_to_boundary(self._clock.wall()))
            self.rotate()


def seconds_to_boundary(wall: float) -> float:
    """Seconds to the next epoch boundary; one closer than a minute is skipped, so a jumping clock cannot burn rids."""
    left = EPOCH_S - wall % EPOCH_S
    return left if left >= _SHORTEST_S else left + EPOCH_S


def pair_tag(k_pair: bytes, rid: bytes) -> bytes:
    """What the device with this rid shows to the other holder of `k_pair`: 4 bytes."""
    return hmac.digest(k_pair, b"moodmesh/pair/v1/tag" + rid, "sha256")[:TAG_BYTES]


def whole(rid: bytes) -> bytes | None:
    """The rid, if all of it is known: some radios show only its beginning."""
    return rid if len(rid) == RID_BYTES else None


def tags(pairs: Iterable[Pair], rid: bytes) -> tuple[bytes, ...]:
    """One tag a pair."""
    return tuple(pair_tag(pair.k_pair, rid) for pair in pairs)


def match(shown: Collection[bytes], rid: bytes, pairs: Iterable[Pair]) -> list[Pair]:
    """The pairs that a sighting with this rid may be: a hint, false once in 4e9 per slot."""
    sizes = {len(tag) for tag in shown}
    return [pair for pair in pairs if any(pair_tag(pair.k_pair, rid)[:size] in shown for size in sizes)]
