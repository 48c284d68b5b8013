"""`moodmesh make music` with real daemons: pieces, bad input and devices in trouble."""

from __future__ import annotations

import errno
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mido
import pytest
import soundfile

from integration import music
from integration.daemons import Daemon, pair, traces
from moodmesh.nodes.cli.client import Client, Unreachable
from moodmesh.nodes.errors import NoDaemon
from moodmesh.tasks.music.generate import MusicGenerate
from moodmesh.tasks.music.notation.midi import read, said
from moodmesh.tasks.music.notation.score import Score
from tasks.music.pieces import END, delta, played, smf, tempo

pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("in_tmp")]


def make(daemon: Daemon, *words: str) -> dict[str, Any]:
    done = daemon.typed("make", "music", *words, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout.splitlines()[-1]))


def opens(file: Path) -> mido.MidiFile:
    """In a reader that is not ours: every note ends, and the file says what made it."""
    found = mido.MidiFile(file)
    sounding: dict[tuple[int, int, int], int] = {}
    for number, track in enumerate(found.tracks):
        for message in track:
            if message.type in ("note_on", "note_off"):
                place = (number, message.channel, message.note)
                on = message.type == "note_on" and message.velocity > 0
                sounding[place] = sounding.get(place, 0) + (1 if on else -1)
                assert sounding[place] in (0, 1)
    assert not any(sounding.values())
    texts = [m.text for track in found.tracks for m in track if m.type in ("text", "marker")]
    assert any("by a machine: Moodmesh music." in text for text in texts)
    return found


# -- pieces ----------------------------------------------------------------------------------------------------------------


def test_a_piece_is_named_after_its_mood_and_never_written_over_another(solo: Daemon, tmp_path: Path) -> None:
    first, again = make(solo, "--emotion", "calm", "--seed", "5"), make(solo, "--emotion", "calm", "--seed", "5")
    assert (first["written"], again["written"]) == (["calm.mid"], ["calm-2.mid"])
    assert Path("calm.mid").read_bytes() == Path("calm-2.mid").read_bytes(), "the same seed"
    assert first["result"]["bars"] == read(Path("calm.mid").read_bytes()).bars == 20
    best = MusicGenerate.spec.variants[-1]
    assert best.card is not None
    card = best.card
    named = {"variant": best.name, "model": card.name, "sha256": card.sha256, "licence": card.licence, "bars": 20}
    assert first["result"]["composers"] == [named]
    rules = make(solo, "--emotion", "calm", "--bars", "2", "--variant", "rules")["result"]["composers"]
    assert rules == [{"variant": "rules", "model": None, "sha256": None, "licence": "CC0-1.0", "bars": 2}]
    opens(Path("calm.mid"))


def test_every_form_at_once_and_what_made_it_is_said(solo: Daemon) -> None:
    words = [
        "make",
        "music",
        "--va=-0.6,0.7",
        "--bars",
        "4",
        "--key",
        "Eb",
        "--ensemble",
        "band",
        "--bpm",
        "100",
        "--variant",
        "rules",
    ]
    names = ["a.mid", "b.wav", "c.ogg", "d.flac"]
    done = solo.typed(*words, *(part for name in names for part in ("--out", name)), "--roll", "e.png", "--why")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[:5] == [*names, "e.png"]
    assert "attempt 1 on solo" in done.stdout
    assert "# made by the rules (no model), seed" in done.stderr
    assert "licence CC0-1.0" in done.stderr
    assert "Eb minor" in done.stderr
    assert [Path(n).read_bytes()[:4] for n in names] == [b"MThd", b"RIFF", b"OggS", b"fLaC"]
    assert Path("e.png").read_bytes().startswith(b"\x89PNG")
    assert {soundfile.SoundFile(name).comment for name in names[1:]} == {said(Path("a.mid").read_bytes())}
    assert said(Path("a.mid").read_bytes()).startswith("Made by a machine: Moodmesh music.generate, seed")
    assert len({note.track for note in read(Path("a.mid").read_bytes()).notes}) == 4
    opens(Path("a.mid"))


