"""What happens in a run, drawn from its seed: jobs, what befalls the devices meanwhile, and when. Pure."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass

PACES = {"ann": 1.0, "bob": 2.0, "cyd": 7.0}
"""How many times longer everything takes on each: the last is no place for what the first is there for."""
DEVICES = tuple(PACES)
WINDOW_S = 3.0
CROWD_SHARE, CROWD = 0.3, (5, 9)
FROZEN_S = (1.5, 4.0)
PARTED_SHARE = 0.12
PARTED_S = (12.0, 13.0)
"""Some runs part a long job's device from its owner's: for so many seconds, longer than a lease with its grace."""
JUMPS_S = (-365 * 86400.0, -86400.0, -3600.0, -5.0, 5.0, 3600.0, 86400.0)
STEPS = (
    "job.accept", "attempt.offer", "attempt.running", "job.running", "attempt.lost", "attempt.cancelled", "job.commit",
    "job.stopped", "execution.grant", "execution.running", "execution.delivering", "execution.forget",
)  # fmt: skip
"""Writes after each of which a daemon is killed at times."""


@dataclass(frozen=True, order=True)
class Action:
    """One thing done `at` seconds after the start of the run; what the other fields mean depends on `do`."""

    at: float
    do: str
    who: str
    other: str = ""
    value: float = 0.0
    text: str = ""

    def __str__(self) -> str:
        rest = [self.other, f"{self.value:g}" if self.value else "", self.text]
        return " ".join([f"{self.at:6.3f}", self.do, self.who, *filter(None, rest)])


def schedule(seed: int) -> list[Action]:
    """The actions of a run in their order; the same for the same seed."""
    rng = random.Random(seed)  # noqa: S311 - repeats, hides nothing
    actions = [action for number in range(rng.randint(4, 7)) for action in _job(rng, number)]
    if rng.random() < CROWD_SHARE:
        actions += _crowd(rng, 20)
    for _ in range(rng.randint(1, 4)):
        actions += rng.choice(_FAULTS)(rng, rng.uniform(0.05, WINDOW_S), _log_uniform(rng, 0.05, 1.5))
    if rng.random() < PARTED_SHARE:
        actions += _parted(rng, 9)
    return sorted(actions)


def _job(rng: random.Random, number: int) -> list[Action]:
    """A job, somewhere or at a device by name; some may run once only, some are cancelled, often at about their end."""
    who, at, seconds = rng.choice(DEVICES), rng.choice((0.0, rng.uniform(0, WINDOW_S))), _log_uniform(rng, 0.1, 1.5)
    task, on = "effect" if rng.random() < 0.12 else "work", rng.choice(("", "", *DEVICES))
    found = [Action(at, "submit", who, on, seconds / PACES.get(on, 1.0), f"{number} {task}")]
    if rng.random() < 0.25:
        when = at + rng.choice((rng.uniform(0, seconds), seconds + rng.uniform(-0.02, 0.06)))
        found.append(Action(when, "cancel", who, text=str(number)))
    return found


def _crowd(rng: random.Random, number: int) -> list[Action]:
    """More jobs at once than there are devices: some wait at their owner, some in queues that others take them out of."""
    who, at = rng.choice(DEVICES), rng.uniform(0, WINDOW_S)
    return [
        Action(at, "submit", who, "", _log_uniform(rng, 0.2, 1.2), f"{n} work")
        for n in range(number, number + rng.randint(*CROWD))
    ]


def _parted(rng: random.Random, number: int) -> list[Action]:
    """A long job, and nothing passes between its owner and its device for long: whichever of them it is that is gone."""
    owner, device = rng.sample(DEVICES, 2)
    at, lasts = rng.uniform(0.6, 1.5), rng.uniform(*PARTED_S)
    do, undo, who, other = rng.choice((
        ("kill", "start", owner, ""), ("stop", "continue", owner, ""), ("stop", "continue", device, ""),
        ("hold", "heal", owner, device), ("cut", "heal", owner, device),
    ))  # fmt: skip
    job = Action(0.0, "submit", owner, device, rng.uniform(12, 13) / PACES[device], f"{number} work")
    return [job, Action(at, do, who, other), Action(at + lasts, undo, who, other)]


def _killed(rng: random.Random, at: float, lasts: float) -> list[Action]:
    who = rng.choice(DEVICES)
    return [Action(at, "kill", who), Action(at + lasts, "start", who)]


def _crashed(rng: random.Random, at: float, lasts: float) -> list[Action]:
    who = rng.choice(DEVICES)
    return [Action(at, "kill", who), Action(at, "start", who, text=rng.choice(STEPS)), Action(at + lasts + 1, "start", who)]


def _restarted(rng: random.Random, at: float, lasts: float) -> list[Action]:
    who = rng.choice(DEVICES)
    return [Action(at, "end", who), Action(at + lasts, "start", who)]


def _stopped(rng: random.Random, at: float, lasts: float) -> list[Action]:
    who = rng.choice(DEVICES)
    return [Action(at, "stop", who), Action(at + lasts, "continue", who)]


def _held(rng: random.Random, at: float, lasts: float) -> list[Action]:
    return _wire(rng, at, lasts, "hold")


def _cut(rng: random.Random, at: float, lasts: float) -> list[Action]:
    return _wire(rng, at, lasts, "cut")


def _delayed(rng: random.Random, at: float, lasts: float) -> list[Action]:
    return _wire(rng, at, lasts, "delay", _log_uniform(rng, 0.01, 0.5))


def _wire(rng: random.Random, at: float, lasts: float, do: str, value: float = 0.0) -> list[Action]:
    one, other = rng.sample(DEVICES, 2)
    return [Action(at, do, one, other, value), Action(at + lasts, "heal", one, other)]


def _alone(rng: random.Random, at: float, lasts: float) -> list[Action]:
    """One device is cut off from all others."""
    who, do = rng.choice(DEVICES), rng.choice(("hold", "cut"))
    others = [other for other in DEVICES if other != who]
    return [a for other in others for a in (Action(at, do, who, other), Action(at + lasts, "heal", who, other))]


def _full(rng: random.Random, at: float, lasts: float) -> list[Action]:
    who = rng.choice(DEVICES)
    return [Action(at, "fill", who), Action(at + lasts, "free", who)]


def _slow(rng: random.Random, at: float, lasts: float) -> list[Action]:
    who = rng.choice(DEVICES)
    return [Action(at, "slow", who, value=_log_uniform(rng, 0.01, 0.3)), Action(at + lasts, "slow", who)]


def _jumped(rng: random.Random, at: float, lasts: float) -> list[Action]:
    who = rng.choice(DEVICES)
    return [Action(at, "jump", who, value=rng.choice(JUMPS_S)), Action(at + lasts, "jump", who)]


def _shot(rng: random.Random, at: float, lasts: float) -> list[Action]:
    return [Action(at, "shoot", rng.choice(DEVICES), value=rng.random())]


def _frozen(rng: random.Random, at: float, lasts: float) -> list[Action]:
    """A worker stands still, its daemon does not: what runs there gets a second attempt, what waits there goes elsewhere."""
    who = rng.choice(DEVICES)
    return [Action(at, "freeze", who, value=rng.random()), Action(at + rng.uniform(*FROZEN_S), "thaw", who)]


def _log_uniform(rng: random.Random, low: float, high: float) -> float:
    return math.exp(rng.uniform(math.log(low), math.log(high)))


_FAULTS: tuple[Callable[[random.Random, float, float], list[Action]], ...] = (
    _killed, _crashed, _restarted, _stopped, _held, _cut, _delayed, _alone, _full, _slow, _jumped, _shot, _frozen,
)  # fmt: skip
