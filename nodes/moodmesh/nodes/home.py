"""Where a node lives. Apart from the configuration, so that the command line finds its daemon without loading that."""

from __future__ import annotations

import os
from pathlib import Path

HOME = "MOODMESH_HOME"


def home() -> Path:
    """The directory of this node: `MOODMESH_HOME`, or the platform's data directory."""
    if given := os.environ.get(HOME):
        return Path(given).expanduser().resolve()
    import platformdirs

    return Path(platformdirs.user_data_dir("moodmesh"))
