"""One worker's inner life, the same in every engine: load a task, keep its model warm, run one attempt at a time."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moodmesh.nodes.pool.seam import AttemptFailed, Done, Event, Log, Part, Progress, Started, Work
from moodmesh.tasks.errors import InvalidInput, PartRefused
from moodmesh.tasks.models import Card
from moodmesh.tasks.parts import Stream
from moodmesh.tasks.task import Output, Request, Runner, Task

EVENTS_PER_S = 10
LOG_BYTES_PER_S = 64 * 1024
LONGEST_LINE = 4096
LONGEST_MESSAGE = 2000
Emit = Callable[[Event], None]
Models = Callable[[Card], Path]


class Allowance:
    """A token bucket: `rate` a second, at most one second's worth saved up."""

    def __init__(self, rate: float) -> None:
        self._rate = self._left = rate
        self._at = float("-inf")

    def take(self, amount: float, now: float) -> bool:
        """Whether `amount` is free at `now` (seconds, never going back); takes it if so."""
        self._left = min(self._rate, self._left + (now - self._at) * self._rate)
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True


class AttemptContext:
    """`tasks.Context` of one attempt: passes events on within 10/s and 64 KiB/s; parts of the answer, all of `stream`."""

    def __init__(
        self, emit: Emit, models: Models, clock: Callable[[], float] = time.monotonic, stream: Stream | None = None
    ) -> None:
        self._emit, self._models, self._clock, self._stream = emit, models, clock, stream
        self._next = threading.Lock()  # a task may have threads of its own
        self._shares, self._lines, self._bytes = Allowance(EVENTS_PER_S), Allowance(EVENTS_PER_S), Allowance(LOG_BYTES_PER_S)
        self._dropped = 0

    def model(self, card: Card) -> Path:
        """The verified local file of a model; OSError when it is missing or damaged."""
        return self._models(card)

    def progress(self, share: float) -> None:
        """Report the share done; what exceeds the rate is dropped, since the next one says more."""
        if self._shares.take(1, self._clock()):
            self._emit(Progress(min(1.0, max(0.0, float(share)))))

    def log(self, line: str) -> None:
        """Pass on a line, cut to 4 KiB; what exceeds the rate is counted and the count told with the next line."""
        line, now = line[:LONGEST_LINE], self._clock()
        if not (self._bytes.take(len(line.encode()), now) and self._lines.take(1, now)):
            self._dropped += 1
            return
        note = f" [{self._dropped} lines before this one were dropped]" if self._dropped else ""
        self._dropped = 0
        self._emit(Log(line + note))

    def emit(self, index: int, data: bytes) -> None:
        """Pass on the next part; `PartRefused` when it is none."""
        if self._stream is None:
            raise PartRefused("the spec of this task does not say that it streams: set streams=True")
        with self._next:
            if self._stream.add(index, data):
                self._emit(Part(index, data))

    def check(self) -> None:
        """Nothing to raise: a cancelled attempt never gets here, its process is killed."""


class Session:
    """Runs attempts one after the other; the runner of the last (task, variant) stays loaded."""

    def __init__(self, tasks: Mapping[str, Task], models: Models) -> None:
        self._tasks, self._models = tasks, models
        self._loaded: tuple[tuple[str, str], Runner] | None = None

    def run(self, work: Work, emit: Emit) -> Done:
        """Run one attempt in the calling thread; `AttemptFailed` says how it ended otherwise."""
        task = self._task(work)
        context = AttemptContext(emit, self._models, stream=Stream(work.parts) if task.spec.streams else None)
        request = Request(_params(task, work), work.input, work.seed, work.parts)
        try:
            runner, load_s = self._open(task, work, context)
            return _perform(runner, request, context, emit, load_s)
        except AttemptFailed as failed:
            if failed.reason in ("task_error", "out_of_memory"):  # the runner may be in any state
                self._forget()
            raise
        except MemoryError:  # not even room to say so
            self._loaded = None
            raise

    def _task(self, work: Work) -> Task:
        task = self._tasks.get(work.task)
        if task is None:
            raise AttemptFailed("transient", f"{work.task} is not installed on this device. `moodmesh tasks` lists what is.")
        if work.variant not in (variant.name for variant in task.spec.variants):
            raise AttemptFailed("transient", f"{work.task} has no variant {work.variant} on this device.")
        return task

    def _open(self, task: Task, work: Work, context: AttemptContext) -> tuple[Runner, float]:
        wanted = (work.task, work.variant)
        if self._loaded is not None and self._loaded[0] == wanted:
            return self._loaded[1], 0.0
        self._forget()
        begun = time.monotonic()
        try:
            with _reasons():
                runner = task.open(work.variant, context)
        except OSError as error:
            raise AttemptFailed("transient", f"{work.task} {work.variant} cannot be loaded here: {error}") from error
        self._loaded = wanted, runner
        return runner, time.monotonic() - begun

    def _forget(self) -> None:
        if self._loaded is not None:
            self._loaded = None
            gc.collect()  # models are graphs with cycles; their memory is wanted now


def _params(task: Task, work: Work) -> dict[str, Any]:
    try:
        return task.spec.request.model_validate(dict(work.params)).model_dump()
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"]) or "parameters"
        raise AttemptFailed("invalid_input", f"{work.task}: {where}: {first['msg']}") from None


def _perform(runner: Runner, request: Request, context: AttemptContext, emit: Emit, load_s: float) -> Done:
    at = time.clock_gettime(time.CLOCK_MONOTONIC)
    emit(Started(os.getpid(), at, load_s))
    begun = time.monotonic()
    try:
        with _reasons():
            output = runner.run(request, context)
    except OSError as error:
        raise AttemptFailed("task_error", _told(error)) from error
    seconds = time.monotonic() - begun
    _check(output)
    return Done(output.value, dict(output.files), seconds)


def _check(output: Output) -> None:
    files = output.files.items()
    if not isinstance(output.value, dict) or not all(isinstance(k, str) and isinstance(v, bytes) for k, v in files):
        raise AttemptFailed("task_error", "the task returned something else than a JSON object and named byte strings")


@contextmanager
def _reasons() -> Iterator[None]:
    """Turn what a task raises into the reason a scheduler acts on; OSError passes, its meaning depends on the step."""
    try:
        yield
    except InvalidInput as error:
        raise AttemptFailed("invalid_input", str(error)[:LONGEST_MESSAGE]) from error
    except OSError:
        raise
    except (Exception, SystemExit) as error:
        raise AttemptFailed("out_of_memory" if _is_memory(error) else "task_error", _told(error)) from error


def _is_memory(error: BaseException) -> bool:
    # torch and onnxruntime have their own words for it, and neither may be imported here.
    words = ("bad_alloc", "bad allocation", "Failed to allocate memory", "can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError" or any(w in str(error) for w in words)


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:LONGEST_MESSAGE]
