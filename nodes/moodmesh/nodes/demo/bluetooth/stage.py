"""Two daemons in network namespaces of their own, with virtual Bluetooth radios, and a cable that can be plugged in.

`python -m moodmesh.nodes.demo.bluetooth.stage ROOT`, in a namespace made by `unshare -Urnm`, tells a line of JSON a step.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from moodmesh.mesh.address import show
from moodmesh.nodes.bench.ble.daemon import AIR, RADIO
from moodmesh.nodes.demo.scene import DemoFailed, Device, diary
from moodmesh.nodes.demo.story import TASK, long_text, pair
from moodmesh.nodes.errors import NoDaemon

HOST, GUEST = "phone", "speaker"
CABLE = {HOST: ("cable0", "10.77.1.1/24"), GUEST: ("cable1", "10.77.1.2/24")}
MOODS = {HOST: (0.7, 0.6), GUEST: (-0.5, -0.4)}
DAEMON = (sys.executable, "-m", "moodmesh.nodes.bench.ble.daemon", "up")
_INSIDE = ("unshare", "-n", "sh", "-c", 'ip link set lo up; exec "$@"', "sh")
WAIT_S = 60.0


class Stage:
    """The two devices, told step by step through `told`."""

    def __init__(self, root: Path, told: Callable[[str], None]) -> None:
        self._root, self._told, self._began = root, told, time.monotonic()
        self.timings: dict[str, float] = {}

    def play(self) -> dict[str, Any]:
        """The story; the summary. `DemoFailed`."""
        ip("link", "set", "lo", "up")
        with ExitStack() as stack:
            air = stack.enter_context(_air(self._root / "air"))
            host, guest = devices = tuple(self._device(name, air, number) for number, name in enumerate(CABLE, start=1))
            for device in devices:
                self._start(device, () if device is host else _INSIDE)
                stack.callback(device.process.kill)
            self._until(lambda: all(d.client.get("status") for d in devices), "up")
            self._told("1. Two devices in networks of their own, with no way from one to the other but Bluetooth.")
            self._meet(host, guest)
            self._share(host, guest)
            first = self._work(host, guest)
            moved = self._plug_in(host, guest, first)
        self.timings["total_s"] = round(time.monotonic() - self._began, 2)
        return {"devices": [HOST, GUEST], "timings": self.timings, **moved}

    def _device(self, name: str, air: str, number: int) -> Device:
        home = self._root / name
        home.mkdir(mode=0o700, exist_ok=True)
        return Device(name, home, {AIR: air, RADIO: f"C0:FF:EE:00:00:{number:02X}"})

    def _start(self, device: Device, inside: tuple[str, ...]) -> None:
        settings = {"node.name": device.name, "mesh.interfaces": CABLE[device.name][0], "pool.slots": 1, "pool.eager": "true"}
        options = [part for key, value in settings.items() for part in ("--set", f"{key}={value}")]
        with (device.home / "daemon.log").open("ab") as log:
            command = [*inside, *DAEMON, *options]
            device.process = subprocess.Popen(command, env=device.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def _meet(self, host: Device, guest: Device) -> None:
        began = time.monotonic()
        self._until(lambda: all(d.client.get("near")["devices"] for d in (host, guest)), "seeing the other")
        signal = guest.client.get("near")["devices"][0]["signal"]
        self._note("seen_s", began)
        self._told(f"2. They see each other: a stranger by Bluetooth, {signal:.0f} dBm. Nothing else is known.")
        began = time.monotonic()
        words = pair(host, guest, near=True)
        self._until(lambda: all(d.client.get("status")["linked"] == 1 for d in (host, guest)), "linked")
        self._note("paired_s", began)
        self._told(f"3. `moodmesh pair` on one, `moodmesh pair --near` on the other: both show {words}")
        for us, them in ((host, guest), (guest, host)):
            us.command("peers", "allow", them.name, "--preset", "own")

    def _share(self, host: Device, guest: Device) -> None:
        for device in (host, guest):
            valence, arousal = MOODS[device.name]
            device.command("feel", "--valence", str(valence), "--arousal", str(arousal))
        for us, them in ((host, guest), (guest, host)):
            us.command("peers", "allow", them.name, "mood.share")
        heard: dict[str, Any] = {}

        def told() -> bool:
            heard.update({d.name: d.client.get("moods")["shared"]["from"] for d in (host, guest)})
            return all(heard.values())

        self._until(told, "told of the other's mood")
        said = "; ".join(f"{name} hears: {people[0]['name']} feels {people[0]['word']}" for name, people in heard.items())
        self._told(f"4. Each lets the other know its mood, in nine words at most (`mood.share`): {said}.")

    def _work(self, host: Device, guest: Device) -> str:
        self._until(lambda: all(d.client.get("status")["ready"] for d in (host, guest)), "ready", 180)
        page = host.home / "page.txt"
        page.write_bytes(diary())
        began = time.monotonic()
        done = host.command("job", "submit", TASK, "--input", str(page), "--on", guest.name, "--wait")
        self._note("small_job_s", began)
        self._told(f"5. A small job of {HOST} ran on {GUEST}: {len(page.read_bytes())} bytes there, over Bluetooth.")
        return str(done["id"])

    def _plug_in(self, host: Device, guest: Device, first: str) -> dict[str, Any]:
        """A longer job; in the middle of it a cable is there."""
        page = host.home / "long.txt"
        page.write_bytes(long_text(diary(), host.client, first))
        done = host.command("job", "submit", TASK, "--input", str(page), "--on", guest.name)
        job = str(done["id"])
        for event in host.client.events("jobs", job, "events"):
            if event["event"] == "job" and event["share"] > 0.1:
                break
        before = link(host)
        self._told(f"6. A longer job is at {event['share']:.0%} on {GUEST}; the link: {before}. A cable is plugged in now.")
        began = time.monotonic()
        plug(guest.process.pid)
        self._until(lambda: link(host) not in ("", before), "on the network")
        self._note("moved_s", began)
        after = link(host)
        ended = host.command("job", "result", job, "--wait")
        share = host.client.get("jobs", job)
        self._told(f"   The same job went on; the link is now {after}, {self.timings['moved_s']:.1f} s after the cable.")
        attempts = len(share["attempts"])
        if ended["status"] != "SUCCEEDED" or attempts != 1:
            raise DemoFailed(f"the job did not survive the move: {ended['status']}, {attempts} attempts")
        self._told(f"   It ended on {ended['ran_on']}, in one attempt.")
        return {"job": job, "link_before": before, "link_after": after, "attempts": attempts, "status": ended["status"]}

    def _note(self, what: str, began: float) -> None:
        self.timings[what] = round(time.monotonic() - began, 2)

    def _until(self, done: Callable[[], Any], what: str, seconds: float = WAIT_S) -> None:
        end = time.monotonic() + seconds
        while not _quietly(done):
            if time.monotonic() > end:
                logs = "\n".join((self._root / name / "daemon.log").read_text(errors="replace")[-1500:] for name in CABLE)
                raise DemoFailed(f"the devices are not {what}; their logs end:\n{logs}")
            time.sleep(0.05)


def link(device: Device) -> str:
    """Where the one peer of a device is linked."""
    at = device.client.get("peers")["peers"][0]["address"]
    return show((at[0], at[1])) if at else ""


def plug(pid: int) -> None:
    """A cable between this namespace and that of a process."""
    (here, own), (there, its) = CABLE.values()
    ip("link", "add", here, "type", "veth", "peer", "name", there)
    ip("link", "set", there, "netns", str(pid))
    for name, address, inside in ((here, own, ()), (there, its, ("nsenter", "-t", str(pid), "-n"))):
        ip("addr", "add", address, "dev", name, inside=inside)
        ip("link", "set", name, "up", inside=inside)


def ip(*words: str, inside: tuple[str, ...] = ()) -> None:
    """Run ip, perhaps in another namespace."""
    subprocess.run([*inside, "ip", *words], check=True)


@contextmanager
def _air(path: Path) -> Iterator[str]:
    with subprocess.Popen([sys.executable, "-m", "moodmesh.nodes.bench.ble.air", str(path)], stdout=subprocess.PIPE) as serving:
        assert serving.stdout is not None
        serving.stdout.readline()
        try:
            yield str(path)
        finally:
            serving.kill()


def _quietly(done: Callable[[], Any]) -> Any:
    try:
        return done()
    except NoDaemon:
        return False


def main() -> None:
    """Play it for whoever reads our output."""

    def say(what: str, text: Any) -> None:
        print(json.dumps({what: text}), flush=True)

    try:
        say("result", Stage(Path(sys.argv[1]), lambda text: say("told", text)).play())
    except DemoFailed as error:
        say("failed", str(error))


if __name__ == "__main__":
    main()
