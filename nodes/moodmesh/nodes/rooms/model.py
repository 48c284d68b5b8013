"""A room as a device knows it, and what one epoch of it told."""

from __future__ import annotations

import base64
import binascii
import os
from dataclasses import dataclass
from typing import Annotated, Literal, cast

from pydantic import Field, ValidationError, model_validator

from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.messages import Device, Digest, Part
from moodmesh.privacy.release.budget import Caps, Spent
from moodmesh.privacy.release.mechanism import LEAST, Kind

PREFIX = "moodroom1:"
ROOM_BYTES = 32
MOST_CIRCLE = 16
MOST_EVERY = 144
ROUGH_RMS = 0.25
"""A value with a larger error is called rough; an ambient one is averaged until it is below."""
Trust = Literal["verified", "assumed"]
Eps = Literal[0, 1, 2, 4]
HourEps = Annotated[float, Field(ge=0, le=64, allow_inf_nan=False)]
USUAL = Caps().hour


class Descriptor(Part):
    """What everybody in a room knows of it, and what an invitation carries. `people`: of a circle, by device; `hour_room`,
    `hour_alone`: the epsilons of an hour that the noise of an ambient one is made for, whatever budgets its members have."""

    room: Digest
    name: Annotated[str, Field(min_length=1, max_length=40)]
    kind: Kind
    eps: Eps = 0
    open: bool = False
    people: tuple[Device, ...] = ()
    hour_room: HourEps = 0.0
    hour_alone: HourEps = 0.0

    @model_validator(mode="after")
    def _can_be(self) -> Descriptor:
        """Wherever it comes from: ValueError for a room that could never tell anything, or would tell too much."""
        if why := _wrong(self):
            raise ValueError(why)
        return self

    @property
    def id(self) -> bytes:
        """The 32 bytes that the protocol names it by."""
        return bytes.fromhex(self.room)

    @property
    def least(self) -> int:
        """How many people it needs."""
        return LEAST[self.kind]

    def code(self) -> str:
        """The invitation as text, also for a QR code."""
        return PREFIX + base64.b32encode(self.model_dump_json().encode()).decode().rstrip("=").lower()


def create(
    name: str, kind: Kind, eps: int = 0, *, open: bool = False, people: tuple[str, ...] = (), hour: Spent = USUAL
) -> Descriptor:
    """A new room; `UsageError` for one that could never tell anything."""
    if why := _wrong_eps(kind, eps):
        raise UsageError(why)
    room = os.urandom(ROOM_BYTES).hex()
    try:
        named, budget = tuple(sorted(set(people))), hour if kind == "ambient" else Spent(0.0, 0.0)
        return Descriptor(
            room=room, name=name, kind=kind, eps=cast(Eps, eps), open=open, people=named, hour_room=budget.room,
            hour_alone=budget.alone,
        )  # fmt: skip
    except ValidationError as error:
        raise UsageError(_impossible(error) or f"the name of a room: {error.errors()[0]['msg'].lower()}") from None


def _wrong(d: Descriptor) -> str:
    """Why there can be no such room; empty when there can."""
    if why := _wrong_eps(d.kind, d.eps):
        return why
    if {d.hour_room > 0, d.hour_alone > 0} != {d.kind == "ambient"}:
        return "the noise of an ambient room, and of no other, is made for the epsilons of an hour"
    if d.kind == "circle" and not LEAST["circle"] <= len(d.people) == len(set(d.people)) <= MOST_CIRCLE:
        return f"a circle has {LEAST['circle']} to {MOST_CIRCLE} people, each named once, and you one of them"
    if d.kind == "circle" and d.open:
        return "a circle is for the people named: it cannot be open"
    if d.kind != "circle" and d.people:
        return "only a circle names its people"
    return ""


def _wrong_eps(kind: Kind, eps: int) -> str:
    if kind == "on-demand" and eps not in (1, 2, 4):
        return "epsilon is 1, 2 or 4: the smaller, the less a report tells of one person, and the rougher the mean"
    if kind != "on-demand" and eps:
        return "only on-demand rooms have an epsilon: the noise of an ambient one follows from `privacy.hour_room`"
    return ""


def _impossible(error: ValidationError) -> str:
    """The words of `_wrong`, where it was that which failed."""
    first = error.errors()[0]
    return str(first["ctx"]["error"]) if first["type"] == "value_error" else ""


def read_code(text: str) -> Descriptor:
    """The room of an invitation; `UsageError`."""
    body = text.strip().removeprefix(PREFIX).upper()
    try:
        data = base64.b32decode(body + "=" * (-len(body) % 8))
        return Descriptor.model_validate_json(data)
    except (binascii.Error, ValueError) as error:
        if isinstance(error, ValidationError) and (why := _impossible(error)):
            raise UsageError(f"an invitation to a room that cannot be: {why}. Ask for another one") from None
        raise UsageError("this is no invitation to a room: copy it whole, it begins with " + PREFIX) from None


@dataclass(frozen=True)
class Room:
    """A room that this device has joined. `trust`: whether only members vouched for by pairing count as honest; `closed`: the
    last epoch in which this device used its right to open a sum; `size`: how many were there last; `every`: it takes part in
    one epoch of so many."""

    descriptor: Descriptor
    trust: Trust
    joined: float
    closed: int = -1
    size: int = 0
    every: int = 1

    @property
    def name(self) -> str:
        """For people."""
        return self.descriptor.name

    def out_for(self, epoch: int) -> int:
        """For how many epochs from this one on it sits out: by their count alone, never by anything that is felt or sensed.
        Those who take part as rarely take part together."""
        return -epoch % self.every


@dataclass(frozen=True)
class Reading:
    """What one epoch told: the mean in mood units, who it was of, and what that cost this device. `rms`: error per axis."""

    epoch: int
    valence: float
    arousal: float
    n: int
    contributors: int
    verified: int
    rms: float
    eps_room: float
    eps_alone: float
    unchecked: bool = False
