"""What goes in and comes out as files: MIDI read before anything is handed in, pieces written and never over another file."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from moodmesh.nodes.errors import NodeError, UsageError

if TYPE_CHECKING:
    from moodmesh.tasks.music.notation.reading import Reading
    from moodmesh.tasks.music.notation.score import Score

MIDI = (".mid", ".midi")
SOUND = (".wav", ".ogg", ".flac")
LARGEST = 4 << 20


def music_of(file: Path) -> tuple[bytes, Reading]:
    """The notes and tempi of a MIDI file, written anew, and what of it was read: what else it says (names, lyrics, comments),
    but for who made it where Moodmesh did, is left out, so that it does not leave the device. `UsageError` for what cannot be
    read."""
    from moodmesh.tasks.errors import InvalidInput
    from moodmesh.tasks.music.notation.midi import read_given, write

    try:
        with file.open("rb") as stream:
            score, reading = read_given(stream.read(LARGEST + 1))
        return write(score, reading.said), reading
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; check the path and its permissions") from None
    except InvalidInput as error:
        raise UsageError(f"{file}: {error}") from None


def writable(outs: Sequence[Path], roll: Path | None, *, overwrite: bool) -> None:
    """`UsageError` for a name that will not be written: its suffix, its folder, or a file that is there already. Each folder
    is tried with a file that has no name, and leaves nothing."""
    for file in outs:
        if file.suffix.lower() not in (*MIDI, *SOUND):
            raise UsageError(
                f"--out {file}: a piece is written as {', '.join((*MIDI, *SOUND))}: end the name with one of these"
            )
    if roll is not None and roll.suffix.lower() != ".png":
        raise UsageError(f"--roll {roll}: a picture is written as .png: end the name with that")
    every = [*outs, *([roll] if roll else [])]
    for file in every:
        if file.is_dir() or not file.absolute().parent.is_dir():
            raise UsageError(f"{file}: there is no folder {file.absolute().parent}; make it first, and name a file in it")
        if file.exists() and not overwrite:
            raise UsageError(f"{file} is there already: name another file, or say --overwrite")
        _try(file)
    if len({file.resolve() for file in every}) < len(every):
        raise UsageError("--out names the same file twice")


def _try(file: Path) -> None:
    try:
        if file.exists():
            file.open("r+b").close()
        tempfile.TemporaryFile(dir=file.absolute().parent).close()
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}; name a file in a folder that you may write to") from None


def free(name: str) -> Path:
    """A name in the current folder that no file has: calm.mid, calm-2.mid and so on."""
    number, file = 1, Path(f"{name}.mid")
    while file.exists():
        number += 1
        file = Path(f"{name}-{number}.mid")
    return file


def write_all(
    outs: Sequence[Path], roll: Path | None, midi: bytes, moods: Sequence[Any], title: str, kept: str, *, overwrite: bool
) -> list[Path]:
    """Write a piece in each form that is asked for; sound by the engine of the settings. Where a file cannot be written, or
    one of its name has come meanwhile and `overwrite` is not said, `NodeError` says so, and how to get the piece: `kept`."""
    from moodmesh.tasks.errors import InvalidInput
    from moodmesh.tasks.music.notation.midi import read, said

    def drawn(file: Path) -> None:
        from moodmesh.tasks.music.sound.picture import draw

        draw(read(midi), [tuple(mood) for mood in moods], file, title)

    every = [*outs, *([roll] if roll else [])]
    for file in every:
        try:
            if file == roll:
                _put(file, drawn, overwrite)
            elif file.suffix.lower() in MIDI:
                _put(file, lambda new: new.write_bytes(midi), overwrite)
            else:
                _put(file, lambda new: sound(new, read(midi), said(midi)), overwrite)
        except InvalidInput as error:
            raise NodeError(f"{error}; the piece is made: {kept}") from None
        except OSError as error:
            why = "another file of that name has come meanwhile" if isinstance(error, FileExistsError) else error.strerror
            raise NodeError(f"cannot write {file}: {why}; the piece is made: {kept}") from None
    return every


def _put(file: Path, write: Callable[[Path], object], overwrite: bool) -> None:
    """Write a file beside its place, then move it there whole; FileExistsError, unless `overwrite`, when a file is there."""
    with tempfile.TemporaryDirectory(prefix=".", dir=file.absolute().parent) as folder:
        made = Path(folder) / file.name
        write(made)
        if overwrite:
            made.replace(file)
            return
        try:
            os.link(made, file)
        except FileExistsError:
            raise
        except OSError:  # a file system without links
            with made.open("rb") as whole, file.open("xb") as new:
                shutil.copyfileobj(whole, new)


def sound(file: Path, score: Score, said: str = "") -> None:
    """A score as sound, at the usual loudness; `said` is its comment."""
    from moodmesh.nodes.making.heard import engine
    from moodmesh.tasks.music.sound.files import save
    from moodmesh.tasks.music.sound.mastering import mastered
    from moodmesh.tasks.music.sound.render import rendered

    save(file, mastered(rendered([score], engine())), said)
