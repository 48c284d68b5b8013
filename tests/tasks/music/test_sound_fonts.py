"""SoundFonts: found, checked before anything in C reads them, and played; else the built-in voice plays and says so."""

from __future__ import annotations

import base64
import importlib.util
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.tasks.music.sounds import band, cents, fundamental, heard, joined, one, onset, soundfont

from moodmesh.tasks.errors import SoundFontError
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Score, excerpt
from moodmesh.tasks.music.sound import sf2
from moodmesh.tasks.music.sound import soundfont as fonts
from moodmesh.tasks.music.sound.render import Renderer
from moodmesh.tasks.music.sound.soundfont import BUILT_IN, SoundFont, chosen, found
from moodmesh.tasks.music.sound.timeline import RATE
from moodmesh.tasks.music.sound.voices import hertz

needs_player = pytest.mark.skipif(
    importlib.util.find_spec("tinysoundfont") is None, reason="tinysoundfont has no wheel for this Python"
)


@pytest.fixture
def font(tmp_path: Path) -> Path:
    path = tmp_path / "test.sf2"
    path.write_bytes(soundfont())
    return path


@pytest.fixture
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A system whose only folder of SoundFonts is this one."""
    monkeypatch.setattr(fonts, "_folders", lambda: iter([tmp_path / "missing", tmp_path]))
    return tmp_path


@needs_player
@pytest.mark.parametrize("track", range(5))
def test_plays_in_tune_and_in_time(font: Path, track: int) -> None:
    sound = heard(one(track, 60, duration=8), SoundFont(font))
    assert abs(cents(fundamental(sound[: 2 * RATE], hertz(60)), hertz(60))) < 5
    assert onset(sound.mean(1)) < 0.012 * RATE
    if track != v.DRUMS:
        assert sound[int(2.5 * RATE) :].std() < 0.05 * sound[:RATE].std()


@needs_player
def test_bars_one_by_one_sound_as_the_whole(font: Path) -> None:
    score = band(3, (40, 50))
    whole, bars = Renderer(SoundFont(font)), Renderer(SoundFont(font))
    once = joined([whole.push(score), whole.finish()])
    each = joined([*(bars.push(excerpt(score, bar, bar + 1)) for bar in range(score.bars)), bars.finish()])
    assert np.array_equal(once, each)
    assert not len(heard(Score((), ()), SoundFont(font)))


@needs_player
def test_a_real_soundfont_passes_and_plays() -> None:
    wheel = importlib.util.find_spec("pretty_midi")
    if wheel is None or wheel.origin is None:
        pytest.skip("the extra `soundfont` is not installed")
    path = Path(wheel.origin).parent / "TimGM6mb.sf2"
    assert path in found()
    sound = heard(band(1), SoundFont(path))
    assert np.isfinite(sound).all()
    assert sound.std() > 0.01


def test_the_check_passes_what_is_whole() -> None:
    sf2.check(soundfont())


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda data: b"", "begin"),
        (lambda data: b"RIFF\xff\xff\xff\xffsfbk", "cut off"),
        (lambda data: data[:-1], "cut off"),
        (lambda data: data[: len(data) // 2], "cut off"),
        (lambda data: data.replace(b"smpl", b"smpX"), "sound data"),
        (lambda data: data.replace(b"shdr", b"shdX"), "shdr"),
        (lambda data: data.replace(b"ibag\x08", b"ibaX\x08"), "ibag"),
        (lambda data: _patched(data, b"pgen", 2, b"\x09\x00"), "instruments"),
        (lambda data: _patched(data, b"igen", 6, b"\x09\x00"), "samples"),
        (lambda data: _patched(data, b"shdr", 24, b"\xff\xff\xff\x7f"), "sound data"),
        (lambda data: _patched(data, b"shdr", 28, b"\xff\xff\xff\xff"), "sound data"),
        (lambda data: _patched(data, b"phdr", 24, b"\xff\xff"), "phdr"),
        (lambda data: _patched(data, b"pbag", 20, b"\xff\xff"), "pbag"),
        (lambda data: _patched(data, b"inst", 42, b"\xff\xff"), "inst"),
    ],
)
def test_the_check_says_what_is_damaged(damage: object, said: str) -> None:
    with pytest.raises(SoundFontError, match=said):
        sf2.check(damage(soundfont()))  # type: ignore[operator]


def _patched(data: bytes, chunk: bytes, at: int, content: bytes) -> bytes:
    begin = data.index(chunk) + 8 + at
    return data[:begin] + content + data[begin + len(content) :]


def test_damage_anywhere_is_an_error_or_nothing() -> None:
    draw, whole, refused = random.Random(1), soundfont(), 0
    for _ in range(2000):
        data = bytearray(whole[: draw.choice((len(whole), draw.randrange(len(whole))))])
        for _ in range(draw.choice((0, 1, 8)) if data else 0):
            data[draw.randrange(len(data))] = draw.randrange(256)
        try:
            sf2.check(bytes(data))
        except SoundFontError:
            refused += 1
    assert 1000 < refused < 2000


PLAY_EACH = """
import base64, sys
from pathlib import Path
from moodmesh.tasks.errors import SoundFontError
from moodmesh.tasks.music.sound.soundfont import SoundFont
from moodmesh.tasks.music.sound.timeline import Event
path, played = Path(sys.argv[1]), 0
for line in sys.stdin:
    path.write_bytes(base64.b64decode(line))
    try:
        engine = SoundFont(path)
    except SoundFontError:
        continue
    engine.sound([Event(0, 90, track, 60) for track in range(5)] + [Event(500, 0, track, 60) for track in range(5)], 1000)
    played += 1
