"""What the demo does, step by step; every figure it prints is measured, every decision is the daemons' own."""

from __future__ import annotations

import json
import signal
import subprocess
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

from moodmesh.nodes.cli.output import progress, say
from moodmesh.nodes.demo import music
from moodmesh.nodes.demo.picture import png, terminal
from moodmesh.nodes.demo.scene import CLI, DemoFailed, Device, Scene, demo_settings, diary
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.placement.explain import table
from moodmesh.tasks import registry
from moodmesh.tasks.errors import InvalidInput
from moodmesh.tasks.task import Request

TASK = "emotion.text"
ASKS = "phone"
LONG_S = 8.0
LARGEST_TEXT = 2**20
KILL_BETWEEN = (0.1, 0.9)


@dataclass
class Story:
    """The demo. `picture` is where the PNG goes, and beside it the piece of music; `settings` hold on every device;
    `interrupt`: kill a device in a second job.

    `spoil` changes a code before the guest types it: a demo with a wrong code must fail.
    """

    page: bytes
    picture: Path
    duties: Mapping[str, float] = field(default_factory=dict)
    settings: Mapping[str, Any] = field(default_factory=dict)
    interrupt: bool = True
    spoil: Callable[[str], str] = str
    told: Callable[[str], None] = say
    timings: dict[str, float] = field(default_factory=dict)

    def run(self) -> dict[str, Any]:
        """Play it; the summary. `DemoFailed` names the step that went wrong. Nothing is left behind."""
        began = time.monotonic()
        with progress("starting three daemons") as bar:
            scene = Scene({name: {**own, **self.settings} for name, own in demo_settings(self.duties).items()})
            try:
                return self._play(scene, bar, began)
            finally:
                bar(1.0, "cleaning up")
                scene.close()

    def _play(self, scene: Scene, bar: Callable[[float, str], None], began: float) -> dict[str, Any]:
        devices = scene.devices
        scene.wait("up", lambda d: bool(d.client.get("status")))
        self.told(
            "1. Three devices, each its own daemon: " + ", ".join(f"{d.name} (pid {d.process.pid})" for d in devices.values())
        )
        bar(0.1, "finding each other")
        self._find(scene, began)
        bar(0.2, "pairing")
        pairs = self._pair(devices)
        bar(0.35, "measuring what each can do")
        scene.wait("ready", lambda d: bool(d.client.get("status")["ready"]), 120)
        scene.wait("linked", lambda d: d.client.get("status")["linked"] == len(devices) - 1)
        self._wait_for_documents(scene)
        bar(0.6, "reading the page")
        first = self._read_page(devices[ASKS])
        jobs, failover = [first], None
        bar(0.7, "a room of three")
        music.gather(devices, ASKS, music.page_mood(first["result"]["items"]), self.told)
        if self.interrupt:
            bar(0.75, "a long job, and a device that dies")
            second, failover = self._fail_over(scene, first)
            jobs.append(second)
        bar(0.9, "music from the room's mood")
        made = music.piece(devices[ASKS], self.picture, self.told)
        self.timings["total_s"] = round(time.monotonic() - began, 2)
        jobs = [{k: job[k] for k in ("id", "task", "status", "ran_on", "variant", "why")} for job in jobs]
        return {
            "nodes": list(devices),
            "pairs": pairs,
            "jobs": jobs,
            "failover": failover,
            "music": made,
            "timings": self.timings,
        }

    def _find(self, scene: Scene, began: float) -> None:
        scene.wait("seeing the others", lambda d: scene.see_each_other(list(scene.devices.values())))
        self.timings["discovery_s"] = round(time.monotonic() - began, 3)
        radios = sorted(
            {radio for device in scene.devices["phone"].client.get("near")["devices"] for radio in device["radios"]}
        )
        self.told(f"2. They found each other by {' and '.join(radios)}; no address was given. All are strangers.")

    def _pair(self, devices: Mapping[str, Device]) -> list[list[str]]:
        began, pairs = time.monotonic(), []
        for host, guest in combinations(devices.values(), 2):
            words = pair(host, guest, self.spoil)
            self.told(f"3. {host.name} and {guest.name} paired with a code; both show: {words}")
            for us, them in ((host, guest), (guest, host)):
                us.command("peers", "allow", them.name, "--preset", "own")
            pairs.append([host.name, guest.name])
        self.timings["pairing_s"] = round((time.monotonic() - began) / len(pairs), 3)
        return pairs

    def _wait_for_documents(self, scene: Scene) -> None:
        """Until every device has heard what the others offer and how fast they are."""

        def informed(device: Device) -> bool:
            found = [device.client.get("peers", name) for name in scene.devices if name != device.name]
            return all(p["capability"] and p["dynamic"] and _measured(p["capability"]) for p in found)

        scene.wait("informed", informed)

    def _read_page(self, device: Device) -> dict[str, Any]:
        file = device.home / "page.txt"
        file.write_bytes(self.page)
        done = device.command("job", "submit", TASK, "--input", str(file), "--wait")
        attempt = done["attempts"][-1]
        self.timings["submit_to_start_ms"] = round((attempt["started"] - done["created"]) * 1000, 1)
        explained = device.command("job", "explain", done["id"])
        self.told(f"\n4. {ASKS} asked what the page feels like. It ran on {done['ran_on']} ({done['variant']}): {done['why']}.")
        for line in table(explained["tables"][-1]):
            self.told(line)
        text = self.page.decode("utf-8", errors="replace")
        items = done["result"]["items"]
        self.told(f"\n   The mood of the page, {len(items)} sentences:")
        for line in terminal(items, text):
            self.told(line)
        png(items, f"Mood of a page, {done['variant']} on {done['ran_on']}", self.picture)
        self.told(f"   as a picture: {self.picture}")
        return dict(done)

    def _fail_over(self, scene: Scene, first: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
        """A second job long enough to be interrupted; the daemon that runs it is killed; it must finish elsewhere, once."""
        device = scene.devices[ASKS]
        file = device.home / "long.txt"
        file.write_bytes(long_text(self.page, device.client, first["id"]))
        job = device.client.post("jobs", body=_request(file))
        killed = self._kill_in_the_middle(scene, device, job["id"])
        done = device.command("job", "result", job["id"], "--wait")
        committed = sum(a["state"] == "COMMITTED" for a in done["attempts"])
        failover = {
            "killed": killed,
            "finished_on": done["ran_on"],
            "lost": int(done["status"] != "SUCCEEDED"),
            "duplicated": max(0, committed - 1),
        }
        self.told(f"   {killed} was killed in the middle; {done['ran_on']} finished the job: {done['attempts'][0]['message']}.")
        if failover["lost"] or failover["duplicated"] or killed == done["ran_on"]:
            raise DemoFailed(f"the job did not survive: {failover}")
        return dict(done), failover

    def _kill_in_the_middle(self, scene: Scene, device: Device, job: str) -> str:
        for event in device.client.events("jobs", job, "events"):
            low, high = KILL_BETWEEN
            if event["event"] == "job" and low <= event["share"] <= high:
                attempt = device.client.get("jobs", job)["attempts"][-1]
                victim = scene.devices[attempt["name"]]
                self.told(
                    f"\n6. A longer job runs on {victim.name}, {event['share']:.0%} done. Its daemon is killed now (SIGKILL)."
                )
                victim.process.send_signal(signal.SIGKILL)
                victim.process.wait()
                return victim.name
        raise DemoFailed("the long job ended before it could be interrupted; try again with a longer --input")


def pair(host: Device, guest: Device, spoil: Callable[[str], str] = str, near: bool = False) -> str:
    """Pair two devices as two people would: `moodmesh pair` on one, `moodmesh pair CODE` on the other, `near`: --near. The
    four words."""
    command = [*CLI, "pair", "--json"]
    with subprocess.Popen(command, env=host.environment, stdout=subprocess.PIPE, text=True) as window:
        assert window.stdout is not None
        try:
            opened = json.loads(window.stdout.readline() or "{}")
            if opened.get("event") != "open":
                raise DemoFailed(f"{host.name} opened no pairing window")
            joined = guest.command("pair", spoil(opened["code"]), *(["--near"] if near else []))
            told = json.loads(window.stdout.readline() or "{}")
            if told.get("event") != "paired" or told["words"] != joined["words"]:
                raise DemoFailed(f"{host.name} and {guest.name} do not agree that they are paired")
            return str(joined["words"])
        finally:
            window.terminate()


def long_text(page: bytes, client: Any, job: str) -> bytes:
    """The page over and over: as long as the device that won with it needs for eight seconds, by the rate it measured."""
    chosen = client.get("jobs", job, "explain")["tables"][-1]["chosen"]
    copies = max(2, int(LONG_S / max(chosen["service"], 1e-6)))
    whole = (page.rstrip() + b"\n") * min(copies, LARGEST_TEXT // (len(page) + 1))
    return whole[:LARGEST_TEXT]


def _request(file: Path) -> dict[str, Any]:
    import base64

    return {"task": TASK, "input": base64.b64encode(file.read_bytes()).decode()}


def _measured(capability: dict[str, Any]) -> bool:
    task = capability["tasks"].get(TASK)
    return bool(task) and any(not v["guess"] for v in task["variants"].values())


def page_of(file: Path | None) -> bytes:
    """The page to read; `UsageError` for one that the task would refuse, before anything is started."""
    try:
        page = file.read_bytes() if file else diary()
        registry.load()[0][TASK].units(Request({}, page, 0))
    except InvalidInput as error:
        raise UsageError(f"{file}: {error}") from None
    except OSError as error:
        raise UsageError(f"cannot read {file}: {error.strerror}; check the path and its permissions") from None
    return page
