"""The table of generation: what is counted, copied and compared by hand; likelihoods and rows on a small random model."""

from __future__ import annotations

import csv
import json
import sys
from dataclasses import replace
from itertools import combinations, pairwise, product
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.corpus.split import Role
from moodmesh.tasks.music.generate.composers import Rules
from moodmesh.tasks.music.judge import gates
from moodmesh.tasks.music.judge.controls import jitter
from moodmesh.tasks.music.judge.markov import Markov
from moodmesh.tasks.music.judge.structure import NAMES
from moodmesh.tasks.music.model import decoder, graph, likelihood
from moodmesh.tasks.music.model.conditioned import ByAttributes, Unconditional
from moodmesh.tasks.music.model.decoder import token_loss
from moodmesh.tasks.music.model.examples import Source, window
from moodmesh.tasks.music.model.gmvae import GMVAE, Weights
from moodmesh.tasks.music.model.train import WEIGHTS, save_weights
from moodmesh.tasks.music.notation import midi
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import Key
from moodmesh.tasks.music.notation.score import Note, Score, joined, tidy, transpose
from moodmesh.tasks.music.notation.tokens import encode
from moodmesh.tasks.music.notation.vocabulary import tempo_step
from moodmesh.tasks.music.results import bench, compared, control, generation, habits, listening, picture, report, systems
from moodmesh.tasks.music.results.bench import HELD, JUDGED, Bench
from moodmesh.tasks.music.results.figures import Arrays, Ear
from moodmesh.tasks.music.results.grams import Known
from moodmesh.tasks.music.results.likelihoods import by_markov, surprise, ways
from moodmesh.tasks.music.results.real import Real
from moodmesh.tasks.music.results.runs import PLANNED, found
from moodmesh.tasks.music.results.systems import MOODS, OF_REAL, REAL, TABLE
from moodmesh.tasks.music.rules.attributes import heard, wanted
from moodmesh.tasks.music.rules.compose import compose
from moodmesh.tasks.tables import PredictionMissing

from .models import SMALL, small, steps

ATTRIBUTES = np.array([95, 2, 60, 70, 9, 0, 3, 5])
ROOT = Path(__file__).parents[3]


def rows(right: float, passes: float, per: int = 20, seed: int = 0) -> Arrays:
    """Figures as if of `per` pieces a mood: so many are judged as asked, so many pass the gate, one by one by chance."""
    random, order = np.random.default_rng(seed), [(at, number) for at in range(per) for number in range(4)]
    seeds, quadrants = np.array(order).T
    asked = np.array([(mood.arousal > 0, mood.valence > 0) for mood in MOODS])[quadrants]
    said = np.where(random.random((len(order), 3, 2)) < right, asked[:, None], 1 - asked[:, None])
    return {
        "seed": seeds.astype(float),
        "quadrant": quadrants.astype(float),
        "chances": 0.1 + 0.8 * said,
        "gate": random.random((len(order), 3)),
        "passes": np.repeat(random.random((len(order), 1)) < passes, 3, axis=1).astype(float),
        "structure": random.random((len(order), len(NAMES))),
        "attributes": np.column_stack([1 - asked[:, 1], ATTRIBUTES + random.random((len(order), 8))]),
        "copied": random.random((len(order), 2, 5)) / 2,
    }


def test_a_piece_counts_only_if_it_is_judged_as_asked_and_passes() -> None:
    given = rows(1.0, 1.0)
    means = {(row["gate"], row["metric"]): row["mean"] for row in control.rows("x", given, None) if row["judge"] == "base"}
    assert set(means.values()) == {1.0}
    given["passes"][:40, 1] = 0.0  # half fail at one of three
    means = {(row["gate"], row["metric"]): row["mean"] for row in control.rows("x", given, None) if row["judge"] == "base"}
    assert (means[False, "valence"], means[True, "valence"]) == (1.0, 0.5)
    given["chances"][40:60] = np.nan  # without notes
    means = {(row["gate"], row["metric"]): row["mean"] for row in control.rows("x", given, None) if row["judge"] == "base"}
    assert (means[False, "4Q"], means[True, "4Q"], means[True, "arousal"]) == (0.75, 0.25, 0.25)
    assert control.gate_row("x", given)["without notes"] == 20


