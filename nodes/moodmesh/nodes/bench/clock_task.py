"""A task that tells when its first line ran; installed for the time of a benchmark through the plug-in door."""

from __future__ import annotations

import time

from pydantic import BaseModel

from moodmesh.tasks.task import Context, Output, Request, TaskSpec, Variant

NAME = "bench.clock"
TASKS = {NAME: "moodmesh.nodes.bench.clock_task:ClockTask"}


class _Nothing(BaseModel):
    """No parameters."""


class _When(BaseModel):
    """Seconds of the system-wide monotonic clock."""

    at: float


class ClockTask:
    """`bench.clock`: its own runner."""

    spec = TaskSpec(NAME, 1, "when did it start", _Nothing, _When, (Variant("only", 0, 40),), "call")

    def units(self, request: Request) -> float:
        """One."""
        return 1.0

    def result_bytes(self, request: Request) -> int:
        """A number."""
        return 40

    def benchmark_request(self) -> Request:
        """Nothing to say."""
        return Request({})

    def open(self, variant: str, context: Context) -> ClockTask:
        """Nothing to load."""
        return self

    def run(self, request: Request, context: Context) -> Output:
        """The first line."""
        return Output({"at": time.clock_gettime(time.CLOCK_MONOTONIC)})
