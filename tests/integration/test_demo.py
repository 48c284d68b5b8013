"""The demo: what it shows is measured, and nothing of it stays behind (also when it is killed)."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from moodmesh.nodes.demo.keeper import PREFIX
from moodmesh.nodes.demo.music import BARS
from moodmesh.nodes.demo.scene import CLI, DemoFailed, demo_settings, diary
from moodmesh.nodes.demo.story import Story
from moodmesh.tasks.music.notation.midi import read

pytestmark = [pytest.mark.timeout(240), pytest.mark.ray]
LIGHT = {"pool.kind": "process", "mesh.mdns": "false"}


@pytest.fixture(autouse=True)
def _place(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The demos of a test have their homes here (a short path, for sockets), other tests theirs elsewhere."""
    with tempfile.TemporaryDirectory(prefix="demo", ignore_cleanup_errors=True) as place:
        monkeypatch.setenv("TMPDIR", place)
        monkeypatch.setattr(tempfile, "tempdir", place)
        yield


def traces() -> set[str]:
    """What a demo could leave: temp directories, shared memory, processes."""
    temporary = {str(p) for p in Path(tempfile.gettempdir()).glob(f"{PREFIX}*")}
    shared = {str(p) for p in Path("/dev/shm").glob("*")} if Path("/dev/shm").exists() else set()
    here = str(Path(tempfile.gettempdir(), PREFIX))
    return temporary | shared | {f"{p.pid} {' '.join(_command(p))}" for p in psutil.process_iter() if _home(p).startswith(here)}


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def _home(process: psutil.Process) -> str:
    try:
        return process.environ().get("MOODMESH_HOME", "")
    except psutil.Error:
        return ""


def gone(before: set[str]) -> None:
    """Nothing of a demo is left; another test's Ray may own shared memory for a while."""
    end = time.monotonic() + 30
    while traces() - before and time.monotonic() < end:
        time.sleep(0.1)
    assert traces() <= before


def story(tmp_path: Path, settings: dict[str, str] | None = None, **more: Any) -> Story:
    return Story(diary(), tmp_path / "mood.png", settings=LIGHT | (settings or {}), told=lambda line: None, **more)


def test_the_demo_as_a_user_runs_it(tmp_path: Path) -> None:
    before = traces()
    done = subprocess.run(
        [*CLI, "demo", "--json", "--picture", str(tmp_path / "mood.png")],
        capture_output=True,
        text=True,
        timeout=170,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found) == {"nodes", "pairs", "jobs", "failover", "music", "timings"}
    assert len(found["nodes"]) == 3
    assert len(found["pairs"]) == 3
    assert [job["status"] for job in found["jobs"]] == ["SUCCEEDED", "SUCCEEDED"]
    assert found["failover"]["lost"] == found["failover"]["duplicated"] == 0
    assert found["failover"]["killed"] != found["failover"]["finished_on"]
    # Which of the two is measured faster is chance on a busy machine.
    assert {found["jobs"][0]["ran_on"], found["failover"]["killed"]} <= {"desktop", "laptop"}
    assert set(found["timings"]) == {"discovery_s", "pairing_s", "submit_to_start_ms", "total_s"}
    made, killed = found["music"], found["failover"]["killed"]
    assert (made["task"], made["status"]) == ("music.generate", "SUCCEEDED")
    assert made["ran_on"] in {"phone", "desktop", "laptop"} - {killed}
    assert made["files"] == [str(tmp_path / "mood.mid"), str(tmp_path / "mood.ogg")]
    assert read((tmp_path / "mood.mid").read_bytes()).bars == BARS
    assert (tmp_path / "mood.ogg").read_bytes().startswith(b"OggS")
    assert (tmp_path / "mood.png").read_bytes().startswith(b"\x89PNG")
    gone(before)


@pytest.mark.slow
def test_swapping_the_throttles_swaps_the_winner(tmp_path: Path) -> None:
    """As shipped, the desktop wins (above); nothing but the two throttles, exchanged, is different here."""
    shipped = {name: values["pool.duty"] for name, values in demo_settings({}).items()}
    assert shipped["desktop"] > shipped["laptop"]
    exchanged = {"laptop": shipped["desktop"], "desktop": shipped["laptop"]}
    swapped = story(tmp_path, interrupt=False, duties=exchanged).run()
    assert swapped["jobs"][0]["ran_on"] == "laptop"


@pytest.mark.slow
def test_a_wrong_code_fails_the_demo(tmp_path: Path) -> None:
    before = traces()
    wrong = story(tmp_path, {"jobs.benchmark": "false"}, spoil=lambda code: code[:-1] + str((int(code[-1]) + 1) % 10))
    with pytest.raises(DemoFailed, match="wrong code"):
        wrong.run()
    gone(before)


SELDOM = [pytest.param(moment, marks=pytest.mark.slow) for moment in ("0.2", "0.6", "3. ", "5. ")]


@pytest.mark.parametrize("moment", ["0.35", "1. ", *SELDOM])
def test_a_killed_demo_leaves_nothing_behind(tmp_path: Path, moment: str) -> None:
    """Killed some seconds after its start, or as soon as it tells of this step."""
    before = traces()
    command = [*CLI, "demo", "--json", "--picture", str(tmp_path / "mood.png")]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as demo:
        assert demo.stderr is not None
        if moment.endswith(" "):
            assert any(line.lstrip().startswith(moment) for line in demo.stderr)
            assert traces() - before, "there is something to leave behind"
        else:
            time.sleep(float(moment))
        demo.send_signal(signal.SIGKILL)
    time.sleep(0.5)  # what is on its way into being comes into being
    gone(before)
