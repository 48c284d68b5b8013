"""Every kind of message between two nodes, and how bytes become one of them."""

from __future__ import annotations

from pydantic import TypeAdapter, ValidationError

from moodmesh.mesh.seams import Envelope
from moodmesh.nodes.messages import (
    Cancel,
    CancelledAttempt,
    Capability,
    Dynamic,
    Granted,
    HaveModel,
    Heartbeat,
    Inspect,
    Inspected,
    LogLine,
    Message,
    MoodTold,
    PartAck,
    Pool,
    ProgressNow,
    RefusedReservation,
    Replica,
    Reserve,
    Result,
    ResultAck,
    Rights,
    RoomInvite,
    RoomMember,
    RoomWord,
    SeekModel,
    Start,
    StartedAt,
    StreamedPart,
    Take,
    Unsupported,
    Withdraw,
    Withdrawn,
)

PARTS = "parts"
FEATURES = (PARTS,)
"""What `welcome` names beyond the major version: `parts`, that an answer is taken and handed on part by part."""
KINDS: dict[str, type[Message]] = {
    model.model_fields["kind"].default: model
    for model in (
        Capability, Dynamic, Reserve, Granted, RefusedReservation, Start, StartedAt, ProgressNow, LogLine, StreamedPart,
        PartAck, Result, ResultAck, Cancel, CancelledAttempt, Withdraw, Withdrawn, Pool, Take, Heartbeat, Unsupported,
        SeekModel, HaveModel, Rights, Replica, Inspect, Inspected, RoomWord, RoomMember, MoodTold, RoomInvite,
    )
}  # fmt: skip
_parsers = {kind: TypeAdapter(model) for kind, model in KINDS.items()}


def parse(envelope: Envelope) -> Message | None:
    """The typed message; None for a kind this version does not know; ValueError when it is not what its kind says."""
    if envelope.kind not in KINDS:
        return None
    try:
        return _parsers[envelope.kind].validate_json(envelope.body)
    except ValidationError as error:
        first = error.errors()[0]
        raise ValueError(f"malformed {envelope.kind}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
