"""A piece in another mood: its bars, its tracks, its contour and its notes stay, and what the mood wants is heard."""

from __future__ import annotations

from bisect import bisect_left
from itertools import combinations
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.music.notation import midi
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.features import SAME_HAND, Key, articulation, key
from moodmesh.tasks.music.notation.midi import read, write
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.rules.attributes import heard, wanted
from moodmesh.tasks.music.rules.compose import compose
from moodmesh.tasks.music.rules.moods import EMOTIONS, QUADRANTS
from moodmesh.tasks.music.rules.orchestrate import orchestrated
from moodmesh.tasks.music.transfer import MusicTransfer
from moodmesh.tasks.music.transfer.mode import parallel
from moodmesh.tasks.music.transfer.rules import transferred
from moodmesh.tasks.music.transfer.schema import Kept
from moodmesh.tasks.music.transfer.tune import tune
from moodmesh.tasks.task import Request
from moodmesh.tasks.testing import CheckContext, ModelStore, check_task

from .pieces import END, delta, played, scale, scores, smf

ALL: tuple[Kept, ...] = get_args(Kept)
axis = st.floats(-1, 1)
keeps = st.sets(st.sampled_from(ALL)).map(frozenset)


def tracks(score: Score) -> set[int]:
    return {note.track for note in score.notes}


def piece(word: str = "happy", seed: int = 3, bars: int = 16) -> Score:
    return orchestrated(compose(wanted(*EMOTIONS[word]), bars, seed), "band")


def run(data: bytes, **params: object) -> tuple[dict[str, object], Score]:
    task, context = MusicTransfer(), CheckContext(ModelStore(Path("none")))
    output = task.open("rules", context).run(Request(params, data), context)
    return output.value, read(output.files["piece.mid"])


def test_the_task_keeps_the_contract(tmp_path: Path) -> None:
    check_task(MusicTransfer(), tmp_path, bad=(Request({"emotion": "sad"}, b"\xff\x00"), Request({"emotion": "sad"})))


@settings(deadline=None, max_examples=80)
@given(scores(), axis, axis, keeps)
def test_bars_tracks_and_every_note_stay_and_the_result_decodes(
    score: Score, valence: float, arousal: float, keep: frozenset[Kept]
) -> None:
    found = transferred(score, wanted(valence, arousal), keep)
    assert found.bars == score.bars
    assert tracks(found) == tracks(score)
    assert len(found.notes) >= len(score.notes)
    assert {note[:2] for note in score.notes} <= {note[:2] for note in found.notes}, "each begins when it did, on its track"
    if found.notes and tracks(found) != {v.DRUMS}:
        assert read(write(found)) == found


@settings(deadline=None, max_examples=60)
@given(scores(), axis, axis)
def test_where_everything_is_kept_nothing_changes(score: Score, valence: float, arousal: float) -> None:
    assert transferred(score, wanted(valence, arousal), ALL) == score
    assert transferred(score, wanted(valence, arousal), ALL, thin=True) == score


@settings(deadline=None, max_examples=60)
@given(scores(), st.integers(0, 11), st.booleans())
def test_what_was_higher_is_never_lower_in_the_other_mode(score: Score, tonic: int, minor: bool) -> None:
    found = parallel(score, Key(tonic, not minor), minor=minor)
    assert len(found.notes) == len(score.notes)
    pairs = {(a.track, a.pitch, b.pitch) for a, b in zip(score.notes, by_moment(score, found), strict=True)}
    assert all(abs(before - after) <= 1 for _, before, after in pairs)
    for (_, a, moved_a), (_, b, moved_b) in combinations(sorted(pairs), 2):
        assert a >= b or moved_a <= moved_b


def by_moment(score: Score, found: Score) -> list[Note]:
    """The notes of `found` in the order of those that they were: within a moment and track no two change places."""
    order = sorted(range(len(score.notes)), key=lambda i: score.notes[i][:3])
    there = sorted(found.notes, key=lambda note: note[:3])
    return [note for _, note in sorted(zip(order, there, strict=True))]


def line(score: Score) -> set[tuple[int, ...]]:
    """The highest line, its loudness aside."""
    return {(n.onset, n.track, n.pitch, n.duration) for n in tune(score.notes)}


def rhythm(score: Score) -> list[tuple[int, ...]]:
    return sorted((n.onset, n.track, n.duration) for n in score.notes)


