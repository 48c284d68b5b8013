"""Files by suffix, read back by the library that others read them with."""

from __future__ import annotations

import wave
from pathlib import Path

import numpy as np
import pytest
import soundfile
from tests.tasks.music.sounds import band, joined

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.sound.files import FORMATS, pcm, save
from moodmesh.tasks.music.sound.mastering import mastered
from moodmesh.tasks.music.sound.render import rendered
from moodmesh.tasks.music.sound.timeline import RATE, Block


@pytest.fixture(scope="module")
def sound() -> Block:
    return joined(mastered(rendered([band(1)])))


@pytest.mark.parametrize("suffix", [".wav", ".flac", ".ogg", ".WAV"])
def test_what_is_written_is_read_back(tmp_path: Path, sound: Block, suffix: str) -> None:
    path = tmp_path / f"piece{suffix}"
    assert save(path, [sound[:1000], sound[1000:]]) == len(sound)
    read, rate = soundfile.read(path, dtype="float32")
    info = soundfile.info(path)
    assert (rate, info.channels, info.subtype) == (RATE, 2, FORMATS[suffix.lower()][1])
    assert read.shape == sound.shape
    if suffix == ".ogg":
        assert np.corrcoef(read.ravel(), sound.ravel())[0, 1] > 0.99
    else:
        assert np.abs(read - sound).max() < 1.6 / 32767
    assert list(tmp_path.iterdir()) == [path]


def test_wav_is_plain_16_bit(tmp_path: Path, sound: Block) -> None:
    save(tmp_path / "piece.wav", [sound])
    with wave.open(str(tmp_path / "piece.wav")) as file:
        assert (file.getnchannels(), file.getsampwidth(), file.getframerate()) == (2, 2, RATE)
        assert file.readframes(len(sound)) == pcm(sound)


@pytest.mark.parametrize("suffix", FORMATS)
def test_a_file_says_who_made_it(tmp_path: Path, sound: Block, suffix: str) -> None:
    said = "Made by a machine: Moodmesh, “x”. " * 20
    save(tmp_path / f"said{suffix}", [sound], said)
    save(tmp_path / f"plain{suffix}", [sound])
    with soundfile.SoundFile(tmp_path / f"said{suffix}") as one, soundfile.SoundFile(tmp_path / f"plain{suffix}") as other:
        assert (one.comment, other.comment) == (said, "")
        assert one.frames == other.frames == len(sound)


@pytest.mark.parametrize("suffix", [".wav", ".flac"])
def test_same_sound_same_bytes(tmp_path: Path, sound: Block, suffix: str) -> None:
    for name in ("one", "two"):
        save(tmp_path / f"{name}{suffix}", [sound])
    assert (tmp_path / f"one{suffix}").read_bytes() == (tmp_path / f"two{suffix}").read_bytes()


@pytest.mark.parametrize("name", ["piece.mp4", "piece", ".wav", "piece.wav.txt"])
def test_an_unknown_suffix_names_those_that_are_known(tmp_path: Path, name: str) -> None:
    with pytest.raises(InvalidInput, match=r"\.wav, \.flac, \.ogg"):
        save(tmp_path / name, [])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"System error.*folder that you may write to"):
        save(tmp_path / "missing" / "piece.wav", [])


def test_a_name_that_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "piece.wav").mkdir()
    with pytest.raises(InvalidInput, match="is a folder"):
        save(tmp_path / "piece.wav", [])
    assert len(list(tmp_path.iterdir())) == 1


def test_what_fails_half_way_leaves_the_old_file(tmp_path: Path, sound: Block) -> None:
    path = tmp_path / "piece.wav"
    path.write_bytes(b"old")

    def blocks() -> object:
        yield sound
        raise RuntimeError("the model has gone")

    with pytest.raises(RuntimeError):
        save(path, blocks())  # type: ignore[arg-type]
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_minutes_of_ogg_do_not_end_the_process(tmp_path: Path) -> None:
    """The encoder overflows the stack when it is given minutes at once."""
    assert save(tmp_path / "long.ogg", [np.zeros((120 * RATE, 2), np.float32)]) == 120 * RATE


def test_what_is_too_loud_is_cut_not_wrapped() -> None:
    assert pcm(np.array([[2.0, -2.0]], np.float32)) == np.array([32767, -32767], "<i2").tobytes()