def test_differences_are_drawn_in_pairs_of_a_seed() -> None:
    one, other = rows(0.8, 1.0, seed=1), rows(0.8, 1.0, seed=1)
    other["chances"][::2] = one["chances"][::2]
    same = [row["less_table"] for row in control.rows("x", one, other)]
    assert all(gap == [0.0, 0.0, 0.0] for gap in same)
    better = control.rows("x", rows(0.95, 1.0), rows(0.6, 1.0, seed=3))
    gap = next(row["less_table"] for row in better if row["metric"] == "valence" and row["judge"] == "base" and row["gate"])
    assert gap[1] < gap[0] < gap[2]
    assert gap[1] > 0.1


def test_the_grid_ranks_what_was_asked() -> None:
    asked = np.array([(v, a) for v in bench.GRID for a in bench.GRID])
    chances = np.repeat((asked[:, None, ::-1] + 1) / 2, 3, axis=1)
    shown = np.column_stack([np.zeros(25), 96 * 2.0 ** asked[:, 1], 2.0 ** asked[:, 1], *np.zeros((5, 25))])
    ranked = control.grid({"asked": asked, "chances": chances, "attributes": shown})
    assert [ranked[part] for part in ("speed_arousal", "judged_arousal", "judged_valence")] == [1.0, 1.0, 1.0]
    assert ranked["cells_arousal"][0] == [0.1] * 5
    assert [row[4] for row in ranked["cells_valence"]] == [0.9] * 5


def test_habits_by_hand() -> None:
    def bar(at: int, *notes: tuple[int, int]) -> list[Note]:
        return [Note(16 * at + place, v.PIANO, pitch, 30, 1) for place, pitch in notes]

    chord = (60, 64, 67)
    hammered = [(place, pitch) for place in range(0, 16, 4) for pitch in chord]
    notes = [*bar(0, *hammered[3:]), *bar(1, *hammered), *bar(2, *hammered), *bar(3, (1, 62), (1, 61), (5, 80), (6, 60))]
    named = dict(zip(habits.NAMES, habits.habits(tidy([*notes, *bar(5, (0, 62))], [30] * 6)).tolist(), strict=True))
    assert named == {
        "notes struck again and again": pytest.approx(12 / 38),
        "bars of one harmony in a row": 3,
        "begins off the beat": 1,
        "bars without a downbeat": 0.5,
        "semitones struck together": pytest.approx(1 / 12),
        "leaps of the top line": pytest.approx(2 / 14),
        "rise into the last bar": -18,
    }


def test_habits_are_told_by_mood(kept: Bench) -> None:
    found_ = generation.compute(kept, quick=False)["habits"]
    assert list(found_) == [HELD, TABLE]
    assert found_[TABLE][habits.NAMES[1]] == {"mean": 25.5, "by_mood": {"happy": 4.5, "angry": 18.5, "sad": 32.5, "calm": 46.5}}
    assert found_[HELD][habits.NAMES[1]] == {"mean": 25.5, "by_mood": {}}


def test_overlap_and_divergence_by_hand() -> None:
    some = np.linspace(0, 1, 4000)
    assert compared.apart(some, some) == pytest.approx((1.0, 0.0))
    overlap, divergence = compared.apart(np.zeros(1000), np.ones(1000))
    assert overlap < 0.02
    assert divergence > 5
    assert compared.apart(some, some / 2)[0] == pytest.approx(0.5, abs=0.03)


def test_a_copy_is_found_in_any_key_and_what_is_new_is_not() -> None:
    train = [compose(wanted(0.6, 0.6), 16, seed) for seed in range(10)]
    fresh = jitter(compose(wanted(-0.6, -0.6), 16, 999), 3, 0.9)
    for line in ("all notes", "top line"):
        known = Known(train, line)
        longest, *shares, nearest = known.copied(transpose(train[3], 4))
        assert shares == [1.0, 1.0, 1.0]
        assert nearest == 1.0
        assert longest > 40
        assert known.copied(fresh)[0] < 12
        assert known.copied(fresh)[3] < 0.1
        half = known.copied(joined(fresh, train[5]))
        assert 0.2 < half[1] < 0.8
        assert known.copied(Score((), (20,))) == [0.0] * 5


