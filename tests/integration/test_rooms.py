"""Rooms of real daemons: what they tell, and what they refuse."""

from __future__ import annotations

import contextlib
import json
import time
from pathlib import Path
from typing import Any

import pytest

from moodmesh.nodes.demo.room.daemons import Daemons, first_epoch
from moodmesh.nodes.demo.room.moods import Point
from moodmesh.nodes.errors import Refused, UsageError

from .daemons import Daemon, daemons, free_udp, traces

RADIO = {"mesh__hello": "true", "mesh__interfaces": "lo"}


def early(since: float = 30) -> str:
    """A clock by which an epoch began so many seconds ago: no test waits for the next."""
    shift = (since - time.time()) % 600
    return f"import time; from moodmesh.mesh import clock; clock.SystemClock.wall = lambda self: time.time() + {shift}"


def feels(daemon: Daemon, valence: float, arousal: float) -> None:
    daemon.client.post("moods", body={"valence": valence, "arousal": arousal})


def joined(daemon: Daemon, name: str, kind: str, **more: Any) -> dict[str, Any]:
    found: dict[str, Any] = daemon.client.post("rooms", body={"name": name, "kind": kind, "agreed": True, **more})
    return found


def told(daemon: Daemon, name: str, seconds: float = 20) -> dict[str, Any]:
    def look() -> Any:
        found = daemon.client.get("rooms", name)
        if "too small" in found["state"]:  # asked before all had been seen: their user asks again
            with contextlib.suppress(Refused):
                daemon.client.post("rooms", name, "ask")
        return found if found["last"] else None

    try:
        found: dict[str, Any] = daemon.wait_for(look, "told of the room", seconds)
    except AssertionError:
        raise AssertionError(daemon.client.get("rooms", name)["state"] + daemon.log.read_text()[-2000:]) from None
    return found


def test_strangers_in_an_on_demand_room_tell_a_rough_mean(tmp_path: Path) -> None:
    names = ["a", "b", "c", "d", "e"]
    with daemons(tmp_path, *names, changed=early(), mesh__hello_port=free_udp(), rules="none", **RADIO) as found:
        for daemon in found:
            feels(daemon, 0.6, 0.2)
        room = joined(found[0], "cafe", "on-demand", eps=4, open=True)
        for daemon in found[1:-1]:
            daemon.client.post("rooms", "join", body={"room": room["code"], "agreed": True})
        last = found[-1]  # finds it by being near, and knows no code
        last.wait_for(lambda: [r["name"] for r in last.client.get("rooms")["near"]] == ["cafe"], "near an open room")
        with pytest.raises(UsageError, match="by now"):
            last.client.post("rooms", "join", body={"room": "cafe", "agreed": True})
        assert last.typed("room", "join", "cafe", "--yes").returncode == 0
        found[2].client.post("rooms", "cafe", "ask")
        values = [told(daemon, "cafe") for daemon in found]
        assert len({(v["mood"]["valence"], v["mood"]["arousal"]) for v in values}) == 1
        assert values[0]["last"]["n"] == values[0]["last"]["contributors"] == 5
        for daemon in found:
            assert daemon.client.get("privacy", "ledger")["spent"]["hour"]["room"] == 4
        spent = found[1].typed("privacy", "ledger").stdout
        assert "on-demand 5 of 5" in spent
        assert "epsilon 4.00, 4.00 if everybody else were hostile" in spent
        assert " ago" in found[1].typed("room", "show", "cafe").stdout


SMALL = """
from moodmesh.privacy.release import mechanism
mechanism.LEAST["ambient"] = 5
"""


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_an_ambient_room_tells_by_itself_once_in_an_epoch() -> None:
    """With a least size of five, for as many processes as a test can have: the timing, the shares and the charge are real."""
    epoch = first_epoch()
    room = Daemons(5, "ambient", 0, epoch, lambda who, at: None, SMALL)
    try:
        room.start()
        for who in range(1, 5):
            room.joins(who)
        found = [room.open(epoch + k, [Point(0.4, -0.3)] * 5, {}) for k in (1, 2)]
        assert [(told.last.epoch, told.last.n, told.last.contributors) for told in found] == [
            (epoch + 1, 5, 5),
            (epoch + 2, 5, 5),
        ]
        assert found[1].shown.releases == 2, "the average of the last two: one alone is too rough"
        with pytest.raises(Refused, match="by itself"):
            room.members[0].client.post("rooms", "demo", "ask")
        for member in room.members:
            charges = [line for line in member.client.get("privacy", "ledger")["lines"] if line["what"] == "charge"]
            assert [(c["n"], c["epoch"]) for c in charges] == [(5, epoch + 1), (5, epoch + 2)]
    finally:
        room.close()


