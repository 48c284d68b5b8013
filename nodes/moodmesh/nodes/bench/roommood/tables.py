"""The error tables of the specification (room-mood §7.1), and simulated rooms that should make them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from moodmesh.nodes.bench.roommood.draws import BLOCK, Floats, Noise, in_disc, noise_of_rooms, quantised, reports
from moodmesh.privacy.release.gaussian import SCALE, SENSITIVITY, mu_of
from moodmesh.privacy.release.mechanism import PER_HOUR, Ambient, OnDemand

SIZES = (5, 10, 14, 20, 30, 50, 100, 300, 1000)
SHIPPED: dict[str, str] = {
    "Mode L, eps 1": "1.03 0.73 0.61 0.51 0.42 0.32 0.23 0.13 0.073",
    "Mode L, eps 2": "0.56 0.40 0.33 0.28 0.23 0.18 0.125 0.072 0.040",
    "Mode L, eps 4": "0.37 0.26 0.22 0.18 0.15 0.116 0.082 0.048 0.026",
    "Mode G": "- - - - 0.33 0.26 0.18 0.104 0.057",
    "Mode G, mean of 6": "- - - - 0.135 0.104 0.074 0.043 0.023",
    "Mode G, strict": "- - - - 0.58 0.45 0.32 0.185 0.101",
}
PLAIN_SIZES = (3, 5, 10, 30, 100, 1000)
PLAIN: dict[float, str] = {
    0.5: "9.30 5.10 2.28 0.76 0.23 0.023",
    1: "4.88 2.67 1.19 0.40 0.119 0.012",
    2: "2.58 1.41 0.63 0.21 0.063 0.006",
    4: "1.38 0.76 0.34 0.113 0.034 0.003",
}
CENTRE = "2.82 1.69 0.85 0.28 0.084 0.008"
NEAR, FAR = 0.05, 0.9
"""Where the moods of Mode L are: next to the centre, where its error is largest and the table is for; and near the edge."""


class Cell(NamedTuple):
    """One cell of a table: as printed, as the formula has it, and how to simulate so many rooms: errors, shape (rooms, 2)."""

    what: str
    n: int
    table: str | None
    formula: float
    errors: Callable[[int, np.random.Generator], Floats]


def cells() -> Iterator[Cell]:
    """All of them."""
    for what, line in SHIPPED.items():
        for n, table in zip(SIZES, line.split(), strict=True):
            if table != "-":
                yield _on_demand(what, n, table, NEAR) if "L" in what else _ambient(what, n, table)
    for eps in (1, 2, 4):
        for n in (10, 100):
            yield _on_demand(f"Mode L, eps {eps}", n, None, FAR)
    for level, line in PLAIN.items():
        for n, table in zip(PLAIN_SIZES, line.split(), strict=True):
            sigma = math.ceil(SENSITIVITY / mu_of(level) / math.sqrt(n // 2))
            how = Ambient(sigma)
            yield Cell(f"Gaussian, eps {level:g}, half honest", n, table, how.rms(n), _gaussian(sigma, n, 1))
    for n, table in zip(PLAIN_SIZES, CENTRE.split(), strict=True):
        sigma = math.ceil(SENSITIVITY / mu_of(1))
        yield Cell("trusted centre, Gaussian, eps 1", n, table, sigma / SCALE / n, _centre(sigma, n))


def row(cell: Cell, rooms: int, chance: np.random.Generator) -> dict[str, Any]:
    """Simulated beside printed and computed. `off`: from the formula, or from what rounds to the printed figure, the larger."""
    rms = float(np.sqrt(np.mean(cell.errors(rooms, chance) ** 2)))
    off = abs(rms / cell.formula - 1)
    if cell.table is not None:
        half = 0.5 * 10.0 ** -len(cell.table.partition(".")[2])
        off = max(off, (abs(rms - float(cell.table)) - half) / float(cell.table))
    return {
        "what": cell.what, "n": cell.n, "rooms": rooms, "table": cell.table or "", "formula": round(cell.formula, 4),
        "simulated": round(rms, 4), "off": round(off, 4),
    }  # fmt: skip


def _on_demand(what: str, n: int, table: str | None, radius: float) -> Cell:
    eps = int(what[-1])
    how = OnDemand(eps)
    stretch = how.rms(n) * math.sqrt(2 * n)
    formula = math.sqrt((stretch**2 - radius**2) / (2 * n))

    def errors(rooms: int, chance: np.random.Generator) -> Floats:
        step, found = max(1, BLOCK // (4 * n)), []
        for at in range(0, rooms, step):
            moods = in_disc((min(step, rooms - at), n), chance, radius)
            found.append(reports(moods, eps, chance).mean(axis=1) / SCALE - moods.mean(axis=1))
        return np.concatenate(found)

    return Cell(what if table else f"{what}, moods at {radius}", n, table, formula, errors)


def _ambient(what: str, n: int, table: str) -> Cell:
    how = Ambient.within(n, 2.0, 8.0) if "strict" in what else Ambient.within(n)
    releases = PER_HOUR if "mean" in what else 1
    return Cell(what, n, table, how.rms(n) / math.sqrt(releases), _gaussian(how.sigma, n, releases))


def _gaussian(sigma: int, n: int, releases: int) -> Callable[[int, np.random.Generator], Floats]:
    """The error of Mode G with moods all over the disc: of rounding, and of the noise; the mean of so many releases."""

    def errors(rooms: int, chance: np.random.Generator) -> Floats:
        moods = in_disc((min(rooms, max(1, BLOCK // (4 * n))), n), chance)
        rounding = (quantised(moods) - SCALE * moods).sum(axis=1)
        noise = noise_of_rooms(sigma, n, rooms * releases, chance).reshape(rooms, releases, 2).mean(axis=1)
        found: Floats = (noise + np.resize(rounding, noise.shape)) / (SCALE * n)
        return found

    return errors


def _centre(sigma: int, n: int) -> Callable[[int, np.random.Generator], Floats]:
    table = Noise(sigma)
    return lambda rooms, chance: table.draw((rooms, 2), chance) / (SCALE * n)
