"""One request, two models, on real daemons: the small one here, the large one elsewhere (systems S29)."""

from __future__ import annotations

import base64
import json
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from integration.daemons import Daemon, daemons, pair, traces
from moodmesh.nodes.errors import Refused, UsageError
from moodmesh.tasks.emotion.text.escalation import chosen

PAGE = (
    b"The morning was grey and nobody spoke at breakfast. Later the sun came out! I was afraid of the exam. "
    b"It went better than I had hoped. She said she would call\nand never did. What a wonderful evening with old friends. "
    b"Murder. Nothing much happened after that, and the long train home through the valley was late as it always is."
)
SECRET = b"The purple heron of Zanzibar made me weep."
FAST = {"jobs__benchmark": "false"}
SMALL = {"pool__memory_mb": "150"}  # room for tiny alone

pytestmark = pytest.mark.timeout(90)


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Daemon]]:
    """A phone that can run tiny only, and a desktop."""
    root = tmp_path_factory.mktemp("two")
    phone, desktop = Daemon(root / "phone", "phone", **FAST, **SMALL), Daemon(root / "desktop", "desktop", **FAST)
    pair(phone, desktop)
    phone.start()
    desktop.start()
    phone.linked()
    yield [phone, desktop]
    for daemon in (phone, desktop):
        daemon.kill(signal.SIGTERM)


def test_what_the_small_model_is_unsure_of_is_answered_elsewhere(two: list[Daemon]) -> None:
    phone, desktop = two
    job = phone.ended(phone.submit("emotion.text", PAGE, escalate=0.4))
    assert job["status"] == "SUCCEEDED", job
    found = phone.client.get("jobs", job["id"], "result")
    small = phone.client.get("jobs", job["parts"][0]["id"], "result")["result"]
    large = phone.client.get("jobs", job["parts"][1]["id"], "result")["result"]
    sent = chosen(small, 0.4)
    assert 0 < len(sent) <= 4
    by = [item["variant"] for item in found["result"]["items"]]
    assert by == ["base" if n in sent else "tiny" for n in range(len(by))]
    assert [i["start"] for i in found["result"]["items"]] == [i["start"] for i in small["items"]]
    assert [found["result"]["items"][n]["valence"] for n in sent] == [item["valence"] for item in large["items"]]
    assert (job["quality"]["sent"], job["quality"]["of"], job["variant"]) == (len(sent), len(by), "tiny+base")
    assert [(p["role"], p["variant"], p["ran_on"]) for p in job["parts"]] == [
        ("small", "tiny", "phone"),
        ("large", "base", "desktop"),
    ]
    made = found["provenance"]["parts"]
    assert (made["small"]["device"], made["large"]["device"]) == (phone.identity.id, desktop.identity.id)
    assert len(made["large"]["signature"]) == 128


def test_only_the_chosen_sentences_leave_and_nothing_stays_there(two: list[Daemon]) -> None:
    phone, desktop = two
    text = PAGE + b" " + SECRET
    job = phone.ended(phone.submit("emotion.text", text, escalate=0.3))
    part = job["parts"][1]
    (row,) = phone.rows(f"SELECT input FROM job WHERE id='{part['id']}'")
    left = base64.b64decode(json.loads(row["input"])["inline"]).decode().split("\n")
    assert len(left) == job["quality"]["sent"] < job["quality"]["of"]
    desktop.wait_for(lambda: not desktop.rows("SELECT * FROM execution"), "done with it")
    words = [line.encode() for line in left]
    desktop.wait_for(lambda: not traces(desktop.home, *words), "rid of every byte: the row goes first", 5)
    assert traces(phone.home, *words), "its owner keeps them"


