"""`python -m moodmesh.nodes.bench.ble.daemon up ...`: the daemon, its Bluetooth adapter a virtual radio in a served air.

The environment says which: the port of the air, and the address of the radio. All else is as with BlueZ.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator

from moodmesh.mesh.ble.central import Central
from moodmesh.mesh.ble.radio import Peripheral
from moodmesh.mesh.seams import Unavailable
from moodmesh.nodes.bench.ble.bumble import radio

AIR, RADIO = "BENCH_AIR", "BENCH_RADIO"


@contextlib.asynccontextmanager
async def open_radio(adapter: str) -> AsyncIterator[tuple[Central, Peripheral | None]]:
    """The virtual one, plugged in for as long as the block lasts; `Unavailable`."""
    try:
        air = os.environ[AIR]
        async with radio(int(air) if air.isdigit() else air, os.environ[RADIO]) as plugged:
            yield Central(adapter, plugged.scanner, plugged.client), plugged.peripheral
    except OSError as error:
        raise Unavailable("the virtual air is gone", "serve it again") from error


def patch() -> None:
    """Give this process its radio."""
    from moodmesh.nodes import discovery

    discovery.open_radio = open_radio  # type: ignore[attr-defined]


def main() -> None:
    """Run the command line."""
    from moodmesh.nodes.cli.main import main as command

    patch()
    command()


if __name__ == "__main__":
    main()
