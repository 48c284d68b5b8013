"""What a person does wrong, or meets: each a sentence with the next step, an exit code, and nothing lost (design §7)."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from integration.daemons import CLI, Daemon, daemons, pair
from integration.scenes import play
from moodmesh.nodes.bench.plugin import install
from moodmesh.nodes.bench.work_task import TASKS
from moodmesh.nodes.errors import NodeError, UsageError
from moodmesh.nodes.reset import STORE_FILE

pytestmark = pytest.mark.timeout(90)
FAST = {"jobs__benchmark": "false"}
TEXT = b"I love it. I hate it."
TINY = {"variant": "tiny"}
CAPABILITIES_OF_ROOT = (1, 2, 3)  # CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER


def said(done: subprocess.CompletedProcess[str], code: int, *words: str) -> str:
    """All that a command said; it left with `code`, named every word, and showed no traceback."""
    whole = done.stdout + done.stderr
    assert done.returncode == code, whole
    assert "Traceback" not in whole
    for word in words:
        assert word in whole
    return whole


def as_a_user(home: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """The command line for whom a file's mode means what it says: root without its powers over files."""

    def drop() -> None:
        for capability in CAPABILITIES_OF_ROOT:
            ctypes.CDLL(None).prctl(24, capability, 0, 0, 0)  # PR_CAPBSET_DROP

    environment = os.environ | {"MOODMESH_HOME": str(home)}
    return subprocess.run([*CLI, *words], capture_output=True, text=True, env=environment, timeout=60, preexec_fn=drop)


@contextlib.contextmanager
def alone(home: Path, changed: str = "", **settings: str) -> Iterator[Daemon]:
    """One daemon, ended politely."""
    daemon = Daemon(home, "one", **FAST | settings)
    daemon.changed = changed
    try:
        yield daemon.start()
    finally:
        with contextlib.suppress(NodeError):
            daemon.kill(signal.SIGTERM)


