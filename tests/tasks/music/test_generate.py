"""`music.generate`: what is asked comes out, whoever composes; other devices go on; every file opens in another reader."""

from __future__ import annotations

import io
import re
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import mido
import numpy as np
import pytest

from moodmesh.tasks.errors import Cancelled, InvalidInput
from moodmesh.tasks.models import Card, ModelStore
from moodmesh.tasks.music.engine.playing import MAX_BAR, Ask
from moodmesh.tasks.music.engine.sampling import Chord
from moodmesh.tasks.music.engine.steps import Steps
from moodmesh.tasks.music.generate import SELECTOR, MusicGenerate, composers
from moodmesh.tasks.music.generate.asked import MOST_NOTES, Asked, trimmed
from moodmesh.tasks.music.generate.composers import MAJOR, MINOR, Rules, Trained, returning
from moodmesh.tasks.music.generate.makers import packed, unpacked
from moodmesh.tasks.music.generate.runner import PIECE, Generate, open_runner, whole
from moodmesh.tasks.music.notation import midi
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import at_key, key
from moodmesh.tasks.music.notation.midi import read, write
from moodmesh.tasks.music.notation.score import Note, Score, excerpt, tidy
from moodmesh.tasks.music.rules.attributes import SPREAD, described, wanted
from moodmesh.tasks.music.rules.compose import compose
from moodmesh.tasks.music.rules.moods import EMOTIONS, QUADRANTS, Mood, along
from moodmesh.tasks.music.rules.orchestrate import Ensemble, orchestrated
from moodmesh.tasks.task import Output, Request, Variant
from moodmesh.tasks.testing import check_task

from .models import steps

TASK = MusicGenerate()


@dataclass
class Listener:
    """A context that keeps what it is handed."""

    parts: dict[int, bytes] = field(default_factory=dict)
    shares: list[float] = field(default_factory=list)
    cancel_after: int = 10**9

    def emit(self, index: int, data: bytes) -> None:
        self.parts[index] = data

    def progress(self, share: float) -> None:
        self.shares.append(share)

    def log(self, line: str) -> None:
        raise AssertionError(line)

    def check(self) -> None:
        if len(self.parts) >= self.cancel_after:
            raise Cancelled

    def model(self, card: object) -> Path:
        raise AssertionError(card)


def runner(kind: str) -> Generate:
    if kind == "rules":
        return Generate(TASK.spec.variant("rules"), Rules)
    return Generate(TASK.spec.variant("tiny"), partial(Trained, steps()))


def made(kind: str, params: dict[str, Any], seed: int = 1, given: bytes = b"", parts: tuple[bytes, ...] = ()) -> Output:
    return runner(kind).run(Request(params, given, seed, parts), Listener())


def watch(monkeypatch: pytest.MonkeyPatch) -> list[Sequence[Ask]]:
    """The plans that players are given from now on."""
    plans = list[Sequence[Ask]]()

    class Watched(composers.Player):
        def __init__(self, stepping: Steps, plan: Sequence[Ask], *rest: Any) -> None:
            plans.append(plan)
            super().__init__(stepping, plan, *rest)

    monkeypatch.setattr(composers, "Player", Watched)
    return plans


def piece(output: Output) -> mido.MidiFile:
    return mido.MidiFile(file=io.BytesIO(output.files[PIECE]))


def test_it_keeps_the_contract_of_a_task(tmp_path: Path) -> None:
    check_task(TASK, tmp_path)


@pytest.mark.parametrize("kind", ["rules", "model"])
def test_a_piece_has_the_bars_tempo_key_and_players_asked_for(kind: str) -> None:
    output = made(kind, {"emotion": "happy", "bars": 9, "bpm": 100, "key": "Eb", "ensemble": "band"})
    score = read(output.files[PIECE])
    assert score.bars == output.value["bars"] == 9
    assert {round(v.bpm(step)) for step in score.tempi} == {round(v.bpm(v.tempo_step(100)))}
    assert output.value["key"] == "Eb major"
    assert {note.track for note in score.notes} == {v.DRUMS, v.PIANO, v.BASS, v.STRINGS}
    assert output.value["seconds"] == pytest.approx(9 * 4 * 60 / 100, rel=0.02)


