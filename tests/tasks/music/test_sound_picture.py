"""The picture of a piece: headless, the same bytes again, every note where it belongs."""

from __future__ import annotations

import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from matplotlib import colors, image
from tests.tasks.music.sounds import band, one

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.sound.picture import COLOURS, draw

CALM = [(0.4, -0.5)]


def pixels(file: Path) -> np.ndarray[tuple[int, int, int], np.dtype[np.float32]]:
    return np.asarray(image.imread(file))[..., :3]


def coloured(file: Path, colour: str, near: float = 0.06) -> int:
    return int((np.abs(pixels(file) - colors.to_rgb(colour)).max(2) < near).sum())


def test_same_arguments_same_bytes_and_no_date(tmp_path: Path) -> None:
    for name in ("one.png", "two.png"):
        draw(band(2), CALM, tmp_path / name, "a title")
    data = (tmp_path / "one.png").read_bytes()
    assert data == (tmp_path / "two.png").read_bytes()
    kinds, at = [], 8
    while at < len(data):
        (size,) = struct.unpack_from(">I", data, at)
        kinds.append(data[at + 4 : at + 8])
        at += size + 12
    assert set(kinds) == {b"IHDR", b"pHYs", b"IDAT", b"IEND"}


def test_every_track_has_its_colour(tmp_path: Path) -> None:
    draw(band(2), CALM, tmp_path / "all.png")
    draw(one(v.PIANO, 60, 63), CALM, tmp_path / "piano.png")
    for track in range(5):
        assert coloured(tmp_path / "all.png", COLOURS[track]) > 100
    for track in (v.GUITAR, v.BASS, v.STRINGS):
        assert coloured(tmp_path / "piano.png", COLOURS[track]) == 0


def test_loud_notes_are_fuller_than_soft_ones(tmp_path: Path) -> None:
    draw(one(v.PIANO, 60, 63), CALM, tmp_path / "loud.png")
    draw(one(v.PIANO, 60, 5), CALM, tmp_path / "soft.png")
    full = [coloured(tmp_path / name, COLOURS[v.PIANO], 0.02) for name in ("loud.png", "soft.png")]
    assert full[0] > 2 * full[1]


def test_the_mood_is_where_it_was_asked_for(tmp_path: Path) -> None:
    places = {}
    for name, mood in {"left": (-0.8, 0.0), "right": (0.8, 0.0), "up": (0.0, 0.8), "down": (0.0, -0.8)}.items():
        draw(one(v.PIANO, 60), [mood], tmp_path / f"{name}.png")
        spot = np.abs(pixels(tmp_path / f"{name}.png") - colors.to_rgb("#D55E00")).max(2) < 0.03
        places[name] = np.argwhere(spot).mean(0)
    assert places["left"][1] < places["up"][1] - 50 < places["right"][1] - 100
    assert places["up"][0] < places["left"][0] - 50 < places["down"][0] - 100


def test_a_mood_that_stays_is_one_point_and_a_path_has_a_start(tmp_path: Path) -> None:
    for name, moods in {"once": CALM, "stays": CALM * 8, "path": [*CALM, (0.41, -0.5)]}.items():
        draw(one(v.PIANO, 60), moods, tmp_path / f"{name}.png")
    data = {name: (tmp_path / f"{name}.png").read_bytes() for name in ("once", "stays", "path")}
    assert data["stays"] == data["once"] != data["path"]


@pytest.mark.parametrize(
    "score",
    [
        Score((), ()),
        Score((), (21,)),
        one(v.DRUMS, 36),
        one(v.PIANO, v.LOWEST),
        one(v.PIANO, v.HIGHEST),
        tidy([Note(16 * bar, v.BASS, 21 + bar, 3, 16) for bar in range(64)], [0, 63] * 32),
    ],
)
def test_any_score_and_any_path(tmp_path: Path, score: Score) -> None:
    for moods in ([], [(-1.0, 1.0)], [(0.0, 0.0), (0.0, 0.0), (1.0, -1.0)]):
        draw(score, moods, tmp_path / "any.png")
        assert pixels(tmp_path / "any.png").shape == (600, 1500, 3)


def test_other_names_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="png"):
        draw(band(1), CALM, tmp_path / "roll.svg")


def test_no_display_and_no_matplotlib_before_it_is_wanted(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from moodmesh.tasks.music.sound import picture\n"
        "from moodmesh.tasks.music.notation.score import Score\n"
        "assert 'matplotlib' not in sys.modules\n"
        f"picture.draw(Score((), (21,)), [(0.1, 0.2)], Path({str(tmp_path / 'p.png')!r}))\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"MPLBACKEND": "TkAgg", "PYTHONPATH": ":".join(sys.path)})
