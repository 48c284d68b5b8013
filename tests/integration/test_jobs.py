"""Jobs across real daemons: placed, run, signed, cancelled, and survived (routing §8, §14)."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from integration.daemons import Daemon, daemons, pair, traces
from moodmesh.nodes.errors import NotFound, Refused, UsageError

TEXT = b"I love it. I hate it.\nNothing happened today."
TINY = {"variant": "tiny"}
LONG = (TEXT + b"\n") * 4_000
FAST = {"jobs__benchmark": "false"}

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    with daemons(tmp_path_factory.mktemp("two"), "alpha", "beta", **FAST) as found:
        yield found


def test_a_job_runs_on_the_named_peer_with_signed_provenance(two: list[Daemon]) -> None:
    a, b = two
    job = a.ended(a.submit("emotion.text", TEXT, on="beta", **TINY))
    assert (job["status"], job["ran_on"]) == ("SUCCEEDED", "beta")
    found = a.client.get("jobs", job["id"], "result")
    assert len(found["result"]["items"]) == 3
    assert found["provenance"]["device"] == b.identity.id
    assert len(found["provenance"]["signature"]) == 128


def test_an_input_and_a_result_too_large_for_a_message_travel_as_artefacts(two: list[Daemon]) -> None:
    a, b = two
    job = a.ended(a.submit("emotion.text", LONG, on="beta", **TINY), 60)
    assert job["status"] == "SUCCEEDED", job
    assert len(a.client.get("jobs", job["id"], "result")["result"]["items"]) == 12_000
    b.wait_for(lambda: not b.rows("SELECT * FROM execution"), "done with it")
    assert not [f for f in (b.home / "artefacts").rglob("*") if f.is_file()]  # personal: gone with the acknowledgement


def test_after_the_acknowledgement_no_byte_of_a_personal_job_is_left(two: list[Daemon]) -> None:
    a, b = two
    secret = b"The purple heron of Zanzibar made me weep."
    assert a.ended(a.submit("emotion.text", secret, on="beta", **TINY))["status"] == "SUCCEEDED"
    b.wait_for(lambda: not b.rows("SELECT * FROM execution"), "done with it")
    b.wait_for(lambda: not traces(b.home, b"heron", b'valence_sd":'), "rid of every byte: the row goes first", 5)
    assert traces(a.home, b"heron", b'valence_sd":'), "its owner keeps both"


def test_explain_names_every_device_and_its_terms_add_up(two: list[Daemon]) -> None:
    a, _ = two
    job = a.ended(a.submit("emotion.text", TEXT, **TINY))
    (explained,) = a.client.get("jobs", job["id"], "explain")["tables"]
    assert {row["name"] for row in explained["rows"]} == {"alpha", "beta"}
    for row in explained["rows"]:
        assert row["gate"] or row["total"] == pytest.approx(
            max(row["transfer"], row["queue"]) + row["load"] + row["service"] + row["back"] + row["hand"]
        )


def test_a_running_job_is_cancelled_and_its_worker_gone_in_two_seconds(two: list[Daemon]) -> None:
    a, b = two
    job = a.submit("emotion.text", LONG, on="beta", **TINY)
    a.wait_for(lambda: a.client.get("jobs", job)["status"] == "RUNNING", "running it")
    assert b.process is not None
    workers = [p for p in psutil.Process(b.process.pid).children(recursive=True) if p.cpu_times().user > 0]
    a.client.post("jobs", job, "cancel")
    assert workers
    _, alive = psutil.wait_procs(workers, timeout=2)
    assert not alive
    assert a.client.get("jobs", job)["status"] == "STOPPED"
    b.wait_for(lambda: not b.rows("SELECT * FROM execution"), "done with it")
    with pytest.raises(Refused):
        a.client.post("jobs", job, "cancel")


@pytest.mark.parametrize(
    ("request_", "error", "words"),
    [
        ({"task": "emotion.smell"}, NotFound, "installed: emotion.text"),
        ({"task": "emotion.text", "variant": "huge"}, UsageError, "it has"),
        ({"task": "emotion.text", "params": {"lines": "perhaps"}}, UsageError, "parameter lines"),
        ({"task": "emotion.text", "params": {"colour": 1}}, UsageError, "takes"),
        ({"task": "emotion.text", "on": "nobody"}, NotFound, "there are: alpha, beta"),
        ({"task": "emotion.text", "data": b""}, UsageError, "empty|no text"),
        ({"task": "emotion.text", "data": bytes(range(256)) * 4}, UsageError, "text"),
        ({"task": "emotion.text", "data": b"a" * (2**20 + 1)}, UsageError, "1 MiB|split"),
    ],
)
def test_what_is_wrong_with_a_request_is_said_before_anything_is_accepted(
    two: list[Daemon], request_: dict, error: type[Exception], words: str
) -> None:
    a, _ = two
    before = len(a.client.get("jobs", limit=1000)["jobs"])
    with pytest.raises(error, match=words):
        a.submit(**{"data": b"x", **request_})
    assert len(a.client.get("jobs", limit=1000)["jobs"]) == before


def test_a_job_waits_for_a_device_that_may_run_it_and_says_what_is_missing(tmp_path: Path) -> None:
    with daemons(tmp_path, "alpha", "beta", rules="none", **FAST) as (a, _):
        job = a.submit("emotion.text", TEXT, on="beta")
        a.wait_for(lambda: "own devices only" in a.client.get("jobs", job)["message"], "saying why")
        public = a.submit("emotion.text", TEXT, on="beta", public=True)
        a.wait_for(lambda: "not offered" in a.client.get("jobs", public)["message"], "saying why")
        found = a.client.get("jobs", job, "explain")
        assert found["now"]["rows"][0]["gate"]


@pytest.mark.parametrize("victim", ["executor", "submitter"])
def test_a_killed_daemon_loses_no_job_and_shows_none_twice(tmp_path: Path, victim: str) -> None:
    with daemons(tmp_path, "alpha", "beta", **FAST) as (a, b):
        busy = a.submit("emotion.text", LONG * 2, on="here", **TINY)
        a.wait_for(lambda: a.client.get("jobs", busy)["status"] == "RUNNING", "busy")
        job = a.submit("emotion.text", LONG, **TINY)
        a.wait_for(lambda: a.client.get("jobs", job)["status"] == "RUNNING", "running it")
        assert a.client.get("jobs", job)["attempts"][-1]["name"] == "beta"
        if victim == "executor":
            b.kill()
            a.client.post("jobs", busy, "cancel")
        else:
            a.kill()
            a.start()
        done = a.ended(job, 60)
        assert done["status"] == "SUCCEEDED", done
        assert done["ran_on"] == ("alpha" if victim == "executor" else "beta")
        assert [x["state"] for x in done["attempts"]].count("COMMITTED") == 1


SUBMITTER_STEPS = ["job.accept", "attempt.running", "job.running", "job.commit"]
EXECUTOR_STEPS = ["execution.grant", "execution.running", "execution.delivering", "execution.forget"]


@pytest.fixture(scope="module")
def mortal(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    """Two daemons for the tests below: each kills one of them and starts it again."""
    with daemons(tmp_path_factory.mktemp("mortal"), "alpha", "beta", **FAST) as found:
        yield found


@pytest.mark.parametrize("step", SUBMITTER_STEPS)
def test_a_submitter_killed_after_any_journal_write_still_answers_once(mortal: list[Daemon], step: str) -> None:
    a, b = mortal
    known = {job["id"] for job in a.client.get("jobs")["jobs"]}
    a.kill()
    a.start(debug__crash_after=step)
    a.linked()
    with contextlib.suppress(Exception):
        a.submit("emotion.text", TEXT, on="beta", **TINY)
    survive(a)
    (job,) = [job for job in a.client.get("jobs")["jobs"] if job["id"] not in known]
    answered_once(a, b, job["id"])


@pytest.mark.parametrize("step", EXECUTOR_STEPS)
def test_an_executor_killed_after_any_journal_write_still_answers_once(mortal: list[Daemon], step: str) -> None:
    a, b = mortal
    b.kill()
    b.start(debug__crash_after=step)
    a.linked()
    job = a.submit("emotion.text", TEXT, on="beta", **TINY)
    survive(b)
    answered_once(a, b, job)


def answered_once(a: Daemon, b: Daemon, job: str) -> None:
    done = a.ended(job)
    assert done["status"] == "SUCCEEDED", done
    assert [x["state"] for x in done["attempts"]].count("COMMITTED") == 1
    b.wait_for(lambda: not b.rows("SELECT * FROM execution"), "rid of every attempt")


def survive(daemon: Daemon) -> None:
    """Wait until the crash hook has ended the daemon, then start it again as it should have been."""
    assert daemon.left() == -signal.SIGKILL
    daemon.start()


def test_a_stopped_executor_is_given_up_after_five_seconds(tmp_path: Path) -> None:
    with daemons(tmp_path, "alpha", "beta", **FAST) as (a, b):
        job = a.submit("emotion.text", LONG, on="beta", **TINY)
        a.wait_for(lambda: a.client.get("jobs", job)["status"] == "RUNNING", "running it")
        b.signal(signal.SIGSTOP)
        began = time.monotonic()
        a.wait_for(lambda: a.client.get("jobs", job)["attempts"][0]["state"] == "LOST", "giving it up", 15)
        assert time.monotonic() - began < 12
        b.signal(signal.SIGCONT)
        done = a.ended(job, 60)
        assert done["status"] == "SUCCEEDED", done
        assert [x["state"] for x in done["attempts"]].count("COMMITTED") == 1


def test_a_forgotten_peer_is_gone_at_once_on_both_sides(tmp_path: Path) -> None:
    with daemons(tmp_path, "alpha", "beta", **FAST) as (a, b):
        job = a.submit("emotion.text", LONG, on="beta", **TINY)
        a.wait_for(lambda: a.client.get("jobs", job)["status"] == "RUNNING", "running it")
        began = time.monotonic()
        b.client.delete("peers", "alpha")
        a.wait_for(lambda: a.client.get("status")["linked"] == 0, "cut off", 3)
        assert time.monotonic() - began < 3
        assert b.client.get("peers")["peers"] == []
        b.wait_for(lambda: not b.rows("SELECT * FROM execution"), "rid of its attempts")
        a.client.post("jobs", job, "cancel")


def test_pairs_and_rules_survive_a_restart(tmp_path: Path) -> None:
    a, b = Daemon(tmp_path / "a", "alpha", **FAST), Daemon(tmp_path / "b", "beta", **FAST)
    pair(a, b)
    try:
        a.start()
        b.start()
        a.linked()
        b.kill()
        b.start()
        a.linked()
        (peer,) = a.client.get("peers")["peers"]
        assert set(peer["may"]) == {"emotion.*", "music.*", "jobs.inspect.all", "own.device"}
        assert peer["state"] == "linked"
        for _ in range(3):
            job = a.submit("emotion.text", b"A good day.", variant="tiny", on="beta")
            assert a.ended(job)["status"] == "SUCCEEDED"
        learnt = a.wait_for(lambda: a.client.get("peers", "beta")["correction"] - 1, "corrected")
        a.wait_for(lambda: a.rows("SELECT correction FROM peer")[0][0], "written")
        a.kill()
        b.kill()
        a.start()
        found = a.client.get("peers", "beta")
        assert found["correction"] - 1 == pytest.approx(learnt, abs=0.1)
        assert found["state"] == "away"
        assert "tiny" in found["capability"]["tasks"]["emotion.text"]["variants"], "work may wait for it"
        assert 0 < found["away_s"] < 60
    finally:
        a.kill(signal.SIGTERM)
        b.kill(signal.SIGTERM)
