"""Where the research data lie that models are trained and evaluated on; no installed node needs them (evaluation §3)."""

from __future__ import annotations

import os
from pathlib import Path


class DataMissing(OSError):
    """A research data set is not there; the message says how to obtain it."""


def data_dir(given: str | None, needed: str, obtain: str) -> Path:
    """The research data area: `given`, else MOODMESH_DATA; DataMissing where it does not hold the folder `needed`.

    `obtain` says what a folder must hold to serve, and where that is published.
    """
    named = given or os.environ.get("MOODMESH_DATA")
    if not named or not (Path(named) / needed).is_dir():
        said = f"no research data at {named or '(nothing named)'}"
        raise DataMissing(f"{said}: give --data DIR or set MOODMESH_DATA to a folder that holds {obtain}")
    return Path(named)
