"""What makes a result one: signed by its executor for this very attempt, whole, kept before anyone hears of it (routing §8)."""

from __future__ import annotations

import hashlib
import json

from moodmesh.nodes.errors import StoreError
from moodmesh.nodes.jobs.journal import Jobs
from moodmesh.nodes.jobs.model import Attempt, Job, Spec
from moodmesh.nodes.jobs.network import Blobs, Network
from moodmesh.nodes.messages import Blob, Provenance, Result

RESULT_BYTES, RESULT_FACTOR = 64 * 2**20, 16


class Acceptance:
    """Takes results in for the submitter."""

    def __init__(self, network: Network, blobs: Blobs, jobs: Jobs) -> None:
        self._net, self._blobs, self._jobs = network, blobs, jobs

    async def fetched(self, job: Job, a: Attempt, result: Result) -> Result:
        """The result with every output on this device; ValueError when it is not what its executor signed for this attempt,
        OSError when it cannot be had."""
        provenance, outputs = result.provenance, result.outputs
        if provenance is None or outputs is None or "value" not in outputs:
            raise ValueError("it is not whole")
        if (size := sum(blob.size for blob in outputs.values())) > (most := most_bytes(job.spec)):
            raise ValueError(f"it has {size} bytes: {job.spec.result_bytes} were expected, and at most {most} are fetched")
        if not self._net.verify(a.device, signed_bytes(result), bytes.fromhex(result.signature)):
            raise ValueError("bad signature")
        asked = (a.device, job.spec.task, job.spec.version, a.variant, job.spec.seed)
        said = (provenance.device, provenance.task, provenance.version, provenance.variant, provenance.seed)
        if said != asked or set(provenance.output_sha256) != set(outputs):
            raise ValueError("the provenance is not that of this attempt")
        try:
            kept = {name: await self._checked(a, name, blob, provenance) for name, blob in outputs.items()}
        except (OSError, ValueError):
            await self._drop(result)
            raise
        return result.model_copy(update={"outputs": kept})

    async def commit(self, job: Job, a: Attempt, result: Result, at: float) -> bool:
        """Make the result the visible one; a surplus one leaves nothing behind."""
        won = await self._jobs.commit(job, a, result, at)
        if not won:
            await self._drop(result)
        return won

    async def _checked(self, a: Attempt, name: str, blob: Blob, provenance: Provenance) -> Blob:
        data = await self._blobs.get(blob, a.device)
        if hashlib.sha256(data).hexdigest() != provenance.output_sha256[name]:
            raise ValueError(f"{name} is not what was signed")
        if name == "value" and not _is_object(data):
            raise ValueError("its value is no JSON object")
        try:
            return await self._blobs.put(data)
        except OSError as error:
            raise StoreError(f"the result cannot be kept: {error}; free some disk space") from None

    async def _drop(self, result: Result) -> None:
        for blob in (result.outputs or {}).values():
            await self._blobs.drop(blob)


def most_bytes(spec: Spec) -> int:
    """The largest result that is fetched. A plug-in guesses its size, so a result may have many times as much; what small
    ones carry in their message is never too much."""
    return RESULT_BYTES + RESULT_FACTOR * spec.result_bytes


def signed_bytes(result: Result) -> bytes:
    """What an executor signs: job, attempt, and the whole provenance (task, model hash, input and output hashes, times)."""
    assert result.provenance is not None
    what = {"job": result.job, "attempt": result.attempt, "provenance": result.provenance.model_dump()}
    return b"moodmesh/job/v1/result" + json.dumps(what, sort_keys=True, separators=(",", ":")).encode()


def _is_object(data: bytes) -> bool:
    try:
        return isinstance(json.loads(data), dict)
    except RecursionError:
        return False
