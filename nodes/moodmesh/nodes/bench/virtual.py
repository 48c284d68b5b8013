"""An event loop whose time passes only when nothing else can happen: minutes of protocol in milliseconds, the same each run."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class _Timeless(selectors.SelectSelector):
    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0)
        if not ready:
            assert timeout is not None, "nothing will ever happen again"
            self.now += max(0.0, timeout)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """`loop.time()` is virtual, so every timeout and sleep of the code under test is, too."""

    def __init__(self) -> None:
        self._timeless = _Timeless()
        super().__init__(self._timeless)

    def time(self) -> float:
        """Virtual seconds."""
        return self._timeless.now


class LoopClock:
    """The `Clock` of such a loop; `offset` sets the wall clock, also back."""

    def __init__(self, loop: asyncio.AbstractEventLoop, offset: float = 1_800_000_000.0) -> None:
        self._loop, self.offset = loop, offset

    def now(self) -> float:
        """Virtual seconds."""
        return self._loop.time()

    def wall(self) -> float:
        """Virtual seconds, from `offset` on."""
        return self.offset + self._loop.time()

    async def sleep(self, seconds: float) -> None:
        """Pass virtual time."""
        await asyncio.sleep(seconds)


def run(work: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run to the end, then cancel what is left, and what begins while that ends."""
    try:
        return loop.run_until_complete(work)
    finally:
        while left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.close()
