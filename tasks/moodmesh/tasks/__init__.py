"""What can be computed: emotion, music, images, recommendation; one folder a family. The names a plug-in author needs."""

from moodmesh.tasks.errors import Cancelled, InvalidInput, ModelDamaged, ModelMissing, TaskError
from moodmesh.tasks.models import Card, ModelStore, load_cards
from moodmesh.tasks.task import Context, Output, Request, Runner, Task, TaskSpec, Variant

__all__ = [
    "Cancelled",
    "Card",
    "Context",
    "InvalidInput",
    "ModelDamaged",
    "ModelMissing",
    "ModelStore",
    "Output",
    "Request",
    "Runner",
    "Task",
    "TaskError",
    "TaskSpec",
    "Variant",
    "load_cards",
]
