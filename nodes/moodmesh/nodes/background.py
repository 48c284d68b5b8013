"""Tasks beside the main flow of a part: held until they are done, and a failure of one is logged, never the node's end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from moodmesh.nodes.errors import StoreError

log = logging.getLogger(__name__)


class Background:
    """The tasks of one part."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Run it now, beside everything else."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    async def finish(self, *, cancel: bool = False) -> None:
        """Wait for what still runs, or end it."""
        tasks = list(self._tasks)
        if cancel:
            for task in tasks:
                task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, StoreError):  # a full disk is no fault of ours
            log.warning("%s", error)
        else:
            log.error("a background task failed", exc_info=error)
