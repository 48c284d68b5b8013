"""The story of a room, epoch by epoch: who does what, what the room tells, and how far that is from what its people feel."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, field
from math import comb, hypot, sqrt
from pathlib import Path
from typing import Any

import numpy as np

from moodmesh.nodes.cli.output import progress, say
from moodmesh.nodes.demo.room.cast import PROCESSES, SPAN_S, Move, kind_for, late, moves, next_epoch
from moodmesh.nodes.demo.room.daemons import NAMES, Daemons, first_epoch
from moodmesh.nodes.demo.room.moods import Annotated, Moods, Point, Simulated, mean
from moodmesh.nodes.demo.room.picture import png
from moodmesh.nodes.demo.room.stage import Stage, Told, Twins
from moodmesh.nodes.demo.scene import DemoFailed
from moodmesh.nodes.rooms.model import create
from moodmesh.privacy.release.budget import EPOCH_S
from moodmesh.privacy.release.mechanism import LEAST, Kind, Price

FADED = 0.02
"""By so much a device's own filter may move the mood that it was told (systems S2); it shows in circles, which are exact."""
MISSED, CHANCE = 0.05, 1e-4
"""How often the truth may lie outside of a radius; how small the chance of as many as were is, when something must be wrong."""
WHY_TRUST = {
    "circle": "trust: everybody is verified, all are paired. Their pairs were written into their stores: `moodmesh demo` pairs "
    "by code",
    "on-demand": "trust: assumed. They are strangers, nobody is verified; the price of a report here is the same either way",
    "ambient": "trust: assumed, two thirds of the others are taken to be people. They are strangers: with `verified` each "
    "would count as alone in it, and the budget would refuse",
}