@st.composite
def crowded(draw: st.DrawFn) -> Score:
    """Long notes on few keys: what moves meets what sounds."""
    bars, places = draw(st.integers(2, 4)), st.integers(0, 2 * v.BAR - 1)
    pitches = st.sampled_from([low + step for low in (48, 60, 72) for step in (0, 3, 4, 8, 9, 11)])
    note = st.builds(Note, places, st.sampled_from([v.PIANO, v.PIANO, v.STRINGS]), pitches, st.just(40), st.integers(1, 16))
    return tidy(draw(st.lists(note, min_size=2, max_size=30)), [40] * bars)


@settings(deadline=None, max_examples=50)
@given(scores(), axis, axis, keeps, st.booleans())
def test_what_is_kept_is_kept(score: Score, valence: float, arousal: float, keep: frozenset[Kept], thin: bool) -> None:
    found = transferred(score, wanted(valence, arousal), keep, thin=thin)
    if "tempo" in keep:
        assert found.tempi == score.tempi
    if "rhythm" in keep:
        assert rhythm(found) == rhythm(score)
    if "key" in keep and "rhythm" in keep:
        assert [n[:3] + n[4:] for n in found.notes] == [n[:3] + n[4:] for n in score.notes]
    if "melody" in keep:
        assert line(score) <= line(found)
    if keep >= {"dynamics", "rhythm"}:
        assert sorted(n.velocity for n in found.notes) == sorted(n.velocity for n in score.notes)


@settings(deadline=None, max_examples=60)
@given(crowded(), st.sampled_from(QUADRANTS))
def test_what_moves_cuts_nothing_that_is_kept(score: Score, mood: str) -> None:
    asked = wanted(*EMOTIONS[mood])
    assert rhythm(transferred(score, asked, ["rhythm"])) == rhythm(score)
    found = transferred(score, asked, ["melody"])
    assert line(score) <= line(found)
    assert len(found.notes) >= len(score.notes)


@pytest.mark.parametrize(
    ("notes", "mood", "keep"),
    [
        ([(10, 64, 8), (15, 72, 7), (16, 63, 8)], "angry", "rhythm"),
        ([(24, 52, 15), (30, 64, 16), (30, 72, 10)], "sad", "melody"),
        ([(8, 81, 16), (21, 68, 10), (27, 52, 6)], "sad", "melody"),
        ([(2, 69, 16), (4, 83, 11), (12, 57, 11), (20, 48, 7), (27, 51, 9)], "happy", "melody"),
    ],
)
def test_what_moves_or_comes_again_left_less_of_what_is_kept(notes: list[tuple[int, int, int]], mood: str, keep: Kept) -> None:
    """A note that another's new pitch cut; a tune under an accompaniment that was struck again above it."""
    score = tidy([Note(at, v.PIANO, pitch, 40, duration) for at, pitch, duration in notes], [40] * 3)
    found = transferred(score, wanted(*EMOTIONS[mood]), [keep])
    assert rhythm(found) == rhythm(score) if keep == "rhythm" else line(score) <= line(found)


def test_a_note_that_goes_back_is_not_lost_in_one_that_moved_there() -> None:
    low = [Note(8, v.PIANO, pitch, 30, 16) for pitch in (72, 84, 96)]
    score = tidy([Note(0, v.PIANO, 60, 30, 12), *low], [20, 20])
    found = transferred(score, wanted(-0.6, -0.6), ["melody"])
    assert [note.onset for note in found.notes].count(8) == 3
    assert line(score) <= line(found)


def test_a_major_scale_becomes_minor_and_its_leading_tone_leads() -> None:
    degrees = (60, 62, 64, 65, 67, 69, 71, 72)
    up = tidy([Note(2 * i, v.PIANO, pitch, 30, 2) for i, pitch in enumerate(degrees)], [40])
    minor = parallel(up, Key(0, False), minor=True)
    assert [n.pitch for n in minor.notes] == [60, 62, 63, 65, 67, 68, 71, 72], "harmonic minor"
    down = tidy([Note(2 * i, v.PIANO, pitch, 30, 2) for i, pitch in enumerate(reversed(degrees))], [40])
    assert [n.pitch for n in parallel(down, Key(0, False), minor=True).notes] == [72, 70, 68, 67, 65, 63, 62, 60], "natural"
    assert parallel(minor, Key(0, True), minor=True) == minor


def test_a_note_that_would_fall_on_another_stays() -> None:
    both = tidy([Note(0, v.PIANO, 63, 30, 4), Note(0, v.PIANO, 64, 30, 4)], [40])
    assert parallel(both, Key(0, False), minor=True) == both


