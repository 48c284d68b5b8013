"""One device as this node knows it: its link, what it said, what was learnt of it, how placement sees it (routing §3)."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from moodmesh.mesh.link import PeerLink
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes import rates
from moodmesh.nodes.messages import Capability, Dynamic
from moodmesh.nodes.outbox import Outbox
from moodmesh.nodes.placement.pull import Heap, Waiting
from moodmesh.nodes.placement.view import WIRELESS, Device

SUSPECT_S = 2.0
AVOID_S, BACKOFF_S, REFUSALS = 600.0, 10.0, 3
INSTANT_S = 1e-6
VIEWED = frozenset((
    "name", "link", "live_since", "gone_since", "rtt_s", "bandwidth", "capability", "dynamic", "dynamic_at", "pending_s",
    "unanswered", "correction", "hand", "avoid_until", "streams",
))  # fmt: skip


@dataclass
class Peer:
    """One device: its link, what it said, and what was learnt about it. Times are monotonic seconds."""

    id: DeviceId
    name: str
    here: bool = False
    link: PeerLink | None = None
    out: Outbox = field(default_factory=Outbox)
    since: float = 0.0
    heard: float = 0.0
    live_since: float | None = None
    gone_since: float = 0.0
    seq: int = 0
    sent: dict[int, float] = field(default_factory=dict)
    their_seq: int = 0
    their_seq_at: float = 0.0
    rtt_s: float = 0.002
    bandwidth: float = WIRELESS
    by_radio: bool = False
    streams: bool = True
    told: Capability | None = None
    capability: Capability | None = None
    dynamic: Dynamic | None = None
    dynamic_at: float = 0.0
    pending_s: float = 0.0
    held: list[Heap] = field(default_factory=list)
    waiting: list[Waiting] = field(default_factory=list)
    told_pool: bool = True
    pool_there: bool = False
    unanswered: bool = False
    correction: float = 0.0
    hand: tuple[float, float] | None = None
    refusals: deque[float] = field(default_factory=lambda: deque(maxlen=REFUSALS))
    avoid_until: float = 0.0
    rights: tuple[str, ...] = ()
    silenced: bool = False
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    seen: tuple[Device, float] | None = None
    """How placement sees it, and until when, unless something is heard or learnt of it before."""
    last: Device | None = None

    def __setattr__(self, name: str, value: object) -> None:
        """What placement saw of it before no longer holds when something of that changes."""
        if name in VIEWED and self.__dict__.get(name, self) is not value:
            self.__dict__["seen"] = None
        self.__dict__[name] = value

    def silent(self, now: float) -> float:
        """Seconds since anything was heard, counted from the first beat of the fast period when there is one."""
        return now - max(self.heard, self.live_since or 0.0)

    def view(self, now: float, *, own: bool, told_moods: bool, trouble: Callable[[DeviceId], str]) -> Device:
        """As placement sees it; made anew only when something of it changed: with hundreds of peers a decision would spend
        its time here."""
        if self.seen is not None and now < self.seen[1] and (self.seen[0].own, self.seen[0].told_moods) == (own, told_moods):
            return self.seen[0]
        present = self.here or self.link is not None
        turns = [self.avoid_until, *(at + BACKOFF_S for at in self.refusals)]
        if self.live_since is not None:
            turns.append(now + SUSPECT_S - self.silent(now))
        if self.dynamic is not None and not self.here:
            turns.append(self.dynamic_at + self.dynamic.valid_s)
        hand, hand_dev = rates.hand(self.hand)
        device = Device(
            id=self.id, name=self.name, here=self.here, present=present, absent_s=0.0 if present else now - self.gone_since,
            trouble="" if present else trouble(self.id),
            suspect=self.unanswered or (self.live_since is not None and self.silent(now) > SUSPECT_S),
            backoff=sum(at > now - BACKOFF_S for at in self.refusals) >= REFUSALS or now < self.avoid_until,
            own=own, told_moods=told_moods, capability=self.capability, dynamic=self.dynamic,
            stale=self.dynamic is not None and not self.here and now - self.dynamic_at > self.dynamic.valid_s,
            rtt_s=self.rtt_s, bandwidth=self.bandwidth, correction=self.correction,
            pending_s=0.0 if self.here else self.pending_s, hand=hand, hand_dev=hand_dev,
            streams=self.streams,
        )  # fmt: skip
        until = min((at + INSTANT_S for at in turns if at + INSTANT_S > now), default=math.inf)
        self.last, self.seen = device.after(self.last), (device, until if present and not device.suspect else now)
        return device
