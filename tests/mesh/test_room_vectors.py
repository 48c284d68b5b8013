"""The published vectors are what the code does, byte for byte; any change of the protocol changes them."""

from __future__ import annotations

import json

import pytest

import vectors
from moodmesh.mesh.rooms import transcript


@pytest.mark.parametrize("name", vectors.FILES)
def test_vectors_are_what_the_code_does(name: str) -> None:
    assert vectors.text(name) == (vectors.FOLDER / name).read_text("ascii"), "python tests/vectors.py writes them anew"


def test_every_step_has_one() -> None:
    runs = json.loads((vectors.FOLDER / "messages.json").read_text())["runs"]
    said = {entry["step"] for run in runs for entry in run["said"]}
    assert said == {"JOIN", "REVEAL", "SEAT", "SHARES", "REPORT", "VOTE", "IDENTIFY", "SUM"}
    passed = {step for run in runs for step in run["passed on first"]}
    assert passed == said - {"REPORT", "SEAT"} | {"PROPOSAL", "WHERE"}


@pytest.mark.parametrize("name", ["messages.json", "transcript.json"])
def test_a_change_of_the_protocol_changes_them(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transcript, "label", lambda name: b"moodmesh/roomsum/v2/" + name.encode())
    assert vectors.text(name) != (vectors.FOLDER / name).read_text("ascii")
