"""Which interfaces discovery uses, and how it learns that they changed (mesh-lessons §4)."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from moodmesh.mesh.discovery import interfaces
from moodmesh.mesh.discovery.interfaces import changed, usable
from moodmesh.mesh.memory import ManualClock

Machine = dict[str, tuple[list[str], bool]]


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> Machine:
    """A machine with these interfaces; tests change the dictionary."""
    has: Machine = {"lo": (["127.0.0.1", "::1"], True)}

    def family(address: str) -> Any:
        return SimpleNamespace(family=socket.AF_INET6 if ":" in address else socket.AF_INET, address=address)

    monkeypatch.setattr(
        psutil, "net_if_addrs", lambda: {n: [family(a) for a in addresses] for n, (addresses, _) in has.items()}
    )
    monkeypatch.setattr(psutil, "net_if_stats", lambda: {n: SimpleNamespace(isup=up) for n, (_, up) in has.items()})
    monkeypatch.setattr(socket, "if_nameindex", lambda: list(enumerate(has, 1)))
    return has


def names(wanted: tuple[str, ...] = ()) -> list[str]:
    return [interface.name for interface in usable(wanted)[0]]


def test_containers_bridges_and_vpns_are_left_out_with_a_reason(machine: Machine) -> None:
    others = ("docker0", "veth12ab", "br-77", "virbr0", "tun0", "wg0", "tailscale0")
    machine |= {name: ([f"10.0.0.{i}"], True) for i, name in enumerate(("eth0", *others))}
    machine["wlan0"] = (["fe80::1%wlan0"], True)
    assert names() == ["eth0", "wlan0"]
    skipped = usable()[1]
    assert set(skipped) == {*others, "lo"}
    assert "VPN" in skipped["tun0"]
    assert "container" in skipped["docker0"]
    assert "loopback" in skipped["lo"]


def test_a_wanted_one_is_used_whatever_it_is_and_an_absent_one_is_said(machine: Machine) -> None:
    machine |= {"eth0": (["192.0.2.1"], True), "tun0": (["10.8.0.2"], True)}
    chosen, skipped = usable(("tun0", "eth9"))
    assert [i.name for i in chosen] == ["tun0"]
    assert "no such interface" in skipped["eth9"]
    assert skipped["eth0"] == "not in mesh.interfaces"


def test_loopback_only_when_there_is_nothing_else(machine: Machine) -> None:
    machine["docker0"] = (["172.17.0.1"], True)
    assert names() == ["lo"]
    machine["eth0"] = (["192.0.2.1"], False)
    assert names() == ["lo"], "eth0 is down"
    machine["eth0"] = (["192.0.2.1"], True)
    assert names() == ["eth0"]
    assert names(("lo",)) == ["lo"]


def test_none_at_all(machine: Machine) -> None:
    machine.clear()
    assert usable() == ([], {})


async def test_a_change_is_noticed_by_looking_where_the_kernel_does_not_tell(
    machine: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    clock, known = ManualClock(), usable()[0]
    waiting = asyncio.create_task(changed((), known, clock))
    await clock.advance(30)
    assert not waiting.done()
    machine["eth0"] = (["192.0.2.1"], True)
    await clock.advance(5)
    await waiting


INSIDE = """
import asyncio, subprocess
from moodmesh.mesh.clock import SystemClock
from moodmesh.mesh.discovery.interfaces import changed, usable
def ip(*words): subprocess.run(["ip", *words], check=True)
async def main():
    ip("link", "set", "lo", "up")
    known = usable()[0]
    waiting = asyncio.create_task(changed((), known, SystemClock()))
    await asyncio.sleep(0.1)
    ip("link", "add", "wire0", "type", "veth", "peer", "name", "wire1")
    ip("addr", "add", "10.9.0.1/24", "dev", "wire0")
    ip("link", "set", "wire0", "up")
    ip("link", "set", "wire1", "up")
    await asyncio.wait_for(waiting, 3)
    print([i.name for i in known], [i.name for i in usable()[0]])
asyncio.run(main())
"""


@pytest.mark.netns
@pytest.mark.skipif(not shutil.which("ip") or not shutil.which("unshare"), reason="needs ip and unshare")
def test_the_kernel_tells_when_a_real_interface_comes_up() -> None:
    if subprocess.run(["unshare", "-Urn", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces or root")
    found = subprocess.run(["unshare", "-Urn", sys.executable, "-c", INSIDE], capture_output=True, text=True, timeout=30)
    assert found.stdout.split("\n")[0] == "['lo'] ['wire0', 'wire1']", found.stderr


def test_the_watcher_of_a_machine_without_netlink_is_a_closed_socket(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "AF_NETLINK", raising=False)
    assert interfaces._watcher().fileno() < 0


FINDER = """
import asyncio, os, sys
from moodmesh.mesh.discovery.hello import HelloFinder
from moodmesh.mesh.discovery.mdns import MdnsFinder
from moodmesh.mesh.seams import Beacon
async def main():
    kind, interface = sys.argv[1:]
    finder, heard = MdnsFinder([interface]) if kind == "mdns" else HelloFinder([interface], 47099), asyncio.Event()
    def seen(sighting):
        print(sighting.host, sighting.port, flush=True)
        heard.set()
    finder.show(Beacon(os.urandom(16), 4000, ()))
    running = asyncio.create_task(finder.run(seen))
    await asyncio.wait_for(heard.wait(), 10)
    await asyncio.sleep(1)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
asyncio.run(main())
"""
WIRE = """
set -e
unshare -n sleep 30 & away=$!
while [ "$(readlink /proc/$away/ns/net)" = "$(readlink /proc/self/ns/net)" ]; do sleep 0.02; done
ip link add home0 type veth peer name away0
ip link set away0 netns $away
ip link set home0 up
nsenter -t $away -n ip link set away0 up
while ip -6 addr show home0 | grep -q tentative || ! ip -6 addr show home0 | grep -q fe80; do sleep 0.05; done
while nsenter -t $away -n ip -6 addr show away0 | grep -q tentative; do sleep 0.05; done
nsenter -t $away -n "$1" -c "$2" "$3" away0 >/dev/null &
"$1" -c "$2" "$3" home0
kill $away
wait
"""


@pytest.mark.netns
@pytest.mark.skipif(not shutil.which("ip") or not shutil.which("unshare"), reason="needs ip and unshare")
@pytest.mark.parametrize("radio", ["hello", "mdns"])
def test_a_network_with_ipv6_alone(radio: str) -> None:
    if subprocess.run(["unshare", "-Urn", "true"], capture_output=True).returncode:
        pytest.skip("needs user namespaces or root")
    command = ["unshare", "-Urn", "bash", "-c", WIRE, "wire", sys.executable, FINDER, radio]
    found = subprocess.run(command, capture_output=True, text=True, timeout=40)
    hosts = {line.split()[0] for line in found.stdout.splitlines()}
    assert hosts, found.stderr
    assert all(host.startswith("fe80::") and "%" in host for host in hosts), hosts
