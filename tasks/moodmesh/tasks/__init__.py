"""What can be computed: emotion, music, images, recommendation; one folder a family. The names a plug-in author needs."""

from moodmesh.tasks.errors import Cancelled, InvalidInput, ModelDamaged, ModelMissing, PartRefused, TaskError
from moodmesh.tasks.models import Card, ModelStore, load_cards
from moodmesh.tasks.task import Context, Escalation, Output, Request, Rest, Runner, Task, TaskSpec, Variant

__all__ = [
    "Cancelled",
    "Card",
    "Context",
    "Escalation",
    "InvalidInput",
    "ModelDamaged",
    "ModelMissing",
    "ModelStore",
    "Output",
    "PartRefused",
    "Request",
    "Rest",
    "Runner",
    "Task",
    "TaskError",
    "TaskSpec",
    "Variant",
    "load_cards",
]