# -- pairing -----------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def window(host: Daemon) -> Iterator[tuple[subprocess.Popen[str], dict[str, Any]]]:
    """`moodmesh pair` on a host, and what it showed."""
    command = [*CLI, "pair", "--json"]
    environment = os.environ | {"MOODMESH_HOME": str(host.home)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as shown:
        assert shown.stdout
        yield shown, json.loads(shown.stdout.readline())
        shown.terminate()


def closed(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_codes_that_are_wrong_mistyped_or_expired(tmp_path: Path) -> None:
    short = "from moodmesh.nodes import pairing; pairing.WINDOW_S = 0.5"
    with alone(tmp_path / "host") as host, alone(tmp_path / "guest", short) as guest:
        with window(host) as (shown, opened):
            code, port = opened["code"], opened["port"]
            at = ["--at", f"127.0.0.1:{port}"]
            said(guest.run("pair", code[:-1] + "x", *at), 2, "eight digits like 37-482915")
            wrong = code[:-1] + str((int(code[-1]) + 1) % 10)
            said(guest.run("pair", wrong, *at), 4, "wrong code; nothing was paired. Type the new one")
            assert shown.stdout
            code = json.loads(shown.stdout.readline())["code"]
            said(host.run("pair"), 4, "already open")
        host.wait_for(lambda: closed(port), "closing its window with the command that opened it", 5)
        said(guest.run("pair", code, *at), 4, "`moodmesh pair` there opens one")
        with window(host) as (shown, opened):
            code, at = opened["code"], ["--at", f"127.0.0.1:{opened['port']}"]
            said(guest.run("pair", f" {code[:2]} {code[3:6]} {code[6:]} ", *at), 0, "paired with one")
            assert shown.wait(10) == 0
        said(guest.run("pair"), 4, "nobody came", "`moodmesh pair` again")
        assert len(host.client.get("peers")["peers"]) == len(guest.client.get("peers")["peers"]) == 1


def test_another_protocol_version_is_named_on_both_sides_and_no_pair_is_lost(tmp_path: Path) -> None:
    old, new = Daemon(tmp_path / "old", "old", **FAST), Daemon(tmp_path / "new", "new", **FAST)
    new.changed = "from moodmesh.mesh import welcome; welcome.VERSIONS = (2,)"
    new.changed += "\nfrom moodmesh.mesh.pairing import messages; messages.VERSIONS = (2,)"
    pair(old, new)
    try:
        new.start()
        old.start()
        for daemon, peer, step in ((old, "new", "upgrade moodmesh here"), (new, "old", "upgrade moodmesh there")):
            daemon.wait_for(lambda d=daemon, p=peer, s=step: s in d.client.get("peers", p)["trouble"], "told")
            said(daemon.run("peers", "list"), 0, step)
            assert daemon.client.get("near")["troubles"][peer]
        said(old.run("doctor"), 1, "peer new", "upgrade moodmesh here")
        job = old.run("job", "submit", "emotion.text", "-p", "text=I love it.", "--on", "new")
        said(job, 0, "upgrade moodmesh here")
        with window(old) as (_, opened):
            refused = new.run("pair", opened["code"], "--at", f"127.0.0.1:{opened['port']}")
        said(refused, 4, "share no version of the pairing protocol: update Moodmesh on the older one")
        new.kill(signal.SIGTERM)
        new.changed = ""
        new.start()
        old.linked()
        assert old.ended(job.stdout.strip())["status"] == "SUCCEEDED"
    finally:
        old.kill()
        new.kill()


def test_a_peer_that_permits_nothing_and_one_that_forgot_us_say_what_to_do(tmp_path: Path) -> None:
    with daemons(tmp_path, "ann", "bob", rules="none", **FAST) as (ann, bob):
        ann.wait_for(lambda: ann.client.get("peers", "bob")["capability"] is not None, "told what bob offers")
        mine = ann.run("job", "submit", "emotion.text", "-p", "text=Fine.", "--on", "bob")
        said(mine, 0, "own devices only", "`moodmesh peers allow NAME --preset own`")
        waits = ann.run("job", "submit", "emotion.text", "-p", "text=Fine.", "--on", "bob", "--public")
        said(waits, 0, "not offered to its submitter", "no rule allows it")
        said(bob.run("peers", "forget", "ann"), 0, "forgotten")
        ann.wait_for(lambda: ann.client.get("peers", "bob")["trouble"], "told")
        for words in (("peers", "show", "bob"), ("near",), ("job", "show", waits.stdout.strip()[:8])):
            # Its goodbye may get lost on a busy machine: then it answers as a stranger, and what to do is the same.
            ann.wait_for(lambda w=words: "pair again" in ann.run(*w).stdout, f"saying so in {words}", 5)
        bob.kill()
        bob.start()
        ann.kill()
        ann.start()  # now it can only see that a stranger answers there
        ann.wait_for(lambda: "does not know this one" in ann.client.get("peers", "bob")["trouble"], "told")
        assert '"1000"' not in ann.log.read_text() + bob.log.read_text()


# -- inputs ------------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with alone(tmp_path_factory.mktemp("one")) as daemon:
        yield daemon


@pytest.fixture(scope="module")
def worker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    """A daemon with tasks that take numbers."""
    root = tmp_path_factory.mktemp("worker")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(install(root, TASKS)))
        with alone(root / "home") as daemon:
            yield daemon


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the text is empty: give a file with at least one sentence"),
        (os.urandom(64) + b"\xff\x00", "save it as UTF-8"),
        (b"mostly text\0", "binary file"),
        (b"a" * (2**20 + 1), "1 MiB): split the file"),
        (None, "not readable|cannot read"),
    ],
    ids=["empty", "not UTF-8", "binary", "above 1 MiB", "unreadable"],
)
def test_an_input_that_is_no_text_is_refused_before_anything_is_accepted(
    one: Daemon, tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "in put.txt"
    file.write_bytes(b"x" if content is None else content)
    file.chmod(0 if content is None else 0o600)
    before = len(one.client.get("jobs", limit=1000)["jobs"])
    words_typed = ("job", "submit", "emotion.text", "--input", str(file), "--wait")
    done = one.typed(*words_typed) if content is not None else as_a_user(one.home, *words_typed)
    assert any(word in said(done, 2) for word in words.split("|"))
    assert len(one.client.get("jobs", limit=1000)["jobs"]) == before


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["job", "submit", "emotion.smell"], "installed: emotion.text"),
        (
            ["job", "submit", "emotion.text", "-p", "lines=perhaps", "-p", "text=x"],
            "valid boolean; emotion.text takes text, lines",
        ),
        (["job", "submit", "emotion.text", "-p", "text=7"], "parameter text: input should be a valid string"),
        (["job", "submit", "emotion.text", "--by", "-3s"], "10s, 500ms or 2min"),
        (["job", "submit", "emotion.text", "--expire", "soon"], "--expire soon: write a time like 10s, 500ms or 2min"),
        (
            ["job", "submit", "emotion.text", "--wait-for-device", "x"],
            "--wait-for-device x: write a time like 10s, 500ms or 2min",
        ),
        (["peers", "allow", "", "--preset", "own"], "a name or an id is empty: `moodmesh peers list`"),
        (["peers", "forget", ""], "a name or an id is empty: `moodmesh peers list`"),
        (["job", "show", ""], "`moodmesh job list`"),
        (["identity", "reset"], "--yes"),
        (["demo", "--duty", "unknown=0.5"], "one of phone, laptop, desktop"),
        (["demo", "--duty", "laptop=1.5"], "over 0 and at most 1"),
        (["demo", "--picture", "/nowhere/x.png"], "make it first"),
        (["demo", "--input", "/nowhere.txt"], "check the path"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, list) else "",
)
def test_what_is_wrong_with_a_command_is_said_with_exit_code_two(one: Daemon, args: list[str], words: str) -> None:
    said(one.typed(*args), 2, words)