print(played)
"""


@needs_player
def test_damage_does_not_end_the_process(tmp_path: Path) -> None:
    """Without the check about one in fourteen of these crashes the player."""
    draw, whole, lines = random.Random(2), soundfont(), []
    for _ in range(400):
        data = bytearray(whole)
        for _ in range(draw.choice((1, 2, 4, 16))):
            data[draw.randrange(len(data) - 500, len(data))] = draw.choice((0, 1, 128, 255, draw.randrange(256)))
        lines.append(base64.b64encode(data).decode())
    command = [sys.executable, "-c", PLAY_EACH, str(tmp_path / "damaged.sf2")]
    done = subprocess.run(
        command, input="\n".join(lines), capture_output=True, text=True, env={"PYTHONPATH": ":".join(sys.path)}
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 50


def test_a_broken_soundfont_says_so_and_the_built_in_voice_plays(tmp_path: Path) -> None:
    broken = tmp_path / "broken.sf2"
    broken.write_bytes(soundfont()[:-10])
    choice = chosen(str(broken))
    assert choice.engine.name == "built-in"
    assert "broken.sf2" in choice.said
    if importlib.util.find_spec("tinysoundfont"):
        assert "cut off" in choice.said
    assert "built-in voice plays" in choice.said
    assert len(heard(one(v.PIANO, 60, duration=2), choice.engine))


@needs_player
@pytest.mark.parametrize("name", ["missing.sf2", "", "."])
def test_a_soundfont_that_cannot_be_read_says_so(tmp_path: Path, name: str) -> None:
    choice = chosen(str(tmp_path / name))
    assert choice.engine.name == "built-in"
    assert "cannot be read" in choice.said


@needs_player
def test_a_soundfont_without_the_instruments_says_so(tmp_path: Path) -> None:
    path = tmp_path / "piano.sf2"
    path.write_bytes(soundfont(presets=((0, 0),)))
    assert "cannot be used" in chosen(str(path)).said


def test_without_a_player_a_soundfont_says_what_to_install(font: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tinysoundfont", None)
    choice = chosen(str(font))
    assert choice.engine.name == "built-in"
    assert "pip install --no-deps tinysoundfont" in choice.said


def test_nothing_is_said_where_nothing_was_asked(nowhere: Path) -> None:
    assert (chosen().engine.name, chosen().said) == ("built-in", "")
    (nowhere / "own.sf2").write_bytes(soundfont())
    assert (chosen(BUILT_IN).engine.name, chosen(BUILT_IN).said) == ("built-in", "")


@needs_player
def test_the_best_that_works_is_found(nowhere: Path) -> None:
    for name in ("a.sf2", "TimGM6mb.SF2", "FluidR3_GM.sf2"):
        (nowhere / name).write_bytes(soundfont())
    (nowhere / "b.txt").write_bytes(soundfont())
    assert [path.name for path in found()] == ["FluidR3_GM.sf2", "TimGM6mb.SF2", "a.sf2"]
    assert chosen().engine.name == "SoundFont FluidR3_GM"
    (nowhere / "FluidR3_GM.sf2").write_bytes(b"RIFF")
    assert chosen().engine.name == "SoundFont TimGM6mb"


@pytest.mark.parametrize("platform", ["linux", "darwin", "win32"])
def test_every_system_has_folders(platform: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", platform)
    assert len(list(fonts._folders())) >= 2
    found()
