"""Whom a piece of music is asked of when it is made from a mood, a path or a file: what leaves, and what is kept."""

from __future__ import annotations

import json
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration import music
from integration.daemons import Daemon, pair, traces
from tasks.music.pieces import played, smf, tempo

FINE = {"valence": 0.3721, "arousal": -0.6143}
pytestmark = [pytest.mark.timeout(120), pytest.mark.usefixtures("in_tmp")]


@pytest.fixture
def three(tmp_path: Path) -> Iterator[tuple[Daemon, Daemon, Daemon]]:
    """Ann, whose device can make nothing; bob, her own device; cleo, a friend's, who makes music for whoever is paired."""
    ann, bob, cleo = music.devices(tmp_path)
    ann.changed = music.WIRE
    pair(ann, bob)
    pair(ann, cleo, "none")
    try:
        for daemon in (cleo, ann):
            daemon.start()
        cleo.client.post("peers", "ann", "allow", body={"preset": None, "actions": ["music.generate"], "limits": {}})
        ann.linked()
        ann.wait_for(lambda: (ann.client.get("peers", "cleo")["capability"] or {}).get("tasks"), "informed of what cleo can")
        ann.client.post("moods", body=FINE)
        yield ann, bob, cleo
    finally:
        for daemon in (ann, bob, cleo):
            daemon.kill(signal.SIGTERM)


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--from mood", "one of nine moods, to own devices and peers with mood.share;"),
        ("--path day.csv", "a path in nine steps, each one of nine moods, to own devices and peers with mood.share;"),
        ("--from mood --continue mine.mid", "one of nine moods, and the notes of your file, to own"),
        ("--path day.csv --continue mine.mid", "each one of nine moods, and the notes of your file, to own"),
    ],
)
def test_what_sharing_tells_is_said_whole(solo: Daemon, words: str, told: str) -> None:
    solo.client.post("moods", body=FINE)
    Path("mine.mid").write_bytes(smf(played([(480 * i, 480 * i + 400, 60 + i, 80) for i in range(16)])))
    Path("day.csv").write_text("at,valence,arousal\n0,0.1,0.2\n0.4,-0.9,0.3\n1,0.8,0.8\n")
    done = solo.typed("make", "music", *words.split(), "--share", "--preview")
    assert told in done.stdout.splitlines()[0], (done.stdout, done.stderr)
    moods = re.findall(r'"valence":(-?[\d.]+),"arousal":(-?[\d.]+)', done.stdout)
    assert len(moods) == (9 if "--path" in words else 1), "as many as was said"
    assert {abs(float(axis)) for mood in moods for axis in mood} <= {0.0, 0.667}


def asked(daemon: Daemon, **more: Any) -> str:
    body = {"task": "music.generate", "params": {**FINE, "bars": 2}, "personal": "own", "seed": 1, **more}
    return str(daemon.client.post("jobs", body=body)["id"])