# -- the home ----------------------------------------------------------------------------------------------------------


def test_a_home_that_this_user_may_not_write_and_one_that_is_a_file(tmp_path: Path) -> None:
    closed, file = tmp_path / "closed", tmp_path / "file"
    closed.mkdir(mode=0o500)
    file.touch()
    said(as_a_user(closed, "up"), 1, str(closed), "Permission denied", "MOODMESH_HOME")
    said(as_a_user(file, "up"), 1, str(file), "is in the way", "MOODMESH_HOME")


def test_a_damaged_store_is_kept_and_named_with_what_was_in_it(tmp_path: Path) -> None:
    with alone(tmp_path) as daemon:
        before = daemon.client.get("status")["device"]
        daemon.ended(daemon.submit("emotion.text", TEXT, **TINY))
        daemon.kill(signal.SIGTERM)
        damage = b"not a database" * 5000
        (tmp_path / STORE_FILE).write_bytes(damage)
        daemon.start()
        kept = tmp_path / "moodmesh.damaged-1"
        assert kept.read_bytes() == damage
        for told in (daemon.log.read_text(), daemon.run("health").stdout):
            for words in (str(kept), "pairs, rules and the journal of jobs were in it", "moodmesh pair"):
                assert words in told
        assert daemon.client.get("status")["device"] == before
        assert daemon.ended(daemon.submit("emotion.text", TEXT, **TINY))["status"] == "SUCCEEDED"
        daemon.kill(signal.SIGTERM)
        (tmp_path / STORE_FILE).write_bytes(damage)
        said(daemon.run("identity", "reset", "--yes"), 0, "moodmesh.damaged-2", "new device id")
        assert (tmp_path / "moodmesh.damaged-2").read_bytes() == damage


def test_a_key_is_not_replaced_when_the_pairs_cannot_be_forgotten(tmp_path: Path) -> None:
    import sqlite3

    ann, bob = Daemon(tmp_path / "ann", "ann"), Daemon(tmp_path / "bob", "bob")
    pair(ann, bob)
    key = (ann.home / "identity" / "device.key").read_bytes()
    with contextlib.closing(sqlite3.connect(ann.home / STORE_FILE)) as db:
        db.execute("PRAGMA user_version=99")
        db.commit()
    said(ann.run("identity", "reset", "--yes"), 1, "newer Moodmesh")
    assert (ann.home / "identity" / "device.key").read_bytes() == key
    assert len(ann.rows("SELECT * FROM peer")) == 1


def test_a_clock_that_was_set_back_is_said_and_loses_nothing(tmp_path: Path) -> None:
    with daemons(tmp_path, "ann", "bob", **FAST) as (ann, bob):
        bob.client.post("peers", "ann", "allow", body={"actions": ["emotion.text"], "limits": {"jobs_per_hour": 1}})
        first = ann.submit("emotion.text", TEXT, on="bob", **TINY)
        assert ann.ended(first)["status"] == "SUCCEEDED"
        own = bob.submit("emotion.text", TEXT, on="here", **TINY)
        assert bob.ended(own)["status"] == "SUCCEEDED"
        bob.kill(signal.SIGTERM)
        bob.changed = "import time; real = time.time; time.time = lambda: real() - 3 * 86400"
        bob.start()
        ann.linked()
        for told in (bob.log.read_text(), bob.run("health").stdout):
            assert "72.0 h behind what this node has stored" in told
            assert "set-ntp" in told
        second = ann.submit("emotion.text", TEXT, on="bob", **TINY)
        ann.wait_for(lambda: "jobs_per_hour" in str(ann.client.get("jobs", second)["attempts"]), "refused: no new quota")
        assert bob.ended(bob.submit("emotion.text", TEXT, on="here", **TINY))["status"] == "SUCCEEDED"
        said(bob.run("job", "list"), 0, "3 d ago")
        assert bob.client.get("jobs", own, "result")["result"]["items"]


