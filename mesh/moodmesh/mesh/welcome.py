"""The first message of both sides of a link: versions, features, and how to be found again (routing §12)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from .errors import BadMessage, Incompatible
from .seams import Envelope

VERSIONS = (1,)
KIND = "welcome"

_Feature = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.-]{0,31}$")]


class Welcome(BaseModel):
    """Majors spoken, named features, current rid (hex), peer port, and a random number of this run of the process.

    Unknown fields are refused, except inside `ext`.
    """

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    versions: Annotated[tuple[Annotated[int, Field(ge=1, le=65535)], ...], Field(min_length=1, max_length=16, strict=False)]
    features: Annotated[tuple[_Feature, ...], Field(max_length=64, strict=False)] = ()
    rid: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
    port: Annotated[int, Field(ge=0, le=65535)]
    instance: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{16}$")]
    ext: dict[str, Any] = {}

    def envelope(self) -> Envelope:
        """This as a message."""
        return Envelope(KIND, self.model_dump_json(exclude_defaults=True).encode())


def parse(envelope: Envelope) -> Welcome:
    """The welcome in a peer's message; `BadMessage` when it is something else."""
    if envelope.kind != KIND:
        raise BadMessage(f"`{envelope.kind}` before `welcome`")
    try:
        return Welcome.model_validate_json(envelope.body)
    except ValidationError as error:
        raise BadMessage(f"a `welcome` that is not of its model: {error.error_count()} errors") from error


def common_version(ours: tuple[int, ...], theirs: tuple[int, ...]) -> int:
    """The highest common major; `Incompatible` says which side is older."""
    common = set(ours) & set(theirs)
    if common:
        return max(common)
    older: Literal["us", "peer"] = "us" if max(ours) < max(theirs) else "peer"
    raise Incompatible(older, ours, theirs)