@dataclass
class RoomStory:
    """The demo. `patch`: statements that run first in each daemon: a demo of a room that tells wrong sums must fail."""

    people: int
    picture: Path
    epochs: int = 6
    asked: Kind | None = None
    data: Path | None = None
    seed: int = 1
    told: Callable[[str], None] = say
    patch: str = ""
    rows: list[dict[str, Any]] = field(default_factory=list)

    def run(self) -> dict[str, Any]:
        """Play it; the summary. `UsageError` for a room that cannot be; `DemoFailed`. Nothing is left behind."""
        self.kind, self.eps = kind_for(self.people, self.asked)
        chance = np.random.default_rng(self.seed)
        moods = Annotated(self.data, self.people, chance) if self.data else Simulated(self.people, chance)
        began, self.epoch = time.monotonic(), first_epoch()
        with progress("the people come") as bar, closing(self._stage()) as stage:
            if isinstance(stage, Daemons):
                stage.start()
            self._opening(stage, moods)
            done = self._play(stage, moods, bar)
            bar(1.0, "cleaning up")
        png(self.rows, f"Mood of a room of {self.people} ({self.kind})", moods.label, self.picture)
        self.told(f"as a picture: {self.picture}")
        return self._summary(done) | {"seconds": round(time.monotonic() - began, 1)}

    def _stage(self) -> Daemons | Twins:
        def crashed(who: int, at: float) -> None:
            how = "kill -9" if self._real else "its device vanishes"
            self.told(f"   {self._name(who)} crashes ({how}), {at:.1f} s into the run")

        if self._real:
            return Daemons(self.people, self.kind, self.eps, self.epoch, crashed, self.patch)
        return Twins(self.people, create("demo", self.kind, self.eps), crashed)

    @property
    def _real(self) -> bool:
        return self.people <= PROCESSES

    def _name(self, who: int) -> str:
        return NAMES[who] if self._real else f"person {who}"

    def _opening(self, stage: Stage, moods: Moods) -> None:
        if isinstance(stage, Daemons):
            pids = ", ".join(f"{m.name} (pid {m.process.pid})" for m in stage.members)
            self.told(f"{self.people} people, each with a daemon of their own: {pids}")
            self.told("the ten-minute clock of these daemons is turned by hand; nothing else about them is")
        else:
            self.told(f"{self.people} people in memory: the code of the product in one process, in virtual time")
        eps = f", epsilon {self.eps} a report" if self.eps else ""
        self.told(f"the room is {self.kind}{eps}: it needs {LEAST[self.kind]} people; they join by the code of an invitation")
        self.told(WHY_TRUST[self.kind])
        self.told(moods.label)

    def _play(self, stage: Stage, moods: Moods, bar: Callable[[float, str], None]) -> Counter[str]:
        done, here = Counter[str](), {0}
        charges: list[tuple[int, Price]] = []
        start = before = self.epoch
        for who in range(0 if isinstance(stage, Twins) else 1, self.people):
            if who not in late(self.people, self.kind):
                stage.joins(who)
                here.add(who)
                done["joins"] += who > 0
        for number, plan in enumerate(moves(self.people, self.kind, self.epochs, self.seed)):
            bar(number / self.epochs, f"epoch {number + 1} of {self.epochs}")
            self.epoch, price, why = next_epoch(stage.room, len(here), charges, before if number else start - 1)
            if why:
                self.told(f"   the budget is spent ({why}): the clock moves {_hours(self.epoch - before)} on")
            self._moved(stage, [move for move in plan if not move.within], here, done)
            felt = moods.after((self.epoch - before) * EPOCH_S / 3600)
            self._epoch(stage, number, self.epoch - start, felt, here, plan)
            done["crashes"] += sum(move.within for move in plan)
            if len(here) >= LEAST[self.kind]:
                charges.append((self.epoch, price))
            here -= {move.who for move in plan if move.within}
            before = self.epoch
        return done

    def _moved(self, stage: Stage, plan: list[Move], here: set[int], done: Counter[str]) -> None:
        """Before an epoch."""
        act = {"joins": stage.joins, "leaves": stage.leaves, "crashes": stage.crashes, "returns": stage.returns}
        words = {"crashes": "crashes between epochs", "returns": "is back, and still in the room"}
        for move in plan:
            act[move.what](move.who)
            self.told(f"   {self._name(move.who)} {words.get(move.what, move.what)}")
            done[move.what] += 1
            (here.add if move.what in ("joins", "returns") else here.discard)(move.who)

    def _epoch(self, stage: Stage, number: int, since: int, felt: list[Point], here: set[int], plan: list[Move]) -> None:
        chance = random.Random(self.seed + number)  # noqa: S311 - when somebody crashes, nothing secret
        crashes = {move.who: chance.uniform(0, SPAN_S[self.kind]) for move in plan if move.within}
        truth = mean([felt[who] for who in sorted(here)])
        found = stage.open(self.epoch, felt, crashes)
        row = {"epoch": number + 1, "minutes": since * EPOCH_S // 60, "here": len(here), "truth": _rounded(truth)}
        self.rows.append(row | (_figures(found, truth) if found.last else {"why": found.why}))
        for line in _lines(self.rows[-1]):
            self.told(line)

    def _summary(self, done: Counter[str]) -> dict[str, Any]:
        told = [row for row in self.rows if "shown" in row]
        outside = sum(not row["within"] for row in told)
        summary = {
            "people": self.people, "kind": self.kind, "processes" if self._real else "twins": self.people,
            "epochs": self.rows,
            "rms_error": round(sqrt(sum(r["off"] ** 2 for r in told) / (2 * len(told))), 4) if told else None,
            "mean_radius": round(sum(r["radius"] for r in told) / len(told), 4) if told else None,
            "within_radius": round(1 - outside / len(told), 3) if told else None,
            "joined": done["joins"], "left": done["leaves"], "crashed": done["crashes"],
        }  # fmt: skip
        if outside and (self.kind == "circle" or by_chance(outside, len(told)) < CHANCE):
            raise DemoFailed(f"the room does not tell what its people feel: {outside} of {len(told)} times outside its error")
        return summary


def by_chance(outside: int, times: int) -> float:
    """How likely so many misses or more are, when each radius holds the truth as often as it says."""
    return sum(comb(times, k) * MISSED**k * (1 - MISSED) ** (times - k) for k in range(outside, times + 1))


def _figures(found: Told, truth: Point) -> dict[str, Any]:
    last, value, smooth = found.last, found.shown, found.smooth
    assert last is not None
    assert value is not None
    assert smooth is not None
    off = hypot(value.valence - truth.valence, value.arousal - truth.arousal)
    exact = value.radius < FADED
    return {
        "n": last.n, "contributors": last.contributors, "verified": last.verified,
        "raw": _rounded(Point(last.valence, last.arousal)), "raw_rms": round(last.rms, 4),
        "shown": _rounded(Point(value.valence, value.arousal)), "radius": round(value.radius, 4), "rough": value.rough,
        "releases": value.releases, "filtered": _rounded(Point(smooth.valence, smooth.arousal)),
        "filtered_sd": round(smooth.sd, 4), "off": round(off, 4),
        "within": off <= value.radius + (FADED if exact else 0.0),
        "eps_room": round(last.eps_room, 3), "eps_alone": round(last.eps_alone, 3), "exact": exact,
    }  # fmt: skip


def _lines(row: dict[str, Any]) -> list[str]:
    head = f"epoch {row['epoch']}, +{row['minutes'] // 60}:{row['minutes'] % 60:02d} h: "
    truth = f"truth {_point(row['truth'])} (known to the demo only)"
    if "why" in row:
        return [f"{head}{row['here']} here; nothing told: {row['why']}", f"   {truth}"]
    average = f", average of {row['releases']} epochs" if row["releases"] > 1 else ""
    rough = ", exact" if row["exact"] else ", rough" if row["rough"] else ""
    told = "exact: no epsilon" if row["exact"] else f"epsilon {row['eps_room']:.2f}, {row['eps_alone']:.2f} alone"
    return [
        f"{head}{row['contributors']} of {row['n']} contributed ({row['verified']} verified); {told}",
        f"   shown {_point(row['shown'])} within {row['radius']:.2f} (95 %{rough}{average}); {truth}, "
        f"off by {row['off']:.2f}: {'inside' if row['within'] else 'outside'}",
    ]


def _point(point: list[float]) -> str:
    return f"valence {point[0]:+.2f}, arousal {point[1]:+.2f}"


def _rounded(point: Point) -> list[float]:
    return [round(point.valence, 4), round(point.arousal, 4)]


def _hours(epochs: int) -> str:
    return f"{epochs * EPOCH_S // 3600} h {epochs * EPOCH_S % 3600 // 60:02d}"
