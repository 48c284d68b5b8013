"""Three real daemons: a job of one looked at, stopped and adopted from another, also when the first is gone (routing §8)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from integration.daemons import Daemon, daemons, traces

TEXT = b"The purple heron of Zanzibar made me weep."
LONG, SHORT = (TEXT + b"\n") * 24_000, (TEXT + b"\n") * 1_000  # a long one is near the largest there may be
SETTINGS = {"jobs__benchmark": "false"}

pytestmark = pytest.mark.timeout(120)


def typed(daemon: Daemon, *words: str, code: int = 0) -> Any:
    """What a command prints with --json."""
    done = daemon.typed(*words, "--json")
    assert done.returncode == code, (words, done.stdout, done.stderr)
    return json.loads(done.stdout) if done.stdout.strip() else done.stderr


def listed(daemon: Daemon) -> dict[str, Any]:
    return {job["id"]: job for job in typed(daemon, "job", "list")["jobs"]}


def running(a: Daemon) -> str:
    """A long job of this device that runs on gamma."""
    job = a.submit("emotion.text", LONG, variant="tiny", on="gamma", public=True)
    a.wait_for(lambda: a.client.get("jobs", job)["status"] == "RUNNING", "running it")
    return job


def looked_at(a: Daemon, b: Daemon, job: str, file: Path) -> None:
    """While its owner is here: what the owner shows, now."""
    shown, own = typed(b, "job", "show", job[:8]), typed(a, "job", "show", job[:8])
    assert shown.keys() == own.keys()
    assert (shown["owner"], shown["owner_absent"], shown["age_s"]) == ("alpha", False, 0.0)
    assert (shown["status"], shown["attempts"][0]["name"]) == ("RUNNING", "gamma")
    why = typed(b, "job", "explain", job[:8])["tables"][0]
    assert [row["name"] for row in why["rows"] if row["chosen"]] == ["gamma"]
    assert {row["name"] for row in why["rows"]} == {"alpha", "beta", "gamma"}
    assert typed(b, "job", "logs", job[:8])["lines"] == typed(a, "job", "logs", job[:8])["lines"]
    assert listed(b)[job]["owner"] == "alpha"
    assert "alpha" in b.typed("job", "list").stdout
    assert job not in {found["id"] for found in typed(b, "job", "list", "--here")["jobs"]}
    assert "`moodmesh job result" in str(typed(b, "job", "result", job[:8], code=4))
    assert "goes on with" in str(typed(b, "job", "adopt", job[:8], "--input", str(file), code=4))


def stopped(a: Daemon, b: Daemon, c: Daemon, job: str, file: Path) -> None:
    """By another own device."""
    assert typed(b, "job", "cancel", job[:8])["status"] == "STOPPED"
    assert a.client.get("jobs", job)["status"] == "STOPPED"
    assert "submit it anew" in str(typed(b, "job", "adopt", job[:8], "--input", str(file), code=4))
    c.wait_for(lambda: not c.rows("SELECT * FROM execution"), "rid of it")


def orphaned(a: Daemon, b: Daemon) -> tuple[str, str, str]:
    """A job at work on gamma, one to be stopped there, and a personal one that has ended, when their owner dies."""
    job = a.submit("emotion.text", SHORT, variant="tiny", on="gamma", public=True)
    doomed = a.submit("emotion.text", LONG, variant="tiny", on="gamma", public=True)
    personal = a.submit("emotion.text", TEXT, variant="tiny", on="alpha")
    a.ended(personal)
    ids = f"('{job}', '{doomed}', '{personal}')"
    b.wait_for(lambda: len(b.rows(f"SELECT * FROM replica WHERE job IN {ids}")) == 3, "told")
    a.kill()
    b.wait_for(lambda: listed(b)[job]["owner_absent"], "without alpha")
    return job, doomed, personal


def looked_at_alone(b: Daemon, job: str) -> None:
    """Its owner is gone: what it last told, and not a word of the input."""
    shown = typed(b, "job", "show", job[:8])
    assert shown["owner_absent"]
    assert 0 < shown["age_s"] < 60
    assert "alpha (owner absent, as of" in b.typed("job", "show", job[:8]).stdout
    assert {row["name"] for row in typed(b, "job", "explain", job[:8])["tables"][0]["rows"]} == {"alpha", "beta", "gamma"}
    assert b.typed("job", "logs", "-f", job[:8]).returncode == 0
    assert traces(b.home, b"heron") == []


def stopped_alone(b: Daemon, c: Daemon, doomed: str) -> None:
    """Its owner is gone: ended where it runs, and for good once the owner is back."""
    asked = typed(b, "job", "cancel", doomed[:8])
    assert asked["cancel_asked"]
    assert "cancel asked for, waits for its owner; ended on gamma" in asked["message"]
    assert not c.rows(f"SELECT * FROM execution WHERE job='{doomed}'")
    assert "cancel asked for, waits for its owner" in b.typed("job", "show", doomed[:8]).stdout
    assert "(cancel asked for)" in b.typed("job", "list").stdout


def adopted(b: Daemon, job: str, personal: str, file: Path, other: Path) -> None:
    """Run anew here, with the same input; one that had ended, too: its result is out of reach."""
    assert "SHA-256" in str(typed(b, "job", "adopt", job[:8], "--input", str(other), code=2))
    assert "its input had" in str(typed(b, "job", "adopt", job[:8], code=2))
    assert "its parameters were: none" in str(typed(b, "job", "adopt", job[:8], "--lines", "--input", str(file), code=2))
    anew = typed(b, "job", "adopt", job[:8], "--input", str(file), "--wait")
    assert (anew["status"], anew["adopted_from"], len(anew["result"]["items"])) == ("SUCCEEDED", job, 1_000)
    assert anew["id"] != job
    assert not anew["public"], "what was public there is personal here, until its owner says otherwise again"
    assert f"adopted from {job[:8]}" in b.typed("job", "list").stdout
    assert typed(b, "job", "show", job)["owner"] == "alpha"
    file.write_bytes(TEXT)
    assert typed(b, "job", "adopt", personal[:8], "--input", str(file), "--wait")["adopted_from"] == personal


def owner_is_back(a: Daemon, b: Daemon, job: str, doomed: str, file: Path) -> None:
    """It ends its own jobs by itself, and what it has the result of is not run anew."""
    a.start()
    assert a.ended(job, 60)["status"] == "SUCCEEDED"
    assert a.ended(doomed)["status"] == "STOPPED"
    a.linked(2)
    b.wait_for(lambda: typed(b, "job", "show", job)["status"] == "SUCCEEDED", "told")
    before = len(listed(b))
    refused = str(typed(b, "job", "adopt", job[:8], "--input", str(file), code=4))
    assert f"alpha is here and has the result of {job[:8]}: `moodmesh job result {job[:8]}` there" in refused
    assert len(listed(b)) == before


def test_a_job_is_looked_at_stopped_and_adopted_from_another_device(tmp_path: Path) -> None:
    file, other = tmp_path / "diary.txt", tmp_path / "other.txt"
    file.write_bytes(SHORT)
    other.write_bytes(SHORT[::-1])
    with daemons(tmp_path, "alpha", "beta", "gamma", **SETTINGS) as (a, b, c):
        job = running(a)
        looked_at(a, b, job, file)
        stopped(a, b, c, job, file)
        job, doomed, personal = orphaned(a, b)
        stopped_alone(b, c, doomed)
        looked_at_alone(b, job)
        adopted(b, job, personal, file, other)
        owner_is_back(a, b, job, doomed, file)
        b.client.delete("peers", "alpha")  # forgotten, it leaves nothing
        assert b.rows("SELECT * FROM replica") == []
        assert job not in listed(b)
