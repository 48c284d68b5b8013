"""What tests of several files need."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration import music
from integration.daemons import Daemon


@pytest.fixture(scope="module")
def solo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A device alone."""
    daemon = Daemon(tmp_path_factory.mktemp("solo"), "solo", **music.FAST).start()
    yield daemon
    daemon.kill(signal.SIGTERM)


@pytest.fixture
def in_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where files are written and read."""
    monkeypatch.chdir(tmp_path)
