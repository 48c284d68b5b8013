"""What a submitter says of a job to the device that is to run it: all that leaves, and what `privacy preview` shows."""

from __future__ import annotations

from moodmesh.nodes.jobs.model import Attempt, Job
from moodmesh.nodes.messages import Blob, Reserve, Start, bounded_s


def reserve(job: Job, attempt: Attempt, waited_s: float, *, taken: bool = False) -> Reserve:
    """May it run there? No data of the job is in it."""
    s = job.spec
    return Reserve(
        job=job.id, attempt=attempt.number, task=s.task, version=s.version, variant=attempt.variant, units=s.units,
        input_bytes=job.sent_bytes, result_bytes=s.result_bytes, personal=s.personal, waited=bounded_s(waited_s), taken=taken,
    )  # fmt: skip


def start(job: Job, attempt: Attempt, left_s: float | None, parts: Blob | None) -> Start:
    """The request; `left_s` until nobody wants its result, `parts` of the answer that are here."""
    return Start(
        job=job.id, attempt=attempt.number, params=job.spec.params, input=job.input, seed=job.spec.seed,
        expire_s=None if left_s is None else bounded_s(left_s), parts=parts,
    )  # fmt: skip