def test_the_rules_are_heard_in_the_key_asked_for() -> None:
    for emotion, mode in (("happy", "major"), ("sad", "minor")):
        output = made("rules", {"emotion": emotion, "bars": 16, "key": "Gb"})
        assert str(key(read(output.files[PIECE]))) == f"Gb {mode}" == output.value["key"]


@pytest.mark.parametrize("kind", ["rules", "model"])
def test_the_same_seed_makes_the_same_bytes_and_another_does_not(kind: str) -> None:
    params = {"valence": -0.4, "arousal": 0.5, "bars": 6}
    one, again, other = (made(kind, params, seed) for seed in (1, 1, 2))
    assert one == again
    assert one.files != other.files


@pytest.mark.parametrize("kind", ["rules", "model"])
def test_a_resumed_job_makes_the_rest_of_the_same_piece(kind: str) -> None:
    params = {"path": [{"at": 0, "valence": -0.5, "arousal": 0}, {"at": 1, "valence": 0.5, "arousal": 0.5}], "bars": 10}
    whole = Listener()
    output = runner(kind).run(Request(params, b"", 4), whole)
    assert whole.shares[-1] == 1
    parts = tuple(whole.parts[number] for number in range(10))
    for held in (1, 6, 10):
        rest = Listener()
        assert runner(kind).run(Request(params, b"", 4, parts[:held]), rest) == output
        assert rest.parts == {number: parts[number] for number in range(held, 10)}
    assert [packed(*unpacked(part)) for part in parts] == list(parts)


def test_a_cancelled_piece_stops_at_once() -> None:
    for kind in ("rules", "model"):
        listener = Listener(cancel_after=2)
        with pytest.raises(Cancelled):
            runner(kind).run(Request({"emotion": "calm", "bars": 12}, b"", 1), listener)
        assert len(listener.parts) == 2


def test_a_path_is_followed() -> None:
    points = [{"at": 0.1, "valence": -0.7, "arousal": -0.7}, {"at": 0.9, "valence": 0.7, "arousal": 0.7}]
    output = made("rules", {"path": points, "bars": 20})
    score = read(output.files[PIECE])
    begin, end = excerpt(score, 0, 4), excerpt(score, 16, 20)
    assert score.tempi[0] < score.tempi[10] < score.tempi[-1]
    assert sum(n.velocity for n in begin.notes) / len(begin.notes) + 10 < sum(n.velocity for n in end.notes) / len(end.notes)
    assert len(begin.notes) < len(end.notes)
    assert output.value["moods"][0] == [-0.7, -0.7]
    assert output.value["moods"][-1] == [0.7, 0.7]
    keys = Asked.of(Request({"path": points, "bars": 20}, b"", 7)).keys
    assert [one.minor for one in keys] == [True, False]
    assert (keys[1].tonic - keys[0].tonic) % 12 == 3
    assert [str(key(part)) for part in (begin, end)] == output.value["key"].split(" and ")


