"""Configuration: who wins, where a value came from, and what is said of one that is wrong (design §4)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moodmesh.nodes.config import Config, home, keys, load
from moodmesh.nodes.errors import UsageError


def toml(where: Path, text: str) -> Path:
    (where / "moodmesh.toml").write_text(text)
    return where


def test_flag_over_environment_over_file_over_profile_over_default(tmp_path: Path) -> None:
    def slots(flags: dict[str, Any], environ: dict[str, str]) -> tuple[object, str]:
        config, origins = load(tmp_path, flags, environ)
        return config.pool.memory_mb, origins["pool.memory_mb"]

    default = Config().pool.memory_mb
    assert slots({}, {}) == (default, "default")
    value, origin = slots({"node.profile": "phone"}, {})
    assert (value != default, origin) == (True, "profile phone")
    toml(tmp_path, "[node]\nprofile = 'phone'\n[pool]\nmemory_mb = 1\n")
    assert slots({}, {}) == (1, str(tmp_path / "moodmesh.toml"))
    environ = {"MOODMESH_POOL__MEMORY_MB": "2", "MOODMESH_HOME": "x", "PATH": "y"}
    assert slots({}, environ) == (2, "environment")
    assert slots({"pool.memory_mb": "3"}, environ) == (3, "flag")


def test_every_key_has_an_origin_and_a_description(tmp_path: Path) -> None:
    _, origins = load(tmp_path, {}, {})
    assert set(origins) == set(keys())
    for model, name in keys().values():
        assert model.model_fields[name].description


def test_lists_from_every_source(tmp_path: Path) -> None:
    for flags, environ, text in (
        ({"mesh.peers": ("a:1", "b:2")}, {}, ""),
        ({}, {"MOODMESH_MESH__PEERS": "a:1, b:2"}, ""),
        ({}, {}, "[mesh]\npeers = ['a:1', 'b:2']"),
    ):
        toml(tmp_path, text)
        assert load(tmp_path, flags, environ)[0].mesh.peers == ("a:1", "b:2")


@pytest.mark.parametrize(
    ("flags", "environ", "text", "words"),
    [
        ({"pool.slot": "1"}, {}, "", r"unknown setting 'pool.slot' \(flag\); did you mean pool.slots\?"),
        ({}, {"MOODMESH_POOL__SLOTSS": "1"}, "", r"'pool.slotss' \(environment\); did you mean pool.slots"),
        ({}, {}, "[pol]\nslots = 1", r"did you mean pool.slots"),
        ({}, {}, "slots = 1", r"settings stand in sections"),
        ({"pool.slots": "many"}, {}, "", r"pool.slots = 'many' \(flag\): .*valid integer"),
        ({}, {"MOODMESH_MESH__PORT": "70000"}, "", r"mesh.port = '70000' \(environment\): .*65535"),
        ({"node.profile": "fridge"}, {}, "", r"node.profile = 'fridge'.*'phone'"),
        ({"power.quiet_hours": "25-3"}, {}, "", r"power.quiet_hours"),
        ({}, {}, "[pool\nslots = 1", r"not valid TOML.*mend that line"),
        ({}, {}, "[pool]\nslots = [1]", r"pool.slots"),
    ],
)
def test_what_is_wrong_is_named_with_its_origin_and_the_nearest_right(
    tmp_path: Path, flags: dict[str, Any], environ: dict[str, str], text: str, words: str
) -> None:
    toml(tmp_path, text)
    with pytest.raises(UsageError, match=words):
        load(tmp_path, flags, environ)


def test_a_file_that_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "moodmesh.toml").mkdir()
    with pytest.raises(UsageError, match="cannot read"):
        load(tmp_path, {}, {})
    (tmp_path / "moodmesh.toml").rmdir()
    (tmp_path / "moodmesh.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(UsageError, match="not valid TOML"):
        load(tmp_path, {}, {})


def test_home_is_what_the_environment_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOODMESH_HOME", str(tmp_path / "a b"))
    assert home() == (tmp_path / "a b").resolve()
    monkeypatch.delenv("MOODMESH_HOME")
    assert home().name == "moodmesh"
