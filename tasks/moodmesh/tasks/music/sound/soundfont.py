"""Sound from a SoundFont: found when it is wanted, checked, and played by tinysoundfont; never part of the package."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import numpy as np

from moodmesh.tasks.errors import SoundFontError
from moodmesh.tasks.music.notation.midi import PROGRAMS
from moodmesh.tasks.music.notation.vocabulary import DRUMS, TRACKS
from moodmesh.tasks.music.sound import sf2
from moodmesh.tasks.music.sound.render import Engine
from moodmesh.tasks.music.sound.synth import Synth
from moodmesh.tasks.music.sound.timeline import RATE, Block, Event, silence

BUILT_IN = "built-in"
"""The setting that asks for no SoundFont."""
_BEST = ("generaluser", "fluidr3", "musescore", "default", "timgm6mb")
_DRUM_CHANNEL, _DRUM_BANK = 9, 128
_STEP, _LONGEST = RATE // 4, 6 * RATE


@dataclass(frozen=True)
class Choice:
    """What plays, and what the user is to be told when it is not what was asked for (empty otherwise)."""

    engine: Engine
    said: str = ""


def chosen(setting: str = "") -> Choice:
    """The engine of a setting: a path; `built-in`; or, empty, the best SoundFont that this system has, else the built-in voice.

    A SoundFont that was asked for and cannot be used is told of, and the built-in voice plays.
    """
    if setting == BUILT_IN:
        return Choice(Synth())
    said = ""
    for path in [Path(setting).expanduser()] if setting else found():
        try:
            return Choice(SoundFont(path))
        except SoundFontError as wrong:
            said = said or f"{wrong}; the built-in voice plays instead"
    return Choice(Synth(), said)


def found() -> list[Path]:
    """The SoundFonts of this system, the best first; none where nothing is installed that plays them."""
    if importlib.util.find_spec("tinysoundfont") is None:
        return []
    paths = [path for folder in _folders() if folder.is_dir() for path in sorted(folder.iterdir())]
    return sorted((path for path in paths if path.suffix.lower() == ".sf2" and path.is_file()), key=_rank)


def _rank(path: Path) -> int:
    name = path.stem.lower().replace("_", "").replace("-", "")
    return next((place for place, known in enumerate(_BEST) if known in name), len(_BEST))


def _folders() -> Iterator[Path]:
    """Where systems keep SoundFonts, and the wheel of pretty_midi, which has a small one (GPL-2)."""
    home = Path.home()
    if sys.platform == "darwin":
        yield from (home / "Library/Audio/Sounds/Banks", Path("/Library/Audio/Sounds/Banks"))
        yield from (Path("/opt/homebrew/share/soundfonts"), Path("/usr/local/share/soundfonts"))
    elif sys.platform == "win32":
        yield from (Path(os.environ.get("LOCALAPPDATA", home)) / "SoundFonts", Path("C:/SoundFonts"))
    else:
        yield Path(os.environ.get("XDG_DATA_HOME") or home / ".local/share") / "soundfonts"
        for root in (Path("/usr/local/share"), Path("/usr/share")):
            yield from (root / "soundfonts", root / "sounds/sf2")
    wheel = importlib.util.find_spec("pretty_midi")
    if wheel is not None and wheel.origin:
        yield Path(wheel.origin).parent


class SoundFont:
    """An engine that plays with a SoundFont; SoundFontError says what is wrong with the file, or what is missing."""

    def __init__(self, path: Path) -> None:
        self.name = f"SoundFont {path.stem}"
        player = _player(path)
        try:
            data = path.read_bytes()
            sf2.check(data)
            self._synth = player.Synth(gain=0, samplerate=RATE)
            font = self._synth.sfload(data)
            for track, program in enumerate(PROGRAMS):
                bank = _DRUM_BANK if track == DRUMS else 0
                self._synth.program_select(_channel(track), font, bank, program)
        except OSError as wrong:
            raise SoundFontError(f"the SoundFont {path} cannot be read ({wrong.strerror}): give another") from None
        except (SoundFontError, player.SoundFontException, RuntimeError) as wrong:
            raise SoundFontError(f"the SoundFont {path} cannot be used ({wrong}): fetch it anew, or give another") from None
        self._now = 0

    def sound(self, events: Sequence[Event], until: int) -> Block:
        """From where the last call ended to sample `until`; all events, in order, lie between."""
        made = [silence(0)]
        for event in events:
            made.append(self._generated(event.at - self._now))
            if event.velocity:
                self._synth.noteon(_channel(event.track), event.pitch, event.velocity)
            elif event.track != DRUMS:
                self._synth.noteoff(_channel(event.track), event.pitch)
        return np.concatenate([*made, self._generated(until - self._now)])

    def finish(self) -> Block:
        """What rings on, until it cannot be heard."""
        made = [silence(0)]
        while (not made[1:] or np.abs(made[-1]).max() > 1e-4) and len(made) * _STEP <= _LONGEST:
            made.append(self._generated(_STEP))
        return np.concatenate(made)

    def _generated(self, samples: int) -> Block:
        self._now += samples
        if not samples:
            return silence(0)
        return np.frombuffer(self._synth.generate(samples), np.float32).reshape(-1, 2).copy()


def _channel(track: int) -> int:
    return _DRUM_CHANNEL if track == DRUMS else track


assert len(TRACKS) < _DRUM_CHANNEL


def _player(path: Path) -> ModuleType:
    try:
        return importlib.import_module("tinysoundfont")
    except ImportError:
        raise SoundFontError(
            f"the SoundFont {path} needs a player that is not installed: `pip install --no-deps tinysoundfont`"
        ) from None
