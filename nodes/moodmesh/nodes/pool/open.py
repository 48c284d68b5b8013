"""Which pool a configuration means."""

from __future__ import annotations

from pathlib import Path

import psutil

from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.pool.process import ProcessPool
from moodmesh.nodes.pool.ray import RayPool, installed
from moodmesh.nodes.pool.seam import TaskPool


def open_pool(
    kind: str,
    short_dir: Path,
    models: Path,
    *,
    slots: int = 0,
    eager: bool = False,
    idle_s: float = 300,
    packaged: bool = True,
    memory_mb: int = 0,
    nice: int = 10,
    duty: float = 1,
    address: str = "",
    token_file: str = "",
    allow_public: bool = False,
) -> tuple[TaskPool, str]:
    """The pool (not started) for `pool.*` of the configuration, and why it is not the one asked for ("" when it is).

    `kind`: auto, ray or process; `slots` 0: physical cores less one; `memory_mb` 0: no limit below the machine's memory;
    `short_dir`: `rundir.run_dir(home)`. UsageError when a cluster is asked for and cannot be joined as configured.
    """
    slots = slots or max(1, (psutil.cpu_count(logical=False) or 1) - 1)
    if address:
        _check_cluster(allow_public)
    if address or (kind != "process" and installed()):
        token = Path(token_file) if token_file else None
        pool: TaskPool = RayPool(
            slots, short_dir, models, eager=eager, idle_s=idle_s, packaged=packaged, memory_mb=memory_mb or None,
            nice=nice, duty=duty, address=address, token_file=token,
        )  # fmt: skip
        return pool, ""
    workers = ProcessPool(
        slots, short_dir / "pool", models, eager=eager, idle_s=idle_s, packaged=packaged, memory_mb=memory_mb or None,
        nice=nice, duty=duty,
    )  # fmt: skip
    return (
        workers,
        "" if kind == "process" else "Ray is not installed (`pip install 'moodmesh[ray]'`): jobs run in subprocesses",
    )


def _check_cluster(allow_public: bool) -> None:
    if not allow_public:
        raise UsageError(
            "A node that joins a Ray cluster listens on every interface. "
            "Set pool.allow_public = true to agree, or clear pool.address."
        )
    if not installed():
        raise UsageError("pool.address needs Ray: `pip install 'moodmesh[ray]'`, the same version as the cluster's.")
