"""What tests of sound need: pieces, a measure of pitch, and a SoundFont made by hand."""

from __future__ import annotations

import struct
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.sound.render import Engine, rendered
from moodmesh.tasks.music.sound.timeline import RATE, Block, silence


def joined(blocks: Iterable[Block]) -> Block:
    return np.concatenate([silence(0), *blocks])


def heard(score: Score, engine: Engine | None = None) -> Block:
    return joined(rendered([score], engine))


def one(track: int, pitch: int, step: int = 40, duration: int = 16, tempo: int = 21) -> Score:
    """One note at 60 quarters a minute, so that a sub-beat is a quarter of a second."""
    return tidy([Note(0, track, pitch, step, duration)], [tempo])


def band(bars: int = 4, tempi: tuple[int, ...] = (42,)) -> Score:
    """All five tracks at once."""
    notes = []
    for bar in range(bars):
        at = bar * v.BAR
        notes += [Note(at + s, v.DRUMS, key, 40, 1) for s in range(0, 16, 4) for key in ((36, 42) if s % 8 == 0 else (38, 46))]
        notes += [Note(at + 2 * s, v.PIANO, 60 + (4 * s + bar) % 24, 35, 3) for s in range(8)]
        notes += [Note(at + s, v.GUITAR, 52 + s, 30, 4) for s in range(0, 16, 4)]
        notes += [Note(at, v.BASS, 36, 40, 8), Note(at + 10, v.BASS, 43, 40, 16)]
        notes += [Note(at, v.STRINGS, pitch, 25, 16) for pitch in (60, 64, 67)]
    return tidy(notes, [tempi[bar % len(tempi)] for bar in range(bars)])


def fundamental(block: Block, near: float) -> float:
    """The frequency (Hz) of the strongest partial within a semitone of `near`, by the top of a parabola on the spectrum."""
    size = 1 << 19
    mono = block.mean(1) * np.hanning(len(block))
    level = np.log(np.abs(np.fft.rfft(mono, size)) + 1e-12)
    low, high = int(near * 0.944 * size / RATE), int(near * 1.059 * size / RATE)
    top = low + int(np.argmax(level[low:high]))
    before, at, after = level[top - 1 : top + 2]
    return float((top + (before - after) / (2 * (before - 2 * at + after))) * RATE / size)


def cents(one: float, other: float) -> float:
    return float(1200 * np.log2(one / other))


def onset(mono: NDArray[np.float32]) -> int:
    """The sample at which sound begins."""
    return int(np.argmax(np.abs(mono) > 0.02 * np.abs(mono).max()))


PROGRAMS = ((128, 0), (0, 0), (0, 24), (0, 32), (0, 48))
"""Bank and program of the presets of `soundfont`."""


def soundfont(hertz: float = 440.0, presets: tuple[tuple[int, int], ...] = PROGRAMS) -> bytes:
    """A SoundFont whose presets all play one looped sine of 100 samples, recorded at A4."""
    rate = round(hertz * 100)
    wave = (20000 * np.sin(2 * np.pi * np.arange(200) / 100)).astype("<i2").tobytes() + bytes(92)

    def chunk(name: bytes, content: bytes) -> bytes:
        return name + struct.pack("<I", len(content)) + content + bytes(len(content) % 2)

    def named(text: str) -> bytes:
        return text.encode().ljust(20, b"\0")

    count = len(presets)
    phdr = b"".join(
        named(f"p{i}") + struct.pack("<HHHIII", program, bank, i, 0, 0, 0) for i, (bank, program) in enumerate(presets)
    )
    phdr += named("EOP") + struct.pack("<HHHIII", 0, 0, count, 0, 0, 0)
    pbag = b"".join(struct.pack("<HH", i, 0) for i in range(count + 1))
    pgen = struct.pack("<HH", 41, 0) * count + bytes(4)
    inst = named("i") + struct.pack("<H", 0) + named("EOI") + struct.pack("<H", 1)
    ibag = struct.pack("<HHHH", 0, 0, 2, 0)
    igen = struct.pack("<HHHH", 54, 1, 53, 0) + bytes(4)
    shdr = named("s") + struct.pack("<IIIIIBbHH", 0, 200, 0, 100, rate, 69, 0, 0, 1) + named("EOS") + bytes(26)
    tables = {b"phdr": phdr, b"pbag": pbag, b"pmod": bytes(10), b"pgen": pgen, b"inst": inst, b"ibag": ibag}
    tables |= {b"imod": bytes(10), b"igen": igen, b"shdr": shdr}
    info = chunk(b"LIST", b"INFO" + chunk(b"ifil", struct.pack("<HH", 2, 1)) + chunk(b"INAM", b"test"))
    data = chunk(b"LIST", b"sdta" + chunk(b"smpl", wave))
    preset = chunk(b"LIST", b"pdta" + b"".join(chunk(name, content) for name, content in tables.items()))
    return chunk(b"RIFF", b"sfbk" + info + data + preset)
