"""How the parts of a node are put together: who hears of what."""

from __future__ import annotations

from pathlib import Path

import pytest

from moodmesh.mesh.artefacts.transfers import Transfers
from moodmesh.mesh.seams import DeviceId
from moodmesh.nodes.config import load
from moodmesh.nodes.daemon import Node
from moodmesh.nodes.moods.sharing import Sharing


async def test_whatever_went_over_a_link_ends_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    heard: list[tuple[str, DeviceId]] = []
    monkeypatch.setattr(Transfers, "drop", lambda self, peer: heard.append(("transfers", peer)))
    monkeypatch.setattr(Sharing, "down", lambda self, peer: heard.append(("moods", peer)))
    config, origins = load(tmp_path, {"pool.kind": "process"})
    async with Node.open(config, origins, tmp_path) as node:
        node.peers.on_down(peer := DeviceId("p" * 52))
    assert heard == [("transfers", peer), ("moods", peer)]
