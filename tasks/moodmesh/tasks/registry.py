"""Which tasks this installation has: entry points of the group `moodmesh.tasks` (systems S31)."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import EntryPoint, entry_points

from moodmesh.tasks.task import Task

GROUP = "moodmesh.tasks"


def load(found: Iterable[EntryPoint] | None = None) -> tuple[dict[str, Task], dict[str, str]]:
    """Every installed task by name, and why the broken plug-ins are broken; a plug-in's code loads no model here."""
    tasks: dict[str, Task] = {}
    broken: dict[str, str] = {}
    for point in entry_points(group=GROUP) if found is None else found:
        try:
            task: Task = point.load()()
            _check(task, point.name, tasks)
        except Exception as error:  # noqa: BLE001  a plug-in may fail in any way and must never stop the node
            broken[point.name] = f"{point.value}: {type(error).__name__}: {error}"
        else:
            tasks[point.name] = task
    return tasks, broken


def _check(task: Task, name: str, known: dict[str, Task]) -> None:
    if task.spec.name != name:
        raise ValueError(f"its spec is called {task.spec.name!r}; an entry point has the name of its task")
    if not task.spec.variants:
        raise ValueError("its spec has no variant")
    if name in known:
        raise ValueError("another plug-in already has this name")
