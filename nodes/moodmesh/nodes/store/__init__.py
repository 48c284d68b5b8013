"""One SQLite file per node, written by one thread with group commit (design §4)."""

from moodmesh.nodes.store.store import Store

__all__ = ["Store"]
