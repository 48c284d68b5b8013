"""`moodmesh doctor`: every broken state made for real, and what is said about it (mesh-lessons §5)."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from integration.daemons import Daemon, daemons, free_udp
from moodmesh.nodes.config import Config, MeshSection, PoolSection
from moodmesh.nodes.doctor import device as on_device
from moodmesh.nodes.doctor import network as on_network
from moodmesh.nodes.doctor import software as on_software
from moodmesh.nodes.doctor.finding import Finding
from moodmesh.nodes.pool.rundir import run_dir
from moodmesh.nodes.reset import LEDGER_FILE, STORE_FILE
from moodmesh.nodes.store import Store
from moodmesh.privacy.release.budget import epoch_of
from moodmesh.privacy.release.ledger import Charge, Ledger
from moodmesh.tasks import registry
from moodmesh.tasks.models import ModelStore

UNIT = Path(__file__).parents[2] / "packaging" / "moodmesh.service"
LO = {"MOODMESH_MESH__INTERFACES": "lo"}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A node that has run before."""
    daemon = Daemon(tmp_path / "home", "one")
    store = Store(daemon.home / STORE_FILE)
    store.open()
    store.close()
    return daemon.home


def doctor(home: Path, **environment: str) -> tuple[int, dict[str, dict[str, str]]]:
    """What the command says, by subject, and its exit code."""
    environ = os.environ | LO | {"MOODMESH_HOME": str(home), "MOODMESH_MESH__HELLO_PORT": free_udp()} | environment
    command = [sys.executable, "-m", "moodmesh.nodes.cli", "doctor", "--json"]
    found = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    assert not found.stderr, found.stderr
    said = json.loads(found.stdout)
    assert said["broken"] == sum(f["state"] == "broken" for f in said["findings"])
    assert all(f["remedy"] for f in said["findings"] if f["state"] != "ok"), "every finding says what to do"
    return found.returncode, {f["subject"]: f for f in said["findings"]}


def examined(home: Path, **more: Any) -> dict[str, Finding]:
    return {f.subject: f for f in on_device.device(home, None, **more)}


def test_a_healthy_node_without_a_daemon(home: Path) -> None:
    code, found = doctor(home)
    assert code == 0, {s: f for s, f in found.items() if f["state"] == "broken"}
    assert found["hello"]["state"] == found["mDNS"]["state"] == found["store"]["state"] == "ok"
    assert found["daemon"]["remedy"] == "`moodmesh up`"
    assert found["Bluetooth"]["state"] == "missing"
    assert "no Bluetooth adapter" in found["Bluetooth"]["detail"]
    assert "used: 127.0.0.1" in found["interface lo"]["detail"]
    assert found["model emotion-text-tiny"]["detail"].endswith("hash right")


def test_a_home_that_never_ran(tmp_path: Path) -> None:
    code, found = doctor(tmp_path / "new")
    assert code == 0
    assert {found[s]["state"] for s in ("home", "identity", "store", "daemon")} == {"missing"}
    assert not (tmp_path / "new").exists(), "an examination makes nothing"


def test_a_running_daemon_is_asked(tmp_path: Path) -> None:
    radios = {"mesh__hello": "true", "mesh__interfaces": "lo", "mesh__hello_port": free_udp()}
    with daemons(tmp_path, "one", power__while_active="no", **radios) as (one,):
        code, found = doctor(one.home)
        assert code == 0
        assert f"TCP {one.port}, held by the daemon" in found["peer port"]["detail"]
        assert found["daemon"]["state"] == "ok"
        assert radios["mesh__hello_port"] in found["hello"]["detail"], "the daemon's own flags count"
        assert found["mDNS"]["detail"] == "switched off"
        assert re.search("power.while_active (is|=) no", found["somebody at it"]["detail"])
        assert [s for s, f in found.items() if "no Bluetooth adapter" in f["detail"]] == ["Bluetooth"], "once is enough"


def test_text_has_one_line_a_finding(home: Path) -> None:
    environ = os.environ | LO | {"MOODMESH_HOME": str(home), "MOODMESH_MESH__MDNS": "false", "MOODMESH_MESH__HELLO": "false"}
    command = [sys.executable, "-m", "moodmesh.nodes.cli", "doctor"]
    found = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=60)
    lines = found.stdout.splitlines()
    assert lines[-1] == "nothing is broken"
    assert len(lines) > 10
    assert all(line.startswith(("ok ", "missing ")) for line in lines[1:-2])


def test_the_peer_port_is_taken(home: Path) -> None:
    with socket.socket() as other:
        other.bind(("0.0.0.0", 0))
        other.listen()
        port = other.getsockname()[1]
        code, found = doctor(home, MOODMESH_MESH__PORT=str(port))
    assert code == 1
    assert "taken by" in found["peer port"]["detail"]
    assert str(os.getpid()) in found["peer port"]["detail"]
    assert f"mesh.port={port + 1}" in found["peer port"]["remedy"]


