"""The short private directory for sockets and Ray's files: both allow about 100 bytes of path, a home may have more."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from pathlib import Path

# Ray refuses a temp dir beyond about 45 characters: 11 go to our name, 5 to a sub-directory (platform document).
_LONGEST_BASE = 45 - 11 - 5


class RunDirRefused(OSError):
    """The short directory exists and is not ours alone."""


def run_dir(home: Path, *, create: bool = True) -> Path:
    """`mm-` + 8 hex digits of the home's hash, made unless only looked for: mode 0700 and this user's, or `RunDirRefused`.

    One of this user that others can look into but never could write to is closed to them, and serves.
    """
    path = _base() / f"mm-{hashlib.sha256(os.fsencode(home.resolve())).hexdigest()[:8]}"
    if create:
        path.mkdir(mode=0o700, exist_ok=True)
    try:
        found = path.lstat()
    except FileNotFoundError:
        return path
    ours = stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid()
    if ours and stat.S_IMODE(found.st_mode) & 0o077 and not stat.S_IMODE(found.st_mode) & 0o022:
        path.chmod(0o700)
    elif not ours or stat.S_IMODE(found.st_mode) & 0o077:
        raise RunDirRefused(
            f"{path} is not a directory that only you can enter. Remove it, or set XDG_RUNTIME_DIR to a private directory."
        )
    return path


def _base() -> Path:
    """`$XDG_RUNTIME_DIR`, else the system's temp dir, else /tmp: the first that is there and short enough."""
    candidates = (os.environ.get("XDG_RUNTIME_DIR", ""), tempfile.gettempdir())
    fitting = (path for path in candidates if path and len(os.fsencode(path)) <= _LONGEST_BASE and Path(path).is_dir())
    return Path(next(fitting, "/tmp"))  # noqa: S108 -- the directory made in it is private and checked
