"""bench roomfaults: a room of real daemons that are killed, stopped, and come and go; what it told, judged by what each encoded."""

from moodmesh.nodes.bench.roomfaults.bench import run as run

__all__ = ["run"]
