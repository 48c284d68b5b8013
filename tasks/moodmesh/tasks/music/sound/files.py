"""Sound into a file, by the suffix of its name."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import soundfile

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.sound.timeline import RATE, Block

FORMATS = {".wav": ("WAV", "PCM_16"), ".flac": ("FLAC", "PCM_16"), ".ogg": ("OGG", "VORBIS")}
"""What can be written, by suffix: format and coding; 44.1 kHz, stereo."""
_FINE = 0.4
"""How much Vorbis compresses, 0 to 1: about 190 kbit a second."""
_STEP = 1 << 14
"""Samples written at a time: the encoder of Vorbis keeps each write on the stack."""


def form(path: Path) -> tuple[str, str]:
    """Format and coding for the name of a file; InvalidInput names those that are known."""
    if path.suffix.lower() not in FORMATS:
        raise InvalidInput(f"{path.name or path}: sound is written as {', '.join(FORMATS)}: end the name with one of these")
    return FORMATS[path.suffix.lower()]


def save(path: Path, blocks: Iterable[Block], said: str = "") -> int:
    """Write blocks that follow each other and give how many samples that were; no part of a file is left where it fails. `said`
    is its comment.

    The same blocks make the same bytes; of Ogg only the same sound, since each of its files has a random serial number.
    """
    kind, coding = form(path)
    part = path.with_name(path.name + ".part")
    written = 0
    try:
        fine = _FINE if coding == "VORBIS" else None
        with soundfile.SoundFile(part, "w", RATE, 2, coding, format=kind, compression_level=fine) as file:
            if said:
                file.comment = said
            for block in blocks:
                for at in range(0, len(block), _STEP):
                    file.write(_whole(block[at : at + _STEP]) if coding == "PCM_16" else block[at : at + _STEP])
                written += len(block)
        part.replace(path)
    except (soundfile.LibsndfileError, IsADirectoryError) as wrong:
        why = getattr(wrong, "error_string", "it is a folder")
        raise InvalidInput(f"{path} cannot be written ({why}): name a file in a folder that you may write to") from None
    finally:
        part.unlink(missing_ok=True)
    return written


def pcm(block: Block) -> bytes:
    """As 16-bit little-endian samples, left and right by turns: what players on a pipe take."""
    return _whole(block).astype("<i2").tobytes()


def _whole(block: Block) -> np.ndarray[tuple[int, ...], np.dtype[np.int16]]:
    return np.rint(np.clip(block, -1, 1) * 32767).astype(np.int16)
