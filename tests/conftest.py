"""Shared by every test: helpers of `tests/` are importable by their path below it."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
