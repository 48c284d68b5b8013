"""One run: a schedule played on a fleet, then peace, until everything is answered or patience ends."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from moodmesh.nodes.bench.faults.schedule import Action
from moodmesh.nodes.bench.faults.verdict import open_work
from moodmesh.nodes.bench.fleet import Fleet, Member
from moodmesh.nodes.bench.relay import Relays
from moodmesh.nodes.errors import NodeError

PEACE_S = 90.0
CALLERS = 6


@dataclass(frozen=True)
class Accepted:
    """A job that a daemon said yes to."""

    id: str
    who: str
    tag: str


@dataclass
class Played:
    """What was promised in a run, and what happened beside."""

    seed: int
    ledger: Path
    began: float
    accepted: dict[int, Accepted] = field(default_factory=dict)
    cancelled: dict[int, float] = field(default_factory=dict)
    """When a daemon said of a job that it is stopped (monotonic seconds)."""
    died: list[str] = field(default_factory=list)
    """Daemons that ended without being told to."""
    unlinked: bool = False
    settled_s: float | None = None
    """How long peace took until nothing was open; None when it never came to that."""

    def tag(self, number: int) -> str:
        """The name of a job of this run."""
        return f"r{self.seed}-{number}"


class Play:
    """One run on a fleet whose daemons are up and linked."""

    def __init__(self, fleet: Fleet, seed: int) -> None:
        self._fleet, self._members = fleet, fleet.members
        assert fleet.relays is not None
        self._relays: Relays = fleet.relays
        ledger = fleet.root / f"ledger-{seed}"
        ledger.mkdir(mode=0o700, exist_ok=True)
        self.played = Played(seed, ledger, time.monotonic())

    def run(self, actions: list[Action]) -> Played:
        """Do every action at its time, then make peace."""
        for member in self._members.values():
            member.kills.clear()
            member.stops.clear()
        self._relays.forget()
        self.played.began = time.monotonic()
        with ThreadPoolExecutor(CALLERS) as callers:
            calls = [self._at_its_time(action, callers) for action in actions]
            self._make_peace()
            wait([call for call in calls if call is not None])
        self._settle()
        return self.played

    def _at_its_time(self, action: Action, callers: ThreadPoolExecutor) -> Future[None] | None:
        time.sleep(max(0.0, self.played.began + action.at - time.monotonic()))
        do = getattr(self, f"_do_{action.do}")
        if action.do in ("submit", "cancel", "end"):  # these wait for a daemon, which may stand still
            return callers.submit(do, action)
        do(action)
        return None

    # -- what users do -------------------------------------------------------------------------------------------------

    def _do_submit(self, action: Action) -> None:
        number, task = action.text.split()
        tag = self.played.tag(int(number))
        params = {"seconds": action.value, "tag": tag, "ledger": str(self.played.ledger)}
        body: dict[str, Any] = {"task": f"bench.{task}", "params": params}
        if action.other:
            body["on"] = action.other
        with contextlib.suppress(NodeError, OSError):  # nothing was promised then
            found = self._members[action.who].client.post("jobs", body=body)
            self.played.accepted[int(number)] = Accepted(found["id"], action.who, tag)

    def _do_cancel(self, action: Action) -> None:
        job = self.played.accepted.get(int(action.text))
        if job is not None:
            with contextlib.suppress(NodeError, OSError):
                self._members[job.who].client.post("jobs", job.id, "cancel")
                self.played.cancelled[int(action.text)] = time.monotonic()

    # -- what befalls a device -----------------------------------------------------------------------------------------

    def _do_kill(self, action: Action) -> None:
        self._note_death(self._members[action.who])
        self._members[action.who].kill()

    def _do_end(self, action: Action) -> None:
        self._note_death(self._members[action.who])
        self._members[action.who].terminate()

    def _do_start(self, action: Action) -> None:
        self._note_death(self._members[action.who])
        self._members[action.who].start(**({"debug.crash_after": action.text} if action.text else {}))

    def _do_stop(self, action: Action) -> None:
        self._members[action.who].stop()

    def _do_continue(self, action: Action) -> None:
        self._members[action.who].cont()

    def _do_fill(self, action: Action) -> None:
        self._members[action.who].fill_disk(True)

    def _do_free(self, action: Action) -> None:
        self._members[action.who].fill_disk(False)

    def _do_slow(self, action: Action) -> None:
        self._members[action.who].knobs.set(disk_s=action.value)

    def _do_jump(self, action: Action) -> None:
        self._members[action.who].knobs.set(clock_s=action.value)

    def _do_shoot(self, action: Action) -> None:
        self._members[action.who].shoot(action.value)

    def _do_freeze(self, action: Action) -> None:
        self._members[action.who].freeze(action.value)

    def _do_thaw(self, action: Action) -> None:
        self._members[action.who].thaw()

    # -- what befalls a wire -------------------------------------------------------------------------------------------

    def _do_hold(self, action: Action) -> None:
        self._relays.set(action.who, action.other, "hold")

    def _do_cut(self, action: Action) -> None:
        self._relays.set(action.who, action.other, "cut")

    def _do_delay(self, action: Action) -> None:
        self._relays.set(action.who, action.other, "pass", action.value)

    def _do_heal(self, action: Action) -> None:
        self._relays.set(action.who, action.other)

    # -- peace ---------------------------------------------------------------------------------------------------------

    def _note_death(self, member: Member) -> None:
        if not member.alive and not member.doomed:
            self.played.died.append(f"{member.name} ended by itself ({member.process.returncode}): {member.log(600)}")

    def _make_peace(self) -> None:
        self._relays.heal()
        for member in self._members.values():
            member.knobs.set(0.0, 0.0)
            member.cont()
            member.thaw()
            member.fill_disk(False)
            self._note_death(member)
            if member.crashing:  # it would die in a later run
                member.kill()
            member.start()

    def _settle(self) -> None:
        """Until nothing is open anywhere and all are linked."""
        began = time.monotonic()
        quiet: Callable[[], bool] = lambda: not any(open_work(m.home) for m in self._members.values())  # noqa: E731
        while time.monotonic() < began + PEACE_S:
            self._revive()
            if quiet():
                try:
                    self._fleet.wait("linked", self._fleet.linked, max(1.0, began + PEACE_S - time.monotonic()))
                except NodeError:
                    break
                if quiet():
                    self.played.settled_s = time.monotonic() - began
                    return
            time.sleep(0.1)
        self.played.unlinked = quiet()

    def _revive(self) -> None:
        """A daemon that gave up on a full disk is started again; one that ended for no such reason is noted, too."""
        for member in self._members.values():
            if not member.alive:
                self._note_death(member)
                member.start()
