"""What tests of jobs seen from elsewhere read of them, and a job made up."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from moodmesh.nodes.jobs.replicas import Elsewhere
from moodmesh.nodes.messages import Seen

from . import sim
from .sim import Node, World


def simulate(story: Callable[[World], Awaitable[None]], count: int = 3, seeing: Iterable[tuple[int, int]] = ((0, 1),)) -> None:
    """A story of three devices, the second of which may look into the jobs of the first; or as it is said."""
    sim.simulate(story, count, seeing)


def kept(node: Node) -> dict[tuple[str, str], Seen]:
    """The replicas on the disk of a node, by owner and job."""
    return {(r["owner"], r["job"]): Seen.model_validate_json(r["body"]) for r in node.rows("SELECT * FROM replica")}


async def there(node: Node, job: str) -> Elsewhere:
    """A job of another device, as this one finds it."""
    found = await node.inspection.find(job)
    assert isinstance(found, Elsewhere)
    return found


def example(job: str, **change: Any) -> Seen:
    """What a device might say of a job."""
    body = {
        "id": job, "task": "test.pure", "version": 1, "personal": False, "quality": "best", "seed": 1, "given": [],
        "units": 1.0, "input_bytes": 5, "result_bytes": 1, "created": 1.8e9, "status": "PENDING", "substate": "", "message": "",
        "share": 0.0, "attempts": [], "lines": [],
    }  # fmt: skip
    return Seen(**(body | change))