def test_list_show_explain_and_logs_speak_of_one_job_with_two_parts(two: list[Daemon]) -> None:
    phone, desktop = two
    before = len(phone.client.get("jobs", limit=1000)["jobs"])
    done = phone.typed("job", "submit", "emotion.text", "-p", f"text={PAGE.decode()}", "--escalate", "40%", "--wait", "--json")
    assert done.returncode == 0, done.stderr
    assert "at most 40% goes to base" in done.stderr
    assert "Pearson r" in done.stderr
    found = json.loads(done.stdout)
    assert {item["variant"] for item in found["result"]["items"]} == {"tiny", "base"}
    assert len(phone.client.get("jobs", limit=1000)["jobs"]) == before + 1
    shown = phone.typed("job", "show", found["id"]).stdout
    assert "small: " in shown
    assert "large: " in shown
    told = phone.typed("job", "explain", found["id"]).stdout
    assert "small part, tiny:" in told
    assert "large part, base:" in told
    assert "on desktop" in told
    assert "ruled out by memory" in told
    assert phone.client.get("jobs", found["id"], "logs")["status"] == "SUCCEEDED"

    # and from another device
    there, here = (json.loads(d.typed("job", "show", found["id"], "--json").stdout) for d in (desktop, phone))
    assert there.keys() == here.keys()
    assert [p.keys() for p in there["parts"]] == [p.keys() for p in here["parts"]]
    for name in ("status", "variant", "ran_on", "why", "substate"):
        assert there[name] == here[name], name
    assert there["quality"] == here["quality"] | {"words": here["quality"]["words"].replace("answers here", "answers on phone")}
    again = desktop.typed("job", "explain", found["id"]).stdout
    assert "ruled out by memory" in again
    assert "phone asked, and the small model of --escalate (tiny) answers where it is asked" in again
    assert "this device" not in again
    row = next(line for line in desktop.typed("job", "list").stdout.splitlines() if line.startswith(found["id"][:8]))
    assert "tiny+base" in row
    assert "phone + desktop" in row
    ids = {job["id"] for job in desktop.client.get("jobs", limit=1000, all=1)["jobs"]}
    assert found["id"] in ids
    assert not ids & {part["id"] for part in here["parts"]}
    assert found["id"] == json.loads(desktop.typed("job", "logs", found["id"], "--json").stdout)["id"]


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({"escalate": 0.3, "variant": "tiny"}, "leave --variant"),
        ({"escalate": 0.3, "quality": "fast"}, "leave --variant and --quality"),
        ({"escalate": 1.5}, "less than or equal to 1"),
        ({"by_s": 3.0, "quality": "fast"}, "give one of them"),
    ],
)
def test_what_does_not_go_together_is_refused(two: list[Daemon], asked: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        two[0].submit("emotion.text", PAGE, **asked)


def test_a_share_that_is_none_says_what_to_write(two: list[Daemon]) -> None:
    done = two[0].typed("job", "submit", "emotion.text", "--escalate", "many")
    assert done.returncode == 2
    assert "0.3 or 30%" in done.stderr


def test_a_lower_quality_states_its_loss_before_and_in_the_result(two: list[Daemon]) -> None:
    _, desktop = two
    words = ("job", "submit", "emotion.text", "-p", "text=I love it.", "--wait", "--json")
    for way in (("--quality", "fast"), ("--by", "1ms"), ("--variant", "tiny")):
        done = desktop.typed(*words, *way)
        quality, lower = json.loads(done.stdout)["quality"], ".549/.478/.273 instead of .726/.542/.375" in done.stderr
        assert (quality["variant"], quality["loss"], lower) in (
            ("tiny", [0.177, 0.064, 0.102], True),
            ("base", None, False),  # loaded already, it may be the faster one
        )
    assert (quality["variant"], quality["best_present"]) == ("tiny", "base")
    plain = json.loads(desktop.typed(*words).stdout)["quality"]
    assert (plain["variant"], plain["loss"], plain["words"]) == ("base", None, "")


def test_a_restart_between_the_parts_and_a_cancel(tmp_path: Path) -> None:
    """The daemon dies as the small part commits; its answer is there when it is back. And a cancelled job stops both parts."""
    with daemons(tmp_path, "phone", "desktop", **FAST) as (phone, desktop):
        phone.kill()
        phone.start(debug__crash_after="job.commit")
        phone.linked()
        job = phone.submit("emotion.text", PAGE, escalate=1.0)
        assert phone.left() == -signal.SIGKILL
        phone.start()
        done = phone.ended(job)
        assert done["status"] == "SUCCEEDED", (done, phone.log.read_text()[-3000:])
        assert (done["status"], done["quality"]["sent"]) == ("SUCCEEDED", done["quality"]["of"])
        assert len(phone.rows("SELECT id FROM job")) == 3

        long = phone.submit("emotion.text", (PAGE + b"\n") * 800, escalate=1.0)
        phone.wait_for(lambda: phone.client.get("jobs", long)["substate"] == "large", "at the large part", 60)
        assert phone.client.post("jobs", long, "cancel")["status"] == "STOPPED"
        stopped = phone.wait_for(
            lambda: [p["status"] for p in phone.client.get("jobs", long)["parts"]][1:] == ["STOPPED"], "stopped"
        )
        assert stopped
        with pytest.raises(Refused):
            phone.client.post("jobs", long, "cancel")

        # its device dies: another one runs it anew as it was asked, and has it stopped where it was
        file = tmp_path / "long.txt"
        file.write_bytes((PAGE + b"\n") * 800)
        left = phone.submit("emotion.text", file.read_bytes(), escalate=0.25)
        desktop.wait_for(lambda: desktop.rows(f"SELECT 1 FROM replica WHERE job='{left}'"), "told")
        desktop.wait_for(lambda: desktop.client.get("jobs", left)["parts"], "told of its part")
        phone.kill()
        desktop.wait_for(lambda: desktop.client.get("jobs", left)["owner_absent"], "without phone")
        adopted = json.loads(desktop.typed("job", "adopt", left, "--input", str(file), "--json").stdout)
        assert (adopted["adopted_from"], adopted["quality"]["share"], adopted["quality"]["words"]) == (
            left, 0.25, desktop.client.get("jobs", left)["quality"]["words"].replace("answers on phone", "answers here"),
        )  # fmt: skip
        desktop.wait_for(lambda: [p["role"] for p in desktop.client.get("jobs", adopted["id"])["parts"]] == ["small"], "at it")
        desktop.client.post("jobs", adopted["id"], "cancel")
        part = desktop.client.get("jobs", left)["parts"][0]["id"]
        refused = desktop.typed("job", "adopt", part, "--input", str(file))
        assert (refused.returncode, f"a part of {left[:8]}" in refused.stderr) == (4, True)
        asked = desktop.typed("job", "cancel", left)
        assert (asked.returncode, "cancel asked for, waits for its owner" in asked.stdout) == (0, True), asked
        assert "cancel asked for, waits for its owner" in desktop.typed("job", "show", left).stdout
        phone.start()
        assert phone.ended(left)["status"] == "STOPPED"


def test_when_nobody_can_run_the_large_model_the_small_answers_stand(tmp_path: Path) -> None:
    phone = Daemon(tmp_path / "phone", "phone", **FAST, **SMALL)
    try:
        phone.start()
        job = phone.ended(phone.submit("emotion.text", PAGE, escalate=0.5))
        assert job["status"] == "SUCCEEDED"
        assert (job["variant"], job["quality"]["sent"]) == ("tiny", 0)
        assert "the answers of tiny stand: no device can run it now" in job["why"]
        found = phone.client.get("jobs", job["id"], "result")["result"]
        assert {item["variant"] for item in found["items"]} == {"tiny"}
    finally:
        phone.kill(signal.SIGTERM)