@pytest.mark.slow
def test_words_become_a_mood_here_and_are_not_kept(tmp_path: Path) -> None:
    with daemons(tmp_path, "anna", jobs__packaged_models="true") as (anna,):
        said = anna.run("feel", "I am so happy, what a wonderful day")
        assert said.returncode == 0, said.stderr
        assert "happy" in said.stdout or "pleasant" in said.stdout
        assert not traces(anna.home, b"wonderful day")
        assert anna.client.get("jobs")["jobs"] == []
        kept = anna.submit("emotion.text", b"a wonderful day")
        anna.ended(kept)
        assert traces(anna.home, b"wonderful day"), "the input of a job is kept with it"
        assert anna.run("job", "forget", kept).returncode == 0
        assert not traces(anna.home, b"wonderful day")
        assert anna.run("job", "show", kept).returncode == 2


CAPTURE = """
import os
from moodmesh.mesh.rooms import sitting
from moodmesh.nodes.rooms import ways
for kind in (sitting.LocalPlace, ways.Way):
    def post(self, data, usual=kind.post):
        with open(os.path.join(os.environ["MOODMESH_HOME"], "sent.log"), "a") as file:
            file.write(data.hex() + "\\n")
        usual(self, data)
    kind.post = post
"""


def test_a_circle_tells_an_exact_mean_and_its_preview_is_what_left_byte_for_byte(tmp_path: Path) -> None:
    moods = {"anna": (0.5, -0.5), "ben": (-0.2, 0.4), "cleo": (0.9, 0.1)}
    with daemons(tmp_path, *moods, changed=early() + CAPTURE) as found:
        for daemon in found:
            feels(daemon, *moods[daemon.name])
        room = joined(found[0], "kitchen", "circle", people=["ben", "cleo"])
        before = found[0].client.get("privacy", "preview", room="kitchen")
        assert not before["sent"]
        for daemon in found[1:]:
            daemon.client.post("rooms", "join", body={"room": room["code"], "agreed": True})
        found[0].client.post("rooms", "kitchen", "ask")
        for daemon in found:
            mood = told(daemon, "kitchen")["mood"]
            assert abs(mood["valence"] - sum(v for v, _ in moods.values()) / 3) < 0.02
            assert abs(mood["arousal"] - sum(a for _, a in moods.values()) / 3) < 0.02
            preview = daemon.client.get("privacy", "preview", room="kitchen")
            assert preview["sent"]
            assert "your mood itself" in daemon.typed("privacy", "preview", "kitchen").stdout
            assert "the exact mean, no epsilon" in daemon.typed("privacy", "ledger").stdout
            sent = {line for line in (daemon.home / "sent.log").read_text().split() if int(line[2:4], 16) < 64}
            assert sent == {message["hex"] for message in preview["messages"]}
            told_before = {(m["step"], m["bytes"]) for m in before["messages"]}
            assert told_before <= {(m["step"], m["bytes"]) for m in preview["messages"]}
        assert found[0].typed("room", "leave", "kitchen").returncode == 0
        assert found[0].typed("room", "join", room["code"], "--yes").returncode == 0
        assert "no longer kept" in found[0].typed("privacy", "preview", "kitchen").stdout
        again = found[0].typed("room", "ask", "kitchen").stdout
        assert "has helped to open a sum of this room in this epoch" in again


