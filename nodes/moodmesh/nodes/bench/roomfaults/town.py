"""The devices of bench roomfaults: daemons of this machine that meet by radio, on clocks that the harness turns."""

from __future__ import annotations

import contextlib
import json
import random
import socket
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from moodmesh.nodes.bench.fleet import Fleet, FleetFailed, Member
from moodmesh.nodes.bench.roomfaults.witness import EVENTS, PATCH, epoch_begin
from moodmesh.nodes.errors import NodeError
from moodmesh.privacy.release.budget import epoch_of

ROOM = "cafe"
JUST_AFTER_S = 1.0
"""So far into an epoch the clocks are turned; the product waits until 3 s of it have passed."""
HALFWAY_S = 300.0
START_S = 60.0
SEEN_S = 6.0
Event = dict[str, Any]


class Testimony:
    """What the witnesses of all devices wrote, read as it grows."""

    def __init__(self, members: Mapping[str, Member]) -> None:
        self._members, self._read = members, dict.fromkeys(members, 0)
        self.events: list[Event] = []

    def look(self) -> list[Event]:
        """What is new."""
        new: list[Event] = []
        for name, member in self._members.items():
            with contextlib.suppress(FileNotFoundError), (member.home / EVENTS).open("rb") as file:
                file.seek(self._read[name])
                whole, end, _ = file.read().rpartition(b"\n")
                self._read[name] += len(whole) + len(end)
                new += [{"who": name, **json.loads(line)} for line in whole.splitlines()]
        self.events += sorted(new, key=lambda event: event["at"])
        return new

    def of(self, epoch: int, *what: str) -> list[Event]:
        """Of one epoch, in the order of time."""
        return [e for e in self.events if e.get("epoch") == epoch and (not what or e["what"] in what)]


class Town:
    """`paired` know each other, the others do not; all see each other by the hello on loopback."""

    def __init__(
        self, names: Sequence[str], paired: Collection[str] = (), patch: str = "", settings: Mapping[str, str] | None = None
    ) -> None:
        radio = {"mesh.hello": "true", "mesh.interfaces": "lo", "mesh.hello_port": _free_udp()}
        chosen = {**radio, "log.level": "warning", **(settings or {})}
        self.fleet = Fleet(names, chosen, relayed=False, patch=f"{patch}\n{PATCH}", tasks={}, paired=paired)
        self.members = self.fleet.members
        self.testimony = Testimony(self.members)
        self.epoch = epoch_of(time.time()) + 1  # no clock goes back
        self.killed: set[str] = set()
        self.code = self.room = ""
        self._pool = ThreadPoolExecutor(len(names))
        self._set_clocks(HALFWAY_S)

    # -- all of them ---------------------------------------------------------------------------------------------------

    def open(self, inside: Sequence[str]) -> None:
        """Start every daemon; these are in the room."""
        self.start()
        body = {"name": ROOM, "kind": "on-demand", "eps": 4, "open": True, "agreed": True, "trust": "assumed"}
        made = self.members[inside[0]].client.post("rooms", body=body)
        self.code, self.room = made["code"], made["room"]
        self.each(inside[1:], self.join)

    def start(self) -> None:
        """Every daemon that does not run; returns when all answer."""
        for member in self.members.values():
            member.cont()
            member.start()
        self.killed.clear()
        self.fleet.wait("up", lambda member: member.client.get("status"), START_S)

    def turn(self) -> None:
        """The next epoch begins for everybody."""
        self.epoch += 1
        self._set_clocks(JUST_AFTER_S)

    def _set_clocks(self, into_s: float) -> None:
        ahead = epoch_begin(self.epoch) + into_s - time.time()
        for member in self.members.values():
            member.knobs.set(clock_s=ahead)

    def each(self, names: Collection[str], do: Callable[[str], Any]) -> dict[str, Any]:
        """At the same time; what came of it, None where the daemon did not answer."""
        return dict(zip(names, self._pool.map(partial(_quietly, do), names), strict=True))

    def feel(self, rng: random.Random, names: Sequence[str]) -> None:
        """Everybody a mood of their own."""
        moods = {name: {"valence": rng.uniform(-0.7, 0.7), "arousal": rng.uniform(-0.7, 0.7)} for name in names}
        self.each(names, lambda name: self.members[name].client.post("moods", body=moods[name]))

    def see(self, names: Collection[str]) -> None:
        """Until each of these sees the others, or enough time has passed for it."""
        ports, end = {name: self.members[name].home_made.port for name in names}, time.monotonic() + SEEN_S

        def sees(name: str) -> bool:
            while time.monotonic() < end:
                if {port for other, port in ports.items() if other != name} <= self.members[name].near():
                    return True
                time.sleep(0.1)
            return False

        self.each(names, sees)

    # -- one of them ---------------------------------------------------------------------------------------------------

    def join(self, name: str) -> None:
        """By the code of the room."""
        self.members[name].client.post("rooms", "join", body={"room": self.code, "agreed": True, "trust": "assumed"})

    def leave(self, name: str) -> None:
        """As its user would."""
        self.members[name].client.delete("rooms", ROOM)

    def ask(self, name: str) -> str:
        """Have the room opened; why not, otherwise."""
        try:
            self.members[name].client.post("rooms", ROOM, "ask")
        except (NodeError, OSError) as error:
            return str(error)
        return ""

    def kill(self, name: str) -> None:
        """SIGKILL."""
        self.killed.add(name)
        self.members[name].kill()

    def shown(self, name: str) -> Any:
        """The room as its user sees it; None without an answer."""
        return _quietly(lambda one: self.members[one].client.get("rooms", ROOM), name)

    def running(self) -> list[str]:
        """Who runs and does not stand still."""
        return [name for name, member in self.members.items() if member.alive and member.stopped_at is None]

    def died(self) -> list[str]:
        """Who ended without being told to."""
        return [m.name for m in self.members.values() if not m.alive and m.name not in self.killed]

    def close(self) -> None:
        """Leave nothing behind."""
        self._pool.shutdown(wait=True, cancel_futures=True)
        self.fleet.close()


def _quietly(do: Callable[[str], Any], name: str) -> Any:
    try:
        return do(name)
    except (NodeError, OSError):
        return None


def _free_udp() -> str:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return str(probe.getsockname()[1])


__all__ = ["FleetFailed", "Testimony", "Town"]
