from __future__ import annotations

from pathlib import Path

import pytest

from moodmesh.tasks import ModelStore
from moodmesh.tasks.testing import CheckContext


@pytest.fixture
def context(tmp_path: Path) -> CheckContext:
    return CheckContext(ModelStore(tmp_path / "models"))
