"""What happens in the network namespace of a home: daemons here, a stranger over the wire in a namespace next door.

`play` runs this file as `unshare -Urnm python scenes.py SCENE DIRECTORY`; it prints one JSON object.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from integration.daemons import Daemon, pair

HOST, HOST6 = "10.77.0.1", "fd77::1"
SECRET = "Zanzibar"
RADIOS = {"mesh__hello": "true", "mesh__mdns": "true", "mesh__interfaces": "home0", "jobs__benchmark": "false"}
TEXT = b"I love it. I hate it.\nNothing happened today."


def play(name: str, root: Path) -> Any:
    """Play a scene in namespaces of its own; what it printed."""
    if not shutil.which("unshare") or not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip("needs unshare, nsenter and ip")
    if subprocess.run(["unshare", "-Urnm", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces or root")
    command = ["unshare", "-Urnm", sys.executable, __file__, name, str(root)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=170)
    assert found.returncode == 0, found.stderr[-3000:]
    return json.loads(found.stdout)


def ip(*words: str, inside: int | None = None) -> None:
    where = ["nsenter", "-t", str(inside), "-n"] if inside else []
    subprocess.run([*where, "ip", *words], check=True)


class Stranger:
    """A process in its own network namespace, wired to this one."""

    def __init__(self) -> None:
        command = ["unshare", "-n", sys.executable, str(Path(__file__).with_name("stranger.py"))]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self.process.stdout
        self.process.stdout.readline()
        pid = self.process.pid
        ip("link", "set", "lo", "up")
        ip("link", "add", "home0", "type", "veth", "peer", "name", "away0")
        ip("link", "set", "away0", "netns", str(pid))
        for name, last, inside in (("home0", 1, None), ("away0", 2, pid)):
            ip("addr", "add", f"10.77.0.{last}/24", "dev", name, inside=inside)
            ip("addr", "add", f"fd77::{last}/64", "dev", name, "nodad", inside=inside)
            ip("link", "set", name, "up", inside=inside)

    def __call__(self, do: str, **order: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps({"do": do} | order) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())


def scan(root: Path, stranger: Stranger, **settings: str) -> dict[str, Any]:
    """A daemon looked at from outside: before, with jobs running, and with a pairing window open."""
    daemon = Daemon(root / "one", SECRET, **RADIOS | settings).start()
    try:
        status = daemon.client.get("status")
        found: dict[str, Any] = {"port": daemon.port, "device": daemon.identity.id, "name": SECRET, "engine": status["engine"]}
        found["status"] = daemon.ended(daemon.submit("emotion.text", TEXT, variant="tiny"), 90)["status"] if settings else ""
        found["tls"] = stranger("tls", host=HOST, port=daemon.port)
        found["udp"] = stranger("udp", host=HOST)["answers"]
        found["tcp"] = stranger("scan", host=HOST)
        if not settings:
            found["tcp6"] = stranger("scan", host=HOST6)
            events = daemon.client.events("pair", method="POST", body={})
            window = next(events)
            found["window"] = window["port"]
            found["window_tls"] = stranger("tls", host=HOST, port=window["port"])
            found["window_tcp"] = stranger("scan", host=HOST)
            events.close()
        return found
    finally:
        daemon.kill()


def flood(root: Path, stranger: Stranger, count: int) -> dict[str, Any]:
    """Strangers at the door while a paired device comes back and has a job done."""
    one, other = Daemon(root / "one", "one", **RADIOS), Daemon(root / "other", "other", **RADIOS)
    pair(one, other)
    try:
        one.start()
        assert one.process
        process = psutil.Process(one.process.pid)
        before = process.memory_info().rss
        worst, answer, attack = before, {}, threading.Thread(target=lambda: answer.update(attacked()))

        def attacked() -> Any:
            return stranger("flood", host=HOST, port=one.port, count=count)

        attack.start()
        other.start()
        other.linked()
        job = other.ended(other.submit("emotion.text", TEXT, on="one", variant="tiny"), 60)
        while attack.is_alive():
            worst = max(worst, process.memory_info().rss)
            time.sleep(0.02)
        attack.join()
        again = other.ended(other.submit("emotion.text", TEXT, on="one", variant="tiny"), 60)
        more = (worst - before) / 2**20
        return answer | {"more_mb": more, "jobs": [job["status"], again["status"]], "ran_on": job["ran_on"]}
    finally:
        one.kill()
        other.kill()


def full(root: Path) -> dict[str, Any]:
    """A daemon that is started with ever more room on its disk, and at last with enough; what it said each time."""
    disk = root / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=600k", "none", str(disk)], check=True)
    one, other = Daemon(disk / "one", "one"), Daemon(root / "other", "other")
    one.log = root / "one.log"
    pair(one, other)
    said = []
    for room in (0, 64):
        with (disk / "fill").open("wb", buffering=0) as fill:
            try:
                while fill.write(bytes(4096)):
                    pass
            except OSError:
                fill.truncate(max(0, fill.tell() - room * 1024))
        found = one.run("up", "--set", "mesh.hello=false", "--set", "mesh.mdns=false", "--set", "pool.kind=process")
        said.append([room, found.returncode, found.stderr])
    (disk / "fill").unlink()
    try:
        one.start()
        return {"said": said, "peers": [p["name"] for p in one.client.get("peers")["peers"]]}
    finally:
        one.kill()


def plug(root: Path) -> dict[str, Any]:
    """Two daemons whose only interface comes up after they did."""
    one, other = Daemon(root / "one", "one", **RADIOS), Daemon(root / "other", "other", **RADIOS)
    pair(one, other)
    try:
        one.start()
        other.start()
        one.wait_for(lambda: one.log.read_text().count("named in mesh.interfaces (home0) is up") == 2, "warned")
        alone = one.client.get("near")
        ip("link", "add", "home0", "type", "veth", "peer", "name", "away0")
        ip("addr", "add", "10.77.0.1/24", "dev", "home0")
        ip("link", "set", "home0", "up")
        ip("link", "set", "away0", "up")
        ip("link", "set", "lo", "up")
        one.linked()
        one.wait_for(lambda: one.log.read_text().count("works again") == 2, "looking again with both finders")
        one.wait_for(lambda: [d for d in one.client.get("near")["devices"] if d["name"] == "other"], "seeing the other one")
        return {"alone": alone, "near": one.client.get("near")}
    finally:
        one.kill()
        other.kill()


def main(scene: str, root: str) -> None:
    name, _, count = scene.partition(":")
    if name in ("full", "plug"):
        print(json.dumps({"full": full, "plug": plug}[name](Path(root))))
        return
    stranger = Stranger()
    work = {
        "fresh": lambda: scan(Path(root), stranger),
        "ray": lambda: scan(Path(root), stranger, pool__kind="ray"),
        "flood": lambda: flood(Path(root), stranger, int(count)),
    }[name]
    try:
        print(json.dumps(work()))
    finally:
        stranger.process.kill()
        stranger.process.wait()


if __name__ == "__main__":
    main(*sys.argv[1:])
