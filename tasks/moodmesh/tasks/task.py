"""The plug-in contract of a task (systems S31): what it is, what it costs, and how to run it.

A plug-in registers a `Task` class under the entry-point group `moodmesh.tasks`, by its name. Tasks are pure: no event loop,
no network, no Ray; all they get from the node is a `Context`. The same request and seed give the same output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

from pydantic import BaseModel

from moodmesh.tasks.errors import Cancelled, InvalidInput, PartRefused
from moodmesh.tasks.models import Card

__all__ = [
    "Cancelled",
    "Context",
    "Escalation",
    "InvalidInput",
    "Output",
    "PartRefused",
    "Request",
    "Rest",
    "Runner",
    "Task",
    "TaskSpec",
    "Variant",
]


@dataclass(frozen=True)
class Request:
    """One request: `params` already validated by the task's schema, `input` the bytes of the input file (empty without one).

    `parts`: those of its answer that the requester holds already, in order; a task that streams goes on after them.
    """

    params: Mapping[str, Any]
    input: bytes = b""
    seed: int = 0
    parts: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Output:
    """What a run made: `value` is JSON by the result schema; `files` are named byte strings that travel as artefacts."""

    value: dict[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """A size or precision of a task: the higher `quality`, the better; `memory_mb` is the peak need of one worker.

    `card` names the model in `models.toml`; None when the variant needs no model file.
    """

    name: str
    quality: int
    memory_mb: int
    card: Card | None = None


@dataclass(frozen=True)
class Rest:
    """What the small model is unsure of: the request for the large one, and which items of how many it stands for."""

    request: Request
    items: tuple[int, ...]
    of: int


@dataclass(frozen=True)
class Escalation:
    """A small variant answers first; what it is unsure of goes to a large one (systems S29). Both functions are pure and cheap:
    they run in the node, load no model, and give the same answer when a restart asks them again.

    `uncertain(request, answer, share)` picks at most `share` (over 0, to 1) of the items of a small answer, rounded down; None
    when that is none, or when there is nothing to gain. `merge(small, large, items)` puts the large answer in its place, order
    and number kept. `measure` names a quality and `reached` gives it at equal steps of the share from 0 to 1, as measured;
    empty if never.
    """

    small: str
    large: str
    uncertain: Callable[[Request, Mapping[str, Any], float], Rest | None]
    merge: Callable[[Mapping[str, Any], Mapping[str, Any], tuple[int, ...]], dict[str, Any]]
    measure: str = ""
    reached: tuple[float, ...] = ()

    def expected(self, share: float) -> float | None:
        """The measured quality when `share` of the items goes to the large variant, between two steps by a straight line."""
        if len(self.reached) < 2:
            return None
        at = share * (len(self.reached) - 1)
        low = min(int(at), len(self.reached) - 2)
        return self.reached[low] + (at - low) * (self.reached[low + 1] - self.reached[low])


@dataclass(frozen=True)
class TaskSpec:
    """What every node may know of a task. `personal`: inputs go to the owner's own devices only, unless the job says otherwise;
    `personal_input`: so do requests with an input file, others go anywhere.

    `effects`: the task changes something outside its output (plays sound, moves a file) and is run at most once.
    `version` is the version of the request and result schemas; nodes run a job only under the same version.
    `escalation`: how two of the variants answer one request together; None when they cannot.
    `streams`: it hands its answer on part by part (`Context.emit`), and begins after the parts of the request.
    `helpers`: model files that make its answers better and that it goes without where they are absent or damaged.
    """

    name: str
    version: int
    summary: str
    request: type[BaseModel]
    result: type[BaseModel]
    variants: tuple[Variant, ...]
    unit: str
    personal: bool = False
    personal_input: bool = False
    effects: bool = False
    escalation: Escalation | None = None
    streams: bool = False
    helpers: tuple[Card, ...] = ()

    def cards(self) -> dict[str, Card]:
        """Each model file by the variant that needs it; helpers by their own names."""
        needed = {variant.name: variant.card for variant in self.variants if variant.card is not None}
        return needed | {card.name: card for card in self.helpers}

    def variant(self, name: str) -> Variant:
        """The variant called `name`; KeyError when there is none."""
        return {variant.name: variant for variant in self.variants}[name]


class Context(Protocol):
    """What a running task may use of its node."""

    def model(self, card: Card) -> Path:
        """The verified local file of a model."""

    def progress(self, share: float) -> None:
        """Report the share done, 0 to 1."""

    def log(self, line: str) -> None:
        """A line for the owner of the job, and for devices that may inspect it. Never write input text into it."""

    def emit(self, index: int, data: bytes) -> None:
        """Hand on the next part of the answer, counted from 0, of at most `parts.PART_BYTES`; again, with the same bytes, it
        is nothing. `PartRefused` for anything else."""

    def check(self) -> None:
        """Raise `Cancelled` when the job was cancelled; call it at least once a second."""


class Runner(Protocol):
    """A loaded variant; keeps its model between runs."""

    def run(self, request: Request, context: Context) -> Output:
        """Answer one request; `InvalidInput` when it cannot be answered anywhere."""


class Task(Protocol):
    """A plug-in. Construction is cheap: models load in `open`."""

    spec: TaskSpec

    def units(self, request: Request) -> float:
        """The size of a request in the task's own unit (> 0); service seconds are proportional to it.

        Called before a job is accepted: `InvalidInput` for a request that no device could answer.
        """

    def result_bytes(self, request: Request) -> int:
        """The expected size of the output, for the transfer term of placement."""

    def benchmark_request(self) -> Request:
        """A request of 0.5 to 2 s on a slow device, from which the node learns its rate."""

    def open(self, variant: str, context: Context) -> Runner:
        """Load a variant; slow. Raises OSError when a model file is missing or damaged."""
