"""What an attempt needs before it can run: its input, and the parts of its answer that its submitter holds already."""

from __future__ import annotations

from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.jobs.network import Blobs
from moodmesh.nodes.jobs.outgoing import Outgoing
from moodmesh.nodes.jobs.parts import split
from moodmesh.nodes.messages import Blob, Start
from moodmesh.nodes.pool.seam import AttemptFailed


def inline(start: Start) -> bool:
    """Whether all of it came with the message."""
    return start.input.id is None and (start.parts is None or start.parts.id is None)


async def input_of(start: Start, blobs: Blobs, source: DeviceId) -> bytes:
    """The input; `AttemptFailed` when it cannot be had."""
    if start.input.id is not None:
        return await _fetched(start.input, blobs, source)
    try:
        return start.input.data()
    except ValueError as error:
        raise AttemptFailed("invalid_input", str(error)) from None


async def parts_of(start: Start, blobs: Blobs, source: DeviceId) -> Outgoing | None:
    """The parts that are held there, to be gone on from; None where nobody wants any. `AttemptFailed`."""
    if start.parts is None:
        return None
    try:
        data = start.parts.data() if start.parts.id is None else await _fetched(start.parts, blobs, source)
        return Outgoing(split(data))
    except ValueError as error:
        raise AttemptFailed("transient", f"the parts that its submitter holds: {error}") from None


async def _fetched(blob: Blob, blobs: Blobs, source: DeviceId) -> bytes:
    """The bytes of an artefact, which does not stay, also when the attempt ends meanwhile."""
    try:
        return await blobs.get(blob, source)
    except ConnectionError as error:  # no fault of the job, nor of either device: its submitter may have been restarted
        raise AttemptFailed("lost", f"its input could not be fetched: {error}") from None
    except (OSError, ValueError) as error:
        raise AttemptFailed("transient", f"its input could not be fetched: {error}") from None
    finally:
        await blobs.drop(blob)