@pytest.mark.parametrize("engine", ["process", pytest.param("ray", marks=[pytest.mark.ray, pytest.mark.slow])])
def test_a_home_with_a_space_and_120_characters_serves_as_any_other(tmp_path: Path, engine: str) -> None:
    home = tmp_path / "a home" / ("long " * 24) / "moodmesh"
    assert len(str(home)) >= 120
    text = tmp_path / "a home" / "my diary.txt"
    with alone(home, pool__kind=engine) as daemon:
        text.write_bytes(TEXT)
        done = daemon.run("job", "submit", "emotion.text", "--input", "my diary.txt", "--wait", "--json", cwd=text.parent)
        assert len(json.loads(said(done, 0).splitlines()[0])["result"]["items"]) == 2
        said(daemon.run("status"), 0, str(home), f"engine    {engine}")


@pytest.mark.netns
def test_a_full_disk_at_the_start_is_said_and_nothing_is_lost(tmp_path: Path) -> None:
    found = play("full", tmp_path)
    assert len(found["said"]) == 2
    for room, code, words in found["said"]:
        assert code == 1, (room, words)
        assert re.search("free some", words), (room, words)
        assert str(tmp_path / "disk" / "one") in words
        assert "Traceback" not in words
    assert found["peers"] == ["other"]


def test_a_disk_that_fills_up_while_a_job_runs_loses_neither_it_nor_the_daemon(tmp_path: Path) -> None:
    sooner = "from moodmesh.nodes.jobs import pursuit; pursuit.DISK_RETRY_S = 0.5"
    with alone(tmp_path, sooner) as daemon:
        job = daemon.submit("emotion.text", (TEXT + b"\n") * 2_000, **TINY)
        daemon.wait_for(lambda: daemon.client.get("jobs", job)["status"] == "RUNNING", "running it")
        assert daemon.process
        unlimited = resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, (4096, resource.RLIM_INFINITY))
        refused = daemon.run("job", "submit", "emotion.text", "-p", "text=Fine.")
        said(refused, 1, "cannot write", "free some disk space")
        said(daemon.run("health"), 0, "disk", "failed", "free some disk space")
        daemon.wait_for(lambda: "free some disk space" in daemon.client.get("jobs", job)["message"], "waiting for room")
        resource.prlimit(daemon.process.pid, resource.RLIMIT_FSIZE, unlimited)
        done = daemon.ended(job)
        assert done["status"] == "SUCCEEDED", done
        assert [a["state"] for a in done["attempts"]].count("COMMITTED") == 1
        assert len(daemon.client.get("jobs")["jobs"]) == 1
        said(daemon.run("job", "submit", "emotion.text", "-p", "text=Fine.", "--wait"), 0)
        assert daemon.client.get("health")["parts"]["disk"]["state"] == "ok"


@pytest.mark.netns
def test_an_interface_that_comes_up_later_is_used(tmp_path: Path) -> None:
    found = play("plug", tmp_path)
    for moment, state in (("alone", "unavailable"), ("near", "ok")):
        radios = {radio["radio"]: radio["state"] for radio in found[moment]["radios"]}
        assert (radios["hello"], radios["mdns"]) == (state, state)
    assert [d["name"] for d in found["near"]["devices"]] == ["other"]


def test_without_an_interface_up_says_so_and_serves_this_device(tmp_path: Path) -> None:
    with alone(tmp_path, mesh__hello="true", mesh__mdns="true", mesh__interfaces="nosuch0") as daemon:
        daemon.wait_for(lambda: daemon.log.read_text().count("nosuch0") == 2, "warned by both finders")
        assert "connect to a network, or name another interface" in daemon.log.read_text()
        said(daemon.run("near"), 0, "nobody is near", "no network interface named in mesh.interfaces (nosuch0) is up")
        assert daemon.ended(daemon.submit("emotion.text", TEXT, **TINY))["status"] == "SUCCEEDED"
        time.sleep(1.2)  # it is tried again meanwhile
        assert daemon.log.read_text().count("nosuch0") == 2, "once, not at every try"


def test_an_input_without_end_is_read_to_its_limit(tmp_path: Path) -> None:
    command = [*CLI, "job", "submit", "emotion.text", "--input", "/dev/zero"]
    found = subprocess.run(
        command, env=os.environ | {"MOODMESH_HOME": str(tmp_path)}, capture_output=True, text=True, timeout=30, check=False
    )
    assert found.returncode == 2
    assert "more than 64 MiB" in found.stderr


