"""One room of real members and a real relay in one process, each of whose steps is timed: no network, no clock."""

from __future__ import annotations

import math
import os
import random
import statistics
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from typing import Any

from moodmesh.mesh.rooms.member import Member
from moodmesh.mesh.rooms.relay import STEP_S, Gathering, Out, Relay
from moodmesh.mesh.rooms.transcript import Draw, Keys, Params, Roster, Run
from moodmesh.mesh.rooms.wire import MOST_MEMBERS, Step, decode
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.mechanism import LEAST, Ambient, Circle, Kind, Mechanism, OnDemand
from moodmesh.privacy.sums.committee import size

RELAY = -1
"""Where the time of gathering and relaying goes, in place of a member."""
SETUP, CONTRIBUTE, HOLD, READ = "setup", "contribute", "hold", "read"
_PHASE = {Step.JOIN: SETUP, Step.REVEAL: SETUP, Step.SHARES: HOLD, Step.PROPOSAL: HOLD, Step.VOTE: HOLD, Step.SUM: READ}


def kind_of(n: int) -> Kind:
    """The kind of room that `n` people would have: ambient where enough are left when a fifth of them goes."""
    return "circle" if n < LEAST["on-demand"] else "on-demand" if 4 * n < 5 * LEAST["ambient"] else "ambient"


def mechanism(kind: Kind, n: int) -> Mechanism:
    """With its default noise."""
    if kind == "circle":
        return Circle()
    return OnDemand(4 if n < 14 else 2) if kind == "on-demand" else Ambient.within(n)


def thresholds(n: int) -> tuple[int, int]:
    """Committee and threshold; in a circle, all of them."""
    return (n, n) if kind_of(n) == "circle" else size(n)


