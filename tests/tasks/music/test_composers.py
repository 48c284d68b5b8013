"""Training of the composers: what they are shown, what the mixture computes, and runs that are stopped and go on."""

from __future__ import annotations

import json
from collections import Counter
from contextlib import nullcontext
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import Categorical, Normal, kl_divergence

from moodmesh.tasks.music.corpus import split
from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.model import train
from moodmesh.tasks.music.model.conditioned import ByAttributes, Unconditional
from moodmesh.tasks.music.model.decoder import SIZES, Decoder, Size, rotated, rotation, token_loss
from moodmesh.tasks.music.model.examples import PLACES, Source, Window, Windows, sources, varied, window
from moodmesh.tasks.music.model.gmvae import GMVAE, Weights, alarms
from moodmesh.tasks.music.model.gmvae import Windows as Batch
from moodmesh.tasks.music.model.recipe import Recipe, load_recipe
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import Key, minorness
from moodmesh.tasks.music.notation.score import excerpt
from moodmesh.tasks.music.notation.tokens import decode, encode
from moodmesh.tasks.music.rules.attributes import DESCRIBED, described, heard, parted, wanted
from moodmesh.tasks.music.rules.compose import compose

SMALL = Size(layers=2, width=64, kv_heads=1)
RECIPE = Recipe("test", "attributes", "small", ("made",), tokens=6 * 2 * 256, length=256, batch=2, muon=True)


@pytest.fixture(autouse=True)
def sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SIZES, "small", SMALL)
    monkeypatch.setattr(train, "DEV_WINDOWS", 4)


@cache
def pieces() -> tuple[Source, ...]:
    """Two by rule in each of two moods."""
    moods = [(0.6, 0.6), (-0.6, -0.6)]
    return tuple(
        Source(compose(wanted(*mood), 24, seed), mood[0] < 0, True, f"{mood}{seed}", (int(np.sign(mood[0])),) * 2)
        for mood in moods
        for seed in (1, 2)
    )


def given(labelled: bool = False) -> train.Material:
    known = Windows(pieces(), 1) if labelled else None
    return train.Material(Windows([replace(one, mood=None) for one in pieces()], 0), Windows(pieces(), 0, vary=False), known)


# What they are shown


def test_a_window_is_the_same_each_time_and_whole_bars_that_decode() -> None:
    windows = Windows(pieces(), 3)
    for number in range(30):
        one, again = windows.draw(number, 300), windows.draw(number, 300)
        assert np.array_equal(one.tokens, again.tokens)
        assert np.array_equal(one.told, again.told)
        assert one.tokens[0] == v.BAR_LINE
        score = decode(one.tokens.tolist())
        ended = v.EOS in one.tokens
        assert encode(score)[: -1 if not ended else None] == one.tokens[one.tokens != v.PAD].tolist()
    assert not np.array_equal(windows.draw(0, 300).tokens, Windows(pieces(), 4).draw(0, 300).tokens)


def test_the_end_of_a_piece_is_shown_as_such_and_only_there() -> None:
    windows = Windows([pieces()[0]], 0, vary=False)
    drawn = [windows.draw(number, 400) for number in range(40)]
    last = encode(pieces()[0].score)[-20:]
    for one in drawn:
        ended = one.tokens[one.tokens != v.PAD][-20:].tolist() == last
        assert (v.EOS in one.tokens) == ended == bool((one.told[:, -1] == 1).any())
    assert 0 < sum(v.EOS in one.tokens for one in drawn) < len(drawn)


def test_a_description_tells_what_is_heard_in_its_span() -> None:
    source = pieces()[0]
    made = window(source, 1024, 4)
    assert made.spans.max() < PLACES
    first = decode(made.tokens[made.spans == 0].tolist())
    assert first.bars == 4
    assert made.told[0].tolist() == pytest.approx(described(heard(first), 4, False, minorness(first)), abs=1e-5)
    assert made.polyphony.sum() == pytest.approx(1)