@pytest.mark.parametrize(("emotion", "chords"), [("happy", MAJOR), ("sad", MINOR)])
@pytest.mark.parametrize("bars", [1, 2, 6])
def test_a_trained_composer_ends_from_the_dominant_on_the_tonic(emotion: str, chords: tuple[Chord, Chord], bars: int) -> None:
    asked = Asked.of(Request({"emotion": emotion, "bars": bars}, b"", 3))
    notes = whole(list(Trained(steps()).bars(asked, [], lambda: None))).notes
    end = v.BAR * (bars - 1)
    leading = [note.pitch % 12 for note in notes if end - v.BAR // 2 <= note.onset < end]
    assert {note.pitch % 12 for note in notes if note.onset >= end} <= set(chords[1])
    assert (set(leading) <= set(chords[0]), leading[:1]) == (True, [] if bars == 1 else [chords[0][0]])


def test_a_phrase_begins_as_the_first_in_its_mood_did() -> None:
    def again(**params: Any) -> dict[int, int]:
        return returning(Asked.of(Request(params, b"", 3)))

    assert again(emotion="sad", bars=43) == {8: 0, 9: 1, 24: 0, 25: 1, 32: 0, 33: 1}
    assert again(emotion="sad", bars=12) == {8: 0}
    assert again(emotion="sad", bars=8) == {}
    there = [
        {"at": at, "valence": valence, "arousal": 0.2} for at, valence in ((0.2, 0.5), (0.4, -0.5), (0.6, -0.5), (0.8, 0.5))
    ]
    assert again(path=there, bars=20) == {16: 0}
    score = read(made("model", {"emotion": "sad", "bars": 12}).files[PIECE])
    assert excerpt(score, 8, 9).notes == excerpt(score, 0, 1).notes
    assert excerpt(score, 9, 10).notes != excerpt(score, 1, 2).notes


@pytest.mark.parametrize(("bpm", "told"), [(30, 45), (240, 180), (96, 96)])
def test_a_tempo_that_composers_hardly_know_is_played_at_the_nearest_and_told_as_asked(
    monkeypatch: pytest.MonkeyPatch, bpm: float, told: float
) -> None:
    plans = watch(monkeypatch)
    output = made("model", {"emotion": "happy", "bars": 9, "bpm": bpm})
    assert {ask.tempo for ask in plans[0]} == {v.tempo_step(told)}
    speed = 1 + list(SPREAD).index("bpm")
    asked = described(replace(wanted(0.7, 0.7), bpm=told), 8, closing=False)
    assert {round(ask.told[speed], 6) for ask in plans[0]} == {round(asked[speed], 6)}
    assert set(read(output.files[PIECE]).tempi) == {v.tempo_step(bpm)}
    listener = Listener()
    runner("model").run(Request({"emotion": "happy", "bars": 9, "bpm": bpm}, b"", 1), listener)
    parts = tuple(listener.parts[at] for at in range(5))
    assert made("model", {"emotion": "happy", "bars": 9, "bpm": bpm}, parts=parts).files == output.files


def test_a_path_goes_straight_from_point_to_point() -> None:
    points = [(0.2, Mood(0, 0)), (0.6, Mood(1, -1))]
    assert along(points, 0) == (0, 0)
    assert along(points, 0.4) == pytest.approx((0.5, -0.5))
    assert along(points, 1) == (1, -1)


@pytest.mark.parametrize("kind", ["rules", "model"])
def test_a_given_piece_is_gone_on_from_and_kept(kind: str) -> None:
    given = compose(wanted(0.6, 0.5), 8, 3)
    output = made(kind, {"emotion": "sad", "bars": 6}, given=write(given))
    score = read(output.files[PIECE])
    assert score.bars == 14
    assert excerpt(score, 0, 7).notes == excerpt(given, 0, 7).notes
    assert excerpt(score, 8, 14).notes
    assert output.value["key"] == "A minor"  # of a piece in C major
    if kind == "model":
        assert excerpt(score, 8, 14) != excerpt(read(made(kind, {"emotion": "sad", "bars": 6, "key": "A"}).files[PIECE]), 0, 6)


def test_the_last_phrase_is_told_that_the_piece_ends_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    plans = watch(monkeypatch)
    for bars in (1, 2, 3):
        made("model", {"emotion": "sad", "bars": bars})
        assert [ask.told[-1] for ask in plans.pop()] == [0.0] * (bars - 2) + [1.0] * min(bars, 2)
    made("model", {"emotion": "sad", "bars": 12})
    density, velocity = 1 + list(SPREAD).index("density"), 1 + list(SPREAD).index("velocity")
    before, last = plans[0][9].told, plans[0][10].told
    assert last[density] < before[density]
    assert last[velocity] < before[velocity]
    assert [ask.told[-1] for ask in plans[0]] == [0.0] * 10 + [1.0] * 2


def test_a_piece_that_goes_on_from_a_file_says_from_which_bar_on_a_machine_made_it() -> None:
    given = write(compose(wanted(0.6, 0.5), 8, 3))
    output = made("rules", {"emotion": "sad", "bars": 2}, given=given)
    said = output.value["provenance"]
    assert said.startswith(
        "Bars 1 to 8 are those of the file that was given, under its licence; from bar 9 on made by a machine"
    )
    assert said in [message.text for track in piece(output).tracks for message in track if message.type == "marker"]
    assert output.value["given"]["bars"] == 8
    assert output.value["given"]["notes"] == output.value["given"]["kept"] == len(read(given).notes)
    alone = made("rules", {"emotion": "sad", "bars": 2}).value
    assert (alone["given"], alone["provenance"][:4]) == (None, "Made")


def test_who_made_the_bars_that_are_gone_on_from_is_still_said(monkeypatch: pytest.MonkeyPatch) -> None:
    first = made("rules", {"emotion": "happy", "bars": 2}, seed=5)
    second = made("rules", {"emotion": "sad", "bars": 2}, given=first.files["piece.mid"])
    said = first.value["provenance"]
    assert second.value["given"]["said"] == said
    assert second.value["provenance"].startswith(
        f"{said} Bars 1 to 2 are those of the file that was given, under its licence; from bar 3 on made by a machine"
    )
    assert texts(second)[0] == second.value["provenance"]
    monkeypatch.setattr(midi, "SAID", 700)
    for _ in range(4):
        second = made("rules", {"emotion": "sad", "bars": 1}, given=second.files["piece.mid"])
    said = second.value["provenance"]
    assert re.fullmatch(
        r"\(What was said before is left out\.\)( Bars 1 to \d are those .*?; from bar \d on made by a machine: .*?1\.0\.){4}",
        said,
    )
    assert said.count("from bar 8 on") == said.count("from bar 5 on") == 1
    other = made("rules", {"emotion": "sad", "bars": 2}, given=write(read(first.files["piece.mid"]), "Anna's song"))
    assert "Anna" not in str(other.value), "what others wrote is nobody's business"


@pytest.mark.parametrize(("step", "known"), [(0, 45), (v.TEMPI - 1, 180)])
def test_what_is_gone_on_from_is_read_at_a_tempo_that_composers_know(step: int, known: float) -> None:
    score = compose(wanted(0.6, 0.5), 9, 3)
    odd = replace(score, tempi=(step,) * 9)
    expected = composers.given(replace(score, tempi=(v.tempo_step(known),) * 9))
    assert [bar for bar, _ in composers.given(odd)] == [bar for bar, _ in expected]
    told, nearest = (np.array([ask.told for _, ask in one]) for one in (composers.given(odd), expected))
    assert np.abs(told - nearest).max() < 0.05  # the steps nearest to 45 and 180


def test_a_file_has_its_own_key() -> None:
    with pytest.raises(InvalidInput, match="leave `key` out"):
        TASK.units(Request({"emotion": "sad", "key": "Eb"}, write(compose(wanted(0.6, 0.5), 8, 3))))


def test_nothing_sounds_after_the_last_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    long = [v.BAR_LINE, v.tempo(40), v.beat(15), v.pitch(v.PIANO, 60), v.velocity(v.PIANO, 30), v.duration(v.PIANO, v.BAR)]
    monkeypatch.setattr(Rules, "bars", lambda self, asked, made, check: iter([long, long]))
    score = read(made("rules", {"emotion": "calm", "bars": 2}).files[PIECE])
    assert [(note.onset, note.duration) for note in score.notes] == [(15, v.BAR), (31, 1)]


def test_what_is_too_dense_to_read_is_cut_at_a_whole_note() -> None:
    dense = tidy([Note(0, v.PIANO, 21 + n, 9, 4) for n in range(88)], [30])
    asked = Asked.of(Request({"emotion": "calm", "bars": 2}, write(dense), 1))
    assert asked.before is not None
    (bar,) = trimmed([[2, 40, 3, *(token for n in range(88) for token in (v.pitch(1, 21 + n), 200, 300))]], 100)
    assert len(bar) <= 100
    assert made("model", {"emotion": "calm", "bars": 2}, given=write(dense)).value["bars"] == 3


@pytest.mark.parametrize(
    ("params", "said"),
    [
        ({}, "one way"),
        ({"emotion": "happy", "valence": 0.1, "arousal": 0.2}, "one way"),
        ({"valence": 0.1}, "belong together"),
        ({"emotion": "hapy"}, "did you mean happy"),
        ({"emotion": "blue"}, "use one of happy, angry, sad, calm"),
        ({"path": [{"at": 0.5, "valence": 0, "arousal": 0}, {"at": 0.5, "valence": 0, "arousal": 0}]}, "later"),
    ],
)
def test_what_cannot_be_understood_is_refused_before_it_is_sent(params: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=said):
        TASK.units(Request(params))


@pytest.mark.parametrize("data", [b"MThd", b"no midi", write(tidy([Note(0, v.DRUMS, 40, 9, 1)], [30]))])
def test_a_file_that_cannot_be_gone_on_from_is_refused(data: bytes) -> None:
    with pytest.raises(InvalidInput, match="MIDI"):
        TASK.units(Request({"emotion": "happy"}, data))


def test_the_piece_says_what_made_it() -> None:
    output = made("rules", {"emotion": "tender", "bars": 2}, seed=77)
    assert texts(output)[0] == output.value["provenance"] == (
        "Made by a machine: Moodmesh music.generate, seed 77: the rules, without a model, CC0-1.0."
    )  # fmt: skip


def begun(params: dict[str, Any], bars: int, variant: Variant | None = None, given: bytes = b"") -> tuple[bytes, ...]:
    """The first parts of a piece by a model, whose device then died."""
    listener, model = Listener(cancel_after=bars), runner("model")
    with pytest.raises(Cancelled):
        Generate(variant or TASK.spec.variant("tiny"), model._composer).run(Request(params, given, 1), listener)
    return tuple(listener.parts[number] for number in range(bars))


def texts(output: Output) -> list[str]:
    return [message.text for track in piece(output).tracks for message in track if message.type == "marker"]


def test_each_composer_of_a_piece_is_named_with_its_bars_and_licence() -> None:
    card = TASK.spec.variant("tiny").card
    assert card is not None
    params = {"emotion": "sad", "bars": 6}
    output = made("rules", params, parts=begun(params, 4))
    tiny = {"variant": "tiny", "model": card.name, "sha256": card.sha256, "licence": "CC-BY-4.0", "bars": 4}
    rules = {"variant": "rules", "model": None, "sha256": None, "licence": "CC0-1.0", "bars": 2}
    assert output.value["composers"] == [tiny, rules]
    assert texts(output)[0] == output.value["provenance"] == (
        f"Made by a machine: Moodmesh music.generate, seed 1: bars 1 to 4 by music-tiny ({card.sha256[:12]}), weights under "
        "CC-BY-4.0; bars 5 to 6 by the rules, without a model, CC0-1.0."
    )  # fmt: skip
    back = Listener()
    with pytest.raises(Cancelled):
        runner("rules").run(Request(params, b"", 1, begun(params, 2)), replace(back, cancel_after=1, parts=back.parts))
    output = made("model", params, parts=(*begun(params, 2), back.parts[2]))
    assert [(by["variant"], by["bars"]) for by in output.value["composers"]] == [("tiny", 2), ("rules", 1), ("tiny", 3)]
    assert "bars 1 to 2 by music-tiny" in texts(output)[0]
    assert "; bar 3 by the rules" in texts(output)[0]


def test_the_bars_of_composers_are_counted_after_those_of_a_file() -> None:
    params, given = {"emotion": "sad", "bars": 3}, write(compose(wanted(0.6, 0.5), 8, 3))
    output = made("rules", params, given=given, parts=begun(params, 1, given=given))
    assert [by["bars"] for by in output.value["composers"]] == [1, 2]
    assert "seed 1: bar 9 by music-tiny" in texts(output)[0]
    assert "bars 10 to 11 by the rules" in texts(output)[0]


def test_weights_that_no_card_here_knows_are_named_by_their_hash() -> None:
    params, sha256 = {"emotion": "sad", "bars": 3}, "1234abcd" * 8
    card = TASK.spec.variant("tiny").card
    assert card is not None
    other = replace(TASK.spec.variant("tiny"), card=replace(card, sha256=sha256))
    output = made("model", params, parts=begun(params, 2, other))
    unknown = {"variant": "unknown", "model": None, "sha256": sha256, "licence": "unknown", "bars": 2}
    assert output.value["composers"][0] == unknown
    assert output.value["composers"][1]["sha256"] == card.sha256, "other weights of the same variant"
    said = "bars 1 to 2 by weights 1234abcd1234 that are not known here, licence unknown; bar 3 by music-tiny"
    assert said in texts(output)[0]


BAR = [v.BAR_LINE, v.tempo(30)]


@pytest.mark.parametrize(
    "part",
    [
        b"",
        bytes(32),
        packed(BAR, None)[:-2],
        packed(BAR, None)[:-1],
        packed(BAR, None)[32:],
        packed([*BAR, v.PAD], None),
        packed([*BAR, *BAR], None),
        packed([*BAR, v.duration(v.PIANO, 4)], None),
        packed([*BAR, 60000], None),
    ],
)
def test_a_damaged_part_is_refused(part: bytes) -> None:
    for kind in ("rules", "model"):
        with pytest.raises(InvalidInput, match=r"no bar of music\.generate|token \d+ of the sequence"):
            made(kind, {"emotion": "sad", "bars": 2}, parts=(part,))


@pytest.mark.parametrize("emotion", ["sad", "happy"])
def test_a_given_piece_is_read_in_the_key_that_it_is_gone_on_in(emotion: str) -> None:
    """Here A minor, by an E that three instruments play at once; what is left of it for the piano alone would be F major."""
    line = [Note(4 * at, v.PIANO, pitch, 30, 4) for at, pitch in enumerate((64, 65, 60, 62))]
    together = [Note(0, track, 64, 30, 4) for track in (v.GUITAR, v.STRINGS)]
    score = tidy([*line, *together], [30])
    assert key(score) != key(tidy(line, [30]))
    asked = Asked.of(Request({"emotion": emotion, "bars": 2}, write(score)))
    assert asked.before is not None
    assert [note.pitch for note in at_key(asked.before, asked.key).notes] == [note.pitch for note in line]


def long(bars: int, step: int) -> Score:
    return tidy((Note(bar * v.BAR, v.PIANO, 60 + bar % 5, 30, 16) for bar in range(bars)), [step] * bars)


SECOND = v.tempo_step(240)
"""The tempo of bars of a second."""


@pytest.mark.parametrize(
    ("given", "params", "said"),
    [
        (long(4999, SECOND), {"bars": 2}, "5001 bars, at most 5000"),
        (long(1785, v.tempo_step(60)), {"bars": 8, "bpm": 30}, "121 minutes, at most 120"),
    ],
)
def test_a_piece_that_could_not_be_read_again_is_refused(given: Score, params: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInput, match=f"{said} are read: ask for fewer bars, or cut the file"):
        TASK.units(Request({"emotion": "calm", **params}, write(given)))
    assert TASK.units(Request({"emotion": "calm", **params, "bars": 1}, write(given))) == 1
    output = made("rules", {"emotion": "calm", **params, "bars": 1}, given=write(given))
    assert read(output.files[PIECE]).bars == given.bars + 1


def test_a_piece_of_too_many_notes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    request = Request({"emotion": "calm", "bars": 2}, write(long(8, SECOND)))
    monkeypatch.setattr(midi, "MAX_NOTES", 8 + 2 * MOST_NOTES)
    TASK.units(request)
    monkeypatch.setattr(midi, "MAX_NOTES", 8 + 2 * MOST_NOTES - 1)
    with pytest.raises(InvalidInput, match="notes, at most"):
        TASK.units(request)


def test_an_ensemble_holds_what_the_piano_holds() -> None:
    held = [Note(0, v.PIANO, pitch, 30, 14) for pitch in (48, 64, 72)]
    walking = [Note(16, v.PIANO, 48, 30, 12), Note(24, v.PIANO, 43, 30, 4)]
    short = [Note(32, v.PIANO, 48, 30, 4), Note(44, v.PIANO, 72, 30, 4)]
    notes = orchestrated(tidy([*held, *walking, *short], [30] * 3), "band").notes
    assert [(note.onset, note.duration) for note in notes if note.track == v.BASS] == [(0, 16), (16, 8), (24, 8), (32, 8)]
    assert [note.onset for note in notes if note.track == v.DRUMS and note.bar == 0] == [0]


def test_no_ensemble_makes_more_notes_of_a_bar_than_are_counted_on() -> None:
    most = (MAX_BAR + 4) // 3
    for low in (v.LOWEST, 48):
        notes = [Note(at, v.PIANO, low + step, 30, 1) for at in range(v.BAR) for step in range(25)][:most]
        for ensemble in get_args(Ensemble):
            assert len(orchestrated(tidy(notes, [30]), ensemble).notes) <= MOST_NOTES


@dataclass
class Shelf(Listener):
    """A context with model files, which it counts."""

    store: ModelStore = field(default_factory=lambda: ModelStore(Path("none")))
    asked: list[str] = field(default_factory=list)

    def model(self, card: Card) -> Path:  # type: ignore[override]
        self.asked.append(card.name)
        return self.store.path(card)


@pytest.mark.parametrize("state", ["absent", "damaged"])
def test_without_what_chooses_among_takes_a_piece_is_made_all_the_same(tmp_path: Path, state: str) -> None:
    assert SELECTOR is not None
    if state == "damaged":
        (tmp_path / SELECTOR.sha256).write_bytes(b"broken")
    without = Shelf(store=ModelStore(tmp_path, packaged=False))
    variant = TASK.spec.variant("rules")
    assert open_runner(variant, without).run(Request({"emotion": "calm", "bars": 2}, b"", 1), without).value["takes"] == 1
    assert without.asked == [], "one take needs no choice"
    found = open_runner(variant, without).run(Request({"emotion": "calm", "bars": 2, "takes": 2}, b"", 1), without).value
    assert (found["takes"], found["selector"]) == (2, None)
    whole = Shelf()
    found = open_runner(variant, whole).run(Request({"emotion": "calm", "bars": 2, "takes": 2}, b"", 1), whole).value
    assert found["selector"] == SELECTOR.sha256


def test_words_lie_in_their_quadrants() -> None:
    assert [(EMOTIONS[word].valence > 0, EMOTIONS[word].arousal > 0) for word in QUADRANTS] == [
        (True, True), (False, True), (False, False), (True, False),
    ]  # fmt: skip


def sound_notes(file: mido.MidiFile) -> None:
    """No note is left on, none is struck while it sounds, and none ends beyond one bar after the last."""
    for track in file.tracks:
        at, on = 0, defaultdict[tuple[int, int], list[int]](list)
        for message in track:
            at += message.time
            if message.type == "note_on" and message.velocity:
                assert not on[message.channel, message.note]
                on[message.channel, message.note].append(at)
            elif message.type in ("note_on", "note_off"):
                began = on[message.channel, message.note].pop()
                assert 0 < at - began <= 1920
        assert not any(on.values())


def extreme(number: int) -> dict[str, Any]:
    random = np.random.default_rng(number)
    corner = [float(random.choice([-1, 1, random.uniform(-1, 1)])) for _ in range(2)]
    return {
        "valence": corner[0],
        "arousal": corner[1],
        "bars": int(random.choice([1, 2, 5])),
        "bpm": float(random.choice([30, 240, 97])),
        "ensemble": str(random.choice(["piano", "strings", "guitar", "trio", "band"])),
        "temperature": float(random.choice([0.5, 1.0, 1.5])),
    }


@pytest.mark.parametrize("kind", ["rules", "model"])
def test_files_open_in_another_reader_without_stuck_notes(kind: str) -> None:
    for seed in range(25):
        sound_notes(piece(made(kind, extreme(seed), seed)))


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["rules", "model"])
def test_a_thousand_files_open_in_another_reader(kind: str) -> None:
    for seed in range(1000):
        sound_notes(piece(made(kind, extreme(seed), seed)))
