"""What an attempt made, as blobs with signed provenance (routing §8)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from moodmesh.nodes.jobs.acceptance import signed_bytes
from moodmesh.nodes.jobs.network import Blobs, Network
from moodmesh.nodes.messages import Blob, Provenance, Result
from moodmesh.nodes.pool.seam import AttemptFailed, Done


class Outputs:
    """Keeps and signs what attempts made here."""

    def __init__(self, network: Network, blobs: Blobs) -> None:
        self._net, self._blobs = network, blobs

    async def result(self, job: str, attempt: int, done: Done, data: bytes, made: Mapping[str, Any]) -> Result:
        """The message with every output kept, and the provenance `made` signed with the hashes of input and outputs."""
        try:
            value = json.dumps(done.value, separators=(",", ":"), allow_nan=False).encode()
        except (TypeError, ValueError) as error:
            raise AttemptFailed("task_error", f"its result is not JSON: {error}") from None
        files = {**done.files, "value": value}
        provenance = Provenance(
            device=self._net.me,
            input_sha256=hashlib.sha256(data).hexdigest(),
            output_sha256={name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
            seconds=done.seconds,
            **made,
        )
        result = Result(job=job, attempt=attempt, outputs=await self._kept(files), provenance=provenance)
        return result.model_copy(update={"signature": self._net.sign(signed_bytes(result)).hex()})

    async def drop(self, result: Result | None) -> None:
        """Its outputs are no longer needed here."""
        await self._drop((result.outputs if result else None) or {})

    async def _kept(self, files: dict[str, bytes]) -> dict[str, Blob]:
        """The outputs as blobs: all of them, or none stays."""
        outputs: dict[str, Blob] = {}
        try:
            for name, content in files.items():
                outputs[name] = await self._blobs.put(content)
        except OSError as error:
            await self._drop(outputs)
            raise AttemptFailed("transient", f"its result cannot be kept: {error}") from None
        return outputs

    async def _drop(self, outputs: Mapping[str, Blob]) -> None:
        for blob in outputs.values():
            await self._blobs.drop(blob)