def test_the_bars_that_close_a_piece_have_a_description_of_their_own() -> None:
    assert parted(20, 8, closing=False) == [0, 8, 16]
    assert parted(20, 8, closing=True) == [0, 8, 16, 18]
    assert parted(18, 8, closing=True) == [0, 8, 16]
    assert [parted(bars, 8, closing=True) for bars in (1, 2, 3)] == [[0], [0], [0, 1]]
    score = pieces()[0].score
    made = window(replace(pieces()[0], score=excerpt(score, 12, 24)), 1024, 4)
    assert [row[-1] for row in made.told.tolist()] == [0, 0, 0, 1, *[0] * (PLACES - 4)]
    last = decode(made.tokens[(made.spans == 3) & (made.tokens != v.PAD)].tolist())
    assert last.bars == 2
    assert made.told[3].tolist() == pytest.approx(described(heard(last), 2, True, minorness(last)), abs=1e-5)


def test_a_varied_piece_keeps_its_pitches_and_bars() -> None:
    score, tempi, loud = pieces()[0].score, set[int](), set[int]()
    for seed in range(20):
        other = varied(score, np.random.default_rng(seed))
        assert [note[:3] for note in other.notes] == [note[:3] for note in score.notes]
        tempi.add(other.tempi[0])
        loud.add(other.notes[0].velocity)
    assert len(tempi) > 5
    assert len(loud) > 5


