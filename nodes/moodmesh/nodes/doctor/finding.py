"""What the doctor says of one thing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["ok", "missing", "broken"]


@dataclass(frozen=True)
class Finding:
    """`missing`: the node goes on without it; `broken`: something does not work. Both have a `remedy`, best a command."""

    subject: str
    state: State
    detail: str = ""
    remedy: str = ""


def ok(subject: str, detail: str = "") -> Finding:
    """It works."""
    return Finding(subject, "ok", detail)


def missing(subject: str, detail: str, remedy: str) -> Finding:
    """It is not there, and need not be."""
    return Finding(subject, "missing", detail, remedy)


def broken(subject: str, detail: str, remedy: str) -> Finding:
    """It does not work."""
    return Finding(subject, "broken", detail, remedy)