def test_an_interface_that_is_not_there_and_none_at_all(home: Path) -> None:
    code, found = doctor(home, MOODMESH_MESH__INTERFACES="nonesuch0")
    assert code == 1
    for subject in ("interface nonesuch0", "interfaces", "hello", "mDNS"):
        assert found[subject]["state"] == "broken", subject


def test_the_hello_port_is_held_by_a_program_that_does_not_share(home: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 0))
        port = other.getsockname()[1]
        code, found = doctor(home, MOODMESH_MESH__HELLO_PORT=str(port))
    assert code == 1
    assert "in use" in found["hello"]["detail"]


def test_port_5353_is_held_by_a_program_that_does_not_share(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("", 0))
        monkeypatch.setattr(on_network, "MDNS_PORT", other.getsockname()[1])
        (finding,) = on_network.mdns_port()
    assert finding.state == "broken"
    assert "not shared" in finding.detail


@pytest.mark.parametrize(
    ("file", "mode", "subject"),
    [("identity/device.key", 0o644, "identity"), ("api.token", 0o640, "mode of api.token"), (".", 0o755, "mode of home")],
)
def test_files_that_others_may_read(home: Path, file: str, mode: int, subject: str) -> None:
    (home / "api.token").write_text("x")
    (home / "api.token").chmod(0o600)
    assert all(f.state != "broken" for f in examined(home).values())
    (home / file).chmod(mode)
    found = examined(home)[subject]
    assert found.state == "broken"
    assert "chmod" in found.remedy + found.detail


def test_a_damaged_a_newer_and_a_set_aside_store(home: Path) -> None:
    path = home / STORE_FILE
    with contextlib.closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA user_version=99")
        db.commit()
    found = examined(home)["store"]
    assert found.state == "broken"
    assert "newer Moodmesh (schema 99" in found.detail
    path.rename(home / "moodmesh.damaged-1")
    assert examined(home)["old store"].state == "missing"
    path.write_bytes(b"no database " * 1000)
    assert examined(home)["store"].state == "broken"


def test_a_ledger_that_is_cut_or_ahead_of_the_clock(home: Path) -> None:
    assert "privacy ledger" not in examined(home), "none before the first start"
    path, now = home / LEDGER_FILE, time.time()
    ledger = Ledger(path, begun=False)
    assert examined(home)["privacy ledger"].state == "ok"
    ledger.charge(Charge(epoch=epoch_of(now), room="0" * 64, kind="on-demand", n=5, honest=2, eps=4))
    assert "epsilon 4.0" in examined(home)["privacy ledger"].detail
    behind = examined(home, wall=lambda: now - 7200)["privacy ledger"]
    assert (behind.state, "ahead of the clock" in behind.detail) == ("broken", True)
    path.write_bytes(path.read_bytes()[:-7])
    cut = examined(home)["privacy ledger"]
    assert cut.state == "broken"
    assert "--accept-full-day" in cut.detail


def test_a_clock_before_the_program_and_one_behind_the_store(home: Path) -> None:
    assert examined(home, wall=lambda: 1_500_000_000.0)["clock"].state == "broken"
    with contextlib.closing(sqlite3.connect(home / STORE_FILE)) as db:
        db.execute("INSERT INTO peer (device, name, certificate, k_pair, half, paired) VALUES ('d', 'n', x'', x'', 0, ?)",
                   (time.time() + 7200,))  # fmt: skip
        db.commit()
    findings = [f for f in on_device.device(home, None) if f.subject == "clock"]
    assert [f.state for f in findings] == ["broken", "ok"]
    assert "2.0 h behind" in findings[0].detail


