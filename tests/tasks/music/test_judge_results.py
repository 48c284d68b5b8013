"""How judges are measured: by hand on small numbers; on the research data (slow) floor, shipped weights and gate."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.judge import CARDS, export, fit, gates, measures, negatives, rich, ship
from moodmesh.tasks.music.judge.controls import MOODS, atonal, in_key
from moodmesh.tasks.music.judge.labelled import Labelled, labelled, published
from moodmesh.tasks.music.judge.results import check, gate_rows, main
from moodmesh.tasks.music.judge.runner import FIGURES, Judge
from moodmesh.tasks.music.rules.attributes import wanted
from moodmesh.tasks.music.rules.compose import compose

ROOT = Path(__file__).parents[3]


def pieces(count: int = 40) -> Labelled:
    """Pieces by rule of known mood, two of a group."""
    scores = tuple(compose(wanted(0.8 * MOODS[n % 4][0], 0.8 * MOODS[n % 4][1]), 8, n) for n in range(count))
    high = np.array([(MOODS[n % 4][1] > 0, MOODS[n % 4][0] > 0) for n in range(count)], np.int64)
    return Labelled(tuple(f"p{n}" for n in range(count)), tuple(f"g{n // 2}" for n in range(count)), high, scores)


def test_measures_by_hand() -> None:
    high = np.array([[1, 1], [1, 0], [0, 0], [0, 1]])
    chances = np.array([[0.9, 0.8], [0.9, 0.6], [0.2, 0.1], [0.6, 0.9]])
    assert measures.right(chances, high).mean(0) == pytest.approx([0.5, 0.75, 0.75])
    assert measures.balanced(chances, high) == pytest.approx([0.75, 0.75])
    assert measures.confusion(chances, high).tolist() == [[1, 0, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0]]
    assert measures.macro_f1(chances, high)[1] == pytest.approx((2 * 2 / 5 + 2 * 1 / 3) / 2)
    sure = np.full((30, 2), 0.9)
    assert measures.calibration_error(sure, np.ones((30, 2), np.int64)) == pytest.approx([0.1, 0.1])


def test_interval_is_over_groups() -> None:
    correct = np.repeat(np.array([1.0, 0.0]), 50)[:, None] * np.ones((1, 3))
    by_row = measures.interval(measures.drawn(correct, [str(n) for n in range(100)]))
    by_song = measures.interval(measures.drawn(correct, ["a"] * 50 + ["b"] * 50))
    assert by_row[0, 1] - by_row[0, 0] < 0.25
    assert by_song[0].tolist() == [0.0, 1.0]


def test_folds_cut_no_group_and_hold_every_row_once() -> None:
    groups = [f"g{n // 3}" for n in range(60)]
    for seed in range(3):
        found = fit.folds(groups, seed)
        assert sorted(row for _, held in found for row in held.tolist()) == list(range(60))
        for train, held in found:
            assert not {groups[row] for row in train} & {groups[row] for row in held}
    assert fit.folds(groups, 0)[0][1].tolist() != fit.folds(groups, 1)[0][1].tolist()


@pytest.mark.parametrize(("variant", "way"), [("tiny", fit.FLOOR), ("base", fit.BOTH)])
def test_exported_judge_says_what_was_fitted(variant: str, way: fit.Candidate, tmp_path: Path) -> None:
    rows = pieces()
    x = rows.vectors(FIGURES[variant])
    export.save(way.fit(x, rows.high), tmp_path / "judge.onnx")
    judge = Judge(tmp_path / "judge.onnx", variant)
    said = np.array([judge.chances(score) for score in rows.scores])
    assert said == pytest.approx(way.predict(x, rows.high, x), abs=1e-4)
    assert measures.right(said, rows.high)[:, 1].mean() > 0.9


@pytest.mark.slow
def test_labels_in_no_order_cannot_be_learned() -> None:
    rows = pieces(80)
    x = rows.vectors(FIGURES["tiny"])
    mixed = np.random.default_rng(0).permutation(rows.high)
    right = measures.right(fit.out_of_fold(fit.FLOOR, x, mixed, rows.groups, 0), mixed).mean(0)
    assert right[0] < 0.45
    assert measures.right(fit.out_of_fold(fit.FLOOR, x, rows.high, rows.groups, 0), rows.high).mean(0)[0] > 0.8


def test_share_that_passes_needs_all_three() -> None:
    flags = np.array([[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0]], np.float16)
    found = {row["what"]: row for row in gate_rows({"real/a": flags, "judged/x/y": flags})}
    assert set(found) == {"real/a", "real/all"}
    assert (found["real/a"]["passes"], found["real/a"]["real"]) == (0.25, 0.75)


def test_figure_outside_its_interval_is_told() -> None:
    row = {"part": "half", "system": "base", "metric": "4Q", "mean": 0.7, "ci95": [0.6, 0.8]}
    assert not check({"rows": [row]}, {"rows": [row | {"mean": 0.79}]})
    assert check({"rows": [row]}, {"rows": [row | {"mean": 0.81}]})


def test_without_data_the_command_cannot_run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOODMESH_DATA", raising=False)
    assert main([]) == 1
    assert "cannot run" in capsys.readouterr().err


def test_missing_predictions_name_the_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from moodmesh.tasks.music.judge import results

    for name in ("emopia", "vgmidi", "pop909", "giantmidi"):
        (tmp_path / "music" / name).mkdir(parents=True)
        (tmp_path / "music" / name / "index.csv").write_text("file\n")
    monkeypatch.setattr(results.Bench, "labels", lambda self: {})
    assert main(["--data", str(tmp_path), "--out", str(tmp_path), "--configs", str(ROOT / "configs" / "training")]) == 1
    assert "--retrain" in capsys.readouterr().err


def test_stored_table_says_of_the_shipped_judges_what_their_cards_say() -> None:
    table = json.loads((ROOT / "docs/results/music.judge.json").read_text())
    for variant in ("tiny", "base"):
        assert table["models"][f"music-judge-{variant}"] == CARDS[f"music-judge-{variant}"].sha256
        assert table["summary"][variant] == pytest.approx(CARDS[f"music-judge-{variant}"].figures, abs=0.002)


HAVE_DATA = Path(os.environ.get("MOODMESH_DATA") or "-", "music/emopia").is_dir()
needs_data = pytest.mark.skipif(not HAVE_DATA, reason="no music data: MOODMESH_DATA names no folder that holds it")


@pytest.fixture(scope="module")
def data() -> tuple[Path, Path]:
    return Path(os.environ["MOODMESH_DATA"]), Path(os.environ.get("MOODMESH_MUSIC_CACHE", ".cache/music"))


@pytest.mark.slow
@needs_data
@pytest.mark.timeout(900)
def test_floor_and_goal_on_all_clips(data: tuple[Path, Path]) -> None:
    rows = labelled(data[0], "emopia", data[1])
    assert len(rows.names) == 990
    for x, floor in (
        (published(data[0], rows.names), (0.686, 0.903, 0.750)),
        (rows.vectors(FIGURES["tiny"]), (0.68, 0.90, 0.75)),
    ):
        runs = [fit.out_of_fold(fit.FLOOR, x, rows.high, rows.groups, seed) for seed in range(5)]
        assert measures.mean_right(runs, rows.high) == pytest.approx(floor, abs=0.02)
    x = rows.vectors(rich.features)
    best = measures.mean_right([fit.out_of_fold(fit.BOTH, x, rows.high, rows.groups, seed) for seed in range(5)], rows.high)
    assert (best > (0.715, 0.89, 0.79)).all()


@pytest.mark.slow
@needs_data
@pytest.mark.timeout(900)
def test_shipped_judges_are_those_of_their_half(data: tuple[Path, Path]) -> None:
    rows = ship.judges_half(data[0], data[1], ROOT / "configs")
    roles = split.load(ROOT / "configs")["emopia"]
    assert {roles[group] for group in rows.groups} == {"judge"}
    for variant, way in ship.WAYS.items():
        shipped = Judge(ship.HERE / "weights" / CARDS[f"music-judge-{variant}"].file, variant)
        x = rows.vectors(FIGURES[variant])
        again = way.predict(x, rows.high, x)
        assert np.array([shipped.chances(score) for score in rows.scores]) == pytest.approx(again, abs=1e-3)


@pytest.mark.slow
@needs_data
@pytest.mark.timeout(900)
def test_gates_of_real_music_share_nothing_and_stop_random_notes(data: tuple[Path, Path]) -> None:
    args = (*data, ROOT / "configs")
    given, train, dev = (gates.pieces(*args, roles) for roles in (("judge", "held"), ("train",), ("dev",)))
    ours = {(name, one.group) for name, found in given.items() for one in found}
    theirs = {(name, one.group) for part in (train, dev) for name, found in part.items() for one in found}
    assert not ours & theirs
    markov = negatives.reference([one for found in train.values() for one in found])
    usual = gates.usual(train)
    for made in (gates.evaluation(given, 8, markov), gates.selector(train, dev, 8, markov)):
        for control in (in_key(usual), atonal(usual)):
            assert np.mean([made.passes(control(MOODS[seed % 4], 8, seed)) for seed in range(40)]) < 0.3
    real = gates.cut(dev, 8)
    made = gates.evaluation(given, 8, markov)
    assert np.mean([made.passes(score) for _, _, score in real if score.notes]) > 0.5
