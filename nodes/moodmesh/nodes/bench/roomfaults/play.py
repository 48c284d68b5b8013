"""One epoch of bench roomfaults: somebody asks, devices are struck at the moments planned, until nobody has anything to say."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from moodmesh.nodes.bench.roomfaults.schedule import Fault, Plan
from moodmesh.nodes.bench.roomfaults.town import Event, Town

QUIET_S = 4.5
"""Longer than any step of a run: silent for so long, it is at an end."""
ASKED, LATEST_S = 2, 75.0
BEGINS = {"join": "setup", "shares": "shares", "once": "opening"}


@dataclass
class Played:
    """What came of it. `states`: what users are told by the room at the end; `hung`: who had not come to an end."""

    epoch: int
    plan: Plan
    seconds: float = 0.0
    done: list[str] = field(default_factory=list)
    states: dict[str, str] = field(default_factory=dict)
    hung: list[str] = field(default_factory=list)


class Play:
    """One epoch, with these in the room when it begins."""

    def __init__(self, town: Town, inside: tuple[str, ...], plan: Plan, seed: int) -> None:
        self._town, self._inside, self._plan = town, inside, plan
        self._rng = random.Random(f"{seed}:{plan.number}:moods")  # noqa: S311 - repeats, hides nothing
        self._waiting = list(plan.faults)
        self._due: list[tuple[float, str, Callable[[], object]]] = []
        self._asked = 0
        self._last = 0.0
        self.played = Played(town.epoch + 1, plan)

    def run(self) -> Played:
        """From the boundary to the end, with everybody up again."""
        began = time.monotonic()
        self._town.turn()
        self._town.feel(self._rng, self._inside)
        self._town.see(self._inside)
        self._begin("before")
        while any(what for _, what, _ in self._due):
            self._act()
            time.sleep(0.02)
        self._go_on(began)
        if self._plan.again:
            self._back_up()
            self._ask()
            self._go_on(time.monotonic())
        self._collect()
        self.played.seconds = round(time.monotonic() - began, 1)
        return self.played

    def _go_on(self, began: float) -> None:
        """Until it is quiet."""
        self._ask()
        while time.monotonic() < began + LATEST_S and not self._through():
            self._act()
            self._hear()
            time.sleep(0.02)

    def _hear(self) -> None:
        for event in self._town.testimony.look():
            if event.get("epoch") == self.played.epoch:
                self._last = time.monotonic()
                if event["what"] in BEGINS and event.get("taken", True):
                    self._begin(BEGINS[event["what"]])

    def _begin(self, phase: str) -> None:
        """Its faults are due from now on."""
        now = time.monotonic()
        for fault in [f for f in self._waiting if f.phase == phase]:
            self._waiting.remove(fault)
            self._due.append((now + fault.after, str(fault), partial(self._strike, fault)))

    def _act(self) -> None:
        now = time.monotonic()
        for entry in sorted((e for e in self._due if e[0] <= now), key=lambda e: e[0]):
            self._due.remove(entry)
            if entry[1]:
                self.played.done.append(entry[1])
            entry[2]()

    def _strike(self, fault: Fault) -> None:
        town, member = self._town, self._town.members[fault.who]
        back: Callable[[], object] = member.cont if fault.do == "stop" else member.start
        match fault.do:
            case "kill":
                town.kill(fault.who)
            case "stop":
                member.stop()
            case "join":
                town.each([fault.who], town.join)
            case "leave":
                town.each([fault.who], town.leave)
        if fault.do in ("kill", "stop") and fault.back is not None:
            self._due.append((time.monotonic() + fault.back, "", back))

    def _ask(self) -> None:
        """Somebody who runs and is in the room; the next one when nobody answers."""
        able = [name for name in self._town.running() if name in self._inside]
        for k in range(len(able)):
            if not self._town.ask(able[(self._plan.asker + self._asked + k) % len(able)]):
                break
        self._asked += 1
        self._last = time.monotonic()

    def _through(self) -> bool:
        """Nobody has shares out without an end, and either a sum was opened or it is quiet; the next one asks when it is so
        without anything having begun."""
        if self._due or self._pending():
            return False
        if self._of("opened") and time.monotonic() > self._last + 0.5:
            return True
        if time.monotonic() < self._last + QUIET_S:
            return False
        if self._asked < ASKED and not self._of("shares"):
            self._ask()
            return False
        return True

    def _of(self, what: str) -> list[Event]:
        return self._town.testimony.of(self.played.epoch, what)

    def _pending(self) -> list[str]:
        """Who runs, and shared, and has not come to an end in this process."""
        ends = {(e["who"], e["pid"]) for e in self._of("ended")}
        open_ = {(e["who"], e["pid"]) for e in self._of("shares")} - ends
        running = {(name, self._town.members[name].process.pid) for name in self._town.running()}
        gone = {f.who for f in self._plan.faults if f.do == "leave"}
        return sorted(who for who, pid in open_ & running if who not in gone)

    def _back_up(self) -> None:
        """Everybody runs; who was to come or go has done so."""
        self._due.clear()
        self._town.start()
        for fault in self._plan.faults:
            if fault.do in ("join", "leave"):
                here = self._town.shown(fault.who) is not None
                if here != (fault.do == "join"):
                    self._town.each([fault.who], self._town.join if fault.do == "join" else self._town.leave)

    def _collect(self) -> None:
        self.played.hung = self._pending()
        running = [name for name in self._town.running() if name in self._inside]
        shown = self._town.each(running, self._town.shown)
        self.played.states = {name: room["state"] for name, room in shown.items() if room is not None}
        self._back_up()
        self._town.testimony.look()
