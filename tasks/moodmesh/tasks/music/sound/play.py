"""Hearing blocks as they come, through what the system has: a program that takes samples from a pipe, or an audio device.

Linux: pw-cat, paplay or aplay, which every desktop has one of; anywhere ffplay; macOS and Windows: sounddevice, whose wheels
carry all they need there. The next blocks are made while the last ones play.
"""

from __future__ import annotations

import shutil
import subprocess
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import chain
from queue import SimpleQueue
from typing import IO, Protocol

from moodmesh.tasks.errors import NoSound
from moodmesh.tasks.music.sound.files import pcm
from moodmesh.tasks.music.sound.timeline import RATE, Block

BUFFER = 2.0
"""Seconds that are there before the first is heard."""
PLAYERS = {
    "pw-cat": ("--playback", "--raw", f"--rate={RATE}", "--channels=2", "--format=s16", "-"),
    "paplay": ("--raw", f"--rate={RATE}", "--channels=2", "--format=s16le"),
    "aplay": ("-q", "-t", "raw", "-f", "S16_LE", "-r", str(RATE), "-c", "2"),
    "ffplay": (
        "-nodisp",
        "-autoexit",
        "-loglevel",
        "quiet",
        "-f",
        "s16le",
        "-ar",
        str(RATE),
        "-ch_layout",
        "stereo",
        "-i",
        "-",
    ),
}
"""Programs that play samples from their standard input, the best first, and how they are told so."""
_TRIAL = 0.3
"""Seconds in which a player that finds no device ends."""


class Output(Protocol):
    """Where samples go."""

    name: str

    def write(self, data: bytes) -> None:
        """Play these next; waits while enough is waiting; OSError when nothing can be heard any more."""

    def close(self, finished: bool) -> None:
        """After the last sample has been heard, or, not `finished`, at once."""


class Program:
    """A player on a pipe; OSError when it ends at once, as it does without a device."""

    def __init__(self, command: Sequence[str]) -> None:
        self.name = command[0]
        null = subprocess.DEVNULL
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=null, stderr=null)
        try:
            self._process.wait(_TRIAL)
        except subprocess.TimeoutExpired:
            return
        self.close(False)
        raise OSError(f"{self.name} found no device")

    def write(self, data: bytes) -> None:
        """Play these next."""
        self._input.write(data)
        self._input.flush()

    def close(self, finished: bool) -> None:
        """After the last sample, or at once."""
        if not finished:
            self._process.kill()
        with suppress(OSError):  # what it had not taken is not to be heard
            self._input.close()
        self._process.wait()

    @property
    def _input(self) -> IO[bytes]:
        assert self._process.stdin is not None
        return self._process.stdin


class Device:
    """The default device of macOS and Windows; OSError where there is none."""

    name = "sounddevice"

    def __init__(self) -> None:
        try:
            import sounddevice

            self._stream = sounddevice.RawOutputStream(RATE, channels=2, dtype="int16")
            self._stream.start()
        except ImportError as wrong:
            raise OSError("sounddevice is not installed") from wrong
        except sounddevice.PortAudioError as wrong:
            raise OSError(str(wrong)) from wrong

    def write(self, data: bytes) -> None:
        """Play these next."""
        self._stream.write(data)

    def close(self, finished: bool) -> None:
        """After the last sample, or at once."""
        (self._stream.stop if finished else self._stream.abort)()
        self._stream.close()


def opened() -> Output:
    """The first output of this system that works; NoSound where none does."""
    programs = [[found, *PLAYERS[name]] for name in PLAYERS if (found := shutil.which(name))]
    tries: list[Callable[[], Output]] = [lambda command=command: Program(command) for command in programs]  # type: ignore[misc]
    for one in [*tries, Device]:
        try:
            return one()
        except OSError:
            continue
    raise NoSound


def play(blocks: Iterable[Block], output: Callable[[], Output] = opened, buffer: float = BUFFER) -> str:
    """Play blocks as they come and give the name of what played them; NoSound where nothing can, or what could stopped.

    Whatever ends the blocks early (an error, Ctrl-C) ends the sound at once.
    """
    player = _Player(output())
    try:
        coming = iter(blocks)
        first = list(_first(coming, int(buffer * RATE)))
        for block in chain(first, coming):
            player.push(pcm(block))
        player.finish()
    except BaseException:
        player.stop()
        raise
    return player.output.name


def _first(blocks: Iterator[Block], samples: int) -> Iterator[Block]:
    while samples > 0 and (block := next(blocks, None)) is not None:
        samples -= len(block)
        yield block


class _Player:
    """Writes to an output in a thread of its own, so that the next block is made while the last is heard."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self._queue = SimpleQueue[bytes | None]()
        self._broken = False
        self._thread = threading.Thread(target=self._run, name="play", daemon=True)
        self._thread.start()

    def push(self, data: bytes) -> None:
        if self._broken:
            raise NoSound
        self._queue.put(data)

    def finish(self) -> None:
        self._queue.put(None)
        self._thread.join()
        if self._broken:
            raise NoSound
        self.output.close(True)

    def stop(self) -> None:
        self._broken = True
        self.output.close(False)
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while (data := self._queue.get()) is not None and not self._broken:
                self.output.write(data)
        except (OSError, ValueError):  # a pipe that closed, here or there
            self._broken = True
