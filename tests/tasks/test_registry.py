"""Plug-ins are found by entry point; a broken one is reported and stops nothing; nothing heavy is imported."""

from __future__ import annotations

import subprocess
import sys
import types
from importlib.metadata import EntryPoint

import pytest

from moodmesh.tasks import registry
from moodmesh.tasks.emotion.text import EmotionText

GOOD = EntryPoint("emotion.text", "moodmesh.tasks.emotion.text:EmotionText", registry.GROUP)


def fails() -> None:
    raise RuntimeError("no licence file")


@pytest.fixture
def plugin(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    module = types.ModuleType("some_plugin")
    module.fails = fails
    monkeypatch.setitem(sys.modules, "some_plugin", module)
    return module


def point(name: str, value: str) -> EntryPoint:
    return EntryPoint(name, value, registry.GROUP)


def test_our_tasks_use_the_public_door() -> None:
    tasks, broken = registry.load()
    assert isinstance(tasks["emotion.text"], EmotionText)
    assert "emotion.text" not in broken


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("no_such_module:Task", "ModuleNotFoundError"),
        ("some_plugin:Absent", "AttributeError"),
        ("some_plugin:fails", "no licence file"),
        ("moodmesh.tasks.emotion.text:EmotionText", "name of its task"),
        ("builtins:object", "AttributeError"),
    ],
)
def test_a_broken_plugin_is_reported_and_the_rest_loads(plugin: types.ModuleType, value: str, reason: str) -> None:
    tasks, broken = registry.load([point("odd.task", value), GOOD])
    assert list(tasks) == ["emotion.text"]
    assert list(broken) == ["odd.task"]
    assert reason in broken["odd.task"]


def test_two_plugins_with_one_name() -> None:
    tasks, broken = registry.load([GOOD, GOOD])
    assert list(tasks) == ["emotion.text"]
    assert "already has this name" in broken["emotion.text"]


def test_loading_specs_imports_nothing_heavy() -> None:
    code = (
        "import sys; from moodmesh.tasks import registry; tasks, broken = registry.load();"
        "t = tasks['emotion.text']; r = t.benchmark_request(); t.units(r), t.result_bytes(r);"
        "print([m for m in ('numpy', 'onnxruntime', 'tokenizers', 'torch', 'onnx', 'sklearn') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