def test_a_job_waits_for_a_model_that_no_peer_has_yet_and_runs_once_one_has_it(tmp_path: Path) -> None:
    bare = Daemon(tmp_path / "bare", "bare", jobs__benchmark="false", jobs__packaged_models="false")
    other = Daemon(tmp_path / "other", "other", jobs__benchmark="false")
    pair(bare, other)
    try:
        bare.start()
        job = bare.submit("emotion.text", b"A good day.", on="here")
        waiting = bare.wait_for(
            lambda: (found := bare.client.get("jobs", job))["status"] == "PENDING" and "model" in found["message"] and found,
            "waiting",
        )
        assert "gate" not in waiting["message"]
        assert len(waiting["attempts"]) <= 2
        other.start()
        assert bare.ended(job)["status"] == "SUCCEEDED"
    finally:
        bare.kill()
        other.kill()


def test_a_copied_identity_is_named_on_every_side(tmp_path: Path) -> None:
    one, other = (Daemon(tmp_path / name, name, jobs__benchmark="false") for name in ("one", "other"))
    pair(one, other)
    shutil.copytree(other.home, tmp_path / "copy")
    copy = Daemon(tmp_path / "copy", "other", jobs__benchmark="false")
    try:
        for daemon in (one, other):
            daemon.start()
        one.linked()
        copy.start()
        told = one.wait_for(lambda: one.client.get("status")["duplicate"], "told of the copy")
        assert [(d["name"], d["us"]) for d in told] == [("other", False)]
        assert "in two places" in one.client.get("health")["parts"]["identity of other"]["detail"]
        assert other.wait_for(lambda: other.client.get("status")["duplicate"], "told")[0]["us"]
        assert one.log.read_text().count("it runs in two places") == 1
    finally:
        for daemon in (one, other, copy):
            daemon.kill()


def test_a_preset_takes_no_limits_and_a_rule_names_what_is_installed(tmp_path: Path) -> None:
    with daemons(tmp_path, "one", "other", jobs__benchmark="false") as (one, _):
        for wrong, words in (
            ({"preset": "own", "limits": {"seconds_per_day": 5}}, "a preset has its own"),
            ({"actions": ["emtion.text"]}, "there are emotion.text"),
        ):
            with pytest.raises(UsageError, match=words):
                one.client.post("peers", "other", "allow", body=wrong)
        one.client.post("peers", "other", "allow", body={"actions": ["emotion.*"], "limits": {"seconds_per_day": 5}})
        assert one.client.get("peers", "other")["may"]["emotion.*"] == {"seconds_per_day": 5.0}


@pytest.mark.parametrize("seconds", ["nan", "1e300", "1e400", "9" * 5000], ids=lambda text: text[:9])
def test_a_number_that_fits_no_message_is_refused_before_anything_is_accepted(worker: Daemon, seconds: str) -> None:
    said(worker.typed("job", "submit", "bench.work", "-p", f"seconds={seconds}"), 2, "second")
    for words in (("job", "list"), ("job", "list", "--here")):
        said(worker.typed(*words), 0)
    assert worker.client.get("jobs")["jobs"] == []


def test_the_longest_jobs_there_are_leave_their_device_at_work(worker: Daemon) -> None:
    """Their seconds are more than a message can say: what a device says of itself goes on all the same."""
    assert worker.ended(worker.submit("bench.work", params={"seconds": 0.1}))["status"] == "SUCCEEDED"  # it knows its pace now
    jobs = [worker.submit("bench.work", params={"seconds": 1e12}) for _ in range(3)]
    for job, state in zip(jobs, ("RUNNING", "RESERVED", "RESERVED"), strict=True):
        worker.wait_for(lambda j=job, s=state: worker.client.get("jobs", j)["attempts"][-1]["state"] == s, state)
    said(worker.typed("job", "list"), 0, "bench.work")
    for job in jobs:
        assert len(worker.client.post("jobs", job, "cancel")["attempts"]) == 1
    assert worker.ended(worker.submit("bench.work", params={"seconds": 0.01}))["status"] == "SUCCEEDED"


def test_what_comes_too_late_is_said_before_and_stopped_when_that_was_asked(worker: Daemon) -> None:
    said(worker.typed("job", "submit", "bench.work", "-p", "seconds=0.2", "--by", "1ms", "--wait"), 0, "it is late: 9 of 10")
    late = worker.typed("job", "submit", "bench.work", "-p", "seconds=30", "--expire", "300ms", "--wait")
    said(late, 1, "STOPPED expired: it had no result 0.3 s after its submission (--expire)")