@pytest.mark.parametrize("target", QUADRANTS)
@pytest.mark.parametrize("source", QUADRANTS)
def test_each_corner_becomes_each_other(source: str, target: str) -> None:
    before, asked = piece(source), wanted(*EMOTIONS[target])
    after = transferred(before, asked)
    was, now = heard(before), heard(after)
    assert key(after).minor == asked.minor
    assert key(after).tonic == key(before).tonic
    assert abs(now.bpm - asked.bpm) <= abs(was.bpm - asked.bpm) + 2
    assert abs(now.velocity - asked.velocity) <= abs(was.velocity - asked.velocity) + 2
    assert abs(now.velocity - asked.velocity) < 8
    if was.density < 0.9 * asked.density:
        assert now.density > was.density


def test_thinning_leaves_out_notes_beside_the_tune_when_it_is_asked_for_alone() -> None:
    before, asked = piece("excited"), wanted(*EMOTIONS["calm"])
    assert len(transferred(before, asked).notes) >= len(before.notes)
    thin = transferred(before, asked, thin=True)
    assert len(thin.notes) < len(before.notes)
    assert heard(thin).density < heard(before).density
    assert tracks(thin) == tracks(before)
    assert {n.onset for n in tune(before.notes)} <= {n.onset for n in thin.notes}


def test_no_instrument_falls_silent_where_it_is_thinned() -> None:
    tune_ = [Note(4 * i, v.PIANO, 72, 30, 4) for i in range(8)]
    between = [Note(1 + 2 * i, v.GUITAR, 48, 30, 1) for i in range(16)]
    thin = transferred(tidy([*tune_, *between], [40, 40]), wanted(0.6, -1.0), ("key",), thin=True)
    assert len(thin.notes) < 24
    assert tracks(thin) == {v.PIANO, v.GUITAR}


@settings(deadline=None, max_examples=80)
@given(scores())
def test_articulation_is_what_looking_at_every_pair_of_notes_says(score: Score) -> None:
    notes = [note for note in score.notes if note.track != v.DRUMS]
    shares = []
    for note in notes:
        near = [one.onset - note.onset for one in notes if one.onset > note.onset and abs(one.pitch - note.pitch) <= SAME_HAND]
        if near and min(near) <= v.BAR:
            shares.append(min(1.0, note.duration / min(near)))
    assert articulation(score) == pytest.approx(sum(shares) / len(shares) if shares else 1.0)


def dense(bars: int) -> Score:
    """400 notes a bar over all of the keys, most of them with no note nearby at once."""
    places = range(bars * v.BAR)
    return tidy((Note(at, v.PIANO, 21 + (at * 7 + 9 * n) % 88, 30, 16) for at in places for n in range(25)), [40] * bars)


def test_a_dense_piece_costs_as_many_units_as_it_has_notes_and_each_is_looked_at_a_few_times() -> None:
    """Twice as dense must not take four times as long: of each note a few others are looked at, however many there are."""
    request = Request({"emotion": "sad"}, write(dense(4)))
    assert MusicTransfer().units(request) == len(dense(4).notes) == 1600
    looked = 0

    class Counted(Note):
        @property
        def onset(self) -> int:  # type: ignore[override]
            nonlocal looked
            looked += 1
            return self[0]

    score = dense(4)
    object.__setattr__(score, "notes", tuple(Counted(*note) for note in score.notes))
    articulation(score)
    assert looked < 10 * len(score.notes)


def test_the_result_says_how_the_file_was_read() -> None:
    six_eighths = b"\x00\xff\x58\x04\x06\x03\x24\x08"
    notes = [(240 * n, 240 * n + 240, 60 + n % 5, 64) for n in range(16 * 6)]
    long, low = (0, 9600, 80, 64), (0, 240, 20, 64)
    value, score = run(smf(six_eighths + played(notes), played([*notes[:3], long, low])), emotion="sad")
    assert value["given"] == {
        "bars": 12,
        "notes": 96 + 5,
        "kept": 97,
        "shortened": 1,
        "metres": ["6/8"],
        "beyond": 0,
        "said": "",
    }
    assert score.bars == 12
    value, _ = run(write(piece()), emotion="sad")
    assert value["given"]["metres"] == []  # type: ignore[index]
    assert value["given"]["shortened"] == 0  # type: ignore[index]
    assert value["given"]["notes"] == value["given"]["kept"] == len(piece().notes)  # type: ignore[index]


def test_the_result_says_what_was_heard_before_and_after() -> None:
    value, score = run(write(piece()), emotion="sad", keep=["tempo"])
    assert value["bars"] == score.bars == 16
    assert value["kept"] == ["tempo"]
    assert (value["before"], value["heard"]) != (None, value["before"])
    assert value["heard"]["minor"] is True  # type: ignore[index]
    assert value["before"]["minor"] is False  # type: ignore[index]
    assert value["before"]["bpm"] == pytest.approx(value["heard"]["bpm"])  # type: ignore[index]


