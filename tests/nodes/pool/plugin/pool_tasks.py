"""A plug-in for the pool's tests, installed by a fixture through the entry-point door; `mode` picks what happens."""

from __future__ import annotations

import hashlib
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from moodmesh.tasks.models import Card
from moodmesh.tasks.task import Context, InvalidInput, Output, Request, TaskSpec, Variant

if (stuck := Path(os.environ.get("POOL_TASKS_STUCK", "/none"))).exists():
    starved = stuck.read_text() == "starved"
    stuck.write_text(str(os.getpid()))
    if starved:
        resource.setrlimit(resource.RLIMIT_DATA, (1, 1))
    else:
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2**31 - 1)


class Params(BaseModel):
    mode: str = "echo"
    count: int = 0
    seconds: float = 0.0


class Result(BaseModel):
    ok: bool = True


class Explosive(Exception):
    pass


def echo(request: Request, context: Context) -> Output:
    return Output({"pid": os.getpid(), "bytes": len(request.input), "seed": request.seed}, {"copy": request.input})


def report(request: Request, context: Context) -> Output:
    for step in range(5):
        context.progress((step + 1) / 5)
        context.log(f"step {step}")
    return Output({"steps": 5})


def flood(request: Request, context: Context) -> Output:
    for step in range(5000):
        context.progress(step / 5000)
        context.log("x" * 100)
    print("to nobody", flush=True)  # stdout of a worker is not the wire
    return Output({"steps": 5000})


def refuse(request: Request, context: Context) -> Output:
    raise InvalidInput("the text is empty. Give one with --input FILE.")


def explode(request: Request, context: Context) -> Output:
    raise Explosive("boom")


def leave(request: Request, context: Context) -> Output:
    sys.exit(3)


def hoard(request: Request, context: Context) -> Output:
    kept = [bytearray(64 * 2**20) for _ in range(request.params["count"])]
    return Output({"kept": len(kept)})


def fill(request: Request, context: Context) -> Output:
    """To the last byte, in pieces so small that nothing else finds room either."""
    kept = []
    while True:
        kept.append([0] * 20)


def large(request: Request, context: Context) -> Output:
    return Output({}, {"large": bytes(request.params["count"] * 2**20)})


def native(request: Request, context: Context) -> Output:
    """Hold the interpreter in C, deaf to every signal but SIGKILL."""
    hashlib.pbkdf2_hmac("sha256", b"x", b"y", 2**31 - 1)
    return Output({})


def sleep(request: Request, context: Context) -> Output:
    end = time.monotonic() + request.params["seconds"]
    while time.monotonic() < end:
        context.check()
        time.sleep(0.01)
    return Output({"pid": os.getpid()})


def spin(request: Request, context: Context) -> Output:
    """A fixed amount of work."""
    for step in range(request.params["count"]):
        hashlib.pbkdf2_hmac("sha256", b"x", b"y", 10_000 + step)
    return Output({})


def litter(request: Request, context: Context) -> Output:
    path = Path(tempfile.mkstemp()[1])
    path.write_bytes(b"left behind")
    Path("relative").write_bytes(b"left behind too")
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    context.log(str(child.pid))
    time.sleep(request.params["seconds"])
    return Output({"path": str(path), "cwd": os.getcwd(), "child": child.pid})


def nan(request: Request, context: Context) -> Output:
    return Output({"value": math.nan})


def wrong(request: Request, context: Context) -> Any:
    return Output({"x": 1}, {"file": "text"})  # type: ignore[dict-item]


def lie(request: Request, context: Context) -> Output:
    """From now on this worker calls itself init."""
    os.getpid = lambda: 1
    return Output({})


WEIGHTS = b"weights of a model"
CARD = Card("probe", "probe.onnx", hashlib.sha256(WEIGHTS).hexdigest(), len(WEIGHTS), "Apache-2.0", (), "", "")


def stream(request: Request, context: Context) -> Output:
    """Six parts, those that are held left out; each is said twice."""
    for index in range(len(request.parts), 6):
        for _ in range(2):
            context.emit(index, bytes([index]) * request.params["count"])
    return Output({"held": len(request.parts)})


def skip(request: Request, context: Context) -> Output:
    context.emit(1, b"too soon")
    return Output({})


def weigh(request: Request, context: Context) -> Output:
    path = context.model(CARD)
    return Output({"path": str(path), "pid": os.getpid()}, {"weights": path.read_bytes()})


MODES: dict[str, Callable[[Request, Context], Output]] = {
    mode.__name__: mode
    for mode in (
        echo, report, flood, refuse, explode, leave, hoard, fill, large, native, sleep, spin, litter, nan, wrong, lie, weigh,
        stream, skip,
    )
}  # fmt: skip


class Runner:
    def run(self, request: Request, context: Context) -> Output:
        return MODES[request.params["mode"]](request, context)


class Probe:
    spec = TaskSpec(
        "test.probe", 1, "For tests", Params, Result,
        (Variant("small", 1, 64), Variant("large", 2, 64), Variant("absent", 3, 64)), "call",
    )  # fmt: skip

    def units(self, request: Request) -> float:
        return 1.0

    def result_bytes(self, request: Request) -> int:
        return 100

    def benchmark_request(self) -> Request:
        return Request(Params(mode="spin", count=100).model_dump())

    def open(self, variant: str, context: Context) -> Runner:
        if variant == "absent":
            raise FileNotFoundError("model file large.onnx is missing")
        return Runner()


class Streaming(Probe):
    """The same, and it says that it hands parts on."""

    spec = replace(Probe.spec, name="test.stream", streams=True)
