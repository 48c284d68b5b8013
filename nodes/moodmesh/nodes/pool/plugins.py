"""What a worker needs of the tasks package: the plug-ins and the model files."""

from __future__ import annotations

from pathlib import Path

from moodmesh.nodes.pool.session import Models
from moodmesh.tasks import registry
from moodmesh.tasks.models import ModelStore
from moodmesh.tasks.task import Task


def load_tasks() -> dict[str, Task]:
    """The installed tasks by name; a broken plug-in is left out."""
    return registry.load()[0]


def model_files(root: Path) -> Models:
    """Where the files of models are: in the package, else below `root`."""
    return ModelStore(root).path
