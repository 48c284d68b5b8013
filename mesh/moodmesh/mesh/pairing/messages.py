"""P1 to P8: strict JSON objects of at most 16 KiB; byte fields are base64url without padding (pairing §5.1)."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Annotated, Any, ClassVar, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, ValidationError

from moodmesh.mesh.errors import PairingFailed

LARGEST = 16 * 1024
VERSIONS = (1,)
SUITES = ("spake2-edwards25519-sha256-hkdf-hmac",)


def b64(data: bytes) -> str:
    """Base64url without padding."""
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def unb64(text: Any) -> bytes:
    """The bytes of canonical base64url without padding; ValueError. Bytes pass, JSON has none."""
    if isinstance(text, bytes):
        return text
    if not isinstance(text, str):
        raise ValueError("not text")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        raise ValueError("not base64url") from None
    if b64(data) != text:
        raise ValueError("not canonical base64url")
    return data


Bytes = Annotated[bytes, BeforeValidator(unb64), PlainSerializer(b64)]
B16 = Annotated[Bytes, Field(min_length=16, max_length=16)]
B32 = Annotated[Bytes, Field(min_length=32, max_length=32)]
Sealed = Annotated[Bytes, Field(min_length=16, max_length=8192)]
Word = Annotated[str, Field(max_length=64)]


class Message(BaseModel):
    """One of P1 to P8."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    step: ClassVar[int]

    def encode(self) -> str:
        """As it travels, with its step in front."""
        return json.dumps({"p": self.step, **self.model_dump(mode="json")})


class P1(Message):
    """Guest: what I speak, and which window I mean."""

    step = 1
    versions: Annotated[list[int], Field(min_length=1, max_length=16)]
    suites: Annotated[list[Word], Field(min_length=1, max_length=16)]
    nameplate: Annotated[str, Field(pattern=r"^\d\d$")]
    x_g: B16


class P2(Message):
    """Host: what we speak, and my share."""

    step = 2
    version: int
    suite: Word
    versions: Annotated[list[int], Field(min_length=1, max_length=16)]
    suites: Annotated[list[Word], Field(min_length=1, max_length=16)]
    x_h: B16
    share: B32


class P3(Message):
    """Guest: my share, and the proof that I know the code."""

    step = 3
    share: B32
    confirm: B32


class P4(Message):
    """Host: the proof that I know it too."""

    step = 4
    confirm: B32


class P5(Message):
    """Guest: my sealed identity."""

    step = 5
    sealed: Sealed


class P6(P5):
    """Host: my sealed identity."""

    step = 6


class P7(P5):
    """Guest: sealed `done`."""

    step = 7


class P8(P5):
    """Host: sealed `done`."""

    step = 8


M = TypeVar("M", bound=Message)


def decode(model: type[M], text: str | bytes) -> M:
    """The message of the step that is due; `PairingFailed` for anything else."""
    if len(text) > LARGEST:
        raise PairingFailed("the other side sent too much")
    try:
        found = json.loads(text)
        if not isinstance(found, dict) or found.pop("p", None) != model.step:
            raise PairingFailed("the other side sent a message out of turn")
        return model.model_validate(found)
    except (ValidationError, ValueError, RecursionError):
        raise PairingFailed("the other side sent a message that is not of this protocol") from None
