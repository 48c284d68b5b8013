"""A task whose answer comes part by part, installed for a test through the plug-in door."""

from __future__ import annotations

import hashlib
import random
import time

from pydantic import BaseModel

from moodmesh.tasks.task import Context, Output, Request, TaskSpec, Variant


class Asked(BaseModel):
    """How many parts, seconds for each, bytes of each."""

    parts: int = 20
    seconds: float = 0.1
    size: int = 100


class Tune(BaseModel):
    """The hash of all parts."""

    sha256: str


def part(seed: int, index: int, size: int) -> bytes:
    """The same on every device."""
    return b"%d: " % index + random.Random(f"{seed} {index}").randbytes(size)


class TuneTask:
    """`test.tune`: its own runner."""

    spec = TaskSpec("test.tune", 1, "one part after the other", Asked, Tune, (Variant("only", 0, 200),), "part", streams=True)

    def units(self, request: Request) -> float:
        return float(request.params.get("parts", 20))

    def result_bytes(self, request: Request) -> int:
        return 100

    def benchmark_request(self) -> Request:
        return Request({"parts": 5, "seconds": 0.01})

    def open(self, variant: str, context: Context) -> TuneTask:
        return self

    def run(self, request: Request, context: Context) -> Output:
        asked, made = Asked(**request.params), list(request.parts)
        for index in range(len(made), asked.parts):
            time.sleep(asked.seconds)
            context.check()
            made.append(part(request.seed, index, asked.size))
            context.emit(index, made[index])
            context.progress((index + 1) / asked.parts)
        return Output({"sha256": hashlib.sha256(b"".join(made)).hexdigest()}, {"tune": b"".join(made)})
