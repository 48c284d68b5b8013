"""What all jobs of this device share: where they may go, which attempts live, what is held back for better devices."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from typing import NamedTuple

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.acceptance import Acceptance
from moodmesh.nodes.jobs.events import Hub
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.model import NOT_AGAIN_HERE, RESTARTED, Attempt, Job, part_id
from moodmesh.nodes.jobs.network import Blobs, Network
from moodmesh.nodes.messages import MAX_LIVE, Blob
from moodmesh.nodes.placement.gates import device_gate
from moodmesh.nodes.placement.hedge import Budget, hangs
from moodmesh.nodes.placement.hold import Hold, hold
from moodmesh.nodes.placement.pull import ACCEPT, Field, Heap, Waiting, may_pull, totals
from moodmesh.nodes.placement.score import Z90, Placement, place
from moodmesh.nodes.placement.view import Ask, Device

ROUNDING_UP = 1 + 1e-9
LONGEST_PAUSE_S = 600.0
PAUSES = (("REFUSED", 3, 8.0, 2.0), ("ERRORED", 1, 4.0, 4.0), ("LOST", 1, 1.0, 4.0))
"""A device that refused a job three times is not asked again for 8, 16, 32 ... s, one that failed it for 4, 16, 64, one that
lost it or gave it back for 1, 4, 16: where it is the only one, a restart of it costs little."""
STALL_S = 3.0  # a timer that is later than this tells that this process stood still
LOG_ROOM = 16 * 2**20


@dataclass(eq=False)
class Live:
    """An attempt in flight and what was heard of it. Times are monotonic seconds; `may_run`: devices it could be moved to."""

    job: Job
    attempt: Attempt
    claim: float  # seconds of service, by the executor's own rate
    service: float  # the same, corrected
    load: float = 0.0  # seconds until its model is in memory there
    may_run: Callable[[], frozenset[DeviceId]] = frozenset
    taken: bool = False
    resumed: bool = False
    sent: bool = False
    lacks_input: bool | None = None  # None: not known, it was not asked for
    log_seq: int = 0
    log_room: int = LOG_ROOM
    answer_by: float | None = None
    starts: float = 0.0  # predicted, newest word
    begin_by: float | None = None  # what its device says of a start later than that is not believed
    started: float | None = None
    cold: bool = False  # its model was not loaded, by its device's word
    hedge_at: float | None = None
    moving_to: DeviceId | None = None
    parts: Blob | None = None  # what was here when it was called for, as it is sent
    complained: bool = False
    move_by: float = 0.0  # it is lost when its device has not said by then whether it may be moved

    @property
    def due(self) -> float:
        """When it should have begun its work."""
        return min(self.starts, math.inf if self.begin_by is None else self.begin_by) + self.load

    @property
    def began(self) -> float:
        """When it began its work, or should have."""
        return self.due if self.started is None else self.started

    def ran(self, now: float) -> float:
        """Seconds since then."""
        return now - self.began

    def hangs(self, now: float) -> bool:
        """Whether it is no rival of another attempt any more."""
        return self.hedge_at is not None and hangs(self.ran(now), self.service, begun=self.started is not None)

    def excuse(self, until: float) -> None:
        """This process stood still: nothing is due before `until`, and nothing is learnt of what went on meanwhile."""
        self.claim, self.move_by = 0.0, max(self.move_by, until)
        self.answer_by = None if self.answer_by is None else max(self.answer_by, until)
        self.hedge_at = None if self.hedge_at is None else max(self.hedge_at, until)

    @property
    def unheard(self) -> bool:
        """Whether nothing was heard of it since this device was restarted."""
        return self.resumed and self.begin_by is None and self.started is None

    @property
    def key(self) -> tuple[str, int]:
        """Job and fence."""
        return self.job.id, self.attempt.number


class Held(NamedTuple):
    """A job held back: its class and since when it waits (monotonic); the devices that may take it."""

    job: Job
    kind: str
    since: float
    may_take: Callable[[], frozenset[DeviceId]]


@dataclass
class Desk:
    """Shared by every pursuit of a job."""

    net: Network
    blobs: Blobs
    jobs: Jobs
    events: Hub
    clock: Clock
    acceptance: Acceptance
    live: dict[tuple[str, int], Live] = field(default_factory=dict)
    held: dict[str, Held] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    closing: bool = False

    def tell(self, job: Job) -> None:
        """Something about a job changed."""
        self.events.tell("job", job=job.id, task=job.spec.task, status=job.status, substate=job.substate,
                         message=job.message, share=job.share, attempts=len(job.attempts), streamed=job.parts)  # fmt: skip

    def name(self, device: DeviceId) -> str:
        """What a device is called; one that was forgotten meanwhile, by its id."""
        return self.net.names().get(device, device[:8])

    def devices(self) -> Sequence[Device]:
        """All devices as known now; one that holds as many attempts of ours as it may is full."""
        devices = self.net.devices()
        if len(self.live) < MAX_LIVE:
            return devices
        count = Counter(live.attempt.device for live in self.live.values())
        return [replace(d, full=count[d.id] >= MAX_LIVE) for d in devices]

    def placement(self, job: Job, devices: Sequence[Device] | None = None) -> Placement:
        """Where the job would go now."""
        return place(self.ask(job), self.devices() if devices is None else devices)

    def ask(self, job: Job) -> Ask:
        """A job as placement needs it."""
        s = job.spec
        by_s = None if s.by_s is None else max(0.0, s.by_s - job.age_s(self.clock.wall()))
        return Ask(
            job.id, s.task, s.version, s.units, job.sent_bytes, s.result_bytes, s.personal, s.variant,
            DeviceId(s.on) if s.on else None, s.quality, by_s,
            frozenset(a.device for a in job.attempts if a.state == "ERRORED" and a.message.startswith(NOT_AGAIN_HERE)),
            {a.device: a.message for a in job.attempts if self._pause(job, a.device) > 0},
            s.parent is not None and job.id == part_id(s.parent, "small"), s.streams, s.shared,
        )  # fmt: skip

    def paused(self, job: Job) -> float:
        """Seconds until the first device that is left alone for this job may be asked again; infinite when none is."""
        return min((left for a in job.attempts if (left := self._pause(job, a.device)) > 0), default=math.inf)

    def _pause(self, job: Job, device: DeviceId) -> float:
        """Seconds for which a device is left alone, for how it ended attempts of this job: others come first meanwhile."""
        now, left = self.clock.wall(), 0.0
        for state, least, first_s, base in PAUSES:
            ended = [a for a in job.attempts if a.device == device and a.state == state]
            ends = [a.finished or 0.0 for a in ended if not a.message.startswith(RESTARTED)]
            if len(ends) >= least and (ago := now - ends[-1]) >= 0:
                left = max(left, min(LONGEST_PAUSE_S, first_s * base ** min(len(ends) - least, 10)) - ago)
        return left

    # -- what is held back ---------------------------------------------------------------------------------------------

    def hold(self, job: Job, placement: Placement, devices: Sequence[Device]) -> Hold | None:
        """Why the job had better wait than go where it would go now; it is held from here on, or no longer."""
        chosen, ask = placement.chosen, self.ask(job)
        was = self.held.pop(job.id, None) is not None
        if chosen is None or chosen.variant is None or ask.on is not None:
            return None
        if ask.by_s is not None and chosen.terms is not None and chosen.terms.slow(Z90) <= ask.by_s:
            return None
        kind = f"{ask.task}/{chosen.variant}"
        most = chosen.terms.alone * ROUNDING_UP / ask.units * (1 if was else ACCEPT) if chosen.terms else 0.0
        able = [d for d in devices if d.pace.get(kind, math.inf) <= most and _would_pass(ask, d)]  # slower ones change nothing
        if not able and not was:
            return None
        field = Field(kind, ask.units, ask.input_bytes + ask.result_bytes, able, totals(self.heaps()))
        why = hold(chosen, field, held=was)
        if why is not None:
            since = self.clock.now() - job.age_s(self.clock.wall())
            self.held[job.id] = Held(job, kind, since, _takers(placement, chosen.variant))
        return why

    def heaps(self) -> Iterator[Heap]:
        """All that is held back, here and at every peer, as far as heard."""
        yield from self.heaps_for(self.net.me)
        for held in self.net.heaps().values():
            yield from held

    def heaps_for(self, peer: DeviceId) -> list[Heap]:
        """What is held back here and may run at a peer, class by class; for this device itself: everything."""
        kinds: dict[str, list[Held]] = {}
        for one in self.held.values() if peer == self.net.me else self.takeable(peer):
            kinds.setdefault(one.kind, []).append(one)
        return [_heap(kind, sorted(found, key=lambda h: h.since)) for kind, found in kinds.items()]

    def takeable(self, peer: DeviceId) -> list[Held]:
        """What is held back here and a device may take."""
        found = [one for one in self.held.values() if peer in one.may_take()]
        return found if found and self._believes(peer) else []

    def _believes(self, peer: DeviceId) -> bool:
        return any(device.id == peer and may_pull(device) for device in self.net.devices())

    def waiting_for(self, peer: DeviceId) -> list[Waiting]:
        """Per class the attempt that has longest to go in another device's queue and may run at the peer."""
        found: dict[str, Waiting] = {}
        paces = {device.id: device.pace for device in self.net.devices()}
        for live in self.movable(peer):
            live.service = paces.get(live.attempt.device, {}).get(kind(live), 0.0) * live.job.spec.units or live.service
            one = Waiting(kind(live), live.job.spec.units, live.job.spec.input_bytes, self.remaining(live))
            if one.kind not in found or one.remaining_s > found[one.kind].remaining_s:
                found[one.kind] = one
        return list(found.values())

    def movable(self, peer: DeviceId) -> list[Live]:
        """Attempts that wait elsewhere, alone for their job, and may run at the peer."""
        count = Counter(job for job, _ in self.live)
        found = [
            live for live in self.live.values()
            if live.attempt.state in ("RESERVED", "STAGING") and count[live.job.id] == 1 and live.attempt.device != peer
            and live.moving_to is None and peer in live.may_run()
        ]  # fmt: skip
        return found if found and self._believes(peer) else []

    def remaining(self, live: Live) -> float:
        """Predicted seconds until an attempt that waits is done."""
        return max(0.0, live.starts - self.clock.now()) + live.service


def kind(live: Live) -> str:
    """The class of an attempt."""
    return f"{live.job.spec.task}/{live.attempt.variant}"


def _would_pass(ask: Ask, device: Device) -> bool:
    """Whether a device may run the job, were it here."""
    return device_gate(ask, device if device.present else replace(device, present=True, suspect=False)) is None


def _takers(placement: Placement, variant: str) -> Callable[[], frozenset[DeviceId]]:
    """Who may take a job that is held back: whoever could run it, and who could were it here. Found out when it is asked."""

    @cache
    def found() -> frozenset[DeviceId]:
        away = (d.id for d in placement.devices if not d.present and _would_pass(placement.ask, d))
        return placement.able(variant) | frozenset(away)

    return found


def _heap(kind: str, held: Sequence[Held]) -> Heap:
    first, last = held[0], held[-1]
    units = sum(one.job.spec.units for one in held)
    size = sum(one.job.spec.input_bytes + one.job.spec.result_bytes for one in held)
    return Heap(kind, len(held), units, size, (first.job.spec.units, first.since), (last.job.spec.units, last.since))
