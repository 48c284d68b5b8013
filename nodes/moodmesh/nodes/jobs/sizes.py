"""What a request comes to in numbers; checked before a job is accepted, so that every job fits the messages that run it."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

from moodmesh.nodes.messages import MOST_UNITS
from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.task import Request, Task

LARGEST_PARAMS = 128 * 1024
MOST_BYTES = 2**53


class Sizes(NamedTuple):
    """Units of work, and the expected bytes of the result."""

    units: float
    result_bytes: int


def sizes(task: Task, request: Request) -> Sizes:
    """What a request comes to, by its own task; `InvalidInput` names what no message can carry."""
    _check_params(request.params)
    units, size = float(task.units(request)), task.result_bytes(request)
    if not (math.isfinite(units) and 0 < units <= MOST_UNITS):
        raise InvalidInput(
            f"this request comes to {units:.3g} {task.spec.unit}s of {task.spec.name}: "
            f"ask for more than 0 and at most {MOST_UNITS:g}, or split it"
        )
    if not 0 <= size <= MOST_BYTES:
        raise InvalidInput("the result of this request would be larger than any file: ask for less, or split it")
    return Sizes(units, int(size))


def _check_params(params: Mapping[str, Any]) -> None:
    """Parameters as JSON that any device reads, small enough for a message; NaN and Infinity are none."""
    for name, value in params.items():
        try:
            json.dumps(value, allow_nan=False)
        except ValueError:
            raise InvalidInput(f"parameter {name}: not a number that can be sent; give a finite one, like 1.5") from None
    if len(json.dumps(params)) > LARGEST_PARAMS:
        raise InvalidInput("the parameters are too large for a message; hand large data in with --input")
