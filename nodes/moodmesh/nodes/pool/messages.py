"""What pool, Ray host and workers say to each other, as frames. A frame that fits no message ends the connection."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, get_args

from pydantic import TypeAdapter, ValidationError

from moodmesh.nodes.pool.frames import Frame, FrameError, encode
from moodmesh.nodes.pool.seam import Done, Log, Part, Progress, Reason, Started, Work


@dataclass(frozen=True)
class Setup:
    """The first message to a worker: its scratch, the model folder (and whether packaged models count), what it may use.

    `memory_mb`: private memory that tasks may take; `threads`: for native libraries; `nice`: 0 to 19; `start_s`: seconds
    that it may take to come up.
    """

    scratch: str
    models: str
    packaged: bool = True
    memory_mb: int | None = None
    threads: int = 1
    nice: int = 10
    start_s: float = 60


@dataclass(frozen=True)
class Ready:
    """The worker has loaded its plug-ins."""

    pid: int


@dataclass(frozen=True)
class Failed:
    """An attempt ended without output."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class RaySetup:
    """The first message to a Ray host. `address`: of an existing cluster; empty: an own loopback Ray under `temp_dir`."""

    temp_dir: str
    namespace: str
    slots: int
    worker: Setup
    address: str = ""


@dataclass(frozen=True)
class RayReady:
    """Ray runs with so many slots."""

    slots: int


@dataclass(frozen=True)
class SlotFrame:
    """A message to or from the worker in a slot, still packed: the host passes it on unread."""

    slot: int
    frame: bytes


@dataclass(frozen=True)
class SlotKill:
    """Kill the worker of a slot; answered with `SlotKilled` when its process is gone."""

    slot: int


@dataclass(frozen=True)
class SlotKilled:
    """The worker of a slot is gone."""

    slot: int


Message = (
    Setup
    | Ready
    | Failed
    | Work
    | Started
    | Progress
    | Log
    | Part
    | Done
    | RaySetup
    | RayReady
    | SlotFrame
    | SlotKill
    | SlotKilled
)
_KINDS: dict[str, type[Any]] = {kind.__name__.lower(): kind for kind in get_args(Message)}
_ADAPTERS: dict[type[Any], TypeAdapter[Any]] = {kind: TypeAdapter(kind) for kind in _KINDS.values()}


def pack(message: Message) -> list[bytes]:
    """The encoded frame of a message; its bytes (input, files) travel beside the JSON."""
    header: dict[str, Any] = {"kind": type(message).__name__.lower()}
    header |= {field.name: getattr(message, field.name) for field in dataclasses.fields(message)}
    match message:
        case Work():
            return encode(
                header | {"input": None, "parts": None, "params": dict(message.params)}, [message.input, *message.parts]
            )
        case Part():
            return encode(header | {"data": None}, [message.data])
        case Done():
            return encode(header | {"files": list(message.files)}, list(message.files.values()))
        case SlotFrame():
            return encode(header | {"frame": None}, [message.frame])
        case RaySetup():
            return encode(header | {"worker": dataclasses.asdict(message.worker)})
    return encode(header)


def unpack(frame: Frame) -> Message:
    """The message of a frame; FrameError when its kind, fields or types are not one of ours."""
    header, blobs = dict(frame[0]), frame[1]
    kind = _KINDS.get(str(header.pop("kind", None)))
    if kind is None:
        raise FrameError("a message of an unknown kind")
    try:
        if kind is Work:
            header["input"], *parts = blobs
            header["parts"] = tuple(parts)
        elif kind is Part:
            (header["data"],) = blobs
        elif kind is SlotFrame:
            (header["frame"],) = blobs
        elif kind is Done:
            header["files"] = dict(zip(header["files"], blobs, strict=True))
        message: Message = _ADAPTERS[kind].validate_python(header)
    except (ValidationError, ValueError, TypeError, KeyError) as error:
        raise FrameError(f"a malformed {kind.__name__.lower()}: {error}") from None
    return message
