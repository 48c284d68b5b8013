"""What a worker needs of the tasks package: the plug-ins and the model files."""

from __future__ import annotations

from importlib.metadata import entry_points
from pathlib import Path

from moodmesh.nodes.pool.session import Models
from moodmesh.tasks.models import Card
from moodmesh.tasks.task import Task


def load_tasks() -> dict[str, Task]:
    """The installed tasks by name; a broken plug-in is left out."""
    found: dict[str, Task] = {}
    for point in entry_points(group="moodmesh.tasks"):
        try:
            found[point.name] = point.load()()
        except Exception:  # noqa: BLE001, S112 -- anyone's code
            continue
    return found


def model_files(root: Path) -> Models:
    """Where the files of models are, below `root`."""

    def find(card: Card) -> Path:
        raise OSError(f"no store for {card.file} at {root}")

    return find
