"""The error tree of a node: every leaf is a sentence with the next step, and an exit code (design §4)."""

from __future__ import annotations


class NodeError(Exception):
    """Anything a node tells its user; `exit_code` is what the command line leaves with."""

    exit_code = 1


class UsageError(NodeError):
    """The request itself is off: a wrong parameter, an unknown name."""

    exit_code = 2


class NoDaemon(NodeError):
    """No daemon answers for this home."""

    exit_code = 3


class Refused(NodeError):
    """Understood, and not allowed or not possible now; `reason` is stable for programs."""

    exit_code = 4

    def __init__(self, message: str, reason: str = "refused") -> None:
        super().__init__(message)
        self.reason = reason


class StoreError(NodeError):
    """The store cannot be opened or written."""


class NotFound(UsageError):
    """No such job, peer or task."""
