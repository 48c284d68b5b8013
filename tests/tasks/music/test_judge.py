"""`music.judge` on its shipped weights: the contract, bad input, windows, and that keys and octaves of tempo change nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.tasks.music.pieces import played, scale, smf

from moodmesh.tasks import InvalidInput, ModelStore, Request
from moodmesh.tasks.music.judge import MusicJudge, rich, statistics
from moodmesh.tasks.music.judge.parts import parts, read
from moodmesh.tasks.music.judge.runner import FIGURES, Judge
from moodmesh.tasks.music.judge.schema import MusicVerdict
from moodmesh.tasks.music.judge.verdict import Verdict, judged, windows
from moodmesh.tasks.music.notation import midi
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Note, Score, tidy, transpose
from moodmesh.tasks.music.rules.attributes import wanted
from moodmesh.tasks.music.rules.compose import compose
from moodmesh.tasks.testing import CheckContext, check_task

VARIANTS = [variant.name for variant in MusicJudge.spec.variants]
DRUMS_ONLY = midi.write(scale(track=v.DRUMS))
BAD = [
    Request({}),
    Request({}, b"RIFF no music"),
    Request({}, b"MThd\x00\x00"),
    Request({}, smf()),
    Request({}, DRUMS_ONLY),
    Request({}, smf(played([(0, 4_000_000 * 480, 60, 64)]))),
]


@pytest.fixture(params=VARIANTS)
def judge(request: pytest.FixtureRequest, context: CheckContext) -> Judge:
    variant = MusicJudge.spec.variant(request.param)
    assert variant.card is not None
    return Judge(context.model(variant.card), variant.name)


def verdict(data: bytes, context: CheckContext, variant: str = "base") -> MusicVerdict:
    return MusicVerdict.model_validate(MusicJudge().open(variant, context).run(Request({}, data), context).value)


@pytest.mark.parametrize("variant", VARIANTS)
def test_contract(variant: str, tmp_path: Path) -> None:
    check_task(MusicJudge(), tmp_path, [variant], BAD)


@pytest.mark.parametrize(
    ("request_", "hint"), [(BAD[0], "--input FILE"), (BAD[1], "export it"), (BAD[2], "export it"), (BAD[4], "drums only")]
)
def test_bad_files_say_what_to_do(request_: Request, hint: str, context: CheckContext) -> None:
    with pytest.raises(InvalidInput, match=hint):
        refused(request_, context)


def refused(request: Request, context: CheckContext) -> None:
    MusicJudge().units(request)
    MusicJudge().open("tiny", context).run(request, context)


def test_verdict_of_a_long_piece_is_the_mean_of_its_windows(context: CheckContext) -> None:
    found = verdict(midi.write(compose(wanted(0.5, 0.5), 50, 1)), context)
    assert len(found.windows) == 3
    lengths = [window.length_s for window in found.windows]
    starts = [window.start_s for window in found.windows]
    assert starts == pytest.approx(np.cumsum([0.0, *lengths])[:-1].tolist(), abs=0.01)
    arousal = [window.arousal_high for window in found.windows]
    assert None not in arousal
    assert len(set(arousal)) == 3
    assert found.arousal_high == pytest.approx(np.average(np.array(arousal, float), weights=lengths), abs=1e-3)
    q = found.quadrants
    assert q.q1 + q.q2 + q.q3 + q.q4 == pytest.approx(1, abs=1e-3)
    assert q.q1 + q.q2 == pytest.approx(found.arousal_high, abs=1e-3)
    assert q.q1 + q.q4 == pytest.approx(found.valence_high, abs=1e-3)


def test_silent_window_has_no_chances_and_no_weight(context: CheckContext) -> None:
    loud = compose(wanted(0.5, 0.5), 16, 1)
    later = Score(loud.notes, loud.tempi * 3)
    found = verdict(midi.write(later), context)
    assert [window.arousal_high is None for window in found.windows] == [False, True, True]
    alone = verdict(midi.write(loud), context)
    assert found.arousal_high == alone.arousal_high


def test_key_is_said_and_changes_no_chance(judge: Judge, context: CheckContext) -> None:
    piece = compose(wanted(-0.6, 0.2), 12, 5)
    moved = transpose(piece, 5)
    assert judge.chances(moved) == pytest.approx(judge.chances(piece), abs=1e-6)
    assert (verdict(midi.write(piece), context).key, verdict(midi.write(moved), context).key) == ("A minor", "D minor")


def test_performance_without_a_grid_is_judged_by_parts_of_time() -> None:
    rng = np.random.default_rng(3)
    starts = np.cumsum(rng.uniform(0.05, 0.6, 500))
    notes = [(int(at * 960), int(at * 960) + 300, int(rng.integers(40, 90)), 70) for at in starts]
    found = list(parts(read(smf(played(notes)))))
    assert len(found) == round((starts[-1] + 300 / 960) / 32)
    assert {round(length, 3) for _, length, _ in found} == {round(found[0][1], 3)}
    assert sum(len(score.notes) for _, _, score in found) > 400


def test_lively_and_quiet_are_told_apart(judge: Judge) -> None:
    lively = [judge.judged(compose(wanted(v, 0.9), 16, seed)).arousal for v in (-0.8, 0.8) for seed in range(3)]
    quiet = [judge.judged(compose(wanted(v, -0.9), 16, seed)).arousal for v in (-0.8, 0.8) for seed in range(3)]
    assert min(lively) > 0.5 > max(quiet)


def test_windows_cover_a_piece_once() -> None:
    for bars in (1, 8, 23, 24, 100):
        found = windows(Score((), (40,) * bars))
        assert [bar for first, last in found for bar in range(first, last)] == list(range(bars))
        assert all(12 <= last - first <= 23 for first, last in found) or len(found) == 1


def test_windows_weigh_by_their_bars() -> None:
    piece = Score((), (40,) * 37)
    said = {first: value for (first, _), value in zip(windows(piece), (0.2, 0.8), strict=True)}
    (_, middle), (_, end) = windows(piece)
    assert middle != end - middle
    order = iter(said.values())
    whole, parts_ = judged(piece, lambda score: np.full(2, next(order)))
    assert [part.arousal for part in parts_ if part] == [0.2, 0.8]
    assert whole.arousal == pytest.approx((0.2 * middle + 0.8 * (end - middle)) / 37)


def test_verdict_is_right_by_axis() -> None:
    found = Verdict(arousal=0.9, valence=0.2)
    assert found.right((-1, 1)) == (True, True)
    assert found.right((1, -1)) == (False, False)
    assert found.quadrants == pytest.approx((0.18, 0.72, 0.08, 0.02))


def test_nothing_to_hear_is_refused() -> None:
    with pytest.raises(InvalidInput, match="no pitched note"):
        judged(Score((), (40,) * 4), lambda score: rich.features(score))


def test_twelve_statistics_of_a_piece_by_hand() -> None:
    step = v.tempo_step(120)
    notes = [Note(0, v.PIANO, 60, 31, 4), Note(4, v.PIANO, 64, 31, 4), Note(8, v.PIANO, 67, 33, 8), Note(8, v.PIANO, 72, 33, 8)]
    found = dict(zip(statistics.NAMES, statistics.note_statistics(tidy(notes, [step])), strict=True))
    second = 60 / v.bpm(step)
    assert found["log note rate"] == pytest.approx(np.log(4 / (4 * second)))
    assert found["duration mean"] == pytest.approx(1.5 * second)
    assert found["velocity mean"] == pytest.approx(65)
    assert (found["pitch mean"], found["pitch range"]) == (pytest.approx(65.75), 12)
    assert found["polyphony"] == pytest.approx(1.5)
    assert found["major less minor"] == pytest.approx(found["major fit"] - found["minor fit"])
    assert found["major fit"] > found["minor fit"] > 0


@pytest.mark.parametrize("name", sorted(FIGURES))
def test_figures_are_finite_for_the_least_of_pieces(name: str) -> None:
    for notes in (
        [Note(0, v.PIANO, 21, 0, 1)],
        [Note(0, v.PIANO, 108, 63, 16)],
        [Note(5, v.PIANO, 60 + n, 10, 1) for n in range(12)],
    ):
        found = FIGURES[name](tidy(notes, [0]))
        assert np.isfinite(found).all()
        assert found.shape == FIGURES[name](scale()).shape


def test_pieces_are_personal() -> None:
    assert MusicJudge.spec.personal


def test_damaged_weights_are_refused(tmp_path: Path) -> None:
    card = MusicJudge.spec.variant("tiny").card
    assert card is not None
    (tmp_path / card.sha256).write_bytes(b"other bytes")
    with pytest.raises(OSError, match="is not the model"):
        MusicJudge().open("tiny", CheckContext(ModelStore(tmp_path, packaged=False)))