def test_a_piece_is_gone_on_from_and_nothing_but_its_notes_leaves(solo: Daemon) -> None:
    secret = b"\x00\xff\x01\x0bFor my Anna" + b"\x00\xff\x05\x05lyric"
    Path("mine.mid").write_bytes(
        smf(secret + tempo(90) + played([(480 * i, 480 * i + 400, 60 + i % 5, 80) for i in range(32)]))
    )
    found = make(solo, "--emotion", "hopeful", "--continue", "mine.mid", "--bars", "4")
    assert found["written"] == ["mine-continued.mid"]
    assert found["result"]["bars"] == 8 + 4
    given = read(Path("mine.mid").read_bytes())
    assert read(Path("mine-continued.mid").read_bytes()).notes[: len(given.notes)] == given.notes
    assert not traces(solo.home, b"For my Anna")
    opens(Path("mine-continued.mid"))


def test_a_piece_that_goes_on_from_a_file_is_under_two_licences(solo: Daemon) -> None:
    Path("mine.mid").write_bytes(smf(played([(480 * i, 480 * i + 400, 60 + i % 5, 80) for i in range(32)])))
    words = ["make", "music", "--emotion", "sad", "--bars", "1", "--variant", "rules"]
    said = solo.typed(*words, "--continue", "mine.mid").stderr
    assert "licence CC0-1.0 from bar 9 on, what is before it stays under the licence of your file" in said
    assert "# of your file" not in said, "nothing was lost"
    assert re.search("; licence CC0-1.0$", solo.typed(*words).stderr, re.MULTILINE)


def test_what_was_read_of_a_file_is_said(solo: Daemon) -> None:
    notes = [(240 * i, 240 * i + 200, 60 + i % 7, 80) for i in range(64)]
    more = played([*notes[:2], (0, 9600, 90, 80), (0, 100, 20, 80)])
    Path("odd.mid").write_bytes(smf(b"\x00\xff\x58\x04\x06\x03\x18\x08" + played(notes), more))
    for how in (["--transfer"], ["--bars", "1", "--variant", "rules", "--continue"]):
        done = solo.typed("make", "music", "--emotion", "sad", *how, "odd.mid", "--out", f"{how[-1]}.mid")
        assert done.returncode == 0, done.stderr
        assert "# of your file: its 6/8 is in 8 bars of 4/4 now; 3 of 68 notes are left out" in done.stderr
        assert "1 notes are shorter" in done.stderr
        assert ("(before: 68)" in done.stderr) == (how == ["--transfer"])
    found = make(solo, "--emotion", "sad", "--transfer", "odd.mid", "--out", "again.mid")
    counts = {"bars": 8, "notes": 68, "kept": 65, "shortened": 1}
    assert found["result"]["given"] == {**counts, "metres": ["6/8"], "beyond": 0, "said": ""}


def test_a_melody_that_is_kept_keeps_the_mode_and_that_is_said(solo: Daemon) -> None:
    make(solo, "--emotion", "happy", "--bars", "8", "--seed", "1", "--variant", "rules", "--out", "song.mid")
    kept = solo.typed("make", "music", "--transfer", "song.mid", "--emotion", "sad", "--keep", "melody,tempo").stderr
    assert "# kept: melody, tempo; with that the mode is kept, too: it stays major" in kept
    other = solo.typed("make", "music", "--transfer", "song.mid", "--emotion", "sad", "--keep", "rhythm").stderr
    assert "# kept: rhythm\n" in other
    assert re.search(r"# 8 bars, .* minor, ", other)
    assert "the mode stays, too" in " ".join(solo.typed("make", "music", "--help").stdout.split())


def test_a_piece_is_put_into_another_mood(solo: Daemon) -> None:
    make(solo, "--emotion", "happy", "--bars", "8", "--seed", "1", "--out", "song.mid")
    found = make(solo, "--transfer", "song.mid", "--emotion", "sad", "--keep", "tempo")
    assert found["written"] == ["song-sad.mid"]
    before, after = (read(Path(name).read_bytes()) for name in ("song.mid", "song-sad.mid"))
    assert (after.bars, after.tempi, len(after.notes) >= len(before.notes)) == (before.bars, before.tempi, True)
    assert found["result"]["heard"]["minor"]
    opens(Path("song-sad.mid"))
    said = solo.typed("make", "music", "--transfer", "song.mid", "--emotion", "calm").stderr
    assert "it stays under the licence of your file" in said
    assert "CC0" not in said


