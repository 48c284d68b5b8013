"""Playing: through a program on a pipe, as blocks come; without any device a clear word, and nothing hangs."""

from __future__ import annotations

import shlex
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from moodmesh.tasks.errors import NoSound
from moodmesh.tasks.music.sound import play as playing
from moodmesh.tasks.music.sound.files import pcm
from moodmesh.tasks.music.sound.play import PLAYERS, Program, opened, play
from moodmesh.tasks.music.sound.timeline import RATE, Block


def blocks(seconds: int) -> list[Block]:
    return [np.full((RATE, 2), (number + 1) / 100, np.float32) for number in range(seconds)]


class Ear:
    """An output that keeps what it hears; it breaks after so many writes."""

    name = "ear"

    def __init__(self, last: int = 1000) -> None:
        self.heard: list[bytes] = []
        self.closed: list[bool] = []
        self.last = last

    def write(self, data: bytes) -> None:
        if len(self.heard) >= self.last:
            raise BrokenPipeError
        self.heard.append(data)

    def close(self, finished: bool) -> None:
        self.closed.append(finished)


@pytest.fixture
def programs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The only folder in which programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    return tmp_path


def program(folder: Path, name: str, script: str) -> None:
    path = folder / name
    code = shlex.quote(f"import sys\n{script}")
    path.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c {code} "$@"\n')
    path.chmod(0o700)


def test_all_is_heard_in_order() -> None:
    ear = Ear()
    assert play(blocks(5), lambda: ear) == "ear"
    assert b"".join(ear.heard) == b"".join(map(pcm, blocks(5)))
    assert ear.closed == [True]


def test_less_than_the_buffer_and_nothing_at_all_are_heard() -> None:
    for seconds in (0, 1):
        ear = Ear()
        play(blocks(seconds), lambda ear=ear: ear)  # type: ignore[misc]
        assert len(ear.heard) == seconds
        assert ear.closed == [True]


def test_nothing_is_heard_before_the_buffer_is_full() -> None:
    ear, counts = Ear(), list[int]()

    def coming() -> Iterator[Block]:
        for block in blocks(4):
            time.sleep(0.05)
            counts.append(len(ear.heard))
            yield block

    play(coming(), lambda: ear)
    assert counts[:2] == [0, 0]
    assert len(ear.heard) == 4


def test_the_next_block_is_made_while_the_last_one_sounds() -> None:
    made = threading.Event()

    class Slow(Ear):
        def write(self, data: bytes) -> None:
            if len(self.heard) == 1:
                assert made.wait(5)
            super().write(data)

    def coming() -> Iterator[Block]:
        yield from blocks(3)
        made.set()
        yield from blocks(1)

    slow = Slow()
    play(coming(), lambda: slow)
    assert len(slow.heard) == 4


def test_an_output_that_stops_is_told_and_closed() -> None:
    ear = Ear(last=1)
    with pytest.raises(NoSound, match="install"):
        play(blocks(5), lambda: ear)
    assert ear.closed == [False]


def test_an_error_of_the_music_ends_the_sound_at_once() -> None:
    def coming() -> Iterator[Block]:
        yield from blocks(3)
        raise KeyboardInterrupt

    ear = Ear()
    with pytest.raises(KeyboardInterrupt):
        play(coming(), lambda: ear)
    assert ear.closed == [False]


def test_no_player_no_device(programs: Path) -> None:
    with pytest.raises(NoSound, match=r"install pipewire.*\.wav"):
        play(blocks(1))


def test_a_player_without_a_device_is_passed_over(programs: Path) -> None:
    program(programs, "pw-cat", "sys.exit(1)")
    program(programs, "aplay", f"open({str(programs / 'heard')!r}, 'wb').write(sys.stdin.buffer.read())")
    assert Path(play(blocks(3))).name == "aplay"
    assert (programs / "heard").read_bytes() == b"".join(map(pcm, blocks(3)))


def test_players_that_all_fail_are_no_sound(programs: Path) -> None:
    for name in PLAYERS:
        program(programs, name, "sys.exit(1)")
    with pytest.raises(NoSound):
        opened()


def test_a_player_that_dies_in_the_middle(programs: Path) -> None:
    program(programs, "aplay", "sys.stdin.buffer.read(RATE := 400_000); sys.exit(1)")
    with pytest.raises(NoSound):
        play(blocks(20))


def test_a_player_that_hangs_is_ended_with_the_music(programs: Path) -> None:
    program(programs, "aplay", "import time; time.sleep(60)")
    player = Program([str(programs / "aplay")])

    def coming() -> Iterator[Block]:
        yield from blocks(4)
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        play(coming(), lambda: player)
    assert time.monotonic() - began < 20
    assert player._process.returncode is not None


@pytest.mark.parametrize(("there", "expected"), [(True, "sounddevice"), (False, None)])
def test_the_device_of_other_systems(
    programs: Path, monkeypatch: pytest.MonkeyPatch, there: bool, expected: str | None
) -> None:
    heard = list[bytes]()

    class Stream:
        def __init__(self, rate: int, channels: int, dtype: str) -> None:
            assert (rate, channels, dtype) == (RATE, 2, "int16")
            if not there:
                raise fake.PortAudioError("no default output device")

        def start(self) -> None: ...
        def stop(self) -> None: ...
        def abort(self) -> None: ...
        def close(self) -> None: ...
        def write(self, data: bytes) -> None:
            heard.append(data)

    class fake:
        RawOutputStream = Stream
        PortAudioError = type("PortAudioError", (Exception,), {})

    monkeypatch.setitem(sys.modules, "sounddevice", fake)
    if expected is None:
        with pytest.raises(NoSound):
            play(blocks(1))
    else:
        assert play(blocks(3)) == expected
        assert b"".join(heard) == b"".join(map(pcm, blocks(3)))


def test_players_are_told_the_same_sound() -> None:
    for name, arguments in PLAYERS.items():
        said = " ".join(arguments).lower()
        assert str(RATE) in said, name
        assert "s16" in said, name
    assert playing.BUFFER == 2
