"""The demo of a room: it shows what the room told, fails where that is something else, and leaves nothing behind."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from moodmesh.mesh.rooms.member import Member
from moodmesh.nodes.demo.keeper import PREFIX, inhabitants
from moodmesh.nodes.demo.room.story import RoomStory
from moodmesh.nodes.demo.scene import CLI, DemoFailed

pytestmark = pytest.mark.timeout(240)
KEYS = {"people", "kind", "epochs", "rms_error", "mean_radius", "within_radius", "joined", "left", "crashed", "seconds"}
SHIFTED = """
from moodmesh.mesh.rooms.member import Member
honest = Member._decoded
def shifted(self, *args):
    opened = honest(self, *args)
    if opened is not None:
        object.__setattr__(opened, "sums", (opened.sums[0] - 4096, opened.sums[1]))
    return opened
Member._decoded = shifted
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demos of a test have their homes; at its end, nothing of them is left."""
    place = tmp_path / "scenes"
    place.mkdir()
    monkeypatch.setenv("TMPDIR", str(place))
    yield place
    end = time.monotonic() + 30
    while (left := traces(place)) and time.monotonic() < end:
        time.sleep(0.1)
    assert not left


def traces(place: Path) -> list[Any]:
    """What a demo could leave."""
    return [*place.glob(f"{PREFIX}*"), *inhabitants(place)]


@pytest.mark.slow
def test_five_daemons_tell_and_one_is_killed(tmp_path: Path) -> None:
    picture = tmp_path / "room.png"
    done = subprocess.run(
        [*CLI, "demo", "room", "--people", "5", "--epochs", "3", "--json", "--picture", str(picture)],
        capture_output=True, text=True, timeout=100, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.strip().splitlines()[-1])
    assert set(found) == KEYS | {"processes"}
    assert (found["kind"], found["processes"], found["joined"], found["crashed"]) == ("on-demand", 5, 4, 1)
    for row in found["epochs"][:2]:
        assert (row["n"], row["contributors"], row["eps_room"]) == (5, 5, 4.0), row
        assert row["off"] <= 2 * row["radius"]
    assert "known to the demo only" in done.stderr
    assert "kill -9" in done.stderr
    assert "the budget is spent (eps_room of the hour" in done.stderr
    assert "trust: assumed" in done.stderr
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_daemons_that_read_shifted_sums_fail_the_demo(tmp_path: Path) -> None:
    lines = list[str]()
    story = RoomStory(3, tmp_path / "room.png", epochs=1, told=lines.append, patch=SHIFTED)
    with pytest.raises(DemoFailed, match="1 of 1 times outside"):
        story.run()
    assert story.rows[0]["contributors"] == 3
    assert any("outside" in line for line in lines)


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_demo_of_a_room_leaves_nothing_behind(tmp_path: Path, place: Path, sign: signal.Signals) -> None:
    command = [*CLI, "demo", "room", "--people", "3", "--json", "--picture", str(tmp_path / "room.png")]
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    ) as demo:
        assert demo.stderr is not None
        assert any(line.startswith("the room is circle") for line in demo.stderr)
        assert len(traces(place)) > 3, "there is something to leave behind"
        demo.send_signal(sign)
        demo.stderr.read()
    assert demo.returncode in (-signal.SIGKILL, 130)
    time.sleep(0.5)  # what is on its way into being comes into being


def twins(tmp_path: Path, **more: Any) -> tuple[dict[str, Any], list[str]]:
    lines = list[str]()
    return RoomStory(40, tmp_path / "room.png", epochs=3, told=lines.append, **more).run(), lines


def test_forty_twins_tell_an_ambient_mood(tmp_path: Path) -> None:
    found, lines = twins(tmp_path)
    assert set(found) == KEYS | {"twins"}
    assert (found["kind"], found["twins"], found["joined"], found["crashed"]) == ("ambient", 40, 39, 2)
    assert [row["n"] for row in found["epochs"]][:2] == [38, 40]
    assert all(row["eps_room"] < 4 for row in found["epochs"])
    assert found["epochs"][1]["releases"] == 2
    assert found["rms_error"] < found["mean_radius"]
    assert sum("crashes" in line for line in lines) == 2
    assert not any("budget is spent" in line for line in lines)


def test_twins_that_read_shifted_sums_fail_the_demo(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Member._decoded

    def off_by_one(self: Member, *args: Any) -> Any:
        opened = honest(self, *args)
        if opened is not None:
            object.__setattr__(opened, "sums", (opened.sums[0] + 1, opened.sums[1]))
        return opened

    monkeypatch.setattr(Member, "_decoded", off_by_one)
    with pytest.raises(DemoFailed, match="not the sum of what its contributors released"):
        twins(tmp_path)