def test_a_path_of_seconds_is_followed(solo: Daemon) -> None:
    Path("day.csv").write_text("seconds,valence,arousal\n100,-0.8,-0.8\n400,0.9,0.9\n")
    found = make(solo, "--path", "day.csv", "--bars", "16")
    moods = found["result"]["moods"]
    assert found["written"] == ["day.mid"]
    assert moods[0] < [-0.5, -0.5] < [0.5, 0.5] < moods[-1]
    assert not found["public"]
    tempi = read(Path("day.mid").read_bytes()).tempi
    assert tempi[-1] > tempi[0] + 10


def test_it_is_heard_from_its_first_bars_on_and_as_it_is_written(solo: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    from moodmesh.nodes.making import heard

    class Ear:
        name = "ear"

        def write(self, data: bytes) -> None: ...

        def close(self, finished: bool) -> None:
            assert finished

    listened: list[tuple[Score, bool]] = []

    def play(bars: Iterator[Score], where: object) -> str:
        listened.extend((bar, Path("p.mid").exists()) for bar in bars)
        return "ear"

    monkeypatch.setattr(heard, "output", Ear)
    monkeypatch.setattr(heard, "play", play)
    make(solo, "--emotion", "happy", "--ensemble", "trio", "--bars", "12", "--play", "--out", "p.mid")
    piece = read(Path("p.mid").read_bytes())
    assert [not written for _, written in listened] == [True] * 12, "each bar is heard before the piece is there"
    notes = [note._replace(onset=note.onset + 16 * i) for i, (bar, _) in enumerate(listened) for note in bar.notes]
    assert [n[:4] for n in sorted(notes)] == [n[:4] for n in piece.notes]
    assert [bar.tempi[0] for bar, _ in listened] == list(piece.tempi)
    kept = solo.typed("make", "music", "--emotion", "happy", "--bars", "2", "--play")
    assert "to keep it: moodmesh job result" in kept.stderr
    assert not Path("happy.mid").exists()


# -- bad input, before anything is handed in -------------------------------------------------------------------------------

BROKEN = {
    "broken.mid": b"MThd and then nothing",
    "none.mid": b"",
    "silent.mid": smf(END[:0]),
    "on.mid": smf(b"\x00\x90\x3c\x40" + delta(480) + b"\x90\x40\x40"),
    "drums.mid": smf(played([(0, 480, 36, 90)], channel=9)),
    "long.mid": smf(
        tempo(60) + played([(0, 480, 60, 80)]) + delta(3 * 3600 * 480) + b"\x90\x3c\x40" + delta(480) + b"\x80\x3c\x40"
    ),
    "text.csv": b"at,valence\n0,1\n",
    "falling.csv": b"at,valence,arousal\n0.5,0,0\n0.1,0,0\n",
    "far.csv": b"at,valence,arousal\n0,0,3\n",
    "beyond.csv": b"at,valence,arousal\n0,0,0\n7,0,0\n",
    "away.csv": b"seconds,valence,arousal\n-1e308,0,0\n1e308,0,0\n",
    "near.csv": b"seconds,valence,arousal\n0,0,0\n5e-324,0,0\n10,0,0\n",
    "both.csv": b"at,seconds,valence,arousal\n0,0,0,0\n",
    "empty.csv": b"",
    "bytes.csv": b"\xff\xfe\x00\x01",
    "no.json": b"[1, 2",
    "list.json": b"[1, 2]",
    "true.json": b'[{"at": true, "valence": 0, "arousal": 0}]',
    "there.mid": b"something of mine",
}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--emotion blue", "use one of happy, angry, sad, calm, excited"),
        ("--emotion hapy", "did you mean happy"),
        ("", "no mood is given: say --from mood"),
        ("--emotion sad --from mood", "--from and --emotion: give the mood in one way only"),
        ("--emotion sad --va 0,0", "give the mood in one way only"),
        ("--va 0.5", "write valence,arousal like 0.4,-0.3"),
        ("--va 2,0", "each from -1 to 1"),
        ("--va nan,0", "each from -1 to 1"),
        ("--va 0,nan", "each from -1 to 1"),
        ("--emotion sad --bars 0", "0 is not in the range"),
        ("--emotion sad --bars 5000", "5000 is not in the range 1<=x<=64"),
        ("--emotion sad --bpm 1000", "is not in the range"),
        ("--emotion sad --key H", "'H' is not one of"),
        ("--emotion sad --out piece.mp3", r"\.mid, \.midi, \.wav, \.ogg, \.flac"),
        ("--emotion sad --roll piece.jpg", r"written as \.png"),
        ("--emotion sad --out nowhere/piece.mid", "there is no folder"),
        ("--emotion sad --out /proc/piece.mid", "/proc/piece.mid cannot be written: .*in a folder that you may write to"),
        ("--emotion sad --out there.mid", "is there already: name another file, or say --overwrite"),
        ("--emotion sad --out x.mid --out x.mid", "the same file twice"),
        ("--emotion sad --out x.mid --out ./../HERE/x.mid", "the same file twice"),
        ("--emotion sad --by soon", "write a time like 10s"),
        ("--emotion sad --by 5s --quality fast", "give one of them"),
        ("--emotion sad --continue broken.mid", "broken.mid: not a MIDI file that can be read"),
        ("--emotion sad --continue none.mid", "none.mid: not a MIDI file"),
        ("--emotion sad --continue silent.mid", "silent.mid: this MIDI file has no notes"),
        ("--emotion sad --continue drums.mid", "drums.mid: this MIDI file has drums only"),
        ("--emotion sad --continue long.mid", "long.mid: this MIDI file lasts 180 minutes"),
        ("--emotion sad --continue on.mid", "on.mid: this MIDI file has no notes, or none that ends"),
        ("--emotion sad --continue there.mid --key Eb", "--continue goes on in the key of its file: leave --key out"),
        ("--emotion sad --continue absent.mid", "cannot read absent.mid"),
        ("--emotion sad --transfer drums.mid", "drums only"),
        ("--emotion sad --transfer there.mid --continue there.mid", "there.mid: not a MIDI file|leave --continue"),
        ("--emotion sad --transfer there.mid --bars 4", "leave --bars out"),
        ("--emotion sad --transfer there.mid --seed 4", "leave --seed out"),
        ("--emotion sad --keep melody", "give that file"),
        ("--emotion sad --transfer there.mid --keep key,rhythm --thin", "--thin lets notes fall away"),
        ("--emotion sad --thin", "give that file"),
        ("--emotion sad --share", "free already"),
        ("--emotion sad --room cafe", "give both"),
        ("--from room", "this device is in no room: `moodmesh room list`"),
        ("--from room --room cafe", "in no room called 'cafe'"),
        ("--path text.csv", "point 1: `arousal` is not a number"),
        ("--path falling.csv", "point 2: `at` is not later"),
        ("--path far.csv", "`arousal` is 3; valence and arousal go from -1 to 1"),
        ("--path beyond.csv", "for times write `seconds`"),
        ("--path away.csv", "away.csv, point 1: `seconds` is -1e\\+308: no time is that far away"),
        ("--path near.csv", "near.csv, point 2: `seconds` is not later"),
        ("--path both.csv", "`at` or `seconds`, one of them"),
        ("--path empty.csv", "there is no point in it"),
        ("--path bytes.csv", "not a text file"),
        ("--path no.json", "is no JSON"),
        ("--path list.json", "a list of points"),
        ("--path true.json", "point 1: `at` is not a number"),
        ("--path absent.csv", "cannot read absent.csv"),
        ("--emotion sad --variant huge", "has no variant 'huge'"),
        ("--emotion sad --on nobody", "no peer is called 'nobody'"),
    ],
)
def test_bad_input_is_a_sentence_and_nothing_is_handed_in(solo: Daemon, words: str, said: str) -> None:
    for name, data in BROKEN.items():
        Path(name).write_bytes(data)
    before = solo.client.get("jobs", limit=1000)["jobs"]
    done = solo.typed("make", "music", *words.replace("HERE", Path.cwd().name).split())
    assert done.returncode == 2, (done.stdout, done.stderr)
    assert "Traceback" not in done.stderr
    assert re.search(said, done.stderr.replace("\n", " ")), done.stderr
    assert [job["id"] for job in solo.client.get("jobs", limit=1000)["jobs"]] == [job["id"] for job in before]
    assert Path("there.mid").read_bytes() == BROKEN["there.mid"]


