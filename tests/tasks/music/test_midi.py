from __future__ import annotations

import contextlib
import io
import random

import mido
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.nodes.bench.fuzz import mutants
from moodmesh.tasks import InvalidInput
from moodmesh.tasks.music.notation import midi
from moodmesh.tasks.music.notation import vocabulary as v
from moodmesh.tasks.music.notation.score import Note, Score, tidy
from moodmesh.tasks.music.notation.tokens import encode

from .pieces import delta, played, scale, scores, smf, tempo

PITCHED = scores().filter(lambda score: any(note.track != v.DRUMS for note in score.notes))


@given(PITCHED)
def test_a_score_survives_its_file(score: Score) -> None:
    assert midi.read(midi.write(score)) == score


@settings(max_examples=50)
@given(PITCHED)
def test_another_reader_finds_every_note_once_and_no_bar_too_full(score: Score) -> None:
    file = mido.MidiFile(file=io.BytesIO(midi.write(score)))
    found = set()
    for part in file.tracks:
        now, open_notes, name = 0, dict[tuple[int, int], tuple[int, int]](), ""
        for message in part:
            now += message.time
            if message.type == "track_name":
                name = message.name
            elif message.type == "note_on" and message.velocity:
                assert (message.channel, message.note) not in open_notes
                assert (message.channel == 9) == (name == "drums")
                open_notes[message.channel, message.note] = (now, message.velocity)
            elif message.type in ("note_on", "note_off"):
                start, velocity = open_notes.pop((message.channel, message.note))
                found.add((start, v.TRACKS.index(name), message.note, velocity, now - start))
        assert not open_notes
    assert found == {(n.onset * 120, n.track, n.pitch, v.loudness(n.velocity), n.duration * 120) for n in score.notes}
    assert max(start // 1920 for start, *_ in found) < score.bars
    assert mido.MidiFile(file=io.BytesIO(midi.write(score))).ticks_per_beat == 480


def test_onsets_go_to_the_nearest_sixteenth_and_durations_to_one_bar() -> None:
    data = smf(played([(59, 70, 60, 64), (61, 5000, 64, 1), (961, 1199, 67, 127)]))
    assert midi.read(data).notes == (Note(0, 1, 60, 32, 1), Note(1, 1, 64, 0, 16), Note(8, 1, 67, 63, 2))


@given(st.integers(1, 2**15 - 1), st.lists(st.integers(0, 2**20), min_size=1, max_size=20))
def test_any_onset_moves_by_half_a_sixteenth_at_most(division: int, ticks: list[int]) -> None:
    ticks = sorted(tick % (64 * division) for tick in ticks)
    data = smf(played([(tick, tick + 1, 40 + n, 64) for n, tick in enumerate(ticks)]), division=division)
    found = {note.pitch: note.onset for note in midi.read(data).notes}
    assert len(found) == len(ticks)
    assert all(abs(found[40 + n] - 4 * tick / division) <= 0.5 for n, tick in enumerate(ticks))


def test_a_bar_plays_as_long_as_with_its_tempo_changes() -> None:
    notes = played([(0, 480, 60, 64), (1920, 2400, 60, 64)])
    half_way = b"\x87\x40\xff\x51\x03" + (1_000_000).to_bytes(3, "big")  # 960 ticks in: 60 quarters a minute
    score = midi.read(smf(tempo(120) + half_way, notes))
    assert [round(v.bpm(step)) for step in score.tempi] == [81, 60]
    assert score.seconds == pytest.approx(3 + 4, rel=0.02)


def test_any_metre_is_read_in_sixteenths() -> None:
    six_eighths = b"\x00\xff\x58\x04\x06\x03\x24\x08"
    data = smf(six_eighths + played([(240 * n, 240 * n + 240, 60 + n, 64) for n in range(12)]))
    assert [note.onset for note in midi.read(data).notes] == list(range(0, 24, 2))


def test_instruments_go_to_the_track_that_stands_for_them() -> None:
    def part(program: int, channel: int, pitch: int) -> bytes:
        return bytes([0, 0xC0 | channel, program]) + played([(0, 480, pitch, 64)], channel)

    parts = [part(p, n, 60 + n) for n, p in enumerate((0, 16, 25, 33, 48, 56, 80, 105, 127))]
    parts.append(played([(0, 480, 36, 64)], 9))
    found = {note.pitch: v.TRACKS[note.track] for note in midi.read(smf(*parts)).notes}
    names = ["piano", "piano", "guitar", "bass", "strings", "strings", "strings", "guitar"]
    assert found == {36: "drums"} | dict(zip(range(60, 68), names, strict=True))


BROKEN = {
    "broken": (b"MThd garbage that is long enough", "export it anew"),
    "nothing": (b"", "export it anew"),
    "another format": (b"RIFF\x00\x00\x00\x00WAVEfmt ", "export it anew"),
    "film time": (smf(played([(0, 9, 60, 64)]), division=0xE728), "export it anew"),
    "no ticks": (smf(played([(0, 9, 60, 64)]), division=0), "export it anew"),
    "empty": (smf(b""), "no notes"),
    "too low": (smf(played([(0, 9, 20, 64)])), "no notes"),
    "drums only": (smf(played([(0, 9, 36, 64)], 9)), "drums only"),
    "three hours": (
        smf(tempo(30) + played([(n * 28800, n * 28800 + 480, 60, 64) for n in range(91)])),
        "180 minutes, at most 120",
    ),
    "bars without end": (smf(tempo(1e6) + played([(0, 9, 60, 64), (20_000_000, 20_000_009, 60, 64)])), "more than 5000 bars"),
    "huge": (bytes(midi.MAX_BYTES + 1), "more than 4 MiB"),
}


@pytest.mark.parametrize(
    ("bpm", "bars", "says"),
    [(240, 5000, ""), (240, 5001, "more than 5000 bars"), (120, 3600, ""), (120, 3700, "lasts 123 minutes")],
)
def test_the_end_that_a_file_states_is_within_the_limits(bpm: float, bars: int, says: str) -> None:
    """In the text in which our files state it, far behind the last note."""
    stated = delta(bars * 4 * 480) + b"\xff\x06" + delta(len(midi._END)) + midi._END.encode()
    data = smf(tempo(bpm) + played([(480 * n, 480 * n + 400, 60 + n, 64) for n in range(8)]), stated)
    if says:
        with pytest.raises(InvalidInput, match=says):
            midi.read(data)
    else:
        assert midi.read(data).bars == bars


def test_a_long_text_of_others_is_not_taken_for_ours() -> None:
    ours = "Made by a machine: Moodmesh music.generate, seed 1: x. "
    assert midi.said(midi.write(scale(), "by a machine: Moodmesh" + "x" * midi.SAID)) == ""
    said = midi.said(midi.write(scale(), ours * 200))
    assert said.startswith("(What was said before is left out.) Made by")
    assert len(said) < midi.SAID + 40


@pytest.mark.parametrize("name", BROKEN)
def test_what_cannot_be_read_is_said_with_what_to_do(name: str) -> None:
    data, says = BROKEN[name]
    with pytest.raises(InvalidInput, match=says):
        midi.read(data)


def test_odd_files_that_can_be_read_are() -> None:
    stuck = smf(b"\x00\x90\x3c\x40" + played([(0, 480, 62, 64)]))
    assert [note.pitch for note in midi.read(stuck).notes] == [62]
    foreign = smf(b"\x00\xff\x06\x02\xff\xfe\x00\xff\x03\x02\xff\xfe" + played([(0, 480, 62, 64)]))
    assert [note.pitch for note in midi.read(foreign).notes] == [62]
    no_tempo = smf(b"\x00\xff\x51\x03\x00\x00\x00" + b"\x00\x90\x3e\x40\x00\x80\x3e\x00")
    assert midi.read(no_tempo) == tidy([Note(0, 1, 62, 32, 1)], [42])


def test_ten_thousand_damaged_files_are_a_score_or_an_invalid_input() -> None:
    rng = random.Random(1)
    rich = tidy(
        [Note(rng.randrange(64), rng.randrange(5), rng.randrange(21, 109), rng.randrange(64), 4) for _ in range(60)], [42] * 4
    )
    samples = [midi.write(scale(2)), midi.write(rich), smf(tempo(90), played([(0, 480, 60, 64), (7, 99, 60, 1)])), b"MThd"]
    taken = 0
    for data in mutants(samples, 10_000):
        try:
            score = midi.read(data)
        except InvalidInput:
            continue
        encode(score)
        taken += 1
    assert taken > 100


@settings(max_examples=200)
@given(st.binary(max_size=200))
def test_any_track_of_any_bytes_is_a_score_or_an_invalid_input(events: bytes) -> None:
    for data in (events, smf(events)):
        with contextlib.suppress(InvalidInput):
            midi.read(data)


def test_notes_of_a_given_file_sound_on_under_its_pedal() -> None:
    """The pedal is down from the start to 960, and again from 1920 to the end of the file."""
    pedal = [(0, b"\xb0\x40\x7f"), (960, b"\xb0\x40\x00"), (1920, b"\xb0\x40\x40"), (3840, b"\xb0\x40\x00")]
    keys = [(0, 100, 60), (480, 580, 64), (960, 1080, 67), (1440, 1600, 60), (1920, 2040, 60), (2400, 2500, 60)]
    events = [*pedal, *((at, bytes([0x90, pitch, 80])) for at, _, pitch in keys)]
    events = sorted([*events, *((end, bytes([0x80, pitch, 0])) for _, end, pitch in keys)])
    gaps = [at - before for at, before in zip((at for at, _ in events), (0, *(at for at, _ in events)), strict=False)]
    data = smf(b"".join(delta(gap) + event for gap, (_, event) in zip(gaps, events, strict=True)))
    score, reading = midi.read_given(data)
    assert [note.duration for note in score.notes] == [8, 4, 1, 1, 4, 12], "to its end, or until struck again"
    assert (reading.notes, reading.kept, reading.shortened) == (6, 6, 0)
    assert [note.duration for note in midi.read(data).notes] == [1] * 6, "what composers learn from is read as it was"


def test_a_pedal_that_goes_down_as_a_note_is_let_go_does_not_hold_it() -> None:
    """As chords are bound: the pedal comes up and goes down again with each."""
    chord, on, off = bytes([0x90, 60, 80]), b"\xb0\x40\x7f", b"\xb0\x40\x00"
    keys = delta(0) + on + delta(0) + chord + delta(960) + bytes([0x80, 60, 0]) + delta(0) + off + delta(0) + on
    keys += delta(0) + bytes([0x90, 62, 80]) + delta(900) + bytes([0x80, 62, 0]) + delta(60) + off
    assert [note.duration for note in midi.read_given(smf(keys))[0].notes] == [8, 8]


def test_the_pedal_of_an_instrument_may_stand_in_another_of_its_tracks_and_stay_down() -> None:
    def hand(pitch: int) -> bytes:
        return played([(0, 240, pitch, 80), (480, 720, pitch + 2, 80), (960, 1920, pitch, 80)])

    lifted = delta(0) + b"\xb0\x40\x7f" + hand(48)
    assert [note.duration for note in midi.read_given(smf(lifted))[0].notes] == [8, 12, 8], "never lifted: to the end"
    both = midi.read_given(smf(hand(72), lifted))[0].notes
    assert [note.duration for note in both if note.pitch >= 72] == [8, 12, 8]
    other = b"\x00\xc1\x30" + played([(0, 240, 72, 80), (240, 480, 74, 80)], channel=1)
    apart = midi.read_given(smf(other, lifted))[0].notes
    assert [note.duration for note in apart if note.pitch >= 72] == [2, 2], "strings have no pedal of a piano"


def test_bars_beyond_the_tempi_there_are_are_counted() -> None:
    fifths = played([(480 * at, 480 * at + 240, 60 + at % 7, 80) for at in range(16)])
    for bpm, beyond in ((4, 4), (30, 0), (240, 0), (1000, 4)):
        assert midi.read_given(smf(tempo(bpm) + fifths))[1].beyond == beyond
