"""A room of real daemons: each a process with a home of its own on loopback, and a wall clock that the demo turns."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from moodmesh.nodes.bench import homes, patched
from moodmesh.nodes.bench.fleet import Member
from moodmesh.nodes.demo.keeper import Keeper
from moodmesh.nodes.demo.room import turned
from moodmesh.nodes.demo.room.moods import Point
from moodmesh.nodes.demo.room.stage import Told
from moodmesh.nodes.demo.scene import LOOPBACK, DemoFailed, free_udp_port
from moodmesh.nodes.errors import NodeError
from moodmesh.nodes.rooms.model import Descriptor, Eps, Reading, read_code
from moodmesh.nodes.rooms.mood import RoomMood, Shown
from moodmesh.privacy.release.budget import EPOCH_S, epoch_of
from moodmesh.privacy.release.mechanism import Kind

NAMES = ("anna", "ben", "cleo", "dan", "eve", "finn", "gus", "hana", "ivo", "jun", "kim", "lea")
ROOM = "demo"
AFTER_S = 3.5
"""Into the epoch that a clock is turned to."""
UP_S, SEE_S, TELL_S, AGAIN_S, STUCK_S = 60.0, 6.0, 45.0, 12.0, 4.0
"""Patience: with a start, until all see all, for an answer; until it is asked for again; with a state that says why not."""
WAITS = ("here", "told in this epoch")
OLD_S = 0.3
"""A clock that was turned is read within this time."""


class Daemons:
    """`patch`: statements that run in each process before its main. `crashed` is told who was killed, and when."""

    def __init__(
        self, people: int, kind: Kind, eps: Eps, epoch: int, crashed: Callable[[int, float], None], patch: str = ""
    ) -> None:
        """Nothing runs before `start`."""
        self._keeper, self._crashed = Keeper(), crashed
        self._kind, self._eps, self._epoch = kind, eps, epoch
        made = [homes.make(self._keeper.root / name, name) for name in NAMES[:people]]
        if kind == "circle":
            homes.introduce(made, rules="none")
        settings = {"mesh.hello": "true", "mesh.interfaces": LOOPBACK, "mesh.hello_port": str(free_udp_port())}
        self.members = [
            Member(
                home.name, home.path, {patched.KNOBS: str(home.path / "knobs"), patched.ROUTES: "{}"}, home, settings,
                f"{turned.PATCH}\n{patch}",
            )
            for home in made
        ]  # fmt: skip
        self._here: set[int] = set()
        self._turned = 0.0

    def start(self) -> None:
        """Every daemon, and the room, which the first of them makes."""
        self._turn(self._epoch)
        for member in self.members:
            member.start()
        self._until("up", lambda m: m.client.get("status"), self.members, UP_S)
        if self._kind == "circle":
            self._until("linked", self._linked, self.members, UP_S)
        people = [m.name for m in self.members[1:]] if self._kind == "circle" else []
        about = {"name": ROOM, "kind": self._kind, "eps": self._eps, "people": people, "trust": "assumed", "agreed": True}
        self.room: Descriptor = read_code(self.members[0].client.post("rooms", body=about)["code"])
        self._here.add(0)

    def joins(self, who: int) -> None:
        """By the code of an invitation."""
        body = {"room": self.room.code(), "trust": "assumed", "agreed": True}
        self.members[who].client.post("rooms", "join", body=body)
        self._here.add(who)

    def leaves(self, who: int) -> None:
        """Its daemon goes on."""
        self.members[who].client.delete("rooms", ROOM)
        self._here.discard(who)

    def crashes(self, who: int) -> None:
        """SIGKILL."""
        self.members[who].kill()
        self._here.discard(who)

    def returns(self, who: int) -> None:
        """Started again; it finds the room in its store."""
        self.members[who].start()
        self._until("up", lambda m: m.client.get("status"), [self.members[who]], UP_S)
        self._here.add(who)

    def open(self, epoch: int, moods: Sequence[Point], crashes: Mapping[int, float]) -> Told:
        """Turn all clocks, tell the moods, wait until all see all, ask. `DemoFailed` when two devices read different sums."""
        self._turn(epoch)
        for who in self._here:
            self.members[who].client.post("moods", body=moods[who]._asdict())
        with contextlib.suppress(DemoFailed):  # then fewer take part, as among people
            self._until("seeing all", self._sees_all, [self.members[who] for who in self._here], SEE_S)
        found = self._asked(epoch, dict(crashes))
        readings = [self._show(who) for who in sorted(self._here)]
        values = {(r["last"]["valence"], r["last"]["arousal"]) for r in readings if _told(r, epoch)}
        if len(values) > 1:
            raise DemoFailed(f"devices read different sums of one epoch: {values}")
        value, smooth = found["mood"], found["filtered"]
        return Told(
            Reading(**found["last"]) if _told(found, epoch) else None,
            value and Shown(*(value[key] for key in Shown._fields)), smooth and RoomMood(**smooth), found["state"],
        )  # fmt: skip

    def close(self) -> None:
        """Every process and file."""
        for member in self.members:
            member.kill()
        self._keeper.finish()

    # -- helpers -------------------------------------------------------------------------------------------------------

    def _asked(self, epoch: int, crashes: dict[int, float]) -> dict[str, Any]:
        """Ask, kill whom the story says, and wait until everybody has read the sum, or the first says why there is none."""
        began, asked, since, state = time.monotonic(), -AGAIN_S, time.monotonic(), ""
        while True:
            now = time.monotonic()
            for who in [who for who, at in crashes.items() if now - began >= at]:
                self.crashes(who)
                self._crashed(who, crashes.pop(who))
            if now - asked >= AGAIN_S:
                asked = now
                with contextlib.suppress(NodeError):  # too late in this epoch: its state says so
                    self.members[0].client.post("rooms", ROOM, "ask")
            found = self._show(0)
            if found["state"] != state:
                state, since = found["state"], now
            stuck = now - began > TELL_S or (state not in WAITS and now - since > STUCK_S)
            if not crashes and (stuck or all(_told(self._show(who), epoch) for who in self._here)):
                return found
            if not crashes and _told(found, epoch) and now - since > STUCK_S:
                return found
            time.sleep(0.1)

    def _show(self, who: int) -> dict[str, Any]:
        return dict(self.members[who].client.get("rooms", ROOM))

    def _turn(self, epoch: int) -> None:
        ahead = epoch * EPOCH_S + AFTER_S - time.time()
        for member in self.members:
            member.knobs.set(clock_s=ahead)
        self._turned = time.monotonic()

    def _linked(self, member: Member) -> bool:
        alive = sum(m.alive for m in self.members)
        return bool(member.client.get("status")["linked"] >= alive - 1)

    def _sees_all(self, member: Member) -> bool:
        """By what came after the clock was turned: until then everybody showed other identifiers."""
        elapsed = time.monotonic() - self._turned - OLD_S
        if self._kind == "circle":
            return elapsed > 1 and self._linked(member)
        fresh = [d for d in member.client.get("near")["devices"] if d["age_s"] < elapsed]
        return len(fresh) >= len(self._here) - 1

    def _until(self, what: str, done: Callable[[Member], Any], members: Sequence[Member], seconds: float) -> None:
        end = time.monotonic() + seconds
        for member in members:
            while not _quietly(done, member):
                if not member.alive or time.monotonic() > end:
                    raise DemoFailed(f"{member.name} is not {what}; its log ends:\n{member.log()}")
                time.sleep(0.05)


def first_epoch() -> int:
    """The one after the running one: no clock is turned back."""
    return epoch_of(time.time()) + 1


def _told(found: Mapping[str, Any], epoch: int) -> bool:
    return bool(found["last"]) and found["last"]["epoch"] == epoch


def _quietly(done: Callable[[Member], Any], member: Member) -> bool:
    try:
        return bool(done(member))
    except NodeError:
        return False
