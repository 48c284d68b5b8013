"""The input of a job that is being accepted: on disk before the job is, and gone again when the job is not."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.jobs.network import Blobs
from moodmesh.nodes.messages import Blob


@asynccontextmanager
async def stored(blobs: Blobs, data: bytes) -> AsyncIterator[Blob]:
    """The input as a blob; dropped when the block fails. `StoreError` when the disk cannot take it."""
    try:
        blob = await blobs.put(data)
    except OSError as error:
        raise StoreError(f"the input cannot be kept: {error}; free some disk space, nothing was accepted") from None
    try:
        yield blob
    except BaseException:
        await blobs.drop(blob)
        raise
