"""bench roomfaults: a room of real daemons that are killed, stopped, and come and go, judged by what each of them encoded."""

from moodmesh.nodes.bench.roomfaults.bench import run as run

__all__ = ["run"]
