"""The `TaskPool` seam: one attempt of a job runs in a worker that can be killed alone (design §5, routing §13)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol


@dataclass(frozen=True)
class Work:
    """One attempt, as a worker sees it: plain data, so that it may cross a pipe or a Ray cluster."""

    attempt: str
    task: str
    variant: str
    params: Mapping[str, Any]
    input: bytes = b""
    seed: int = 0
    parts: tuple[bytes, ...] = ()


@dataclass(frozen=True)
class Started:
    """The first line of the task is about to run: worker pid, and `at` on the host's monotonic clock (CLOCK_MONOTONIC)."""

    pid: int
    at: float
    load_s: float


@dataclass(frozen=True)
class Progress:
    """Share done, 0 to 1."""

    share: float


@dataclass(frozen=True)
class Log:
    """One line from the task."""

    line: str


@dataclass(frozen=True)
class Part:
    """The next part of the answer, counted from 0."""

    index: int
    data: bytes


Event = Started | Progress | Log | Part


@dataclass(frozen=True)
class Done:
    """The output of an attempt: JSON value, named files, and the seconds inside `Runner.run`."""

    value: dict[str, Any]
    files: Mapping[str, bytes] = field(default_factory=dict)
    seconds: float = 0.0


Reason = Literal["invalid_input", "task_error", "out_of_memory", "worker_lost", "transient", "lost"]


class AttemptFailed(Exception):
    """The attempt ended without output: `invalid_input` everywhere, `lost` by nobody's fault; others may succeed elsewhere."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason: Reason = reason


class TaskPool(Protocol):
    """Workers of one device. `run` takes a free slot; the caller never runs more than `slots` at once."""

    engine: str
    slots: int

    async def start(self) -> None:
        """Make the pool ready to run (idempotent); raises OSError with what to do when it cannot."""

    async def run(self, work: Work, emit: Callable[[Event], None]) -> Done:
        """Run one attempt. `AttemptFailed` when it ends badly; cancelling this call kills the worker, whose pid is gone
        (within 2 s, even in a native busy loop) before the cancellation passes on."""

    def start_s(self) -> float:
        """Seconds until the engine is up, as it took last (a prior before that); 0 when it is."""

    def loaded(self) -> frozenset[tuple[str, str]]:
        """The (task, variant) pairs whose model is in the memory of an idle worker."""

    async def stop(self) -> None:
        """Kill every worker and leave nothing behind: no process, socket, file or shared memory."""