def test_a_run_directory_that_is_not_private(home: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", "/tmp")
    where = run_dir(home)
    where.chmod(0o777)
    try:
        found = examined(home)["run directory"]
    finally:
        where.rmdir()
    assert found.state == "broken"
    assert str(where) in found.detail


def test_little_disk_space(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_device, "FREE_MB", 10**9)
    assert examined(home)["disk"].state == "broken"


def test_a_copied_identity(home: Path) -> None:
    status = {"pid": 1, "uptime_s": 1.0, "duplicate": [{"name": "kitchen", "us": False}]}
    found = {f.subject: f for f in on_device.device(home, status)}["identity"]
    assert found.state == "broken"
    assert "kitchen" in found.detail
    assert "identity reset" in found.remedy


def test_wrong_settings_are_a_finding_and_no_crash(home: Path) -> None:
    (home / "moodmesh.toml").write_text("[mesh]\nporrt = 1\n")
    code, found = doctor(home)
    assert code == 1
    assert "did you mean mesh.port" in found["configuration"]["detail"]
    assert found["store"]["state"] == "ok"


def test_model_files_absent_and_damaged(tmp_path: Path) -> None:
    tasks, _ = registry.load()
    store = ModelStore(tmp_path, packaged=False)
    found = {f.subject: f for f in on_software.models(tasks, store)}
    tiny = found["model emotion-text-tiny"]
    assert (tiny.state, tiny.remedy) == ("missing", "`moodmesh models pull emotion-text-tiny`")
    card = tasks["emotion.text"].spec.variant("tiny").card
    assert card is not None
    (tmp_path / card.sha256).write_bytes(b"something else")
    damaged = next(f for f in on_software.models(tasks, store) if f.subject == tiny.subject)
    assert damaged.state == "broken"
    assert damaged.remedy.startswith(f"`rm '{tmp_path / card.sha256}'")
    assert found["model music-selector"].state == "missing", "what helps all variants is a model, too"


def test_a_damaged_file_of_the_package_comes_back_with_the_package(tmp_path: Path) -> None:
    """No peer is needed for it."""
    task = registry.load()[0]["emotion.text"]
    card = task.spec.variant("tiny").card
    assert card is not None
    (tmp_path / card.file).write_bytes(b"something else")
    found = on_software._model(replace(card, folder=tmp_path), ModelStore(tmp_path / "data"))
    assert found.state == "broken"
    assert "pip install --force-reinstall" in found.remedy


def test_a_broken_plug_in() -> None:
    point = EntryPoint("bad.task", "no.such.module:Task", registry.GROUP)
    found = list(on_software.plugins(*registry.load([point])))
    assert found[1].state == "broken"
    assert "no.such.module" in found[1].detail


def test_ray_absent_and_a_cluster_that_listens_publicly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_software, "installed", lambda: False)
    found = {f.subject: f for f in on_software._ray(PoolSection(address="192.0.2.1:6379"))}
    assert found["Ray"].state == "missing"
    assert "moodmesh[ray]" in found["Ray"].remedy
    assert found["Ray cluster"].state == "broken"
    agreed = {f.subject: f for f in on_software._ray(PoolSection(address="192.0.2.1:6379", allow_public=True))}
    assert "publicly" in agreed["Ray cluster"].detail


def test_the_service_installed_or_not(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    assert on_software.service().state == "missing"
    place = tmp_path / "systemd/user/moodmesh.service"
    place.parent.mkdir(parents=True)
    shutil.copy(UNIT, place)
    assert on_software.service() == Finding("systemd unit", "ok", str(place))


def test_the_service_of_a_virtual_environment_is_put_where_the_unit_looks(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The remedy, pasted into a shell (systemctl's part aside), makes the unit's own search find this `moodmesh`."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "a home"))
    monkeypatch.setattr(on_software, "PATH", ())
    remedy = on_software.service().remedy
    command = remedy[remedy.index("`") + 1 : -1]
    link, _, start = command.rpartition(" && ")
    assert start == f"systemctl --user enable --now '{sys.prefix}/share/systemd/user/moodmesh.service'"
    subprocess.run(["/bin/sh", "-c", link], check=True)
    found = shutil.which("moodmesh", path=str(tmp_path / "a home/.local/bin"))
    assert found
    assert Path(found).resolve() == Path(sys.prefix).resolve() / "bin/moodmesh"
    assert "ln -s" not in on_software.service().remedy


def test_systemd_takes_the_unit() -> None:
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze on this machine")
    command = ["systemd-analyze", "--user", "verify", str(UNIT)]
    with tempfile.TemporaryDirectory(dir="/tmp") as short:  # other units' sockets go there
        environ = os.environ | {"XDG_RUNTIME_DIR": short}
        found = subprocess.run(command, capture_output=True, text=True, env=environ, timeout=30)
    assert (found.returncode, found.stderr) == (0, "")


def test_the_unit_starts_the_node_as_its_user_with_less(tmp_path: Path) -> None:
    lines = UNIT.read_text().splitlines()
    assert "ExecStart=/usr/bin/env moodmesh up" in lines
    assert {"NoNewPrivileges=yes", "ProtectSystem=strict", "UMask=0077", "RestrictSUIDSGID=yes"} <= set(lines)
    assert not [line for line in lines if line.startswith("MemoryDenyWriteExecute")], "ONNX and torch need it"


def test_an_examination_of_all_software_breaks_nothing(home: Path) -> None:
    found = {f.subject: f.state for f in on_software.software(Config(), home)}
    assert {"model emotion-text-tiny", "Ray"} <= found.keys()
    assert set(found.values()) <= {"ok", "missing"}
    assert [f.subject for f in on_network.families(MeshSection(interfaces=("lo",)))] == ["IPv4", "IPv6"]
