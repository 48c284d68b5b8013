"""The Markov model, the structure statistics, the controls, and the gate, on pieces by rule instead of real music."""

from __future__ import annotations

import dataclasses
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from tests.tasks.music.pieces import scale

from moodmesh.tasks import InvalidInput
from moodmesh.tasks.music.corpus.prepare import Passage
from moodmesh.tasks.music.judge import gate, gates, negatives
from moodmesh.tasks.music.judge.controls import MOODS, atonal, in_key, jitter, medians, shuffle, shuffled
from moodmesh.tasks.music.judge.markov import Markov
from moodmesh.tasks.music.judge.structure import NAMES, structure
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import Key
from moodmesh.tasks.music.notation.score import Note, Score, joined, tidy, transpose
from moodmesh.tasks.music.notation.tokens import encode
from moodmesh.tasks.music.rules.attributes import wanted
from moodmesh.tasks.music.rules.compose import compose

BARS = 8


@cache
def composed(seed: int) -> Score:
    valence, arousal = MOODS[seed % 4]
    rng = np.random.default_rng(seed)
    return compose(wanted(valence * rng.uniform(0.2, 1), arousal * rng.uniform(0.2, 1)), BARS, seed)


def passage(seed: int) -> Passage:
    return Passage(f"p{seed}", "train", f"g{seed}", MOODS[seed % 4], 0, composed(seed), Key(0, False), 0.0, ends=True)


@pytest.fixture(scope="module")
def markov() -> Markov:
    return negatives.reference([passage(seed) for seed in range(40)])


@pytest.fixture(scope="module")
def made(markov: Markov) -> gate.Gate:
    learn, band = [composed(seed) for seed in range(100, 148)], [composed(seed) for seed in range(200, 240)]
    kinds = negatives.kinds(learn, medians([passage(seed) for seed in range(100, 148)]), markov, BARS)
    return gate.fit(learn, band, [kind(seed) for kind in kinds.values() for seed in range(12)], markov.nll)


def test_markov_chances_sum_to_one_and_agree_with_nll(markov: Markov) -> None:
    tokens = encode(composed(500))[:150]
    chances = [markov.next(tokens[:place]) for place in range(len(tokens))]
    assert [chance.sum() for chance in chances] == pytest.approx([1.0] * len(tokens))
    by_hand = -np.mean([math.log(chance[token]) for chance, token in zip(chances, tokens, strict=True)])
    assert markov.nll(tokens) == pytest.approx(by_hand)


def test_markov_by_hand() -> None:
    model = Markov([[2, 5, 2, 5, 2]], order=1)
    uniform = 1 / v.SIZE
    five = (2 + 2 * uniform) / (5 + 2)  # twice among five tokens, two kinds
    assert model.next([2])[5] == pytest.approx((2 + 1 * five) / (2 + 1))


def test_markov_knows_what_it_learned_from_better(markov: Markov) -> None:
    seen, unseen, noise = (markov.nll(encode(score)) for score in (composed(3), composed(503), jitter(composed(503), 1)))
    assert seen < unseen < noise < math.log(v.SIZE)


def test_markov_samples_whole_bars(markov: Markov) -> None:
    piece = markov.sample(BARS, 4)
    assert piece.bars == BARS
    assert piece == markov.sample(BARS, 4) != markov.sample(BARS, 5)


def test_structure_of_a_piece_by_hand() -> None:
    bar = tidy([Note(0, v.PIANO, 60, 30, 8), Note(8, v.PIANO, 64, 30, 8)], [40])
    same = joined(joined(bar, bar), joined(bar, bar))
    found = dict(zip(NAMES, structure(same), strict=True))
    assert found["pitch classes"] == 2
    assert found["polyphony"] == 1
    assert found["rhythm density"] == 0.5
    assert found["pitch-class entropy, 1 bar"] == pytest.approx(1)
    assert found["groove similarity"] == 1
    assert found["structureness, short"] == pytest.approx(0)  # all bars are alike
    assert found["scale consistency"] == 1
    gone = dict(zip(NAMES, structure(Score(bar.notes, (40,) * 4)), strict=True))
    assert gone["empty bars"] == 0.75