def test_labels_are_used_in_their_share_by_song_and_scrambled_on_demand() -> None:
    found = [replace(pieces()[0], song=str(n // 2), mood=(1 if n % 4 < 2 else -1, -1)) for n in range(80)]
    half = train.labelled(found, replace(RECIPE, labels=0.5))
    assert [one.song for one in half] == [one.song for one in found], "the music stays, only labels go"
    assert len({one.song for one in half if one.mood}) == 20
    assert all(one.mood in (None, other.mood) for one, other in zip(half, found, strict=True))
    assert Counter(one.mood for one in half) == {(1, -1): 20, (-1, -1): 20, None: 40}
    assert train.labelled(found, replace(RECIPE, labels=0.5, scrambled=True)) != half
    mixed = train.labelled(found, replace(RECIPE, scrambled=True))
    assert sorted(one.mood or (0, 0) for one in mixed) == sorted(one.mood or (0, 0) for one in found)
    assert 0.3 < np.mean([one.mood == other.mood for one, other in zip(mixed, found, strict=True)]) < 0.7


def test_only_a_passage_that_ends_its_file_ends_a_piece() -> None:
    score = pieces()[0].score
    found = [Passage("p", "train", "g", None, 0, score, Key(0, False), 0.0, ends) for ends in (False, True, False)]
    assert [one.ends for one in sources(found, whole=True)] == [False, True, False]
    assert [one.ends for one in sources(found, whole=False)] == [False] * 3


# The decoder


def test_the_decoder_sees_no_later_token_and_the_place_matters() -> None:
    decoder = Decoder(SMALL).eval()
    tokens, memory = torch.randint(2, v.SIZE, (1, 40)), torch.randn(1, 2, SMALL.width)
    other = tokens.clone()
    other[0, 30:] = 5
    with torch.no_grad():
        one, two = decoder(tokens, memory), decoder(other, memory)
        assert torch.allclose(one[0, :30], two[0, :30], atol=1e-5)
        assert not torch.allclose(one[0, 31], two[0, 31], atol=1e-3)
        moved = decoder(tokens[:, [1, 0, *range(2, 40)]], memory)
    assert not torch.allclose(one[0, 39], moved[0, 39], atol=1e-6)


def test_rotation_tells_how_far_apart_two_places_are_and_nothing_else() -> None:
    q, k = torch.randn(1, 1, 1, 64), torch.randn(1, 1, 1, 64)
    cos, sin = rotation(50)

    def product(at: int, other: int) -> float:
        turned = rotated(q, cos[at : at + 1], sin[at : at + 1]), rotated(k, cos[other : other + 1], sin[other : other + 1])
        return float((turned[0] * turned[1]).sum())

    assert product(3, 10) == pytest.approx(product(30, 37), abs=1e-4)
    assert product(3, 10) != pytest.approx(product(3, 12), abs=1e-3)


def test_padding_does_not_count() -> None:
    logits, tokens = torch.randn(1, 8, v.SIZE), torch.tensor([[2, 30, 4, 100, 0, 0, 0, 0]])
    assert token_loss(logits, tokens).item() == pytest.approx(token_loss(logits[:, :4], tokens[:, :4]).item(), abs=1e-5)


def test_a_token_reads_the_description_of_its_own_span() -> None:
    model = ByAttributes(SMALL).eval()
    tokens, told = torch.randint(2, v.SIZE, (1, 20)), torch.randn(1, PLACES, DESCRIBED)
    spans = torch.tensor([[0] * 10 + [1] * 10])
    changed = told.clone()
    changed[0, 1] += 3
    unread = told.clone()
    unread[0, 2:] += 3
    with torch.no_grad():
        whole, first = model(tokens, spans, told).item(), model(tokens[:, :11], spans[:, :11], told).item()
        assert model(tokens, spans, unread).item() == whole
        assert model(tokens[:, :11], spans[:, :11], changed).item() == pytest.approx(first)
        assert model(tokens, spans, changed).item() != whole


# The mixture


def mixture(**changed: float) -> GMVAE:
    torch.manual_seed(1)
    return GMVAE(SMALL, Weights(latent=8, **changed))


def some(count: int = 6, known: bool = True) -> Batch:
    windows = Windows(pieces(), 0)
    drawn = [windows.draw(number, 200) for number in range(count)]
    mood = torch.tensor([[(m + 1) // 2 for m in (one.mood or (1, 1))[::-1]] for one in drawn])
    tokens = torch.from_numpy(np.stack([one.tokens for one in drawn]))
    polyphony = torch.from_numpy(np.stack([one.polyphony for one in drawn]))
    return Batch(tokens, polyphony, torch.tensor([int(one.minor) for one in drawn]), mood if known else mood * 0 - 1)


def test_the_divergence_is_that_of_the_library() -> None:
    model = mixture()
    model.log_vars.data = torch.randn(2, 2, 8) * 0.5
    mean, log_var = torch.randn(3, 2, 8), torch.randn(3, 2, 8) * 0.5
    found = model.divergence(mean, log_var)
    for axis in range(2):
        for k in range(2):
            right = kl_divergence(
                Normal(mean[:, axis], (0.5 * log_var[:, axis]).exp()),
                Normal(model.means[axis, k], (0.5 * model.log_vars[axis, k]).exp()),
            )
            assert torch.allclose(found[:, axis, k], right, atol=1e-5)


def test_the_posterior_is_bayes_rule_and_finds_the_component() -> None:
    model = mixture()
    z = model.means[:, 1].detach()[None]
    y = model.posterior(z).exp()
    assert torch.allclose(y.sum(-1), torch.ones(1, 2))
    assert (y[..., 1] > 0.99).all()
    middle = model.means.mean(1).detach()[None]
    assert torch.allclose(model.posterior(middle).exp(), torch.full((1, 2, 2), 0.5), atol=1e-5)
    assert model.distance().tolist() == pytest.approx([4, 4], abs=1e-4)


def test_labels_and_their_absence_both_count() -> None:
    model = mixture()
    known, unknown = model.terms(some()), model.terms(some(known=False))
    assert known["label"].item() > 0
    assert unknown["label"].item() == 0
    assert known["kl"].item() != pytest.approx(unknown["kl"].item(), rel=1e-3)


def test_the_divergence_of_an_unlabelled_window_is_that_of_its_mixture() -> None:
    model, batch = mixture(free=0.0), some(known=False)
    torch.manual_seed(5)
    terms = model.terms(batch)
    torch.manual_seed(5)
    mean, log_var = model.encode(batch.tokens)
    y = Categorical(logits=model.posterior(mean + (0.5 * log_var).exp() * torch.randn_like(mean)))
    of_class = kl_divergence(y, Categorical(probs=torch.full_like(y.probs, 0.5)))
    right = ((y.probs[..., None] * model.divergence(mean, log_var)).sum((2, 3)) + of_class).sum(1).mean()
    assert of_class.mean() > 0.01
    assert terms["kl"].item() == terms["kl_free"].item() == pytest.approx(right.item(), rel=1e-5)


def test_features_are_learnt_from_their_own_latent_and_unlearnt_from_the_other() -> None:
    for term, sign in (("feature", -1), ("adversary", 1)):
        model = mixture()
        optimiser = torch.optim.SGD(
            [p for name, p in model.named_parameters() if not name.startswith(("features", "adv"))], 0.05
        )
        batch, found = some(), list[float]()
        for _ in range(12):
            torch.manual_seed(3)
            loss = model.terms(batch)[term]
            found.append(loss.item())
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            optimiser.zero_grad()
        assert sign * (found[-1] - found[0]) > 0.01, (term, found)


def test_free_bits_and_separation_hold_the_components_up() -> None:
    model = mixture(free=0.5)
    mean, log_var = model.encode(some().tokens)
    terms = model.terms(some())
    assert terms["kl_free"] >= 0.5 * 2 * 8
    model.means.data *= 0.1
    assert model.terms(some())["separation"].item() == pytest.approx(2 * 3.6, abs=0.05)
    assert mean.shape == log_var.shape == (6, 2, 8)


def test_alarms_tell_a_collapsed_model() -> None:
    model, batch = mixture(), some()
    healthy = alarms(model, [batch])
    for head in (*model.mean, *model.log_var):
        head.weight.data *= 0  # type: ignore[union-attr, operator]
        head.bias.data *= 0  # type: ignore[union-attr, operator]
    model.means.data *= 0
    model.log_vars.data *= 0
    found = alarms(model, [batch])
    assert found["active"] == 0
    assert found["kl_dim"] == pytest.approx(0, abs=1e-6)
    assert found["entropy"] == pytest.approx(np.log(2), abs=1e-4)
    assert found["distance_poly"] == found["distance_mode"] == 0
    assert healthy["distance_poly"] == pytest.approx(4, abs=1e-4)


# The runs


def losses(run: train.Run, steps: int, material: train.Material) -> list[float]:
    return [run.train(material) for _ in range(steps)]


@pytest.mark.parametrize("kind", ["attributes", "unconditional", "gmvae"])
def test_every_kind_learns(tmp_path: Path, kind: str) -> None:
    recipe = replace(RECIPE, kind=kind, tokens=30 * 2 * 256, weights=Weights(latent=8))
    run = train.Run(recipe, tmp_path, compiled=False)
    found = losses(run, 30, given(labelled=kind == "gmvae"))
    assert np.mean(found[-5:]) < np.mean(found[:3]) - 0.7
    assert run.dev(given().dev)["dev"] < 6.5


@pytest.mark.parametrize("kind", ["attributes", "gmvae"])
def test_a_stopped_run_goes_on_as_if_it_had_not(tmp_path: Path, kind: str) -> None:
    recipe = replace(RECIPE, kind=kind, weights=Weights(latent=8), dropout=0.1, token_drop=0.2, labelled_every=2)
    material = given(labelled=kind == "gmvae")
    whole = train.Run(recipe, tmp_path / "whole", compiled=False)
    all_of_it = losses(whole, 6, material)
    first = train.Run(recipe, tmp_path / "cut", compiled=False)
    begun = losses(first, 3, material)
    first.save()
    second = train.Run(recipe, tmp_path / "cut", compiled=False)
    second.resume()
    assert second.step == 3
    assert begun + losses(second, 3, material) == pytest.approx(all_of_it, abs=1e-4)


class Counted(Windows):
    """Windows that know at which steps they were asked."""

    def __init__(self, run: train.Run, seed: int) -> None:
        super().__init__(pieces(), seed)
        self.run, self.steps = run, set[int]()

    def draw(self, number: int, length: int) -> Window:
        self.steps.add(self.run.step)
        return super().draw(number, length)


def test_every_so_many_batches_have_labels(tmp_path: Path) -> None:
    recipe = replace(RECIPE, kind="gmvae", tokens=8 * 2 * 256, weights=Weights(latent=8), labelled_every=3)
    run = train.Run(recipe, tmp_path, compiled=False)
    rest, known = Counted(run, 0), Counted(run, 1)
    losses(run, 8, train.Material(rest, rest, known))
    assert known.steps == {0, 3, 6}
    assert rest.steps == {1, 2, 4, 5, 7}


def test_what_has_no_label_in_a_recipe_has_none_in_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All passages are labelled here: a batch of those that are not to be is as if they never were."""
    moods = ((1, 1), (-1, 1), (-1, -1), (1, -1))
    held = [
        Passage(f"p{n}", "train", f"song{n}", moods[n % 4], 0, pieces()[n % 4].score, Key(0, False), 0.0, ends=True)
        for n in range(40)
    ]
    monkeypatch.setattr(train, "passages", lambda root, name, cache: held)
    roles: split.Split = {"made": {f"song{n}": "dev" if n > 35 else "train" for n in range(40)}}
    for share, songs in ((1.0, 9), (0.25, 2), (0.01, 1)):
        recipe = replace(RECIPE, kind="gmvae", labels=share)
        found = train.material(recipe, tmp_path, tmp_path, roles)
        assert found.labelled is not None
        assert all(found.train.draw(number, 200).mood is None for number in range(20))
        heard = {found.labelled.draw(number, 200).mood for number in range(200)}
        assert heard == (set(moods) if share == 1 else {None, *moods})
        known = train.labelled(sources(held[:36], whole=True), recipe)
        assert Counter(one.mood for one in known if one.mood) == dict.fromkeys(moods, songs)
        assert len(known) == 36
        as_played = Windows(known, recipe.seed + 1, vary=False)  # a label is of a clip as it was
        drawn = [[of.draw(number, 200).tokens.tolist() for number in range(20)] for of in (found.labelled, as_played)]
        assert drawn[0] == drawn[1]


def test_no_window_is_drawn_twice() -> None:
    for short in (0.0, 0.33, 1.0):
        recipe = replace(RECIPE, tokens=50 * 2 * 256, short=short)
        for step in range(50):
            assert recipe.first(step + 1) == recipe.first(step) + recipe.batch * (1 + recipe.halved(step))


def test_a_batch_in_parts_is_one_step(tmp_path: Path) -> None:
    runs = [train.Run(replace(RECIPE, batch=4, accumulate=parts), tmp_path / str(parts), compiled=False) for parts in (1, 4)]
    (whole,), (parted,) = (losses(run, 1, given()) for run in runs)
    assert parted == pytest.approx(whole, rel=0.02)  # windows weigh the same, whatever they hold
    moved = [torch.cat([value.flatten() for value in run.model.parameters()]) for run in runs]
    before = torch.cat([value.flatten() for value in train.composer(RECIPE).parameters()])
    assert torch.cosine_similarity(moved[0] - before, moved[1] - before, dim=0) > 0.8
    assert [run.step for run in runs] == [1, 1]


def test_dev_of_a_mixture_is_the_same_whenever_it_is_asked(tmp_path: Path) -> None:
    recipe = replace(RECIPE, kind="gmvae", tokens=1000 * 2 * 256, weights=Weights(latent=8))
    run = train.Run(recipe, tmp_path, compiled=False)
    first = run.dev(given().dev)
    torch.manual_seed(77)
    run.step = 300  # where the KL has another weight in training
    assert run.dev(given().dev) == first
    w, terms = recipe.weights, first
    assert w.beta * terms["kl_free"] > 0.1
    run.model.weights = replace(w, beta=0.0)  # type: ignore[assignment]
    assert run.dev(given().dev)["dev"] < first["dev"]


@pytest.mark.parametrize("kind", ["attributes", "unconditional", "gmvae"])
def test_all_of_a_model_is_on_its_device(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the device `meta`, which computes nothing but refuses a tensor of another device as a GPU would."""
    monkeypatch.setattr(torch, "autocast", lambda device, kind: nullcontext())
    recipe = replace(RECIPE, kind=kind, weights=Weights(latent=8), dropout=0.1, token_drop=0.2)
    run = train.Run(recipe, tmp_path, compiled=False, device=torch.device("meta"))
    held = train.batch(Windows(pieces(), 0), range(2), 64)
    assert run._loss(held, 1.0).device.type == "meta"
    assert {value.device.type for value in run.model.parameters()} == {"meta"}


def test_tokens_are_dropped_in_training_alone() -> None:
    torch.manual_seed(1)
    model, batch = GMVAE(SMALL, Weights(latent=8), token_drop=0.5), some()
    seen = list[torch.Tensor]()
    model.decoder.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    model.terms(batch)
    model.eval().terms(batch)
    share = ((seen[0] == v.PAD) & (batch.tokens != v.PAD)).sum() / (batch.tokens != v.PAD).sum()
    assert 0.4 < share < 0.6
    assert torch.equal(seen[1], batch.tokens)


@pytest.mark.slow
def test_the_full_recipe_runs(tmp_path: Path) -> None:
    file = Path("configs/training/music-gmvae-full.toml")
    recipe = load_recipe(file, ["tokens = 12_800", "length = 128", "batch = 2", "accumulate = 2"])
    run = train.Run(recipe, tmp_path, compiled=False)
    assert recipe.steps == 50
    found = losses(run, 50, given(labelled=True))
    assert np.mean(found[-5:]) < np.mean(found[:5]) - 0.5


def test_a_checkpoint_of_another_recipe_is_refused(tmp_path: Path) -> None:
    train.Run(RECIPE, tmp_path, compiled=False).save()
    with pytest.raises(ValueError, match="another recipe"):
        train.Run(replace(RECIPE, rate=0.5), tmp_path, compiled=False).resume()


def test_work_ends_when_told_and_leaves_what_to_go_on_from(tmp_path: Path) -> None:
    run, said = train.Run(RECIPE, tmp_path, compiled=False), list[dict[str, object]]()
    train.work(run, given(), lambda: run.step >= 2, said.append)
    assert run.step == 2
    assert run.checkpoint.exists()
    train.work(run, given(), lambda: False, said.append)
    assert run.step == RECIPE.steps == 6
    assert json.dumps(said)
    assert "dev" in said[-1]
    assert (tmp_path / train.WEIGHTS).stat().st_size < 2.2 * sum(value.numel() for value in run.model.parameters())


def test_a_composer_begins_with_the_decoder_of_another(tmp_path: Path) -> None:
    trained = Unconditional(SMALL)
    train.save_weights(trained, tmp_path / "w.safetensors")
    model = GMVAE(SMALL, Weights(latent=8))
    kept = model.decoder.layers[0].memory.q.weight.clone()  # type: ignore[union-attr]
    train.begin_with(model, tmp_path / "w.safetensors")
    assert torch.allclose(model.decoder.embed.weight, trained.decoder.embed.weight, atol=1e-3)
    assert torch.equal(model.decoder.layers[0].memory.q.weight, kept)  # type: ignore[union-attr]


def test_the_rate_and_the_weight_of_the_divergence_follow_the_run() -> None:
    recipe = replace(RECIPE, tokens=1000 * 2 * 256, short=0.7)
    assert recipe.share(0) < 0.1
    assert recipe.share(300) == recipe.share(600) == 1
    assert recipe.share(999) < 0.01
    assert [recipe.warm(step) for step in (0, 199, 300, 399, 400)] == pytest.approx([0, 0, 1, 1, 0], abs=0.01)
    assert recipe.halved(699)
    assert not recipe.halved(700)


def test_the_recipes_in_the_configuration_are_read(tmp_path: Path) -> None:
    found = [load_recipe(file) for file in sorted(Path("configs/training").glob("music-*.toml"))]
    assert {one.name for one in found} >= {"music-attributes-tiny"}
    assert len({one.sha256 for one in found}) == len(found)
    (tmp_path / "r.toml").write_text('name = "a"\nkind = "attributes"\nsize = "tiny"\nsets = []\ntokens = 1\nspeed = 2\n')
    with pytest.raises(ValueError, match="speed"):
        load_recipe(tmp_path / "r.toml")
    file = Path("configs/training/music-gmvae-tiny.toml")
    changed = load_recipe(file, ["seed = 2", "labels = 0.05"])
    assert (changed.seed, changed.labels, changed.kind) == (2, 0.05, "gmvae")
    assert changed.sha256 != load_recipe(file).sha256
    with pytest.raises(ValueError, match="seeds"):
        load_recipe(file, ["seeds = 2"])
