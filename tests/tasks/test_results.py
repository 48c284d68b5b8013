"""`results emotion.text` on made-up data: it names what is missing, fills its cache, writes a true table, and checks it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from moodmesh.tasks.emotion.text import results, ship, train
from moodmesh.tasks.emotion.text.predictions import Predicted

from . import research


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("place")
    research.area(root / "data")
    research.recipes(root / "recipes")
    research.tokenizer(root / "tokenizer.json")
    return root


@pytest.fixture(autouse=True)
def small_encoder(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(train.Encoder, "installed", lambda: train.Encoder(None, place / "tokenizer.json"))
    torch.set_num_threads(1)


def run(place: Path, *more: str) -> int:
    folders = ("--data", place / "data", "--configs", place / "recipes", "--out", place / "out", "--work", place / "work")
    return results.main([*map(str, folders), *more])


def table(place: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((place / "out" / "emotion.text.json").read_text())
    return found


def test_without_data_it_cannot_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main(["--data", str(tmp_path)]) == 1
    assert "cannot run: no research data" in capsys.readouterr().err


def test_without_predictions_it_names_the_command(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place) == 1
    assert "--retrain" in capsys.readouterr().err
    assert not (place / "out" / "emotion.text.json").exists()


def test_a_partial_table_says_what_is_absent_and_a_quick_one_is_not_kept(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "--partial", "--quick", "--json") == 0
    text = capsys.readouterr().out
    made = json.loads(text.strip().splitlines()[-1])
    assert made["quick"]
    assert "Not in this table: no cached predictions ridge" in text
    assert made["summary"]["floor"] is None
    assert not list((place / "out").glob("emotion.text*.json"))


def test_retrain_fills_the_table_and_a_second_run_needs_no_training(
    place: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(place, "--retrain") == 0
    made = table(place)
    systems = {(row["system"], row["variant"], row["part"]) for row in made["rows"]}
    assert {(name, part) for name, _, part in systems} >= {
        (name, part) for name in ("mean", "length", "ridge", "tiny", "base") for part in ("dev", "cv")
    }
    for row in made["rows"]:
        assert row["ci95"][0] <= row["ci95"][1]
        assert row["n"] == (65 if row["part"] == "dev" else 261)
    valence = {(row["system"], row["part"]): row["mean"] for row in made["rows"] if row["metric"] == "r" and row["axis"] == "V"}
    assert valence["ridge", "cv"] > 0.7
    assert valence["base", "cv"] > 0.5
    assert abs(valence["mean", "dev"]) < 0.01
    assert abs(made["controls"]["shuffle_r"]["mean"]["V"]) < 0.35
    assert made["controls"]["canary_r_gain"]["mean"]["V"] < 0.05
    assert made["sealed_scorings"] == 2
    assert "| cv | base (fp32, single runs) |" in (place / "out" / "emotion.text.md").read_text()

    monkeypatch.setattr(train, "train_stage2", lambda *_: pytest.fail("trained again"))
    capsys.readouterr()
    assert run(place, "--check", "--json") == 0
    last = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert last["summary"] == made["summary"]
    assert last["failed"] == []
    run(place, "--check", "--quick")
    assert "cannot run" not in capsys.readouterr().err


def test_check_fails_when_a_mean_leaves_its_interval(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    stored = table(place)
    stored["rows"][-1]["ci95"] = [0.9, 0.95]
    file = place / "out" / "emotion.text.json"
    before = file.read_text()
    file.write_text(json.dumps(stored))
    assert run(place, "--check") == 1
    assert "outside its stored interval" in capsys.readouterr().err
    file.write_text(before)


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the exporter's own, from copyreg
def test_ship_writes_a_gated_file_and_its_card(place: Path, tmp_path: Path) -> None:
    from moodmesh.tasks import ModelStore, load_cards
    from moodmesh.tasks.emotion.text import CARDS, data
    from moodmesh.tasks.emotion.text.bench import open_bench
    from moodmesh.tasks.models import save_cards

    bench = open_bench(place / "data", place / "recipes", place / "out")
    (tmp_path / "weights").mkdir()
    file = tmp_path / "weights" / "emotion-text-base.onnx"
    r = ship.build(bench, place / "work", train.Encoder.installed(), file)
    card = ship.card_of(file, r)
    save_cards(CARDS | {card.name: card}, tmp_path / "models.toml")
    read = load_cards(tmp_path / "models.toml")
    assert read[card.name] == card
    assert read["emotion-text-tiny"] == CARDS["emotion-text-tiny"]
    assert ModelStore(tmp_path / "models").path(read[card.name]) == file

    held = data.dev_split(bench.rows).held
    truth = Predicted(results.baselines.vad(held), results.baselines.vad(held))
    with pytest.raises(ship.GateFailed, match="outside"):
        ship.gate(Predicted(-truth.mean, truth.sd), truth, held)
