"""How a loop waits for something to do."""

from __future__ import annotations

import asyncio
import contextlib


async def woken(event: asyncio.Event, seconds: float | None) -> None:
    """Until an event, or for so long; None: however long it takes. Who is cancelled meanwhile is, also when both come at once:
    `asyncio.wait_for` of Python 3.11 would go on, and its task for ever."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await event.wait()
