"""Answers that come part by part, across real daemons and the deaths of them (routing §8)."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from integration.daemons import Daemon, daemons, pair, traces
from integration.plugin.tune_task import TuneTask, part
from moodmesh.nodes.bench.plugin import install
from moodmesh.nodes.errors import NodeError, NotFound, Refused, UsageError
from moodmesh.tasks.testing import check_task

FAST = {"jobs__benchmark": "false"}
SMALL = {"pool__memory_mb": "150"}  # no room for the task
SEED = 7

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = install(tmp_path_factory.mktemp("plugin"), {"test.tune": "tune_task:TuneTask"})
    shutil.copy(Path(__file__).parent / "plugin" / "tune_task.py", folder)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)  # the rules of an own device name what is installed
        patch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
        yield
    sys.modules.pop("tune_task", None)


@pytest.fixture
def three(tmp_path: Path) -> Iterator[list[Daemon]]:
    """A phone that asks, and two devices that can."""
    found = [Daemon(tmp_path / name, name, **FAST, **more) for name, more in (("ann", SMALL), ("bob", {}), ("cleo", {}))]
    for n, one in enumerate(found):
        for other in found[n + 1 :]:
            pair(one, other)
    try:
        for daemon in found:
            daemon.start()
        found[0].linked(2)
        yield found
    finally:
        for daemon in found:
            daemon.kill(signal.SIGTERM)


def whole(count: int, size: int = 100) -> list[bytes]:
    return [part(SEED, index, size) for index in range(count)]


def submit(daemon: Daemon, count: int = 20, seconds: float = 0.1, size: int = 100, **more: Any) -> str:
    return daemon.submit("test.tune", params={"parts": count, "seconds": seconds, "size": size}, seed=SEED, **more)


def runs_on(found: list[Daemon], job: dict[str, Any]) -> Daemon:
    return next(d for d in found if d.name == job["attempts"][-1]["name"])


def test_the_task_keeps_the_contract(tmp_path: Path) -> None:
    check_task(TuneTask(), tmp_path, bad=())


def test_parts_come_long_before_the_end_and_the_result_as_ever(tmp_path: Path) -> None:
    with daemons(tmp_path, "ann", "bob", **FAST) as (ann, _):
        job, came = submit(ann, on="bob"), []
        begun = time.monotonic()
        for data in ann.client.parts(job):
            came.append((data, time.monotonic()))
        ended = time.monotonic()
        assert [data for data, _ in came] == whole(20)
        assert came[4][1] - begun < (ended - begun) / 2
        found = ann.client.get("jobs", job, "result")
        assert found["result"]["sha256"] == hashlib.sha256(b"".join(whole(20))).hexdigest()
        assert (found["streamed"], found["streamed_bytes"]) == (20, sum(map(len, whole(20))))
        assert list(ann.client.parts(job)) == whole(20), "also when it has ended"
        assert [ann.client.bytes("jobs", job, "parts", str(n)) for n in range(20)] == whole(20)
        shown = ann.typed("job", "show", job)
        assert f"  20 parts of it are here, {found['streamed_bytes']} bytes" in shown.stdout.splitlines()
        done = ann.typed("job", "submit", "test.tune", "-p", "parts=3", "--seed", str(SEED), "--wait", "--json")
        assert json.loads(done.stdout)["result"]["sha256"] == hashlib.sha256(b"".join(whole(3))).hexdigest()
        ann.client.delete("jobs", job)
        assert not traces(ann.home, *(data[-40:] for data in whole(20)[3:]))


def test_what_is_asked_for_and_is_not_there_is_told(tmp_path: Path) -> None:
    with daemons(tmp_path, "ann", **FAST) as (ann,):
        job = submit(ann, 40)
        next(ann.client.parts(job))
        with pytest.raises(NotFound, match=r"part 39 of job .* is not here: it has \d+ parts so far; follow its events"):
            ann.client.bytes("jobs", job, "parts", "39")
        for wrong in ("x", "-1", "1e3", "9" * 400, "²"):
            with pytest.raises(UsageError, match="a part is named by its number"):
                ann.client.bytes("jobs", job, "parts", wrong)
        with pytest.raises(NotFound, match="no job begins"):
            ann.client.bytes("jobs", "f" * 32, "parts", "0")
        with pytest.raises(UsageError, match="each made once: leave --escalate out"):
            submit(ann, escalate=0.5)
        ann.client.post("jobs", job, "cancel")
        with pytest.raises(NotFound, match="and it is STOPPED"):
            ann.client.bytes("jobs", job, "parts", "39")
        plain = ann.submit("emotion.text", b"I love it.", variant="tiny")
        assert list(ann.client.parts(plain)) == []
        with pytest.raises(NotFound, match=r"emotion\.text hands nothing on before its result"):
            ann.client.bytes("jobs", plain, "parts", "0")


@pytest.mark.parametrize("size", [100, 40_000], ids=["inline", "by artefact"])
def test_when_its_device_is_killed_another_goes_on(three: list[Daemon], size: int) -> None:
    ann = three[0]
    job = submit(ann, 25, size=size)
    coming, came = ann.client.parts(job), []
    came += islice(coming, 6)
    first = runs_on(three, ann.client.get("jobs", job))
    first.kill()
    came += coming
    assert came == whole(25, size)
    found = ann.ended(job)
    assert found["status"] == "SUCCEEDED"
    assert found["ran_on"] not in ("ann", first.name)
    rows = ann.rows(f"SELECT number, attempt FROM part WHERE job='{job}' ORDER BY number")
    by = [row["attempt"] for row in rows]
    assert [row["number"] for row in rows] == list(range(25))
    held = by.count(by[0])
    assert by == [by[0]] * held + [by[-1]] * (25 - held), "none was made twice"
    assert 6 <= held < 25
    explained = ann.typed("job", "explain", job).stdout
    assert f"went on after part {held - 1}, {held} were here" in explained
    second = runs_on(three, found)
    for daemon in (ann, second):
        kept = [f for f in (daemon.home / "artefacts").rglob("*") if f.is_file() and f.stat().st_size > size]
        files = {blob["id"] for blob in json.loads(ann.rows("SELECT output FROM job")[0]["output"]).values() if "id" in blob}
        assert not [f for f in kept if f.name not in files and daemon is not ann]
        assert len(kept) <= len(files), "what it went on after is gone"


def test_a_submitter_that_is_killed_keeps_its_parts_and_its_reader_goes_on(three: list[Daemon]) -> None:
    ann = three[0]
    job = submit(ann, 30)
    coming, came = ann.client.parts(job), []
    came += islice(coming, 5)
    ann.kill()
    held = len(ann.rows("SELECT number FROM part"))
    assert held >= 5
    ann.start()
    assert ann.client.get("jobs", job)["streamed"] >= held
    came += coming
    assert came == whole(30)
    found = ann.ended(job)
    assert (found["status"], len(found["attempts"])) == ("SUCCEEDED", 1), "what ran went on"


def test_a_reader_whose_daemon_does_not_come_back_is_told(tmp_path: Path) -> None:
    with daemons(tmp_path, "ann", **FAST) as (ann,):
        coming = ann.client.parts(submit(ann), patience_s=0.5)
        next(coming)
        ann.kill()
        with pytest.raises(NodeError, match="moodmesh up"):
            list(coming)


def test_a_job_that_is_stopped_between_parts_ends_its_reader(three: list[Daemon]) -> None:
    ann = three[0]
    job = submit(ann, 100)
    coming, came = ann.client.parts(job), []
    came += islice(coming, 4)
    device = runs_on(three, ann.client.get("jobs", job))
    ann.client.post("jobs", job, "cancel")
    came += coming
    assert 4 <= len(came) < 100
    assert came == whole(len(came))
    assert ann.client.get("jobs", job)["status"] == "STOPPED"
    device.wait_for(lambda: not device.rows("SELECT * FROM execution"), "rid of it", 5)
    time.sleep(0.5)
    assert ann.client.get("jobs", job)["streamed"] == len(came)


@pytest.mark.slow
def test_an_older_device_is_left_out_and_named(tmp_path: Path) -> None:
    ann, bob = Daemon(tmp_path / "ann", "ann", **FAST, **SMALL), Daemon(tmp_path / "bob", "bob", **FAST)
    pair(ann, bob)
    bob.changed = "from moodmesh.nodes import kinds\nkinds.FEATURES = ()\ndel kinds.KINDS['part'], kinds.KINDS['part_ack']"
    try:
        bob.start()
        ann.start()
        ann.linked()
        job = submit(ann)
        said = "older and cannot hand on an answer part by part: update it there"
        ann.wait_for(lambda: said in ann.client.get("jobs", job)["message"], "aware of that")
        assert ann.ended(ann.submit("emotion.text", b"I love it.", variant="tiny", on="bob"))["ran_on"] == "bob"
        bob.kill()
        bob.changed = ""
        bob.start()
        assert ann.ended(job)["ran_on"] == "bob"
    finally:
        for daemon in (ann, bob):
            daemon.kill(signal.SIGTERM)


def test_another_devices_parts_are_with_their_owner(tmp_path: Path) -> None:
    with daemons(tmp_path, "ann", "bob", **FAST) as (ann, bob):
        ann.typed("peers", "allow", "bob", "jobs.inspect.all")
        job = submit(ann, 5)
        bob.wait_for(lambda: [j for j in bob.client.get("jobs", all=1)["jobs"] if j["id"] == job], "told of it")
        with pytest.raises(Refused, match="is with ann, which submitted it"):
            bob.client.bytes("jobs", job, "parts", "0")
        with pytest.raises(Refused, match="is with ann, which submitted it"):
            list(bob.client.parts(job))
