"""numpy once it is used: a daemon that is in no room runs without its 12 MB."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__all__ = ["load", "np"]


class _Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Any:
        found = getattr(import_module(self._name), name)
        setattr(self, name, found)  # asked for no more
        return found


def load() -> None:
    """Import it now, where nobody waits for it: a small device takes seconds."""
    import_module("numpy")


if TYPE_CHECKING:
    import numpy as np
else:
    np = _Later("numpy")
