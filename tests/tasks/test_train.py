"""Training in small: the splits are honest, 50 steps learn, and a run that was stopped ends as one that was not."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from moodmesh.tasks.emotion.text import data, ngrams, train, train_tiny
from moodmesh.tasks.emotion.text.export import load, save_fp32, save_int8
from moodmesh.tasks.emotion.text.recipe import Recipe, load_recipe
from moodmesh.tasks.emotion.text.runner import Base, Tiny
from moodmesh.tasks.research import DataMissing

from . import research


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def area(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return research.area(tmp_path_factory.mktemp("area"))


@pytest.fixture(scope="module")
def recipe(tmp_path_factory: pytest.TempPathFactory) -> Recipe:
    return load_recipe(research.recipes(tmp_path_factory.mktemp("recipes")) / "emotion-text-base.toml")


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> train.Encoder:
    return train.Encoder(None, research.tokenizer(tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"))


@pytest.fixture(scope="module")
def trained(area: Path, recipe: Recipe, encoder: train.Encoder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("trained")
    assert train.work(replace(recipe, folds=1), area, encoder, out, lambda line: None)
    return out


def test_splits_share_no_text_and_folds_no_document(area: Path) -> None:
    rows = data.emobank(area)
    dev = data.dev_split(rows)
    assert "twin" not in {row.id for row in dev.train}
    assert len(dev.held) == 65
    folds = data.document_folds(rows)
    assert sorted(row.id for fold in folds for row in fold.held) == sorted(row.id for row in rows)
    for split in [dev, *folds]:
        assert not {row.text.lower() for row in split.train} & {row.text.lower() for row in split.held}
    for fold in folds:
        assert not {row.document for row in fold.train} & {row.document for row in fold.held}
    assert len({split.sha256 for split in [dev, *folds]}) == 6
    assert dev.sha256 == data.dev_split(list(reversed(rows))).sha256


def test_ratings_are_mapped_to_the_scale_of_s1(area: Path) -> None:
    assert next(row for row in data.emobank(area) if row.id == "twin").vad == (0, 0, 0)


def test_no_data_says_where_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MOODMESH_DATA", raising=False)
    with pytest.raises(DataMissing, match="MOODMESH_DATA"):
        data.data_dir(None)
    with pytest.raises(DataMissing, match="EmoBank"):
        data.data_dir(str(tmp_path))


def test_fifty_steps_learn(trained: Path, area: Path, recipe: Recipe) -> None:
    held = np.load(train.unit_folder(recipe, trained, "dev-s0") / "held.npz")
    truth = np.array([row.vad for row in data.dev_split(data.emobank(area)).held])
    assert np.corrcoef(held["mean"][:, 0], truth[:, 0])[0, 1] > 0.5
    assert np.all(held["sd"] > 0)


def test_a_stopped_run_goes_on_as_if_it_had_not(
    area: Path, recipe: Recipe, encoder: train.Encoder, trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = data.dev_split(data.emobank(area))
    start = next(trained.glob("stage1-*")) / "model.safetensors"
    monkeypatch.setattr(train, "CHECKPOINT_EVERY", 20)

    def stop_at_40(line: str) -> None:
        if "step 40/" in line:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train.train_stage2(recipe, split, 0, start, encoder, tmp_path, stop_at_40)
    train.train_stage2(recipe, split, 0, start, encoder, tmp_path, lambda line: None)
    resumed = load_file(tmp_path / "model.safetensors")
    straight = load_file(train.unit_folder(recipe, trained, "dev-s0") / "model.safetensors")
    assert all(torch.equal(resumed[name], straight[name]) for name in straight)


def test_finished_and_claimed_units_are_left_alone(area: Path, recipe: Recipe, encoder: train.Encoder, trained: Path) -> None:
    lines: list[str] = []
    short = replace(recipe, folds=1)
    assert train.work(short, area, encoder, trained, lines.append)
    assert lines == []
    folder = train.unit_folder(recipe, trained, "fold0")
    (folder / "model.safetensors").rename(folder / "aside")
    try:
        with train.claimed(folder) as mine:
            assert mine
            assert not train.work(short, area, encoder, trained, lines.append)
        assert lines == []
    finally:
        (folder / "aside").rename(folder / "model.safetensors")


@pytest.mark.filterwarnings("ignore::FutureWarning")  # the exporter's own, from copyreg
def test_export_keeps_the_moods(area: Path, recipe: Recipe, encoder: train.Encoder, trained: Path, tmp_path: Path) -> None:
    files = [train.unit_folder(recipe, trained, f"dev-s{seed}") / "model.safetensors" for seed in (0, 1)]
    save_fp32(load(files, recipe.encoder), encoder.tokenizer, tmp_path / "fp32.onnx")
    save_int8(tmp_path / "fp32.onnx", tmp_path / "int8.onnx")
    dev = data.dev_split(data.emobank(area))
    model, scale = train.averaged(files, recipe.encoder)
    wanted = train.held_predictions(model, scale, dev, encoder, recipe.max_tokens)
    for name, tolerance in (("fp32", 1e-4), ("int8", 0.1)):
        scorer = Base(tmp_path / f"{name}.onnx")
        scored = [scorer.score(row.text) for row in dev.held]
        assert np.allclose(np.array([mean for mean, _ in scored]), wanted.mean, atol=tolerance)
        assert np.allclose(np.array([sd for _, sd in scored]), wanted.sd, rtol=20 * tolerance)


def test_tiny_learns_and_its_file_agrees(area: Path, tmp_path: Path) -> None:
    split = data.dev_split(data.emobank(area))
    model = train_tiny.train(train_tiny.TinyRecipe("t", (1.0, 3.0, 3.0)), split)
    mean, sd = model.predict([row.text for row in split.held])
    truth = np.array([row.vad for row in split.held])
    assert np.corrcoef(mean[:, 0], truth[:, 0])[0, 1] > 0.8
    train_tiny.save_onnx(model, tmp_path / "tiny.onnx")
    scorer = Tiny(tmp_path / "tiny.onnx")
    scored = [scorer.score(row.text) for row in split.held]
    assert np.allclose(np.array([pair[0] for pair in scored]), mean, atol=0.02)
    assert np.allclose(np.array([pair[1] for pair in scored]), sd, rtol=0.1)


def test_negation_reaches_to_the_next_mark() -> None:
    assert ngrams.tokens("I don't like it, but you do.") == ["i", "don't", "not_like", "not_it", ",", "but", "you", "do", "."]
    assert ngrams.tokens("Never say no") == ["never", "not_say", "not_no"]
    assert ngrams.counts("ha ha ha")[ngrams.bucket("wha")] == pytest.approx(1 + np.log(3))


def test_thread_probe_picks_a_candidate() -> None:
    before = torch.get_num_threads()
    try:
        assert train.probe_threads((1, 2), steps=1) == torch.get_num_threads()
    finally:
        torch.set_num_threads(before)


def test_a_wrong_encoder_is_named(recipe: Recipe, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from moodmesh.tasks.emotion.text.encoder import TextModel, load_bert

    save_file({"something": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="not a BERT encoder"):
        load_bert(TextModel(recipe.encoder), tmp_path / "other.safetensors")