def test_the_command_line_of_rooms_and_moods(tmp_path: Path) -> None:
    with daemons(tmp_path, "anna", "ben", changed=early()) as (anna, ben):
        assert "happy" in anna.typed("feel", "--valence", "0.5", "--arousal", "0.6").stdout
        assert anna.typed("feel").returncode == 2
        assert "happy" in anna.typed("mood").stdout
        assert json.loads(anna.typed("mood", "export").stdout)["told"][0]["valence"] == 0.5
        refused = anna.typed("room", "create", "cafe", "--json")
        assert refused.returncode == 2
        assert "epsilon 4" in refused.stderr
        assert "Your mood itself never leaves" in refused.stderr
        assert anna.client.get("rooms")["rooms"] == []
        assert "joined cafe" in anna.typed("room", "create", "cafe", "--yes").stdout
        assert "feels" not in ben.typed("mood").stdout
        assert anna.typed("peers", "allow", "ben", "mood.share").returncode == 0
        assert "nine words to ben" in anna.typed("mood").stdout
        ben.wait_for(lambda: "anna feels happy" in ben.typed("mood").stdout, "told how anna feels", 10)
        code = anna.client.get("rooms", "cafe")["code"]
        looked = ben.typed("privacy", "preview", code)
        assert looked.returncode == 0, looked.stderr
        assert "epsilon 4" in looked.stdout
        assert "bytes would leave, for instance, for cafe" in looked.stdout
        assert ben.client.get("rooms")["rooms"] == [], "to look is not to join"
        assert ben.typed("privacy", "preview", "nowhere").returncode == 2
        assert "nothing yet" in anna.typed("room", "show", "cafe").stdout
        refused = anna.typed("room", "invite", "cafe", "ben")
        assert (refused.returncode, "takes no invitations" in refused.stderr) == (4, True)
        assert ben.typed("peers", "allow", "anna", "room.invite").returncode == 0
        anna.wait_for(lambda: anna.typed("room", "invite", "cafe", "ben").returncode == 0, "allowed to invite")
        ben.wait_for(lambda: ben.client.get("rooms")["invited"], "invited")
        assert "invited by anna" in ben.typed("room", "list").stdout
        assert ben.typed("room", "join", "cafe", "--yes").returncode == 0
        assert code == ben.client.get("rooms", "cafe")["code"]
        assert "bytes would leave" in ben.typed("privacy", "preview", "cafe").stdout
        assert "moodmesh feel" in ben.typed("room", "ask", "cafe").stdout
        assert "too small" in anna.typed("room", "ask", "cafe").stdout
        assert "nothing sent" in ben.typed("privacy", "ledger").stdout
        circle = ben.typed("room", "create", "us", "--kind", "circle", "--person", "anna", "--yes")
        assert (circle.returncode, "3 to 16 people" in circle.stderr) == (2, True)
        nobody = ben.run("room", "create", "hall", "--kind", "ambient", input="")
        assert (nobody.returncode, "--trust verified or --trust assumed" in nobody.stderr) == (2, True)
        nobody = ben.run("room", "create", "hall", "--kind", "ambient", "--trust", "assumed", input="")
        assert (nobody.returncode, "say --yes to agree" in nobody.stderr) == (2, True)
        noised = ben.run("room", "create", "hall", "--kind", "ambient", "--eps", "3", "--yes")
        assert (noised.returncode, "only on-demand rooms have an epsilon" in noised.stderr) == (2, True)
        asked = ben.run("room", "create", "hall", "--kind", "ambient", input="y\ny\n")
        assert ("Do you assume so?" in asked.stderr, asked.returncode) == (True, 0)
        assert ben.client.get("rooms", "hall")["trust"] == "assumed"
        unsaid = ben.run("room", "create", "hall2", "--kind", "ambient", input="\nn\n")
        assert (unsaid.returncode, "Only people whose device is paired" in unsaid.stderr) == (2, True)
        assert [room["name"] for room in ben.client.get("rooms")["rooms"]] == ["cafe", "hall"]
        assert ben.typed("room", "leave", "cafe").returncode == 0
        assert ben.typed("room", "show", "cafe").returncode == 2
        assert anna.typed("peers", "deny", "ben").returncode == 0
        ben.wait_for(lambda: "feels" not in ben.typed("mood").stdout, "told no more", 10)
        assert "2 entries are gone" in anna.typed("mood", "erase", "--yes").stdout
        assert anna.client.get("moods")["mood"] is None
