"""The training sets in small: made-up archives in the published forms, and (slow) the published ones."""

from __future__ import annotations

import csv
import io
import json
import lzma
import tarfile
from dataclasses import replace
from pathlib import Path

import mido
import numpy as np
import pytest

from moodmesh.tasks.music.corpus import sets
from moodmesh.tasks.music.corpus.prepare import EVERYTHING, Figures, load, prepared, save, stretches
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import Key, key, normalised
from moodmesh.tasks.music.notation.midi import write
from moodmesh.tasks.music.notation.score import Note, tidy, transpose
from moodmesh.tasks.research import DataMissing

from .pieces import played, scale, smf

NO_DATA = "no music data: MOODMESH_DATA names no folder that holds it"


def archive(folder: Path, rows: list[dict[str, str]], files: dict[str, bytes]) -> None:
    folder.mkdir(parents=True)
    with (folder / "index.csv").open("w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with tarfile.open(folder / "midi.tar.xz", "w:xz") as tar:
        for name, data in files.items():
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            tar.addfile(entry, io.BytesIO(data))


def row(name: str, part: str = "train", **more: str) -> dict[str, str]:
    return {"file": f"{part}/{name}.mid", "id": name, "split": part, "group": name[:1], "n_notes": "72.0", **more}


def at_random() -> bytes:
    rng = np.random.default_rng(0)
    starts = np.sort(rng.integers(0, 40_000, 300)).tolist()
    return smf(played([(s, s + 100, 40 + n % 40, 64) for n, s in enumerate(starts)]))


@pytest.fixture
def area(tmp_path: Path) -> Path:
    music = tmp_path / "music"
    song = write(transpose(scale(), 3))  # 120 quarters a minute: a beat each half second
    downs = [0, 4, 8, 12, 14, 18, 22, 26, 30]
    marks = "".join(f"{n / 2} {float(n % 2 == 0)} {float(n in downs)}\n" for n in range(32))
    archive(music / "pop909", [row("001")], {"train/001.mid": song, "train/001.beat_midi.txt": marks.encode()})
    labels = {"valence": "1.0", "arousal": "-1.0"}
    clips = [row("Q4_a", **labels), row("Q4_b", "valid", **labels), row("Q4_c", **labels)]
    files = {"train/Q4_a.mid": write(scale(16)), "valid/Q4_b.mid": at_random(), "train/Q4_c.mid": b"no MIDI at all, but long"}
    archive(music / "emopia", clips, files)
    chorale = [[72, 67, 64, 48]] * 4 + [[74, 67, 65, 43]] * 8 + [[72, -1, 64, 48]] * 4
    (music / "jsb").mkdir()
    (music / "jsb" / "jsb16.json.xz").write_bytes(lzma.compress(json.dumps({"train": [chorale], "valid": []}).encode()))
    return tmp_path


def test_beats_that_are_annotated_cut_a_piece_where_a_bar_is_not_of_four(area: Path) -> None:
    figures = Figures()
    passages = list(prepared(sets.SETS["pop909"](area), figures))
    assert [(p.piece, p.part, p.group, p.first_bar, p.score.bars) for p in passages] == [
        ("001", "train", "0", 0, 3),
        ("001", "train", "0", 0, 5),
    ]
    assert [p.ends for p in passages] == [False, True]  # one piece in two stretches ends once
    assert passages[0].key == Key(3, False)
    assert passages[0].score.notes == scale(3).notes
    assert (figures.pieces, figures.pieces_kept, figures.notes) == (1, 1, 72)
    assert figures.notes_kept / figures.notes > 0.8
    assert figures.error_kept < 1e-9
    assert figures.tokens_of_20_bars == pytest.approx(20 * figures.tokens / 8)


def test_annotated_beats_that_do_not_fit_give_way_to_those_found(area: Path) -> None:
    (piece,) = sets.SETS["pop909"](area)
    assert piece.beats is not None
    wrong = replace(piece, beats=piece.beats * 0.93 + 0.1)
    figures = Figures()
    assert sum(p.score.bars for p in prepared([wrong], figures)) == 8
    assert figures.error_on_grid == 0


def test_passages_whose_grid_is_bad_are_left_out_and_files_that_are_none(area: Path) -> None:
    figures = Figures()
    passages = list(prepared(sets.SETS["emopia"](area), figures))
    assert {p.piece for p in passages} == {"Q4_a"}
    assert passages[0].mood == (1, -1)
    assert (figures.pieces, figures.pieces_kept) == (2, 1)
    assert figures.error_on_grid > figures.error_kept
    everything = list(prepared(sets.SETS["emopia"](area), Figures(), EVERYTHING))
    assert {p.piece for p in everything} == {"Q4_a", "Q4_b"}


def test_a_piece_whose_last_bars_are_off_the_grid_ends_nowhere(area: Path) -> None:
    (piece,) = sets.SETS["jsb"](area)
    found = stretches(piece)
    (stretch,) = found
    longer = np.concatenate([stretch.start + 16 * repeat for repeat in range(10)])
    columns = {name: np.tile(getattr(stretch, name), 10) for name in ("track", "pitch", "velocity")}
    whole = replace(stretch, start=longer, end=longer + 0.5, **columns)
    spoilt = replace(whole, start=np.where(longer >= 96, longer + 0.0225, longer))
    assert [one.ends for one in prepared([replace(piece, played=whole)], Figures())] == [True]
    cut = list(prepared([replace(piece, played=spoilt)], Figures()))
    assert [(one.first_bar, one.score.bars, one.ends) for one in cut] == [(0, 24, False)]


def test_chorales_hold_a_pitch_that_goes_on(area: Path) -> None:
    (piece,) = sets.SETS["jsb"](area)
    lasting = {
        (start * 4, pitch): (end - start) * 4
        for start, pitch, end in zip(piece.played.start, piece.played.pitch, piece.played.end, strict=True)
    }
    assert lasting == {
        **{(0, 72): 4, (0, 67): 12, (0, 64): 4, (0, 48): 4},
        **{(4, 74): 8, (4, 65): 8, (4, 43): 8},
        **{(12, 72): 4, (12, 64): 4, (12, 48): 4},
    }
    (passage,) = prepared([piece], Figures())
    assert passage.score.tempi == (v.tempo_step(sets.CHORALE_BPM),) * passage.score.bars


def test_passages_are_kept_in_one_file(area: Path, tmp_path: Path) -> None:
    passages = [p for name in ("pop909", "emopia", "jsb") for p in prepared(sets.SETS[name](area), Figures())]
    save(passages, tmp_path / "all.npz")
    assert load(tmp_path / "all.npz") == passages
    save([], tmp_path / "none.npz")
    assert load(tmp_path / "none.npz") == []


def test_no_data_says_where_to_get_it(area: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOODMESH_DATA", raising=False)
    with pytest.raises(DataMissing, match="MOODMESH_DATA"):
        sets.data_dir()
    assert sets.data_dir(str(area)) == area
    for name in ("vgmidi", "jsb"):
        with pytest.raises(DataMissing, match="not there"):
            list(sets.SETS[name](area / "elsewhere"))


def test_drums_take_no_part_in_the_key() -> None:
    noise = tidy([*scale().notes, *(Note(n, v.DRUMS, 37, 9, 16) for n in range(0, 128, 16))], scale().tempi)
    assert key(noise) == key(scale())
    assert normalised(noise)[0] == noise


@pytest.fixture(scope="module")
def published() -> Path:
    try:
        return sets.data_dir()
    except DataMissing:
        pytest.skip(NO_DATA)


def counted(data: bytes) -> int:
    """Notes of a file as mido has them, of the range of a piano."""
    events = [m for part in mido.MidiFile(file=io.BytesIO(data), clip=True).tracks for m in part]
    return sum(m.type == "note_on" and m.velocity > 0 and v.LOWEST <= m.note <= v.HIGHEST for m in events)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("name", "pieces_kept", "notes_kept"),
    [("pop909", 0.9, 0.85), ("emopia", 0.7, 0.65), ("giantmidi", 0.4, 0.1), ("vgmidi", 0.95, 0.9), ("jsb", 1.0, 0.99)],
)
def test_every_training_set_is_on_the_grid(published: Path, name: str, pieces_kept: float, notes_kept: float) -> None:
    figures = Figures()
    passages = list(prepared(sets.SETS[name](published), figures))
    written = sum(len(p.score.notes) for p in passages)
    print(name, len(passages), figures, f"{figures.tokens_of_20_bars:.0f} tokens in 20 bars, {written} notes in scores")
    assert figures.error_kept < 0.06
    assert figures.pieces_kept >= pieces_kept * figures.pieces
    assert notes_kept * figures.notes <= figures.notes_kept <= figures.notes
    assert written >= 0.95 * figures.notes_kept  # the rest doubles another note
    assert 50 < np.median(figures.tempi) < 200


@pytest.mark.slow
@pytest.mark.parametrize("name", ["pop909", "emopia", "giantmidi", "vgmidi"])
def test_another_reader_counts_the_same_notes(published: Path, name: str) -> None:
    folder = published / "music" / name
    ours = {piece.name: len(piece.played.start) for piece in sets.SETS[name](published)}
    with tarfile.open(folder / "midi.tar.xz") as archived:
        files = [entry for entry in archived if entry.name.endswith(".mid")][:: max(1, len(ours) // 25)]
        theirs = {Path(entry.name).stem: counted(file.read()) for entry in files if (file := archived.extractfile(entry))}
    assert len(theirs) >= 20
    both = [(ours[stem], count) for stem, count in theirs.items() if stem in ours]
    assert sum(mine for mine, _ in both) == pytest.approx(sum(count for _, count in both), rel=0.01)