def test_the_longest_run_is_found_by_looking_at_each_length() -> None:
    train = [compose(wanted(0.6, 0.6), 16, seed) for seed in range(8)]
    known = Known(train, "top line")
    from moodmesh.tasks.music.generate.novelty import symbols
    from moodmesh.tasks.music.results.grams import LADDER

    for seed in range(50, 60):
        piece = compose(wanted(0.6, 0.6), 16, seed)
        held = [symbols(one, "top line").tolist() for one in train]
        steps_ = symbols(piece, "top line").tolist()

        def there(size: int, steps_: list[int] = steps_, held: list[list[int]] = held) -> bool:
            runs = {tuple(one[at : at + size]) for one in held for at in range(len(one) - size + 1)}
            return any(tuple(steps_[at : at + size]) in runs for at in range(len(steps_) - size + 1))

        assert known.longest(piece) == max((size + 1 for size in LADDER if there(size)), default=0)


def test_a_piece_that_is_in_both_parts_sets_no_limit() -> None:
    held = {"copied": np.full((100, 2, 5), 0.1)}
    held["copied"][::10] = 1.0
    copied = compared.copying({"copied": np.full((4, 2, 5), 0.2)}, held)
    assert copied["top line"]["16 notes"] == {"mean": 0.2, "largest": 0.2, "real_99": 0.1, "beyond": 1.0}
    assert compared.copying(held, held)["all notes"]["longest"]["beyond"] == 0.1


def test_matched_pieces_have_one_tempo_and_velocities_alike() -> None:
    make = systems.matched(Rules())
    found_ = [heard(make(mood, 8, 1)) for mood in MOODS]
    assert {round(one.bpm) for one in found_} == {round(heard(systems.levelled(compose(wanted(0, 0), 8, 1))).bpm)}
    assert all(abs(one.velocity - systems.VELOCITY) < 1.5 for one in found_)
    assert all(abs(one.dynamics - systems.DYNAMICS) < 1.5 for one in found_)
    plain = [heard(systems.written(Rules())(mood, 8, 1)) for mood in MOODS]
    assert max(one.density for one in plain) / min(one.density for one in plain) > 1.8
    assert max(one.density for one in found_) / min(one.density for one in found_) < 1.3
    assert set(make(MOODS[0], 4, 2).tempi) == {tempo_step(systems.BPM)}


def a_window() -> list[likelihood.Window]:
    score = compose(wanted(0.6, 0.6), 8, 3)
    return [window(Source(score, minor=False, ends=True), length, 4) for length in (200, 500)]


def test_the_graph_is_as_likely_as_the_model_and_int8_is_near() -> None:
    model = likelihood.by_torch(small())
    plain = likelihood.per_token(a_window(), model)
    assert likelihood.per_token(a_window(), likelihood.by_steps(steps())) == pytest.approx(plain, abs=1e-3)
    assert likelihood.per_token(a_window(), likelihood.by_steps(steps(int8=True))) == pytest.approx(plain, abs=0.1)
    worse = {name: value + 0.05 * np.random.default_rng(0).normal(size=value.shape).astype(np.float32)
             for name, value in ((n, v.numpy()) for n, v in small().state_dict().items())}  # fmt: skip
    spoilt = systems.Steps(graph.step(worse, SMALL, False), graph.tell(worse, SMALL))
    assert likelihood.per_token(a_window(), likelihood.by_steps(spoilt)) > plain + likelihood.INT8_MAY_LOSE


def test_a_mixture_is_asked_for_its_bound_and_for_music_of_a_mood() -> None:
    torch.manual_seed(2)
    model, (one, _) = GMVAE(SMALL, Weights(latent=8, free=3.0, beta=0.1)).eval(), a_window()
    held, plain = likelihood.given(one), likelihood.predicted(one)
    torch.manual_seed(0)
    terms = model.terms(held)
    assert terms["kl_free"] > terms["kl"] + 1
    assert likelihood.bound(model)(one) == pytest.approx(((terms["nll"] + terms["kl"]) / plain).item(), abs=1e-5)
    for to in model.to_memory:  # then it does not matter what z is
        to.weight.data *= 0  # type: ignore[union-attr, operator]
    nll = model.terms(held)["nll"].item() / plain
    assert likelihood.by_mood(model)(one) == pytest.approx(nll, abs=1e-4)


