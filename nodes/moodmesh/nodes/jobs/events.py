"""What happens to jobs, told to whoever listens: the local API, `job logs -f`, progress bars."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

BACKLOG = 1000


@dataclass
class Hub:
    """Fan-out of events; a listener that falls `BACKLOG` behind loses the oldest, never blocks the node."""

    _queues: set[asyncio.Queue[dict[str, Any]]] = field(default_factory=set)
    watch: Callable[[str, dict[str, Any]], None] = lambda kind, facts: None
    """Called at once with every event: for the one listener that may lose none."""

    def tell(self, kind: str, **facts: Any) -> None:
        """Publish one event."""
        self.watch(kind, facts)
        for queue in self._queues:
            if queue.full():
                queue.get_nowait()
            queue.put_nowait({"event": kind, **facts})

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[asyncio.Queue[dict[str, Any]]]:
        """A queue of every event from now on."""
        queue: asyncio.Queue[dict[str, Any]] = asyncio.Queue(BACKLOG)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)
