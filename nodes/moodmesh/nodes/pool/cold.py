"""How long an engine that is down takes until it runs something: a prior at first, then what it took last."""

from __future__ import annotations

import time
from collections.abc import Callable

from moodmesh.nodes.pool.seam import Event, Started


class ColdStart:
    """`seconds` from asking a cold engine to the first line of an attempt, less the loading of its model."""

    def __init__(self, prior_s: float) -> None:
        self.seconds = prior_s

    def timed(self, emit: Callable[[Event], None]) -> Callable[[Event], None]:
        """An `emit` that learns from the attempt that starts the engine; call it when the attempt is asked for."""
        began = time.monotonic()

        def watch(event: Event) -> None:
            if isinstance(event, Started):
                self.seconds = max(0.0, event.at - began - event.load_s)
            emit(event)

        return watch