def test_music_of_a_mood_is_played_from_the_components_of_its_label() -> None:
    torch.manual_seed(2)
    model, one = GMVAE(SMALL, Weights(latent=8)).eval(), a_window()[0]
    model.log_vars.data[:] = -50.0
    model.means.data[:] = 99 * torch.randn(model.means.shape)
    held, by_hand = likelihood.given(one), {}
    for valence, arousal in product((-1, 1), repeat=2):
        z = torch.stack([model.means[0, int(arousal > 0)], model.means[1, int(valence > 0)]])[None]
        with torch.inference_mode():
            by_hand[valence, arousal] = float(token_loss(model.decoder(held.tokens, model.memory(z)), held.tokens))
    asked = likelihood.by_mood(model)
    assert {mood: asked(replace(one, mood=mood)) for mood in by_hand} == pytest.approx(by_hand, abs=1e-3)
    assert min(abs(first - second) for first, second in combinations(by_hand.values(), 2)) > 5e-3


def test_the_gate_of_the_evaluation_learns_from_what_no_composer_does(monkeypatch: pytest.MonkeyPatch) -> None:
    real, asked = Real(Path(), Path(), Path()), list[set[str]]()
    roles: dict[str, Role] = {"a": "train", "b": "dev", "c": "judge", "d": "held"}
    held = [(role, Passage("p", "x", group, None, 0, compose(wanted(0, 0), 4, 1), Key(0, False), 0.0, ends=True))
            for group, role in roles.items()]  # fmt: skip
    real.__dict__.update(_held=dict.fromkeys(gates.SETS, held), markov=None)
    for name in ("evaluation", "unseen"):
        monkeypatch.setattr(gates, name, lambda given, *_: asked.append({one.group for of in given.values() for one in of}))
    real.gate(16)
    real.unseen(16)
    assert asked == [{"c", "d"}, {"c", "d"}]