def test_return_of_a_phrase_is_structure() -> None:
    first, other = composed(7), composed(8)
    there_and_back = dict(zip(NAMES, structure(joined(joined(first, other), first)), strict=True))
    onward = dict(zip(NAMES, structure(joined(joined(first, other), composed(9))), strict=True))
    assert there_and_back["structureness, long"] > onward["structureness, long"]


def test_structure_depends_on_no_key() -> None:
    assert structure(transpose(composed(3), 4)) == pytest.approx(structure(composed(3)))


def test_controls_are_of_their_mood_and_length_and_of_their_seed() -> None:
    usual = medians([passage(seed) for seed in range(16)])
    for control in (in_key(usual), atonal(usual), shuffled([passage(seed) for seed in range(16)])):
        for mood in MOODS:
            piece = control(mood, BARS, 3)
            assert piece.bars == BARS
            assert piece == control(mood, BARS, 3) != control(mood, BARS, 4)
    major, minor = in_key(usual)((1, 1), BARS, 0), in_key(usual)((-1, 1), BARS, 0)
    assert {note.pitch % 12 for note in major.notes} <= {0, 2, 4, 5, 7, 9, 11}
    assert {note.pitch % 12 for note in minor.notes} <= {9, 11, 0, 2, 4, 5, 8}
    assert len({note.pitch % 12 for note in atonal(usual)((1, 1), BARS, 0).notes}) == 12
    with pytest.raises(InvalidInput, match="each of the four moods"):
        medians([passage(0)])
    with pytest.raises(InvalidInput, match="ask for fewer"):
        shuffled([passage(0)])((1, 1), 99, 0)


def test_shuffle_keeps_every_bar() -> None:
    def bars(score: Score) -> list[list[tuple[int, int]]]:
        return sorted([(note.beat, note.pitch) for note in score.notes if note.bar == bar] for bar in range(score.bars))

    assert bars(shuffle(composed(4), 1)) == bars(composed(4))
    assert shuffle(composed(4), 1) != composed(4)


def test_gate_lets_real_pieces_pass_and_random_ones_not(made: gate.Gate, markov: Markov) -> None:
    usual = medians([passage(seed) for seed in range(100, 148)])
    for control, most in ((in_key(usual), 0.3), (atonal(usual), 0.1)):
        assert np.mean([made.passes(control(MOODS[seed % 4], BARS, 900 + seed)) for seed in range(40)]) < most
    assert np.mean([made.passes(markov.sample(BARS, 900 + seed)) for seed in range(20)]) < 0.3
    assert np.mean([made.passes(composed(300 + seed)) for seed in range(24)]) > 0.5


def test_each_of_the_three_can_fail_a_piece_at_both_ends(made: gate.Gate) -> None:
    inside = gate.Measured(*made.bands.mean(1).tolist())
    assert made.inside(inside) == (True, True, True)
    for name, (low, high) in zip(gate.Measured._fields, made.bands.tolist(), strict=True):
        for value in (low - 1e-6, high + 1e-6):
            verdict = made.inside(inside._replace(**{name: value}))
            assert verdict.count(False) == 1
            assert not dict(zip(gate.Measured._fields, verdict, strict=True))[name]


@pytest.mark.parametrize("which", [0, 1, 2])
def test_one_of_the_three_is_enough_to_fail(made: gate.Gate, which: int) -> None:
    piece = composed(5)
    wide = np.array([[-1e9, 1e9]] * 3)
    assert dataclasses.replace(made, bands=wide).passes(piece)
    wide[which] = (1e8, 1e9)
    assert not dataclasses.replace(made, bands=wide).passes(piece)


def test_one_note_over_and_over_is_too_predictable(made: gate.Gate) -> None:
    dull = tidy([Note(16 * bar, v.PIANO, 60, 30, 16) for bar in range(BARS)], [40] * BARS)
    assert not made.passes(dull)
    assert made.measured(dull).structure > made.bands[2, 1]


