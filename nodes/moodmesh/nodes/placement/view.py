"""What placement looks at: the job (`Ask`) and each device as the submitter sees it (`Device`)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.messages import Capability, Dynamic

RADIO = 12e3
WIRELESS = 6e6
WIRED = 60e6


@dataclass(frozen=True)
class Ask:
    """A job as placement needs it. `personal`: inputs may go to own devices only, or, `shared`, to peers with `mood.share`
    too; sizes in bytes.
    `small_part`: the small variant's, of --escalate; `streams`: the answer is handed on part by part."""

    job: str
    task: str
    version: int
    units: float
    input_bytes: int = 0
    result_bytes: int = 0
    personal: bool = False
    variant: str | None = None
    on: DeviceId | None = None
    quality: Literal["best", "fast"] = "best"
    by_s: float | None = None
    failed_on: frozenset[DeviceId] = frozenset()
    refused_by: Mapping[DeviceId, str] = field(default_factory=dict)
    small_part: bool = False
    streams: bool = False
    shared: bool = False


@dataclass(frozen=True)
class Device:
    """One device as the submitter knows it. `capability` None: no document yet. `own`: the submitter gave it `own.device`;
    `told_moods`: `mood.share`.
    `trouble`: why it is absent although it, or another in its place, answers. `streams`: its version knows parts of an answer.

    `correction` is ln(actual / predicted) of its past claims; `pending_s` the seconds dispatched there since `dynamic`;
    `hand` the seconds that messages and journals of an attempt there took of late, `hand_dev` their mean deviation.
    """

    id: DeviceId
    name: str
    here: bool = False
    present: bool = True
    absent_s: float = 0.0
    trouble: str = ""
    suspect: bool = False
    backoff: bool = False
    full: bool = False
    own: bool = False
    told_moods: bool = False
    capability: Capability | None = None
    dynamic: Dynamic | None = None
    stale: bool = False
    rtt_s: float = 0.002
    bandwidth: float = WIRELESS
    correction: float = 0.0
    pending_s: float = 0.0
    hand: float = 0.0
    hand_dev: float = 0.0
    streams: bool = True

    def after(self, before: Device | None) -> Device:
        """The same device a moment later: what follows from its capability alone is taken over, not computed anew."""
        if before is not None and before.capability is self.capability and before.correction == self.correction:
            self.__dict__.update({name: before.__dict__[name] for name in ("pace", "offers") if name in before.__dict__})
        return self

    def ready(self) -> None:
        """Work out now what decisions will ask for."""
        self.offers, self.wait  # noqa: B018

    @cached_property
    def pace(self) -> Mapping[str, float]:
        """Seconds per unit that are to be expected, per class (`task/variant`)."""
        tasks, factor = self.capability.tasks if self.capability is not None else {}, self.worth
        return {f"{task}/{name}": v.mean * factor for task, doc in tasks.items() for name, v in doc.variants.items()}

    @cached_property
    def offers(self) -> Mapping[str, Sequence[tuple[int, float, str]]]:
        """Per task its variants: quality, expected seconds per unit, name."""
        tasks = self.capability.tasks if self.capability is not None else {}
        return {
            task: [(v.quality, self.pace[f"{task}/{name}"], name) for name, v in doc.variants.items()]
            for task, doc in tasks.items()
        }  # fmt: skip

    @cached_property
    def wait(self) -> float:
        """Seconds until a slot is free for what goes before everything that is queued."""
        now = self.dynamic
        if now is None or (now.free_slots > 0 and self.pending_s == 0):
            return 0.0
        return (sum(now.running) + self.pending_s) * self.worth / self.slots

    @cached_property
    def worth(self) -> float:
        """What a second that this device claims has been worth so far."""
        return math.exp(self.correction)

    @property
    def slots(self) -> int:
        """Attempts at a time."""
        return max(1, self.capability.slots if self.capability else 1)

    @property
    def owns_us(self) -> bool:
        """Whether that device counts this one among its own."""
        return self.capability is not None and self.capability.own