def test_markov_is_asked_of_what_the_others_are_asked() -> None:
    markov = Markov([encode(compose(wanted(0.6, 0.6), 8, seed)) for seed in range(4)])
    assert likelihood.per_token(a_window(), by_markov(markov)) < likelihood.per_token(a_window(), likelihood.by_torch(small()))


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Untrained weights of an unconditional model and of a GMVAE; `tiny` is small here."""
    for size in ("tiny", "base"):
        monkeypatch.setitem(decoder.SIZES, size, SMALL)
    torch.manual_seed(1)
    for folder, model in (("unconditional-tiny", Unconditional(SMALL)), ("gmvae-tiny", GMVAE(SMALL, Weights()))):
        (tmp_path / folder).mkdir()
        save_weights(model, tmp_path / folder / WEIGHTS)
    return tmp_path


def test_weights_make_rows_as_soon_as_they_are_there(runs: Path) -> None:
    there, absent = found(runs)
    assert [one.kind for one in there] == ["unconditional", "gmvae"]
    assert len(absent) == len(PLANNED) - 2
    for run in there:
        (row,) = systems.trained(run)
        one, again, other = (row.pieces(mood, 3, 5) for mood in (MOODS[0], MOODS[0], MOODS[2]))
        assert one == again
        assert one != other
        assert one.bars == 3
        assert len(set(row.pieces(MOODS[1], 12, 1).tempi)) > 1  # nobody tells it a tempo
        nats = {name: likelihood.per_token(a_window(), way) for name, way in ways(run).items()}
        assert all(5 < value < 9 for value in nats.values())
        if run.kind == "gmvae":
            assert nats["GMVAE tiny, -ELBO"] > nats["GMVAE tiny, z from p(z given y)"] - 0.2


def test_rows_of_an_attribute_model_have_the_names_that_are_looked_for(runs: Path) -> None:
    (runs / "attributes-base").mkdir()
    save_weights(ByAttributes(SMALL), runs / "attributes-base" / WEIGHTS)
    run = found(runs)[0][0]
    rows_ = systems.trained(run)
    assert [row.name for row in rows_] == bench._rows_of(next(one for one in PLANNED if one.row == run.row))
    free, shaped = (next(row for row in rows_ if row.name.endswith(end)) for end in (", without form", ", int8"))
    assert free.pieces(MOODS[0], 12, 1) != shaped.pieces(MOODS[0], 12, 1)
    notes = shaped.pieces(MOODS[0], 12, 1).notes
    assert min(note.pitch for note in notes if note.bar == 11) % 12 == 0


def test_unseen_music_is_told_apart_by_its_half(kept: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    folds = [[("pop909", "a", 1), ("emopia", "b", 2)], [("jsb", "c", 3), ("emopia", "d", 4), ("giantmidi", "e", 5)]]
    monkeypatch.setattr(Real, "unseen", lambda *_: list(zip("xy", folds, strict=True)))
    monkeypatch.setattr(Ear, "measured", lambda self, mine: {"heard": np.array([[ord(self.gate), one] for one in mine])})
    found_ = bench._unseen(kept, Ear({}, None, {}), None)  # type: ignore[arg-type]
    assert found_[HELD]["heard"].tolist() == [[ord("x"), 1], [ord("y"), 3], [ord("y"), 5]]
    assert found_[JUDGED]["heard"].tolist() == [[ord("x"), 2], [ord("y"), 4]]


def test_unseen_music_is_not_compared_with_itself(kept: Bench) -> None:
    table = generation.compute(kept, quick=False)
    held, judged = kept.load(HELD), kept.load(JUDGED)
    assert held is not None
    assert judged is not None
    assert table["statistics"][HELD] == compared.statistics(held, judged["structure"])
    both = np.concatenate([held["structure"], judged["structure"]])
    real = kept.load(REAL)
    assert real is not None
    assert table["statistics"][REAL] == compared.statistics(real, both)


def test_latents_are_of_the_components_asked_for(runs: Path) -> None:
    run = found(runs)[0][1]
    spread = replace(run)
    spread.__dict__["weights"] = {**run.weights, "log_vars": np.full((2, 2, 64), -50.0, np.float32)}
    seen: list[np.ndarray] = []
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(systems, "remembering", lambda weights, size, memory: seen.append(memory))
        patched.setattr(systems, "played", lambda loaded, bars, seed: Score((), ()))
        for mood in MOODS:
            systems.mixture(spread)(mood, 4, 1)
    poly, mode = np.array(seen)[:, 0], np.array(seen)[:, 1]
    near = [np.linalg.norm(poly[0] - poly[1]), np.linalg.norm(mode[1] - mode[2])]
    far = [np.linalg.norm(poly[0] - poly[2]), np.linalg.norm(mode[0] - mode[1])]
    assert max(near) < min(far)


@pytest.fixture
def kept(tmp_path: Path) -> Bench:
    """A bench whose figures are made up, in a data area of empty lists."""
    for name in ("emopia", "vgmidi", "pop909", "giantmidi", "jsb"):
        (tmp_path / "data" / "music" / name).mkdir(parents=True)
        (tmp_path / "data" / "music" / name / "index.csv").write_text(name)
    made = Bench(
        Real(tmp_path / "data", tmp_path / "cache", ROOT / "configs"),
        tmp_path / "runs",
        tmp_path / "out" / "predictions",
        per=20,
    )
    for at, name in enumerate((*bench.UNTRAINED, REAL, HELD, JUDGED)):
        made.keep(name, "", lambda at=at: rows(0.6 + 0.04 * at, 0.7, seed=at))  # type: ignore[misc]
    asked = np.array([(v, a) for v in bench.GRID for a in bench.GRID])
    made.keep(f"{TABLE} grid", "", lambda: {**{k: v[:25] for k, v in rows(0.9, 1).items()}, "asked": asked})
    for name in ("habits", f"habits {TABLE}"):
        made.keep(name, "", lambda: {"habits": np.arange(56.0).reshape(8, 7), "quadrant": np.arange(8.0) // 2})
    made.keep("nats order-3 Markov", "", lambda: {"order-3 Markov": np.arange(1.0, 7.0)})
    return made


def test_the_table_says_what_is_not_trained_and_makes_nothing_up(kept: Bench) -> None:
    table = generation.compute(kept, quick=False)
    page = report.markdown(json.loads(json.dumps(table)))
    assert len(table["missing"]) == len(PLANNED)
    assert page.count("not trained yet") == 2 * len(PLANNED)
    assert "| GMVAE tiny | not trained yet | – |" in page
    assert not any("GMVAE" in row["system"] for row in table["rows"])
    assert "nobody was asked" in page
    picture.draw(table, kept.kept / "picture.svg")
    assert (kept.kept / "picture.svg").read_bytes().count(b"<svg") == 1


def test_training_seeds_latents_and_transfers_are_told_where_they_are_measured(kept: Bench) -> None:
    page = report.markdown(generation.compute(kept, quick=False))
    assert not any(said in page for said in ("training seeds", "Collapse", "## Transfer"))
    for seed, right in (("", 1.0), (", seed 1", 0.0)):
        kept.keep(f"GMVAE tiny{seed}", "w", lambda right=right: rows(right, 1.0))  # type: ignore[misc]
    source = np.repeat(np.arange(4.0), 20)
    own = source == rows(1.0, 1.0)["quadrant"]  # content is told of those that are put into another mood
    moved = {"content": np.where(own, 1.0, 0.25)[:, None].repeat(3, 1), "source": source}
    kept.keep("transfer GMVAE tiny", "w", lambda: {**rows(1.0, 1.0), **moved})
    ways = {"towards": np.ones((9, 3)), "moved": np.full((9, 3), 0.25), "kept": np.zeros((2, 9, 2)), "again": np.ones((9, 2)),
            "other": np.full((9, 2), 0.125)}  # fmt: skip
    labels = {"right": np.tile([1.0, 0.5], (9, 1)), "song": np.arange(9.0)}
    kept.keep("latents GMVAE tiny", "w", lambda: {**ways, **labels, "alarm active": np.array(12.0)})
    kept.keep("GMVAE tiny, labels of 5 %", "w", lambda: rows(0.0, 1.0))
    kept.keep("latents GMVAE tiny, labels of 5 %", "w", lambda: {**ways, **labels, "alarm active": np.array(12.0)})
    table = generation.compute(kept, quick=False)
    few, whole = table["labels"]
    assert few == {"share": 0.05, "seeds": 1, "arousal": 0.0, "valence": 0.0, "q(y), arousal": 1.0, "q(y), valence": 0.5}
    assert whole == few | {"share": 1.0, "arousal": 1.0, "valence": 1.0}, "the seed whose latents were not probed is no part"
    assert table["training"]["GMVAE tiny"]["valence"] == [0.5, pytest.approx(0.707, abs=1e-3)]
    assert table["latents"]["GMVAE tiny"]["exchange"]["polyphony"] == [0.25, 0.25, 0.25]
    found_ = table["transfer"]["GMVAE tiny"]
    assert found_["content"] == {"chroma": 0.25, "groove": 0.25, "notes": 0.25}
    assert {row["n"] for row in found_["rows"]} == {60}  # those asked for their own mood are left out
    page = report.markdown(json.loads(json.dumps(table)))
    assert all(
        said in page
        for said in (
            "training seeds",
            "Collapse",
            "0.25 [0.25, 0.25]",
            "| 9 | 0.25 [0.25, 0.25]",
            ".125 / .125",
            "## Transfer",
            "| 9 of 9 songs | 1.000 [1.000, 1.000] |",
            "| 5 % | 1 | .000 | .000 | 1.000 | .500 |",
        )
    )
    picture.draw(table, kept.kept / "picture.svg")
    assert b"By the share of labels" in (kept.kept / "picture.svg").read_bytes()
    assert not set(OF_REAL) & set(table["copying"])
    assert table["copying"]["GMVAE tiny"]


def test_a_row_of_other_weights_is_not_shown(kept: Bench) -> None:
    folder = kept.runs / "unconditional-tiny"
    folder.mkdir(parents=True)
    (folder / "weights.safetensors").write_bytes(b"new")
    with pytest.raises(PredictionMissing, match="--retrain"):
        generation.compute(kept, quick=False)
    kept.keep("unconditional tiny", "of an older run", lambda: rows(0.5, 0.5))
    with pytest.raises(PredictionMissing, match="other weights"):
        generation.compute(kept, quick=False)
    (folder / "weights.safetensors").unlink()
    table = generation.compute(kept, quick=False)  # measured where the weights are
    assert table["models"]["unconditional tiny"] == "of an older run"
    assert "unconditional tiny" not in table["missing"]
    kept.keep("nats unconditional tiny", "of another run", lambda: {"unconditional tiny": np.arange(1.0, 7.0)})
    with pytest.raises(PredictionMissing, match=r"of different weights \(unconditional tiny"):
        generation.compute(kept, quick=False)


def test_rows_are_compared_with_the_table_played_the_same_way(kept: Bench) -> None:
    chosen = {"attribute model tiny, int8": TABLE}
    chosen |= {f"attribute model tiny, int8, {way}": f"{TABLE}, {way}" for way in ("matched", "takes 2")}
    chosen["attribute model tiny, int8, without form"] = TABLE
    made = {name: {"row": np.array(at)} for at, name in enumerate([*chosen.values(), *chosen, REAL])}
    for name, other in chosen.items():
        assert generation._table_for(name, made) is made[other]
    assert all(generation._table_for(name, made) is None for name in (*chosen.values(), REAL))


def test_a_kind_that_the_gate_has_met_is_also_at_one_that_has_not(kept: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    class Listens:
        def measured(self, pieces: list[Score]) -> Arrays:
            return {"passes": np.zeros((len(pieces), 3))}

    class New:
        def __init__(self, bars: int, nll: object, without: str) -> None:
            self.without = without

        def measured(self, piece: Score) -> int:
            return piece.bars

        def inside(self, bars: int) -> tuple[bool, bool, bool]:
            return (True, True, self.without == "Markov")

    monkeypatch.setattr(Real, "gate", lambda self, *given: New(*given))
    for kind in ("", "Markov", "atonal random"):
        row = systems.System(f"row {kind}", lambda mood, bars, seed: compose(wanted(0, 0), 2, seed), kind=kind)
        made = bench._moods(replace(kept, per=1), Listens(), row, None)  # type: ignore[arg-type]
        told = control.gate_row("row", {**made, "chances": np.zeros((4, 3, 2))})
        assert (told["passes"], told["new"]) == (0.0, {"": None, "Markov": 1.0, "atonal random": 0.0}[kind])


def test_real_music_is_of_songs_that_no_judge_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = list[str]()

    class Asked:
        def pieces(self, *roles: str) -> dict[str, list[Passage]]:
            asked.extend(roles)
            return {"emopia": []}

    assert systems.labelled(Asked(), 16) == []  # type: ignore[arg-type]
    assert asked == ["train", "dev"]


def test_copies_are_looked_for_in_all_that_was_learned_from(kept: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    mine = {
        name: [Passage("p", "x", str(at), None, 0, compose(wanted(0.1, 0.1), 4, at), Key(0, False), 0.0, ends=True)
               for at in range(12)]
        for name in ("pop909", "emopia")
    }  # fmt: skip
    searched = list[int]()
    monkeypatch.setattr(Real, "pieces", lambda self, *roles: mine if roles == ("train",) else pytest.fail(str(roles)))
    monkeypatch.setattr(bench, "Known", lambda train, line: searched.append(len(train)))
    monkeypatch.setattr(Real, "judges", {})
    monkeypatch.setattr(Real, "gate", lambda *_: pytest.fail("as far as this"))
    with pytest.raises(pytest.fail.Exception, match="as far as this"):
        bench.retrain(kept, lambda line: None)
    monkeypatch.setattr(Real, "gate", lambda *_: None)
    monkeypatch.setattr(bench, "_unseen", lambda *_: pytest.fail("as far as this"))
    kept.file(HELD).unlink()
    with pytest.raises(pytest.fail.Exception, match="as far as this"):
        bench.retrain(kept, lambda line: None)
    assert searched == [24, 24]


def test_the_gate_asks_the_unconditional_model_as_soon_as_it_is_there(kept: Bench, runs: Path) -> None:
    assert generation.compute(kept, quick=False)["gate_reference"] == "order-3 Markov"
    new = replace(kept, runs=runs)
    assert new.reference is not None
    new.keep(REAL, "", lambda: rows(0.6, 0.7))
    assert new.reference_of(REAL) == new.reference.sha256
    with pytest.raises(PredictionMissing, match="different gates"):
        generation.compute(kept, quick=False)
    nll, score = surprise(new.reference), compose(wanted(0.6, 0.6), 40, 1)
    assert len(encode(score)) > 1024
    assert 5 < nll(encode(score)) < 9


def command(kept: Bench, *more: str) -> int:
    places = [
        "--data",
        str(kept.real.root),
        "--cache",
        str(kept.real.cache),
        "--runs",
        str(kept.runs),
        "--out",
        str(kept.kept.parent),
        "--per",
        "20",
    ]
    return generation.main([*places, "--configs", str(ROOT / "configs" / "training"), *more])


def test_the_command_stores_checks_and_says_why_it_cannot(kept: Bench, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(kept) == 0
    assert (kept.kept.parent / "generation.svg").exists()
    assert command(kept, "--check", "--json") == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["summary"]["missing"]
    file = kept.kept.parent / "generation.json"
    table = json.loads(file.read_text())
    file.write_text(json.dumps(table | {"created": "then", "hardware": {**table["hardware"], "cpu": "there"}}))
    assert command(kept) == 0
    again = json.loads(file.read_text())
    assert (again["created"], again["hardware"]["cpu"], again["rows"]) == ("then", "there", table["rows"])
    assert "then" in file.with_suffix(".md").read_text()
    file.write_text(file.read_text()[:500])
    assert command(kept) == 0
    assert json.loads(file.read_text())["rows"] == table["rows"]
    table["rows"][0]["ci95"] = [0.0, 0.01]
    file.write_text(json.dumps(table))
    assert command(kept, "--check") == 1
    assert "outside its stored interval" in capsys.readouterr().err
    kept.file(HELD).unlink()
    assert command(kept) == 1
    assert "--retrain" in capsys.readouterr().err


@pytest.mark.slow
def test_a_listening_pack_hides_what_was_asked(tmp_path: Path) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(listening, "BARS", 1)
        listening.pack(systems.written(Rules()), tmp_path, "rules")
    heard_ = sorted(path.name for path in tmp_path.iterdir())
    assert heard_ == ["README.txt", "answers.csv", "key", *(f"piece-{number:02d}.ogg" for number in range(1, 17))]
    answers = json.loads((tmp_path / "key" / "key.json").read_text())["pieces"]
    assert sorted((one["asked"], one["seed"]) for one in answers.values()) == sorted(
        (word, seed) for word in ("happy", "angry", "sad", "calm") for seed in listening.SEEDS
    )
    places = [listening.QUADRANTS.index(one["asked"]) for one in answers.values()]
    assert places != sorted(places)
    assert len({(other - one) % 4 for one, other in pairwise(places)}) == 4  # no round of the four
    with (tmp_path / "answers.csv").open() as file:
        sheet = list(csv.reader(file))
    assert len(sheet) == 1 + 20 * 16
    assert all(cell == "" for line in sheet[1:] for cell in line[2:])
    assert len(list((tmp_path / "key").glob("*.png"))) == 16
    assert not any(word in (tmp_path / "README.txt").read_text() for word in ("happy", "angry"))
    said = {midi.said(file.read_bytes()) for file in (tmp_path / "key").glob("*.mid")}
    assert said == {soundfile.SoundFile(tmp_path / "piece-03.ogg").comment} == {"Made by a machine: Moodmesh, rules."}


def test_a_sheet_that_is_filled_in_is_not_written_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / listening.SHEET).write_text("listener,piece\n1,piece-01,2\n")
    monkeypatch.setattr(sys, "argv", ["listening", "--out", str(tmp_path), "--variant", "rules"])
    with pytest.raises(SystemExit):
        listening.main()
    assert "answers.csv is there already" in capsys.readouterr().err
    assert [file.name for file in tmp_path.iterdir()] == [listening.SHEET]
    assert (tmp_path / listening.SHEET).read_text().endswith("2\n")