@pytest.mark.parametrize("name", ["gone/x.mid", "gone/x.wav", "gone/x.png"])
def test_a_piece_that_cannot_be_written_is_not_lost(solo: Daemon, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """The folder goes while the piece is made."""
    from moodmesh.nodes.making import files

    write, folder = files.write_all, Path("gone")
    folder.mkdir()

    def late(*words: Any, **more: Any) -> list[Path]:
        folder.rmdir()
        return write(*words, **more)

    monkeypatch.setattr(files, "write_all", late)
    done = solo.typed("make", "music", "--emotion", "calm", "--bars", "1", "--variant", "rules",
                      *(("--roll", name) if name.endswith("png") else ("--out", name)))  # fmt: skip
    assert done.returncode == 1
    found = re.search(r"moodmesh (job result \S+ --out) FOLDER", done.stderr)
    assert found, done.stderr
    assert solo.typed(*found[1].split(), "kept").returncode == 0
    opens(Path("kept/piece.mid"))
    Path("kept/piece.mid").write_bytes(b"mine")
    again = solo.typed(*found[1].split(), "kept")
    assert (again.returncode, Path("kept/piece.mid").read_bytes()) == (2, b"mine")
    assert "name another folder" in again.stderr


@pytest.mark.parametrize("linked", [True, False])
@pytest.mark.parametrize("name", ["x.mid", "x.ogg", "x.png"])
def test_a_file_that_comes_meanwhile_is_replaced_only_where_that_was_said(
    solo: Daemon, monkeypatch: pytest.MonkeyPatch, name: str, linked: bool
) -> None:
    """Also on a file system that knows no links."""
    from moodmesh.nodes.making import files

    write = files.write_all

    def late(*words: Any, **more: Any) -> list[Path]:
        Path(name).write_bytes(b"mine")
        return write(*words, **more)

    def refused(*_: Any) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    monkeypatch.setattr(files, "write_all", late)
    if not linked:
        monkeypatch.setattr(files.os, "link", refused)
    words = ["make", "music", "--emotion", "calm", "--bars", "1", "--variant", "rules",
             *(("--roll", name) if name.endswith("png") else ("--out", name))]  # fmt: skip
    done = solo.typed(*words)
    assert done.returncode == 1
    assert f"cannot write {name}: another file of that name has come meanwhile; the piece is made" in done.stderr
    assert re.search(r"moodmesh job result \S+ --out FOLDER", done.stderr)
    assert Path(name).read_bytes() == b"mine"
    assert solo.typed(*words, "--overwrite").returncode == 0
    assert Path(name).read_bytes()[:4] in (b"MThd", b"OggS", b"\x89PNG")
    if not linked:
        Path(name).unlink()
        monkeypatch.setattr(files, "write_all", write)
        assert solo.typed(*words).returncode == 0
        assert Path(name).read_bytes()[:4] in (b"MThd", b"OggS", b"\x89PNG")
    assert not [file for file in Path().iterdir() if file.name.startswith(".")]


@pytest.mark.parametrize("words", ["make music --emotion calm --bars 1", "job submit music.generate -p emotion=calm --wait"])
@pytest.mark.parametrize("error", [NoDaemon("no daemon runs"), Unreachable("the daemon stopped")])
def test_where_the_daemon_goes_the_job_is_said_to_go_on(
    solo: Daemon, monkeypatch: pytest.MonkeyPatch, words: str, error: Exception
) -> None:
    def lost(*_: Any, **__: Any) -> Iterator[Any]:
        raise error

    with monkeypatch.context() as patch:
        patch.setattr(Client, "events", lost)
        done = solo.typed(*words.split())
    assert done.returncode == getattr(error, "exit_code", 1)
    found = re.search(
        r"goes on when the daemon is back: `moodmesh up`, then `moodmesh (job result \S+ --out) FOLDER (--wait)`", done.stderr
    )
    assert found, done.stderr
    assert solo.typed(*found[1].split(), "later", found[2]).returncode == 0
    opens(Path("later/piece.mid"))


@pytest.mark.parametrize("words", ["make music --emotion calm", "job submit music.generate -p emotion=calm --wait"])
def test_a_job_that_is_stopped_is_said_to_be(solo: Daemon, monkeypatch: pytest.MonkeyPatch, words: str) -> None:
    def stopped(client: Client, *path: str, **_: Any) -> Iterator[Any]:
        client.post(*path[:2], "cancel")
        yield from ()

    monkeypatch.setattr(Client, "events", stopped)
    done = solo.typed(*words.split())
    assert done.returncode == 1
    assert re.search(r"job \w{8} is STOPPED by user; see `moodmesh job explain", done.stderr), done.stderr


@pytest.mark.parametrize("metre", ["6/8", "tempo changes"])
def test_other_metres_and_changing_tempi_are_gone_on_from(solo: Daemon, metre: str) -> None:
    notes = played([(240 * i, 240 * i + 200, 60 + i % 7, 80) for i in range(64)])
    head = b"\x00\xff\x58\x04\x06\x03\x18\x08" if metre == "6/8" else tempo(60)
    middle = b"" if metre == "6/8" else delta(480) + tempo(180)[1:]
    Path("other.mid").write_bytes(smf(head + notes + middle))
    found = make(solo, "--emotion", "calm", "--continue", "other.mid", "--bars", "2")
    assert found["result"]["bars"] == read(Path("other.mid").read_bytes()).bars + 2
    opens(Path("other-continued.mid"))


def test_without_a_player_it_is_said_before_anything_is_made(solo: Daemon, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    before = len(solo.client.get("jobs", limit=1000)["jobs"])
    done = solo.typed("make", "music", "--emotion", "calm", "--play")
    assert done.returncode == 1
    assert "no audio device or player was found" in done.stderr
    assert len(solo.client.get("jobs", limit=1000)["jobs"]) == before


# -- devices in trouble ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("task", "words", "before"),
    [
        ("OutOfMemory", "out_of_memory", [("rules", 1)]),
        ("WithAModel", "is not the model music-tiny: sha256 .*, expected", []),
    ],
)
def test_a_device_that_cannot_is_left_and_another_makes_the_rest(
    tmp_path: Path, task: str, words: str, before: list[tuple[str, int]]
) -> None:
    from integration.plugin.faulty_music import CARD, WEIGHTS

    ann, bob, cleo = music.devices(tmp_path)
    for one, other in ((ann, bob), (ann, cleo), (bob, cleo)):
        pair(one, other)
    try:
        if task == "WithAModel":
            (bob.home / "models").mkdir()
            (bob.home / "models" / CARD.sha256).write_bytes(WEIGHTS[::-1])
        music.start_with(bob, music.instead(tmp_path, task))
        ann.start()
        cleo.start()
        ann.linked(2)
        for name in ("bob", "cleo"):
            ann.wait_for(lambda name=name: ann.client.get("peers", name)["dynamic"], f"informed of {name}")  # type: ignore[misc]
        job = ann.submit("music.generate", params={"emotion": "calm", "bars": 4}, seed=3)
        found = ann.ended(job, 60)
        assert found["status"] == "SUCCEEDED", found
        failed = [a for a in found["attempts"] if a["state"] == "ERRORED"]
        assert {a["name"] for a in failed} == {"bob"}
        assert re.search(words, failed[0]["message"]), failed
        assert found["ran_on"] == "cleo"
        result = ann.client.get("jobs", job, "result")["result"]
        made = [(by["variant"], by["bars"]) for by in result["composers"]]
        assert made == [*before, (MusicGenerate.spec.variants[-1].name, 4 - len(before))]
        assert result["bars"] == 4
    finally:
        for daemon in (ann, bob, cleo):
            daemon.kill(signal.SIGTERM)


def test_there_is_a_word_for_each_choice_of_the_command_line() -> None:
    from typing import get_args

    from moodmesh.nodes.cli import make as cli
    from moodmesh.tasks.music.generate.schema import MAX_BARS, MusicRequest
    from moodmesh.tasks.music.transfer.schema import Kept

    assert get_args(Kept) == cli.KEPT
    assert cli.MOST_BARS == MAX_BARS
    assert MusicRequest.model_fields["bars"].default == cli.BARS
    assert set(get_args(cli.Keys)) == set(get_args(get_args(MusicRequest.model_fields["key"].annotation)[0]))
