"""Daemons whose epochs come when a harness says: within their process, identifiers follow the wall clock that it turns.

A daemon sleeps until the next ten-minute boundary and does not look at its clock meanwhile; `bench/patched.py` turns it.
"""

from __future__ import annotations

from moodmesh.mesh.rid import EPOCH_S, Rids

LOOK_S = 0.05
PATCH = f"from {__name__} import patch; patch()"
"""Statements for the process of a daemon, before its main."""


def patch() -> None:
    """Rotate when the wall clock is found in another epoch."""

    async def run(self: Rids) -> None:
        clock = self._clock
        epoch = clock.wall() // EPOCH_S
        while True:
            await clock.sleep(LOOK_S)
            if (now := clock.wall() // EPOCH_S) != epoch:
                epoch = now
                self.rotate()

    Rids.run = run  # type: ignore[method-assign]
