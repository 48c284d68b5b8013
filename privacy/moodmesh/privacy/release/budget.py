"""What a device may still send: the sums of what it sent within the hour and the day, against caps (room-mood §8)."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import NamedTuple

from .gaussian import eps_of
from .mechanism import Price

EPOCH_S = 600
HOUR, DAY = 6, 144
"""Windows, in epochs, the current one included."""


class Spent(NamedTuple):
    """Epsilon of one window: with the room honest, and with everybody else hostile."""

    room: float
    alone: float


class Caps(NamedTuple):
    """The most that may be spent within an hour and a day."""

    hour: Spent = Spent(4.0, 16.0)
    day: Spent = Spent(16.0, 48.0)


def epoch_of(wall: float) -> int:
    """The 10-minute epoch of a wall time."""
    return math.floor(wall / EPOCH_S)


def total(prices: Iterable[Price]) -> Spent:
    """Pure epsilons add; Gaussian releases add by mu^2; the two add."""
    prices = list(prices)
    pure = sum(p.pure for p in prices)
    return Spent(pure + eps_of(math.sqrt(sum(p.room for p in prices))), pure + eps_of(math.sqrt(sum(p.alone for p in prices))))


def window(charges: Iterable[tuple[int, Price]], now: int, epochs: int) -> list[Price]:
    """The prices of the last `epochs` epochs; what lies ahead of the clock counts too."""
    return [price for epoch, price in charges if epoch > now - epochs]


def exceeded(charges: Iterable[tuple[int, Price]], new: Price, now: int, caps: Caps) -> str | None:
    """Which cap one more release would break, in words; None when none."""
    charges = [*charges, (now, new)]
    for name, epochs, cap in (("hour", HOUR, caps.hour), ("day", DAY, caps.day)):
        spent = total(window(charges, now, epochs))
        for what, value, most in (("room", spent.room, cap.room), ("alone", spent.alone, cap.alone)):
            if value > most * (1 + 1e-9):
                return f"eps_{what} of the {name} would be {value:.2f}, the limit is {most:g}"
    return None
