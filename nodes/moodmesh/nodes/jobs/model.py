"""Jobs and attempts as data, and the transitions that are allowed (routing §8)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Any, Literal

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.parts import joined_bytes
from moodmesh.nodes.messages import Blob

Status = Literal["PENDING", "RUNNING", "STOPPED", "SUCCEEDED", "FAILED"]
Role = Literal["small", "large"]
ROLES: tuple[Role, Role] = ("small", "large")
OPEN: frozenset[str] = frozenset({"PENDING", "RUNNING"})
JOB_STEPS: dict[str, frozenset[str]] = {
    "PENDING": frozenset({"RUNNING", "STOPPED", "FAILED", "SUCCEEDED"}),
    "RUNNING": frozenset({"RUNNING", "SUCCEEDED", "FAILED", "STOPPED", "PENDING"}),
}

AttemptState = Literal[
    "OFFERED",
    "RESERVED",
    "STAGING",
    "RUNNING",
    "DELIVERING",
    "COMMITTED",
    "REFUSED",
    "WITHDRAWN",
    "CANCELLED",
    "LOST",
    "ERRORED",
]
ATTEMPT_LIVE: frozenset[str] = frozenset({"OFFERED", "RESERVED", "STAGING", "RUNNING", "DELIVERING"})
_ORDER = ("OFFERED", "RESERVED", "STAGING", "RUNNING", "DELIVERING", "COMMITTED")

MAX_TASK_ERRORS = 2
MAX_ERRORS = 4
MAX_LOSSES = 10
NOT_AGAIN_HERE = ("task_error", "out_of_memory")
RESTARTED = "this device was restarted meanwhile"
"""So begin the words of an attempt that was lost before anything was heard of it again: its device may not be to blame."""


def may_change(old: str, new: str) -> bool:
    """Whether a job may go from one status to another: one that ended never changes."""
    return new in JOB_STEPS.get(old, ())


def may_step(old: str, new: str) -> bool:
    """Whether an attempt may go from one state to another: forward along its life, or to an end; ends never change."""
    if old not in ATTEMPT_LIVE:
        # "Any attempt that was issued may deliver, also a late one": a lost attempt of a pure task may still commit.
        return old == "LOST" and new == "COMMITTED"
    if new == "REFUSED":
        return old == "OFFERED"
    return new not in _ORDER or _ORDER.index(new) > _ORDER.index(old)


def part_id(parent: str, role: Role) -> str:
    """The id of a part of a job that two variants answer: the same after every restart, and on every device."""
    return hashlib.sha256(f"{parent} {role}".encode()).hexdigest()[:32]


@dataclass(frozen=True)
class Spec:
    """What the user asked for, without the input bytes; sizes and units are known at submission.

    `figures` of the variants, in `measure`, say what a lower quality loses. `escalate`: the share of the answer that may go
    from a small to a large variant; such a job is answered by two others, whose `parent` it is. `expire_s` after its
    submission it is stopped; so long as `wait_s` no device may be able to run it (the configuration's time when None).
    `streams`: the answer is handed on part by part. `shared`: personal, but made as coarse as a `SharedMood`, so that it may
    go to peers with `mood.share` too.
    """

    task: str
    version: int
    params: dict[str, Any]
    units: float
    input_bytes: int
    result_bytes: int
    personal: bool
    effects: bool
    seed: int
    variant: str | None = None
    on: str | None = None
    quality: Literal["best", "fast"] = "best"
    by_s: float | None = None
    expire_s: float | None = None
    wait_s: float | None = None
    streams: bool = False
    measure: str = ""
    figures: dict[str, list[float]] = field(default_factory=dict)
    escalate: float | None = None
    parent: str | None = None
    input_sha256: str | None = None  # none of personal input: a hash of a short text lets one guess it
    adopted_from: str | None = None
    shared: bool = False


@dataclass
class Attempt:
    """One try of a job on one device; `number` is the fence. Times are wall seconds; `explain` the table it was chosen from;
    `worked` the seconds of work that its executor signed for."""

    job: str
    number: int
    device: DeviceId
    variant: str
    state: AttemptState
    explain: dict[str, Any]
    created: float
    reserved: float | None = None
    started: float | None = None
    finished: float | None = None
    message: str = ""
    worked: float | None = None


@dataclass
class Job:
    """One request of this device's user, from `accepted` to its one visible result. `parts` of its answer are on disk, the
    first ones, of `part_bytes` in all."""

    id: str
    spec: Spec
    input: Blob
    created: float
    status: Status = "PENDING"
    substate: str = ""
    message: str = ""
    winner: int | None = None
    finished: float | None = None
    share: float = 0.0
    parts: int = 0
    part_bytes: int = 0
    attempts: list[Attempt] = field(default_factory=list)
    explain: dict[str, Any] = field(default_factory=dict)

    @property
    def open(self) -> bool:
        """Whether it may still change."""
        return self.status in OPEN

    @property
    def sent_bytes(self) -> int:
        """What the next attempt is sent: the input, and the parts that are here."""
        return self.spec.input_bytes + joined_bytes(self.parts, self.part_bytes)

    @property
    def next_number(self) -> int:
        """The next fence."""
        return max((a.number for a in self.attempts), default=0) + 1

    def age_s(self, wall: float) -> float:
        """Seconds since it was submitted; a clock that was set back shortens nothing."""
        return max(0.0, wall - self.created)

    def spent(self) -> str | None:
        """Why no further attempt is allowed (routing §8): two task errors, four errors, ten losses; None while one is."""
        failed = [a for a in self.attempts if a.state == "ERRORED"]
        errors, losses = len(failed), sum(a.state == "LOST" for a in self.attempts)
        if sum(a.message.startswith("task_error") for a in failed) >= MAX_TASK_ERRORS:
            return "the task failed on two devices"
        if errors >= MAX_ERRORS:
            return f"{errors} attempts failed"
        devices = len({a.device for a in self.attempts if a.state == "LOST"})
        where = "the same device" if devices == 1 else f"{devices} devices"
        return f"{losses} attempts were lost on {where}" if losses >= MAX_LOSSES else None
