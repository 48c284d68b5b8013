"""What a simulated fleet is and does, drawn from a seed: devices, absences, jobs and their luck (routing §15).

The same seed gives the same world to every policy: their results are pairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

STRAGGLER_SHARE, STRAGGLER = 0.08, 4.0
NOISE, SPEED, BANDWIDTH = 0.35, 0.25, 0.3
DRAWS = 64
MEAN_LUCK = math.exp(NOISE**2 / 2) * (1 + STRAGGLER_SHARE * (STRAGGLER - 1))


class Kind(NamedTuple):
    """A class of work: its share of the jobs, seconds on a laptop, bytes in and out, seconds until its model is in memory."""

    share: float
    seconds: float
    bytes_in: int
    bytes_out: int
    load_s: float


KINDS = {
    "analyse/base": Kind(0.6, 0.4, 1_000_000, 2_000, 0.5),
    "midi/base": Kind(0.3, 6.0, 2_000, 20_000, 3.0),
    "image/base": Kind(0.1, 60.0, 2_000, 1_500_000, 15.0),
}
NAMES = tuple(KINDS)


def moved(name: str) -> int:
    """Bytes of a job of a class, there and back."""
    return KINDS[name].bytes_in + KINDS[name].bytes_out


class Class(NamedTuple):
    """A class of device: slots, speed at each kind of work (0: cannot), bytes per second, mean seconds present and absent."""

    slots: int
    speed: tuple[float, float, float]
    bandwidth: float
    present: float
    absent: float


CLASSES = {
    "phone": Class(1, (0.35, 0.2, 0.0), 6e6, 600, 240),
    "laptop": Class(1, (1.0, 1.0, 1.0), 20e6, 3600, 900),
    "desktop": Class(2, (1.6, 1.5, 1.5), 60e6, 20000, 600),
    "gpu": Class(2, (2.5, 4.0, 15.0), 60e6, 20000, 600),
}
TEN = ("phone",) * 5 + ("laptop",) * 3 + ("desktop", "gpu")
SMALL = {2: ("phone", "gpu"), 5: ("phone", "gpu", "laptop", "phone", "laptop")}


@dataclass(frozen=True)
class Cell:
    """One condition: how many devices, nominal load, what leaves (`calm`, `churn`, `blackout`, `gone`, `home`: phones and
    laptops all at once), how jobs arrive (`poisson`, `burst`, `diurnal`), and what else is odd (`liar`, `slow link`,
    `cold models`: memory holds a model more than there are slots, those used last; elsewhere all are loaded)."""

    devices: int
    load: float
    leaving: str = "calm"
    jobs: int = 3000
    away_s: float = 300.0
    arrivals: str = "poisson"
    odd: str = ""

    @property
    def name(self) -> str:
        """For tables and files."""
        away = f" {self.away_s:.0f}" if self.leaving == "blackout" else ""
        more = "".join(f" {word}" for word in (self.arrivals.replace("poisson", ""), self.odd) if word)
        return f"{self.leaving}{away}{more} N={self.devices} load={self.load}"


class Machine(NamedTuple):
    """A device as drawn: class, slots, seconds per unit of each kind (infinite: cannot), bytes per second, error of its
    prior, and the factor by which it claims to be faster than it is."""

    kind: str
    slots: int
    seconds: tuple[float, ...]
    bandwidth: float
    prior: tuple[float, ...]
    flattery: float = 1.0


class Work(NamedTuple):
    """A job as drawn: arrival, kind, origin, and its luck: factors on the service time, by device and attempt."""

    at: float
    kind: int
    origin: int
    draws: tuple[float, ...]

    def luck(self, device: int, number: int) -> float:
        """The factor of one attempt on one device."""
        return self.draws[(7 * device + 13 * number) % DRAWS]


@dataclass(frozen=True)
class World:
    """One draw of a cell: machines, jobs in order of arrival, and for each machine the times at which it leaves and returns."""

    cell: Cell
    machines: Sequence[Machine]
    jobs: Sequence[Work]
    absences: Sequence[Sequence[tuple[float, float]]]

    @property
    def cold(self) -> bool:
        """Whether models have to be loaded."""
        return self.cell.odd == "cold models"


def draw(cell: Cell, seed: int, *, prior_error: float = 0.3) -> World:
    """The world of a cell and a seed."""
    words = f"{cell.leaving}{cell.arrivals}{cell.odd}".encode()
    rng = np.random.default_rng([seed, cell.devices, round(cell.load * 100), *words])
    names = SMALL.get(cell.devices) or TEN * (cell.devices // len(TEN))
    machines = [_machine(name, rng, prior_error) for name in names]
    _make_odd(cell, machines)
    arrivals = _arrivals(cell, cell.load * capacity(names), rng)
    kinds = rng.choice(len(KINDS), cell.jobs, p=[k.share for k in KINDS.values()])
    origins = rng.integers(cell.devices, size=cell.jobs)
    luck = np.exp(rng.normal(0, NOISE, (cell.jobs, DRAWS))) * np.where(
        rng.random((cell.jobs, DRAWS)) < STRAGGLER_SHARE, STRAGGLER, 1.0
    )
    jobs = [
        Work(float(at), int(k), int(o), tuple(row))
        for at, k, o, row in zip(arrivals, kinds, origins, luck.tolist(), strict=True)
    ]
    horizon = float(arrivals[-1]) * 20 + 20_000
    return World(cell, machines, jobs, [_absences(cell, name, horizon, rng) for name in names])


def _machine(name: str, rng: np.random.Generator, prior_error: float) -> Machine:
    c = CLASSES[name]
    speed = float(np.exp(rng.normal(0, SPEED)))
    seconds = tuple(k.seconds / (s * speed) if s else math.inf for k, s in zip(KINDS.values(), c.speed, strict=True))
    prior = tuple(float(x) for x in np.exp(rng.normal(0, prior_error, len(KINDS))))
    return Machine(name, c.slots, seconds, c.bandwidth * float(np.exp(rng.normal(0, BANDWIDTH))), prior)


def _make_odd(cell: Cell, machines: list[Machine]) -> None:
    if cell.odd == "liar":
        index = next(i for i, m in enumerate(machines) if m.kind == "laptop")
        machines[index] = machines[index]._replace(flattery=10.0)
    elif cell.odd == "slow link":
        index = next(i for i, m in enumerate(machines) if m.kind == "gpu")
        machines[index] = machines[index]._replace(bandwidth=3e5)


def _arrivals(cell: Cell, rate: float, rng: np.random.Generator) -> np.ndarray:
    """Poisson; or ten at once, as often as keeps the rate; or a rate that swings by 80 % over ten minutes."""
    if cell.arrivals == "burst":
        return np.repeat(np.cumsum(rng.exponential(10 / rate, -(-cell.jobs // 10))), 10)[: cell.jobs]
    plain = np.cumsum(rng.exponential(1 / rate, cell.jobs))
    if cell.arrivals != "diurnal":
        return plain
    grid = np.arange(0.0, plain[-1] * 2, 1.0)
    return np.interp(plain, np.cumsum(1 + 0.8 * np.sin(2 * np.pi * grid / 600)), grid)


def _absences(cell: Cell, name: str, horizon: float, rng: np.random.Generator) -> list[tuple[float, float]]:
    """When a device leaves and returns."""
    c, start = CLASSES[name], 200.0 if cell.devices == 5 else min(150.0, cell.away_s / 2)
    if name == "gpu" and cell.leaving in ("blackout", "gone"):
        return [(start, start + cell.away_s if cell.leaving == "blackout" else math.inf)]
    if name in ("phone", "laptop") and cell.leaving == "home":
        return [(start, start + cell.away_s)]
    shorter = 10.0 if cell.leaving == "churn" else 1.0
    found, now = [], 0.0
    while now < horizon:
        leaves = now + float(rng.exponential(c.present / shorter))
        now = leaves + float(rng.exponential(c.absent))
        found.append((leaves, now))
    return found


def capacity(names: Sequence[str]) -> float:
    """Jobs per second of a fleet whose devices each work through the mix they can run, luck included.

    Routed better, a fleet can do more (`fluid`); absences are not counted.
    """
    total = 0.0
    for c in (CLASSES[name] for name in names):
        able = [(k.share, k.share * k.seconds / s) for k, s in zip(KINDS.values(), c.speed, strict=True) if s]
        total += c.slots * sum(share for share, _ in able) / sum(seconds for _, seconds in able)
    return total / MEAN_LUCK


def fluid(names: Sequence[str]) -> float:
    """Jobs per second of the mix that no routing can exceed, luck included: the dual of the fluid program, by search.

    With a price on each kind of work, a slot earns at most its best rate x price; the least such sum over all prices whose
    mean over the mix is 1 is the bound.
    """
    slots = np.array([CLASSES[n].slots for n in names], float)
    rates = np.array([[s / k.seconds for k, s in zip(KINDS.values(), CLASSES[n].speed, strict=True)] for n in names])
    shares = np.array([k.share for k in KINDS.values()])

    def earned(a: float, b: float) -> float:
        weights = np.array([a, (1 - a) * b, (1 - a) * (1 - b)])
        return float((slots * (rates * (weights / shares)).max(axis=1)).sum()) / MEAN_LUCK

    return _least(lambda a: _least(lambda b: earned(a, b)))


def _least(value: Callable[[float], float]) -> float:
    """The minimum of a convex function on [0, 1], by golden section."""
    low, high, golden = 0.0, 1.0, (math.sqrt(5) - 1) / 2
    for _ in range(40):
        one, other = high - golden * (high - low), low + golden * (high - low)
        if value(one) < value(other):
            high = other
        else:
            low = one
    return value((low + high) / 2)
