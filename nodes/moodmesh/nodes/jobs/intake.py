"""The parts of an answer on the submitter's side: each is kept once, in order, before it is acknowledged (routing §8)."""

from __future__ import annotations

import logging
from typing import Any

from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.jobs.desk import Desk, Live
from moodmesh.nodes.jobs.model import Job
from moodmesh.nodes.jobs.outgoing import WINDOW
from moodmesh.nodes.jobs.parts import join
from moodmesh.nodes.messages import Blob, PartAck, StreamedPart
from moodmesh.tasks.parts import STREAM_BYTES

MOST_UNREAD = 2 * WINDOW
"""Parts of a job that wait to be read; what comes beyond them is said again."""
log = logging.getLogger(__name__)


async def take_in(desk: Desk, live: Live, said: StreamedPart) -> None:
    """Keep a part of a live attempt and say how many are kept. ValueError when its device is faulty, or hostile.

    What is not next is no fault: another may have been lost, or said twice. Other bytes for a part that is held change nothing.
    """
    job = live.job
    if not job.spec.streams:
        raise ValueError("it hands on parts of an answer that has none")
    if not (live.sent or live.resumed) or said.index > job.parts:
        return
    data = said.content()
    if said.index < job.parts:
        if await desk.jobs.part(job.id, said.index) != data:
            _complain(live, f"it says part {said.index} again with other bytes: those that came first stay")
    elif job.part_bytes + len(data) > STREAM_BYTES:
        raise ValueError(f"the parts of an answer have at most {STREAM_BYTES} bytes")
    else:
        try:
            if not await desk.jobs.keep_part(job, live.attempt.number, data):
                return
        except StoreError as error:  # not acknowledged: it is said again
            _complain(live, f"a part has to wait: {error}")
            return
        desk.events.tell(
            "part", job=job.id, index=said.index, bytes=len(data), total=job.part_bytes, streamed=job.parts
        )  # fmt: skip
    desk.net.send(live.attempt.device, PartAck(job=job.id, attempt=live.attempt.number, held=job.parts))


async def held_parts(desk: Desk, job: Job) -> Blob | None:
    """What the attempt goes on after, as it is sent; None where an answer is not made part by part. `StoreError`."""
    if not job.spec.streams:
        return None
    try:
        return await desk.blobs.put(join(await desk.jobs.parts(job.id)))
    except OSError as error:
        raise StoreError(f"the parts that are here cannot be sent: {error}; free some disk space") from None


async def forget_parts(desk: Desk, live: Live) -> None:
    """An attempt has ended: what it went on after need not be ready for it any more."""
    if live.parts is not None:
        await desk.blobs.drop(live.parts)


def went_on(explain: dict[str, Any], parts: int) -> dict[str, Any]:
    """Why an attempt went where it went, and that it had so many parts to go on after."""
    if not parts:
        return explain
    return explain | {"parts": parts, "why": f"{explain['why']}; went on after part {parts - 1}, {parts} were here"}


def _complain(live: Live, words: str) -> None:
    """Once an attempt, however often a peer gives cause."""
    if not live.complained:
        live.complained = True
        log.warning(words, extra={"job": live.job.id, "attempt": live.attempt.number, "peer": live.attempt.device[:8]})
