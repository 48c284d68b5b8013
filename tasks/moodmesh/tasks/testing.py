"""`check_task`: does a plug-in keep the contract of systems S31? For plug-in authors' own test suites.

from moodmesh.tasks.testing import check_task
def test_contract(tmp_path): check_task(MyTask(), models=tmp_path)
"""

from __future__ import annotations

import copy
import multiprocessing
import resource
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from moodmesh.tasks.errors import Cancelled, InvalidInput
from moodmesh.tasks.models import Card, ModelStore
from moodmesh.tasks.parts import Stream
from moodmesh.tasks.task import Escalation, Output, Request, Task, Variant

CANCEL_S = 1.0
UNREADABLE = 12  # a shorter message cannot say what to change
_NETWORK = ("socket.connect", "socket.bind", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname")


class ContractBroken(AssertionError):
    """A promise of the task contract is broken; the message names which, and the variant."""


@dataclass
class CheckContext:
    """A `Context` for tests: records progress, logs and the seconds between checks; cancels at the `cancel_at`-th check."""

    models: ModelStore
    cancel_at: int | None = None
    shares: list[float] = field(default_factory=list)
    lines: list[str] = field(default_factory=list)
    stream: Stream = field(default_factory=Stream)
    emitted: list[int] = field(default_factory=list)
    checks: int = 0
    slowest_s: float = 0.0
    seen: float = field(default_factory=time.monotonic)

    def model(self, card: Card) -> Path:
        """The verified local file of a model."""
        return self.models.path(card)

    def progress(self, share: float) -> None:
        """Record the share done."""
        self.shares.append(share)

    def log(self, line: str) -> None:
        """Record a line."""
        self.lines.append(line)

    def emit(self, index: int, data: bytes) -> None:
        """Record a part, and its index also when it was known."""
        self.emitted.append(index)
        self.stream.add(index, data)

    def check(self) -> None:
        """Raise `Cancelled` from the chosen check on."""
        self.checks += 1
        self.lap()
        if self.cancel_at is not None and self.checks >= self.cancel_at:
            raise Cancelled

    def lap(self) -> None:
        """Note how long ago the last check was."""
        now = time.monotonic()
        self.slowest_s, self.seen = max(self.slowest_s, now - self.seen), now


def check_task(
    task: Task, models: Path, variants: Sequence[str] | None = None, bad: Sequence[Request] = (Request({}, b"\xff\x00"),)
) -> None:
    """Run every check on each variant (or those named), each in a fresh process; ContractBroken tells the first failure.

    `models` is a folder for files that the package does not ship; each of `bad` must be refused with `InvalidInput`.
    """
    check_spec(task)
    for variant in task.spec.variants:
        if variants is None or variant.name in variants:
            _in_fresh_process(_check_variant, task, variant, models, tuple(bad))
    if task.spec.escalation is not None and variants is None:
        _in_fresh_process(check_escalation, task, task.spec.escalation, models)


def check_spec(task: Task) -> None:
    """What needs no model: names, sizes, the request schema, the sizes of the benchmark request."""
    spec = task.spec
    request = task.benchmark_request()
    _hold(bool(spec.variants), "spec", "a task has at least one variant")
    _hold(len({variant.name for variant in spec.variants}) == len(spec.variants), "spec", "variant names differ")
    _hold(all(variant.memory_mb > 0 for variant in spec.variants), "spec", "every variant declares its memory")
    _hold(task.units(request) > 0, "units", "units of a request are above 0")
    _hold(task.result_bytes(request) >= 0, "result_bytes", "result_bytes is not negative")
    try:
        spec.request.model_validate(dict(request.params))
    except ValidationError as error:
        raise ContractBroken(f"request schema: it refuses the task's own benchmark request: {error}") from None
    _hold(not (spec.streams and spec.escalation), "stream", "what two variants answer together is not handed on part by part")


def check_escalation(task: Task, way: Escalation, models: Path) -> None:
    """How two variants answer one request together, on the benchmark request: at half of its items, and at all of them."""
    spec, request, context = task.spec, task.benchmark_request(), CheckContext(ModelStore(models))
    ranks = {variant.name: variant.quality for variant in spec.variants}
    _hold({way.small, way.large} <= set(ranks), "escalation", "both of its variants are the task's own")
    _hold(ranks[way.small] < ranks[way.large], "escalation", "the large variant is the better one")
    small = task.open(way.small, context).run(request, context).value
    counts = [_check_share(task, way, request, small, share, context) for share in (0.5, 1.0)]
    _hold(0 < counts[0] <= counts[1] / 2, "escalation", f"{counts[0]} of {counts[1]} items at a share of one half")


def _check_share(
    task: Task, way: Escalation, request: Request, small: dict[str, Any], share: float, context: CheckContext
) -> int:
    """The number of items sent at a share."""
    kept = copy.deepcopy(small)
    rest = way.uncertain(request, small, share)
    _hold(rest == way.uncertain(request, small, share), "escalation", "asked again, the same items are uncertain")
    if rest is None:
        return 0
    _hold(list(rest.items) == sorted(set(rest.items)), "escalation", "the items ascend, each is named once")
    _hold(task.units(rest.request) > 0, "escalation", "the rest is a request like any other")
    try:
        task.spec.request.model_validate(dict(rest.request.params))
        large = task.open(way.large, context).run(rest.request, context).value
        merged = way.merge(small, large, rest.items)
        read = task.spec.result.model_validate(merged)
    except (ValidationError, InvalidInput) as error:
        raise ContractBroken(f"escalation: the rest or the merged answer breaks the task's own schema: {error}") from None
    _hold(read.model_dump(mode="json") == merged, "escalation", "the merged answer survives a round trip through the schema")
    _hold(small == kept, "escalation", "the small answer is left as it was")
    return len(rest.items)


def _check_variant(task: Task, variant: Variant, models: Path, bad: Sequence[Request]) -> None:
    before = _peak_mb()
    request = task.benchmark_request()
    store = ModelStore(models)
    with no_network():
        first, context = _timed_run(task, variant, request, CheckContext(store))
        _check_result(task, first, context)
        again, second = _timed_run(task, variant, request, CheckContext(store))
        _hold(_same(first, again), "determinism", "same seed, same output")
        _hold(context.stream.parts == second.stream.parts, "determinism", "same seed, same parts")
        _check_stream(task, variant, request, first, context)
        _check_cancel(task, variant, request, CheckContext(store, cancel_at=context.checks // 2 + 1))
        for wrong in bad:
            _check_refusal(task, variant, wrong, CheckContext(store))
    used = _peak_mb() - before
    _hold(used <= variant.memory_mb, "memory", f"the variant declares {variant.memory_mb} MB and a run took {used:.0f} MB more")


def _timed_run(task: Task, variant: Variant, request: Request, context: CheckContext) -> tuple[Output, CheckContext]:
    runner = task.open(variant.name, context)
    context.seen = time.monotonic()
    output = runner.run(request, context)
    context.lap()
    _hold(context.checks > 0, "cancellation", "a run calls context.check")
    _hold(context.slowest_s <= CANCEL_S, "cancellation", f"{context.slowest_s:.1f} s passed without a check; 1 s is allowed")
    return output, context


def _check_stream(task: Task, variant: Variant, request: Request, whole: Output, context: CheckContext) -> None:
    """A run that goes on after the first part, half of them or all: it emits the others alone, and ends as the whole run."""
    parts = context.stream.parts
    _hold(bool(parts) == task.spec.streams, "stream", "a task emits parts if, and only if, its spec says streams=True")
    for held in sorted({min(1, len(parts)), len(parts) // 2, len(parts)} - {0}):
        rest = CheckContext(context.models, stream=Stream(parts[:held]))
        output = task.open(variant.name, rest).run(replace(request, parts=tuple(parts[:held])), rest)
        after = f"after {held} of {len(parts)} parts"
        _hold(rest.emitted == list(range(held, len(parts))), "stream", f"{after} it emits the others, in order, and no other")
        _hold(rest.stream.parts == parts, "stream", f"{after} the others are those of a whole run")
        _hold(_same(output, whole), "stream", f"{after} the output is that of a whole run")


def _same(one: Output, other: Output) -> bool:
    return (one.value, dict(one.files)) == (other.value, dict(other.files))


def _check_result(task: Task, output: Output, context: CheckContext) -> None:
    try:
        read = task.spec.result.model_validate(output.value)
    except ValidationError as error:
        raise ContractBroken(f"result schema: it refuses the output: {error}") from None
    _hold(read.model_dump(mode="json") == output.value, "result schema", "the output survives a round trip through it")
    _hold(all(0 <= share <= 1 for share in context.shares), "progress", "shares lie in 0 to 1")
    _hold(context.shares == sorted(context.shares), "progress", "shares do not fall")


def _check_cancel(task: Task, variant: Variant, request: Request, context: CheckContext) -> None:
    try:
        task.open(variant.name, context).run(request, context)
    except Cancelled:
        return
    raise ContractBroken("cancellation: Cancelled, raised by context.check, must pass through the task")


def _check_refusal(task: Task, variant: Variant, wrong: Request, context: CheckContext) -> None:
    try:
        task.open(variant.name, context).run(wrong, context)
    except InvalidInput as error:
        _hold(len(str(error)) >= UNREADABLE, "bad input", f"the message says what to change, not {str(error)!r}")
    except Exception as error:
        raise ContractBroken(f"bad input: InvalidInput is due, not {type(error).__name__}: {error}") from error
    else:
        raise ContractBroken(f"bad input: a request with {wrong.params} and {len(wrong.input)} bytes was not refused")


@contextmanager
def no_network() -> Iterator[None]:
    """Make any use of the network inside the block fail with ContractBroken, even where the task hides it."""
    used: list[str] = []
    active = True

    def watch(event: str, _: tuple[Any, ...]) -> None:
        if active and event in _NETWORK:
            used.append(event)
            raise ContractBroken(f"network: the task called {event}")

    sys.addaudithook(watch)
    try:
        yield
    finally:
        active = False
    _hold(not used, "network", f"the task called {', '.join(used)}")


def _in_fresh_process(check: Callable[..., None], *args: Any) -> None:
    """Memory peaks and audit hooks last as long as a process: every variant gets its own."""
    fork = multiprocessing.get_context("fork")
    mine, theirs = fork.Pipe(duplex=False)
    child = fork.Process(target=_answer, args=(theirs, check, args))
    child.start()
    theirs.close()
    with mine, suppress(EOFError):
        failure = mine.recv()
        child.join()
        if failure is not None:
            raise ContractBroken(failure)
        return
    child.join()
    raise ContractBroken(f"the task ended its process with code {child.exitcode}")


def _answer(pipe: Connection, check: Callable[..., None], args: tuple[Any, ...]) -> None:
    try:
        check(*args)
    except ContractBroken as error:
        pipe.send(str(error))
    except Exception:  # noqa: BLE001  whatever a task raises is a finding, told to the parent
        pipe.send("the task failed on its own benchmark request:\n" + traceback.format_exc())
    else:
        pipe.send(None)


def _peak_mb() -> float:
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (1 << 20 if sys.platform == "darwin" else 1 << 10)


def _hold(kept: bool, promise: str, rule: str) -> None:
    if not kept:
        raise ContractBroken(f"{promise}: {rule}")