def test_a_mood_goes_to_own_devices_only_and_shared_as_its_cell(three: tuple[Daemon, Daemon, Daemon]) -> None:
    ann, bob, _ = three
    assert ann.ended(ann.submit("music.generate", params={"emotion": "calm", "bars": 2}))["ran_on"] == "cleo", "typed: free"
    free = len(music.sent(ann))
    options: list[dict[str, Any]] = [
        {}, {"on": "cleo"}, {"variant": "rules"}, {"quality": "fast"}, {"by_s": 1.0}, {"variant": "rules", "on": "cleo"},
        {"personal": "mood.share"}, {"personal": "mood.share", "on": "cleo"},
    ]  # fmt: skip
    jobs = [asked(ann, **more) for more in options]
    path = {"path": [{"at": 0, **FINE}, {"at": 1, **FINE}], "bars": 2}
    jobs.append(asked(ann, params=path))
    refused = ann.typed("job", "submit", "music.generate", "-p", "emotion=calm", "--public")
    assert refused.returncode == 0, "what is typed may be public"
    time.sleep(4)
    assert [ann.client.get("jobs", job)["status"] for job in jobs] == ["PENDING"] * len(jobs)
    told = [body for to, kind, body in music.sent(ann)[free:] if kind == "start"]
    assert [body["params"] for body in told] == [{"emotion": "calm"}], "nothing of the mood was sent, to nobody"
    explained = ann.client.get("jobs", jobs[0], "explain")["now"]["rows"]
    assert {row["gate"]["name"] for row in explained if row["name"] == "cleo"} == {"personal"}

    shown = ann.typed("privacy", "preview", "--from", "mood", "--share")
    assert '"valence":0.667,"arousal":-0.667' in shown.stdout
    told_to = ann.typed("make", "music", "--from", "mood", "--preview").stdout.splitlines()[0]
    assert told_to.endswith("of those that are paired: bob"), told_to
    ann.client.post("peers", "cleo", "allow", body={"preset": None, "actions": ["mood.share"], "limits": {}})
    done = ann.typed("make", "music", "--from", "mood", "--share", "--bars", "2", "--seed", "4", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["ran_on"] == "cleo"
    shared = [
        body for to, kind, body in music.sent(ann)[free:] if (to, kind) == ("cleo", "start") and "valence" in body["params"]
    ]
    assert shared
    assert {(body["params"]["valence"], body["params"]["arousal"]) for body in shared} == {(0.667, -0.667)}
    assert shared[-1]["params"] == {"valence": 0.667, "arousal": -0.667, "bars": 2}
    assert "cleo" in ann.typed("privacy", "preview", "--from", "mood", "--share").stdout.splitlines()[0]
    fine = (b"0.3721", b"0.6143", b'"valence":0.4', b'"arousal":-0.6,')
    assert not [w for w in fine if w in (ann.home / "wire").read_bytes()], "nothing finer, in no message"
    states = {job: ann.client.get("jobs", job)["status"] for job in jobs}
    personal = [job for job, more in zip(jobs, [*options, {}], strict=True) if more.get("personal") != "mood.share"]
    assert {states[job] for job in personal} == {"PENDING"}

    bob.start()
    for job in jobs:
        if ann.client.get("jobs", job)["status"] == "PENDING" and job not in {jobs[1], jobs[5]}:
            assert ann.ended(job, 60)["ran_on"] == "bob"
    own = [body["params"] for to, kind, body in music.sent(ann) if (to, kind) == ("bob", "start")]
    assert {(p["valence"], p["arousal"]) for p in own if "valence" in p} == {(0.4, -0.6)}, "in tenths, no finer"


def test_a_given_file_reaches_own_devices_alone_unless_it_is_shared(three: tuple[Daemon, Daemon, Daemon]) -> None:
    """A friend's device, which makes music for whoever is paired with it, is never handed the file, whatever is asked."""
    ann, bob, cleo = three
    cleo.client.post("peers", "ann", "allow", body={"preset": None, "actions": ["music.transfer"], "limits": {}})
    song = smf(tempo(90) + played([(480 * i, 480 * i + 400, 60 + i % 5, 80) for i in range(32)]))
    Path("song.mid").write_bytes(song)
    ann.wait_for(lambda: "music.transfer" in ann.client.get("peers", "cleo")["capability"]["tasks"], "informed")
    options: list[dict[str, Any]] = [{}, {"on": "cleo"}, {"quality": "fast"}, {"by_s": 1.0}, {"variant": "rules"}]
    tasks = {"music.transfer": {"emotion": "sad"}, "music.generate": {"emotion": "sad", "bars": 1}}
    jobs = [ann.submit(task, song, params=params, **more) for task, params in tasks.items() for more in options]
    time.sleep(4)
    assert [ann.client.get("jobs", job)["status"] for job in jobs] == ["PENDING"] * len(jobs)
    assert music.sent(ann) == [], "nobody was asked, nobody was told"
    for job in jobs:
        rows = ann.client.get("jobs", job, "explain")["now"]["rows"]
        assert {row["gate"]["name"] for row in rows if row["name"] == "cleo"} == {"personal"}

    words = ["make", "music", "--transfer", "song.mid"]

    def told(*more: str) -> str:
        return ann.typed(*words, *more, "--preview").stdout.splitlines()[0].split(", ", 1)[1]

    assert told("--emotion", "sad") == "own devices only; of those that are paired: bob"
    assert told("--emotion", "sad", "--share") == "any device that permits it; of those that are paired: bob, cleo"
    assert told("--from", "mood", "--share").endswith("of those that are paired: bob"), "no further than the mood"
    for more in (words, ["make", "music", "--continue", "song.mid", "--variant", "rules"]):
        done = ann.typed(*more, "--emotion", "sad", "--share", "--json")
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["ran_on"] == "cleo"
    assert {to for to, _, _ in music.sent(ann)} == {"cleo"}
    bob.start()
    for job, asks in zip(jobs, options * 2, strict=True):
        if asks != {"on": "cleo"}:
            assert ann.ended(job, 60)["ran_on"] == "bob"


def test_what_is_kept_of_a_mood_is_no_finer_than_needed(three: tuple[Daemon, Daemon, Daemon]) -> None:
    ann, bob, _ = three
    bob.start()
    ann.linked(2)
    done = ann.typed("make", "music", "--from", "mood", "--bars", "2", "--json")
    assert done.returncode == 0, done.stderr
    job = json.loads(done.stdout)
    assert (job["ran_on"], job["public"]) == ("bob", False)
    assert "-0.6" not in json.dumps({k: v for k, v in ann.client.get("jobs", job["id"]).items() if k != "attempts"})
    (row,) = ann.rows(f"SELECT spec FROM job WHERE id='{job['id']}'")
    assert json.loads(row["spec"])["params"] == {"valence": 0.4, "arousal": -0.6, "bars": 2}
    bob.wait_for(lambda: not bob.rows("SELECT * FROM execution"), "done with it")
    bob.wait_for(lambda: not traces(bob.home, b'"valence":0.4', b'"arousal":-0.6'), "rid of the mood: the row goes first")
    assert traces(ann.home, b'"valence": 0.4', b'"valence":0.4'), "its owner keeps it, in tenths, until the job is forgotten"
    assert "0.3721" not in ann.log.read_text()
    ann.kill()
    bob.wait_for(lambda: not bob.client.get("status")["linked"], "alone")
    again = ("job", "adopt", job["id"], "-p", "valence=0.4", "-p", "arousal=-0.6", "-p", "bars=2")
    refused = bob.typed(*again, "--public")
    assert refused.returncode == 2
    assert "leave --public out" in refused.stderr
    adopted = bob.typed(*again, "--json")
    assert adopted.returncode == 0, adopted.stderr
    assert not json.loads(adopted.stdout)["public"], "as personal as it was"


def test_a_request_from_a_mood_is_never_public(solo: Daemon) -> None:
    from moodmesh.nodes.errors import UsageError

    for whose in ("own", "mood.share"):
        with pytest.raises(UsageError, match="leave --public out"):
            asked(solo, personal=whose, public=True)
    with pytest.raises(UsageError, match="can be made coarse"):
        asked(solo, personal="mood.share", params={"emotion": "sad"})
