"""What is done to the devices of a room in each epoch, drawn from a seed."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

NAMES = ("ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "jon", "kim", "leo")
PHASES = ("before", "setup", "shares", "opening")
"""Before anybody asks; from the first key on; from the first shares on; from the first use of the right to open on."""
LEAST_LEFT = 5
STORM_SHARE = 1 / 15


@dataclass(frozen=True)
class Fault:
    """`after`: seconds from when its phase begins. `back`: seconds until the device is started or continued again, None: in the
    next epoch."""

    phase: str
    after: float
    do: str
    who: str
    back: float | None = None

    def __str__(self) -> str:
        back = "" if self.do in ("join", "leave") else ", back next" if self.back is None else f", back {self.back:.1f} s later"
        return f"{self.do} {self.who} {self.after:.2f} s into {self.phase}{back}"


@dataclass(frozen=True)
class Plan:
    """One epoch; `asker`: a number that picks who asks. `again`: somebody asks once more at its end."""

    number: int
    asker: int
    faults: tuple[Fault, ...]
    again: bool = False


def schedule(seed: int, epochs: int, names: Sequence[str] = NAMES) -> Iterator[tuple[tuple[str, ...], Plan]]:
    """Who is in the room, and what is done then, epoch by epoch."""
    inside = list(names[: max(LEAST_LEFT + 1, len(names) - 2)])
    for number in range(epochs):
        rng = random.Random(f"{seed}:{number}")  # noqa: S311 - repeats, hides nothing
        outside = [name for name in names if name not in inside]
        storm = len(inside) > LEAST_LEFT + 2 and rng.random() < STORM_SHARE
        victims = rng.sample(inside, len(inside) // 2 if storm else _count(rng, len(inside)))
        faults = [_storm(rng, who) if storm else _fault(rng, who) for who in victims]
        present = tuple(inside)
        if outside and rng.random() < 0.6:
            faults.append(Fault(rng.choice(PHASES[:2]), rng.uniform(0, 0.5), "join", who := rng.choice(outside)))
            inside.append(who)
        calm = [name for name in present if name not in victims]
        if len(inside) > max(LEAST_LEFT + 1, len(names) - 3) and rng.random() < 0.3:
            faults.append(Fault(rng.choice(PHASES), rng.uniform(0, 0.5), "leave", who := rng.choice(calm)))
            inside.remove(who)
        again = storm or rng.random() < 0.3
        yield present, Plan(number, rng.randrange(1000), tuple(faults), again)


def _count(rng: random.Random, inside: int) -> int:
    """How many are struck: rarely more than the room can bear."""
    return min(rng.choices((0, 1, 2, 3), (20, 45, 25, 10))[0], inside - LEAST_LEFT)


def _fault(rng: random.Random, who: str) -> Fault:
    phase, after = rng.choice(PHASES), rng.uniform(0, 0.4)
    if rng.random() < 0.3:
        return Fault(phase, after, "stop", who, rng.uniform(0.3, 5.0))
    return Fault(phase, after, "kill", who, rng.uniform(0, 1) if rng.random() < 0.5 else None)


def _storm(rng: random.Random, who: str) -> Fault:
    """Half of the room is killed at about the same time, comes back at once, and somebody asks again."""
    return Fault("opening", rng.uniform(0, 0.2), "kill", who, 0.0)
