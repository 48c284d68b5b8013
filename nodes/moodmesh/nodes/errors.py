"""The error tree of a node: every leaf is a sentence with the next step, and an exit code (design §4)."""

from __future__ import annotations

import errno
from pathlib import Path


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


def explained(error: OSError, where: Path) -> NodeError:
    """What the system refused, as a sentence with the next step; `where`: the home, for an error that names no file."""
    path = str(error.filename or where)
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return NodeError(f"no space is left for {path}: free some (`df -h` shows where), then try again; nothing was lost")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            step = "change its owner or mode, or set MOODMESH_HOME to a directory of yours"
            return NodeError(f"{path} is closed to this user ({error.strerror}): {step}")
        case errno.EEXIST | errno.ENOTDIR:
            return NodeError(f"{path} is in the way ({error.strerror}): move it, or set MOODMESH_HOME to another directory")
        case None:
            return NodeError(str(error))  # one of ours, and a sentence already
    return NodeError(f"{path}: {error.strerror}; `moodmesh doctor` may tell more")
