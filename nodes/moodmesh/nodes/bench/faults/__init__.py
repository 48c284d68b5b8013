"""bench faults: real daemons under randomised schedules of faults, and what must hold of their journals after it."""

from moodmesh.nodes.bench.faults.harness import run as run

__all__ = ["run"]
