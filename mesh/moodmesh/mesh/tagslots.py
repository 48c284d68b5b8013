"""The slots in which pair tags are shown: always full, so that nobody counts the pairs of a device (pairing §4)."""

from __future__ import annotations

import os
from collections.abc import Sequence

TAG_BYTES = 4
MOST_SLOTS = 256


def spare_slots() -> tuple[bytes, ...]:
    """Random bytes for the unused slots of one epoch."""
    return tuple(os.urandom(TAG_BYTES) for _ in range(MOST_SLOTS))


def slots(
    real: Sequence[bytes], spare: Sequence[bytes], count: int, turn: int = 0, first: Sequence[bytes] = ()
) -> tuple[bytes, ...]:
    """Exactly `count` slots: `first`, then `real`, the unused ones filled from `spare`; with more tags than slots, `turn`
    (the epoch) moves on.

    With the same `spare` all epoch long, in every datagram and record, comparing two of them does not tell which are real.
    """
    left = count - len(first)
    start = turn * left % len(real) if len(real) > left else 0
    chosen = [*first, *real[start:], *real[:start]][:count]
    return tuple(sorted([*chosen, *spare[: count - len(chosen)]]))  # tags look random, so their order tells nothing
