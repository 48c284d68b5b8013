"""Processes with a virtual radio each, in one air that is a process too."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator
from typing import Any

PACKAGE = "moodmesh.nodes.bench.ble"
LINE = 1 << 20


class Device:
    """A worker process; `ask` is what it can be asked for, by name."""

    def __init__(self, process: Process, address: str) -> None:
        self.process, self.address = process, address

    async def ask(self, do: str, **wish: Any) -> Any:
        """Its answer; OSError when the radio failed at it, or the process ended."""
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps({"do": do, **wish}).encode() + b"\n")
        await self.process.stdin.drain()
        answer = await self.answer()
        if isinstance(answer, dict) and "error" in answer:
            raise OSError(f"{self.address}: {answer['error']}")
        return answer

    async def answer(self) -> Any:
        """The next line."""
        assert self.process.stdout is not None
        if not (line := await self.process.stdout.readline()):
            raise OSError(f"the radio at {self.address} ended")
        return json.loads(line)


@contextlib.asynccontextmanager
async def fleet(count: int) -> AsyncIterator[list[Device]]:
    """So many radios, all listening, none shown; they end with the block."""
    async with contextlib.AsyncExitStack() as stack:
        air = await stack.enter_async_context(_process("air"))
        port = str(await Device(air, "the air").answer())
        addresses = [f"F5:00:00:00:00:{number:02X}" for number in range(1, count + 1)]
        devices = [Device(await stack.enter_async_context(_process("worker", port, a)), a) for a in addresses]
        for device in devices:
            await device.answer()
        yield devices


@contextlib.asynccontextmanager
async def _process(module: str, *arguments: str) -> AsyncIterator[Process]:
    command = (sys.executable, "-m", f"{PACKAGE}.{module}", *arguments)
    process = await asyncio.create_subprocess_exec(*command, stdin=PIPE, stdout=PIPE, limit=LINE)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