def test_the_result_says_whose_licence_it_is_under() -> None:
    value, _ = run(write(piece()), emotion="sad")
    assert value["composers"] == [{"variant": "rules", "model": None, "sha256": None, "licence": "CC0-1.0", "bars": 16}]
    assert str(value["provenance"]).endswith(
        "the rules, without a model. It stays under the licence of the file that was given."
    )


def test_who_made_a_piece_is_still_said_when_it_is_another() -> None:
    value, score = run(write(piece(), "Made by a machine: Moodmesh music.generate, seed 7: x, CC-BY-4.0."), emotion="sad")
    assert value["provenance"] == (
        "Made by a machine: Moodmesh music.generate, seed 7: x, CC-BY-4.0. Put into another mood by a machine: Moodmesh "
        "music.transfer, the rules, without a model. It stays under the licence of the file that was given."
    )
    value, _ = run(write(score, str(value["provenance"])), emotion="calm")
    assert str(value["provenance"]).count("music.generate, seed 7") == 1


def long(bars: int, bpm: float) -> Score:
    return tidy((Note(bar * v.BAR, v.PIANO, 60 + bar % 5, 30, 16) for bar in range(bars)), [v.tempo_step(bpm)] * bars)


def test_a_piece_that_could_not_be_read_again_is_refused_before_it_is_accepted() -> None:
    score = long(118 * 30, 120)  # 118 minutes
    task, sad = MusicTransfer(), {"emotion": "sad"}
    with pytest.raises(
        InvalidInput, match=r"would last 1\d\d minutes, at most 120 are read: keep its `tempo`, or cut the file"
    ):
        task.units(Request(sad, write(score)))
    assert task.units(Request({**sad, "keep": ["tempo"]}, write(score))) == 118 * 30
    _, found = run(write(score), emotion="sad", keep=["tempo"])
    assert found.bars == score.bars
    with pytest.raises(InvalidInput, match="5001 bars, at most 5000 are read: cut the file"):
        task.units(Request({**sad, "keep": ["tempo"]}, write(long(5000, 240))))


def test_the_longest_piece_that_is_accepted_is_read_again() -> None:
    def refused(bars: int) -> bool:
        try:
            MusicTransfer().units(Request({"emotion": "sad"}, write(long(bars, 120))))
        except InvalidInput:
            return True
        return False

    bars = bisect_left(range(118 * 30), True, lo=1, key=refused) - 1
    _, found = run(write(long(bars, 120)), emotion="sad")
    assert found.bars == bars
    assert found.seconds > 7200 - 10


def test_notes_are_struck_again_as_long_as_the_piece_can_be_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    low = [Note(bar * v.BAR, v.PIANO, pitch, 30, 16) for bar in range(8) for pitch in (36, 43, 48, 76)]
    score = tidy(low, [40] * 8)
    free = transferred(score, wanted(*EMOTIONS["excited"]))
    assert len(free.notes) > 36
    monkeypatch.setattr(midi, "MAX_NOTES", 36)
    assert len(transferred(score, wanted(*EMOTIONS["excited"])).notes) == 36


@pytest.mark.parametrize(
    ("data", "params", "words"),
    [
        (b"", {"emotion": "sad"}, "hand in a MIDI file"),
        (b"MThd broken", {"emotion": "sad"}, "not a MIDI file that can be read"),
        (smf(END[:0]), {"emotion": "sad"}, "no notes"),
        (smf(b"\x00\x90\x3c\x40" + delta(480) + b"\x90\x40\x40"), {"emotion": "sad"}, "note-ons without note-offs"),
        (smf(played([(0, 9, 20, 64)])), {"emotion": "sad"}, r"a piano can play \(21 to 108\)"),
        (smf(played([(0, 480, 36, 90)], channel=9)), {"emotion": "sad"}, "drums only"),
        (write(scale()), {"emotion": "blue"}, "use one of happy, angry, sad, calm"),
        (write(scale()), {}, "give the mood in one way"),
        (write(scale()), {"valence": 0.5}, "belong together"),
        (write(scale()), {"emotion": "sad", "keep": ["rhythm"], "thin": True}, "leave one of them out"),
        (write(scale()), {"emotion": "sad", "valence": 0.5, "arousal": 0.5}, "give the mood in one way"),
    ],
)
def test_what_cannot_be_understood_is_refused_before_it_is_accepted(data: bytes, params: dict[str, object], words: str) -> None:
    with pytest.raises(InvalidInput, match=words):
        MusicTransfer().units(Request(params, data))
