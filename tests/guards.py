"""Guards around every test: no thread is left, and the event loop is not blocked (design §8)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

import pytest
from blockbuster import BlockBuster


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """A test ends every thread that it began; threads of longer-lived fixtures were there before."""
    before = set(threading.enumerate())
    yield
    end = time.monotonic() + 5
    while (left := [t for t in threading.enumerate() if t not in before and t.is_alive()]) and time.monotonic() < end:
        left[0].join(0.05)
    assert not left, f"threads left: {left}"


@pytest.fixture(autouse=True)
def the_loop_is_not_blocked() -> Iterator[None]:
    """Inside an event loop, code of the mesh and of the node calls nothing that blocks (design §8)."""
    guard = BlockBuster(
        scanned_modules=["moodmesh.mesh", "moodmesh.nodes"],
        excluded_modules=["moodmesh.nodes.bench.virtual"],  # a loop itself, under all code of a test that runs in it
    )
    for function in (
        "os.stat",
        "os.mkdir",
        "os.rename",
        "os.replace",
        "os.unlink",
        "os.listdir",
        "os.scandir",
        "os.access",
        "os.statvfs",
        "threading.Lock.acquire",
        "threading.Lock.acquire_lock",
    ):
        if function in guard.functions:
            guard.functions.pop(function)  # the metadata of a local file or a short lock is not worth a thread
    for name, function in guard.functions.items():
        if name.startswith("sqlite3"):
            function.can_block_in("nodes/store/store.py", {"_ready", "migrate"})  # at start, before anyone waits
            function.can_block_in("scale/rig.py", {"write", "read", "__init__"})  # a store in memory
            function.can_block_in("nodes/sim.py", {"write", "__post_init__", "rows", "_boot"})
        if name.startswith("io."):
            function.can_block_in("nodes/store/store.py", {"migrations"})
            function.can_block_in("nodes/api/guard.py", {"token_of", "new_token"})
            function.can_block_in("nodes/lock.py", {"locked"})
        for place in ("room/net.py", "mesh/sittings.py"):
            function.can_block_in(place, {"carried"})  # the disk of devices in virtual time: nobody waits
    guard.activate()
    try:
        yield
    finally:
        guard.deactivate()
