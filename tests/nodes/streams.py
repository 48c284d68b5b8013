"""What tests of answers in parts share."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator

from .sim import PARTS, World, part_of

UNITS = 16.0
"""Of a job that takes about a second for each part."""


def whole(job: str) -> list[bytes]:
    return [part_of(job, index) for index in range(PARTS)]


def same_pace(world: World) -> None:
    for node in world.nodes:
        node.mean = node.offers._mean = 0.5
        node.peers.retell()


@contextlib.contextmanager
def log_of(name: str) -> Iterator[list[str]]:
    records: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: records.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger(name)
    logger.addHandler(handler)
    try:
        yield records
    finally:
        logger.removeHandler(handler)
