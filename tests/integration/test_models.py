"""Model files pulled by hash from a paired peer, by nodes that were installed without weights (systems S30, routing §11)."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from integration.daemons import Daemon, daemons
from moodmesh.nodes.errors import NotFound, Refused
from moodmesh.tasks import registry
from moodmesh.tasks.music.generate import CARDS

NAME = "emotion-text-tiny"
CARD = registry.load()[0]["emotion.text"].spec.variant("tiny").card
MUSIC = CARDS["music-tiny"]
TEXT = b"I love it. I hate it."
QUICK = {"jobs__benchmark": "false"}
BARE = {"jobs__packaged_models": "false"}
pytestmark = pytest.mark.timeout(90)


def kept(daemon: Daemon) -> Path:
    assert CARD is not None
    return daemon.home / "models" / CARD.sha256


def present(daemon: Daemon) -> bool:
    return bool(daemon.client.get("models", NAME)["present"])


def failure(daemon: Daemon) -> str:
    (event,) = [e for e in daemon.client.events("models", NAME, "pull", method="POST", body={}) if e["event"] == "failed"]
    return str(event["message"])


def test_a_node_without_weights_pulls_them_by_hash_and_runs_the_job(tmp_path: Path) -> None:
    with daemons(tmp_path, "full", "bare", **QUICK) as (full, bare):
        bare.kill()
        bare.start(**BARE).linked()
        assert present(full)
        assert not present(bare)
        events = list(bare.client.events("models", NAME, "pull", method="POST", body={}))
        assert [e["share"] for e in events if e["event"] == "progress"][-1] == 1.0
        assert events[-1] == {"event": "done", "from": "full", "bytes": CARD.bytes if CARD else 0}
        assert hashlib.sha256(kept(bare).read_bytes()).hexdigest() == kept(bare).name
        assert not [f for f in (bare.home / "artefacts").rglob("*") if f.is_file()], "no second copy"
        job = bare.ended(bare.submit("emotion.text", TEXT, variant="tiny", on="bare"))
        assert (job["status"], job["ran_on"]) == ("SUCCEEDED", "bare")
        again = bare.run("models", "pull", NAME)
        assert again.stdout.strip() == f"{NAME} was here already"


def damage(daemon: Daemon, sha256: str) -> None:
    (daemon.home / "models").mkdir(exist_ok=True)
    (daemon.home / "models" / sha256).write_bytes(b"not the weights")


def test_a_damaged_file_is_as_good_as_none_and_is_fetched_again(tmp_path: Path) -> None:
    with daemons(tmp_path, "full", "bare", **QUICK) as (_, bare):
        bare.kill()
        damage(bare, kept(bare).name)
        bare.start(**BARE).linked()
        job = bare.ended(bare.submit("emotion.text", TEXT, variant="tiny", on="bare"))
        assert (job["status"], len(job["attempts"])) == ("SUCCEEDED", 1), job
        assert hashlib.sha256(kept(bare).read_bytes()).hexdigest() == kept(bare).name


def test_pulling_a_damaged_file_fetches_it(tmp_path: Path) -> None:
    with daemons(tmp_path, "full", "bare", **QUICK) as (_, bare):
        bare.kill()
        damage(bare, kept(bare).name)
        bare.start(**BARE).linked()
        assert bare.typed("models", "pull", NAME).stdout.strip() == f"{NAME}: fetched from full"
        assert bare.typed("models", "pull", NAME).stdout.strip() == f"{NAME} was here already"


def test_a_lone_device_with_a_damaged_file_answers_with_another_variant_and_says_why(tmp_path: Path) -> None:
    bare = Daemon(tmp_path / "bare", "bare", **QUICK, **BARE)
    damage(bare, MUSIC.sha256)
    try:
        bare.start()
        job = bare.ended(bare.submit("music.generate", params={"emotion": "calm", "bars": 1}))
        assert job["status"] == "SUCCEEDED", job
        assert [(a["variant"], a["state"]) for a in job["attempts"]] == [
            ("base", "ERRORED"),  # is not here
            ("tiny", "ERRORED"),  # is damaged
            ("rules", "COMMITTED"),
        ]
        said = bare.typed("job", "explain", job["id"]).stdout
        assert "is not the model music-tiny: sha256" in said
        assert "its model is not there, or damaged" in said
        again = bare.ended(bare.submit("music.generate", params={"emotion": "calm", "bars": 1}))
        assert [a["variant"] for a in again["attempts"]] == ["rules"], "what is known to be damaged is not tried again"
    finally:
        bare.kill()


def test_a_job_alone_fetches_what_it_needs(tmp_path: Path) -> None:
    with daemons(tmp_path, "full", "bare", **QUICK) as (_, bare):
        bare.kill()
        bare.start(**BARE).linked()
        job = bare.ended(bare.submit("emotion.text", TEXT, variant="tiny", on="bare"))
        assert job["status"] == "SUCCEEDED", job
        assert present(bare)


def test_the_commands(tmp_path: Path) -> None:
    with daemons(tmp_path, "full", "bare", **QUICK) as (_, bare):
        bare.kill()
        bare.start(**BARE).linked()
        listed = json.loads(bare.run("models", "list", "--json").stdout)["models"]
        assert {"name", "task", "variant", "bytes", "licence", "data", "quality", "training", "sha256", "present"} <= set(
            listed[0]
        )
        assert "not here" in bare.run("models", "list").stdout
        pulled = bare.run("models", "pull", NAME)
        assert (pulled.returncode, pulled.stdout.strip()) == (0, f"{NAME}: fetched from full")
        shown = bare.run("models", "show", NAME).stdout
        assert "EmoBank" in shown
        assert CARD is not None
        assert CARD.sha256 in shown
        unknown = bare.run("models", "pull", "nonesuch")
        assert unknown.returncode == 2
        assert NAME in unknown.stderr


def test_wrong_bytes_are_refused_and_leave_nothing(tmp_path: Path) -> None:
    assert CARD is not None
    with daemons(tmp_path, "liar", "bare", **QUICK, **BARE) as (liar, bare):
        kept(liar).parent.mkdir(exist_ok=True)
        kept(liar).write_bytes(b"x" * CARD.bytes)
        assert "expected " + CARD.sha256[:16] in failure(bare)
        kept(liar).write_bytes(b"x" * (CARD.bytes + 1))
        assert "more than" in failure(bare), "and a longer file is refused before it is taken"
        assert not kept(bare).exists()
        assert not [f for f in (bare.home / "artefacts").rglob("*") if f.is_file()]
        refused = bare.run("models", "pull", NAME)
        assert refused.returncode == 1
        assert "liar" in refused.stderr
        assert not present(bare)


def test_without_permission_a_peer_learns_no_more_than_if_there_were_none(tmp_path: Path) -> None:
    with daemons(tmp_path / "denied", "full", "bare", rules="none", **QUICK) as (_, bare):
        bare.kill()
        bare.start(**BARE).linked()
        denied = failure(bare)
    with daemons(tmp_path / "absent", "empty", "bare", rules="own", **QUICK, **BARE) as (_, bare):
        absent = failure(bare)
    assert denied == absent
    assert "no linked peer has" in denied


def test_alone_and_an_unknown_model(tmp_path: Path) -> None:
    with daemons(tmp_path, "bare", **QUICK, **BARE) as (bare,):
        with pytest.raises(Refused, match="no peer is linked"):
            list(bare.client.events("models", NAME, "pull", method="POST", body={}))
        with pytest.raises(NotFound, match="no model is called 'nonesuch'"):
            bare.client.get("models", "nonesuch")