class Guest:
    """A person with `d` / 2 moods: live rooms have one, and refuse any other d."""

    def __init__(self, n: int, d: int) -> None:
        self._kind, self._d = kind_of(n), d
        self._how = mechanism(self._kind, n)
        self._moods = [_anybody() for _ in range(d // 2)]
        self.released: list[int] = []

    def joining(self, keys: Keys) -> None:
        """Nobody is told."""

    def params(self, n: int) -> Params:
        """As in a live room, but for d."""
        return Params(self._kind, LEAST[self._kind], *thresholds(n), d=self._d)

    def welcome(self, e_pub: bytes) -> bool:
        """Anybody."""
        return True

    def most(self) -> int:
        """All there are."""
        return MOST_MEMBERS

    def accepts(self, roster: Roster) -> None:
        """Anybody."""

    def release(self, draw: Draw) -> list[int]:
        """Each mood, encoded as the kind of room does."""
        self.released = [value for mood in self._moods for value in self._how.encode(mood)]
        return self.released

    def once(self, draw: Draw, contributors: Collection[int]) -> bool:
        """Asked once, in the one epoch there is."""
        return True


def _anybody() -> EmotionVector:
    size, angle = random.random() ** 0.5, random.uniform(0, 2 * math.pi)  # noqa: S311 - made-up moods
    return EmotionVector(size * math.cos(angle), size * math.sin(angle), valence_sd=0.0, arousal_sd=0.0, at=0.0)


class Room:
    """A run from keys to sum, in which `missing` members vanish after the draw. `seconds`: processor time by phase and member;
    `sent`: bytes by step and member."""

    def __init__(self, n: int, d: int, missing: int) -> None:
        self.n, self.run = n, Run(os.urandom(32), 1, 1)
        self.people = [Guest(n, d) for _ in range(n)]
        self.members = [Member(self.run, person) for person in self.people]
        self.seconds: dict[tuple[str, int], float] = defaultdict(float)
        self.sent: dict[tuple[Step, int], int] = {}
        self._set_up()
        self.committee = {i for i, member in enumerate(self.members) if member.holder is not None}
        self.here = self._survivors(missing)
        self._channels()
        self.right = self._open()
        """Whether everybody who stayed read the sum of what was released."""

    # -- figures -------------------------------------------------------------------------------------------------------

    def mean_ms(self, phase: str, members: Iterable[int]) -> float:
        """Of those who did something in that phase; 0 when nobody did."""
        spent = [self.seconds[phase, i] for i in members if (phase, i) in self.seconds]
        return 1000 * statistics.fmean(spent) if spent else 0.0

    def busiest_ms(self) -> float:
        """All that one device did: the relay, who is a member as well, or another."""
        total: dict[int, float] = defaultdict(float)
        for (_, member), spent in self.seconds.items():
            total[self.relay if member == RELAY else member] += spent
        return 1000 * max(total.values())

    def bytes_up(self) -> dict[str, int]:
        """What a member says on average, by step, of those who say it."""
        return {
            step.name.lower(): round(statistics.fmean(size for (s, _), size in self.sent.items() if s is step))
            for step in sorted({step for step, _ in self.sent})
        }

    # -- the run -------------------------------------------------------------------------------------------------------

    def _timed(self, phase: str, member: int, work: Callable[..., Any], *args: Any) -> Any:
        began = time.process_time()
        found = work(*args)
        self.seconds[phase, member] += time.process_time() - began
        return found

    def _set_up(self) -> None:
        gathering = Gathering(self.run, dict.fromkeys(range(self.n), b""), 1.0)
        queue = [(i, said) for i, m in enumerate(self.members) for said in self._timed(SETUP, i, m.join)]
        self._pass_round(gathering.hear, queue)

    def _survivors(self, missing: int) -> list[int]:
        """Who stays: by chance, but enough of the committee to open a sum; how often chance allows that, `stall` tells."""
        t = thresholds(self.n)[1]
        while True:
            here = sorted(random.sample(range(self.n), self.n - missing))
            if len(self.committee & set(here)) >= t:
                return here

    def _channels(self) -> None:
        """The keys of all channels, which belong to the set-up: a holder has one to everybody."""
        for i in self.here:
            member = self.members[i]
            assert member.draw is not None
            others = range(self.n) if i in self.committee else member.draw.committee
            for other in others:
                if other != member.index:
                    self._timed(SETUP, i, member.channel, other)

    def _open(self) -> bool:
        first = self.members[0].draw
        assert first is not None
        place = {member.index: i for i, member in enumerate(self.members)}
        self.relay = next(place[seat] for seat in first.relays if place[seat] in self.here)
        relay = Relay(self.members[self.relay], STEP_S)
        mine = self.members[self.relay].index
        self._pass_round(
            relay.hear, [(i, s) for i in self.here for s in self._timed(CONTRIBUTE, i, self.members[i].greet, mine)]
        )
        self._pass_round(
            relay.hear, [(i, s) for i in self.here for s in self._timed(CONTRIBUTE, i, self.members[i].contribute)]
        )
        while relay.due is not None:
            now = relay.due
            self._pass_round(relay.hear, self._deliver(self._timed("relay", RELAY, relay.tick, now)), now)
        people = {member.index: person for member, person in zip(self.members, self.people, strict=True)}
        for i in self.here:
            opened = self.members[i].opened
            told = opened and [sum(v) for v in zip(*(people[u].released for u in opened.contributors), strict=True)]
            if opened is None or told != list(opened.sums) or len(opened.contributors) != len(self.here):
                return False
        return True

    def _pass_round(self, hear: Callable[..., list[Out]], queue: list[tuple[int, bytes]], now: float = 0.0) -> None:
        """Everything that is said, to the relay, and what it passes on to the members, until nobody has more to say."""
        while queue:
            outs: list[Out] = []
            for i, data in queue:
                self.sent[decode(data).step, i] = len(data)
                outs += self._timed("relay", RELAY, lambda i=i, data=data: hear(i, decode(data), now))
            queue = self._deliver(outs)

    def _deliver(self, outs: list[Out]) -> list[tuple[int, bytes]]:
        said = []
        for place, data in outs:
            member, phase = self.members[place], _PHASE.get(decode(data).step, SETUP)
            if phase == HOLD and member.holder is None:
                phase = READ
            said += [(place, s) for s in self._timed(phase, place, lambda m=member, data=data: m.hear(decode(data)))]
        return said