def test_gate_depends_on_no_key_and_knows_its_length(made: gate.Gate) -> None:
    assert list(made.measured(transpose(scale(), 3))) == pytest.approx(list(made.measured(scale())))
    assert not made.passes(Score((), (40,) * BARS))
    with pytest.raises(InvalidInput, match="a gate for 8"):
        made.passes(scale(9))
    with pytest.raises(InvalidInput, match="one length"):
        gate.fit([scale(8)], [scale(9)], [scale(8)], made.nll)


def test_gate_is_stored_whole(made: gate.Gate, markov: Markov, tmp_path: Path) -> None:
    made.save(tmp_path / "gate.npz")
    assert gate.load(tmp_path / "gate.npz", markov.nll).measured(composed(6)) == made.measured(composed(6))


def test_excerpts_take_so_many_of_a_group_over_all_it_has() -> None:
    long = joined(joined(composed(1), composed(2)), joined(composed(3), composed(4)))
    one = Passage("p", "train", "g", None, 0, long, Key(0, False), 0.0, ends=True)
    found = negatives.excerpts([one], 8, most=2)
    assert [group for group, _ in found] == ["g", "g"]
    assert len(found[0][1].notes) == len([note for note in long.notes if note.bar < 8])
    assert found[1][1].tempi == long.tempi[24:]


@dataclasses.dataclass
class Fitted:
    """What gates were fitted to, by the names of the groups: each piece has a note at a place of its own."""

    learn: list[set[int]] = dataclasses.field(default_factory=list)
    band: list[set[int]] = dataclasses.field(default_factory=list)

    def fit(self, learn: list[Score], band: list[Score], false: list[Score], nll: object) -> gate.Gate:
        self.learn.append({_seed(score) for score in learn})
        self.band.append({_seed(score) for score in band})
        return gate.Gate(BARS, np.zeros(1), 0.0, np.zeros(1), np.zeros((1, 1)), np.zeros((3, 2)), lambda tokens: 0.0)


def _seed(score: Score) -> int:
    return next(seed for seed in range(100) if composed(seed).notes == score.notes)


@pytest.fixture
def fitted(monkeypatch: pytest.MonkeyPatch) -> Fitted:
    seen = Fitted()
    monkeypatch.setattr(gate, "fit", seen.fit)
    monkeypatch.setattr(gates, "made_up", lambda learn, like, markov: {"none": []})
    return seen


def test_no_gate_takes_its_bands_from_what_it_learned_from(fitted: Fitted, markov: Markov) -> None:
    given = {"emopia": [passage(seed) for seed in range(40)]}
    gates.evaluation(given, BARS, markov)
    assert not fitted.learn[0] & fitted.band[0]
    assert fitted.learn[0] | fitted.band[0] == set(range(40))
    out = [({seed for _, group, _ in held for seed in [int(group[1:])]}) for _, held in gates.unseen(given, BARS, markov)]
    assert sorted(seed for held in out for seed in held) == list(range(40))
    for held, learn, band in zip(out, fitted.learn[1:], fitted.band[1:], strict=True):
        assert not held & learn
        assert not held & band
        assert not learn & band


def test_what_chooses_takes_learns_from_train_and_has_its_bands_from_dev(fitted: Fitted, markov: Markov) -> None:
    train, dev = ({"pop909": [passage(seed) for seed in part]} for part in (range(30), range(30, 45)))
    gates.selector(train, dev, BARS, markov)
    assert fitted.learn == [set(range(30))]
    assert fitted.band == [set(range(30, 45))]


def test_a_kind_that_is_left_out_is_not_learned(monkeypatch: pytest.MonkeyPatch, markov: Markov) -> None:
    given = {"emopia": [passage(seed) for seed in range(40)]}
    made_up = {kind: [composed(400 + at)] for at, kind in enumerate(("in-key random", "Markov"))}
    learned = list[list[Score]]()
    monkeypatch.setattr(gates, "made_up", lambda learn, like, markov: made_up)
    monkeypatch.setattr(gate, "fit", lambda learn, band, false, nll: learned.append(false))
    gates.evaluation(given, BARS, markov)
    gates.evaluation(given, BARS, markov, without="Markov")
    assert learned == [[composed(400), composed(401)], [composed(400)]]
