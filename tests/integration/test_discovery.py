"""Discovery of whole daemons on loopback: who is near, what a forged beacon changes, and what metrics and logs do not say."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import sqlite3
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from integration.daemons import Daemon, daemons, free_udp, pair
from moodmesh.mesh.discovery.datagram import Hello, Kind, decode
from moodmesh.mesh.discovery.hello import GROUP4
from moodmesh.nodes.errors import NotFound, Refused
from moodmesh.nodes.reset import STORE_FILE

pytestmark = pytest.mark.timeout(90)
LO = {"mesh__hello": "true", "mesh__interfaces": "lo", "jobs__benchmark": "false"}


def near(daemon: Daemon) -> list[dict[str, Any]]:
    return list(daemon.client.get("near")["devices"])


def test_three_strangers_see_each_other_and_no_names(tmp_path: Path) -> None:
    found = [
        Daemon(tmp_path / name, name, **LO, mesh__hello_port=port) for port in [free_udp()] for name in ("ann", "bob", "cyd")
    ]
    try:
        for daemon in found:
            daemon.start()
        for daemon in found:
            daemon.wait_for(lambda daemon=daemon: len(near(daemon)) == 2, "seeing both others")
            assert {(d["name"], d["device"], d["state"]) for d in near(daemon)} == {(None, None, "seen")}
            others = {f"127.0.0.1:{other.port}" for other in found if other is not daemon}
            assert {address for d in near(daemon) for address in d["addresses"]} == others
        found[2].kill(signal.SIGTERM)
        found[0].wait_for(lambda: len(near(found[0])) == 1, "told that one left", 3)
    finally:
        for daemon in found:
            daemon.kill()


def test_a_configured_address_finds_a_peer_that_no_radio_finds(tmp_path: Path) -> None:
    one, other = Daemon(tmp_path / "one", "one"), Daemon(tmp_path / "other", "other")
    pair(one, other)
    for daemon in (one, other):
        with contextlib.closing(sqlite3.connect(daemon.home / STORE_FILE)) as db, db:
            db.execute("UPDATE peer SET addresses='[]'")
    try:
        other.start()
        one.start(mesh__peers=f"127.0.0.1:{other.port}")
        one.linked()
    finally:
        one.kill()
        other.kill()


def captured(port: int, peer_port: int) -> Hello:
    """A beacon of the daemon with this peer port, as anybody on the network hears it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as tap:
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        tap.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        tap.bind(("", port))
        tap.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, socket.inet_aton(GROUP4) + socket.inet_aton("127.0.0.1"))
        tap.settimeout(30)
        while True:
            hello = decode(tap.recv(2000))
            if hello is not None and hello.port == peer_port and hello.kind is not Kind.BYE:
                return hello


def forge(port: int, hello: Hello, source: str = "127.0.0.66") -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, struct.pack("=4s", socket.inet_aton("127.0.0.1")))
        sock.bind((source, 0))
        sock.sendto(hello.encode(), (GROUP4, port))


def test_a_forged_beacon_changes_no_name_address_or_capability(tmp_path: Path) -> None:
    port = free_udp()
    with daemons(tmp_path, "one", "other", **LO, mesh__hello_port=port) as (one, other):
        one.wait_for(lambda: [d for d in near(one) if d["name"] == "other"], "sighting it")

        def known() -> Any:
            peer = one.client.get("peers", "other")
            return (
                peer["name"],
                peer["address"],
                peer["capability"]["tasks"].keys(),
                peer["may"],
                one.rows("SELECT name, addresses FROM peer")[0][:],
            )

        one.wait_for(lambda: one.client.get("peers", "other")["capability"], "told what it offers")
        before = known()
        real = captured(int(port), other.port)
        for _ in range(5):  # the peer's own rid and tags, from elsewhere, to another port
            forge(int(port), Hello(Kind.ANNOUNCE, 4, real.rid, 6666, real.tags))
            forge(int(port), Hello(Kind.BYE, 4, real.rid, 6666, real.tags))
        seen = lambda: [d for d in near(one) if d["name"] == "other"]  # noqa: E731
        forge(int(port), Hello(Kind.ANNOUNCE, 4, real.rid, 6666, real.tags))
        one.wait_for(lambda: any("127.0.0.66:6666" in d["addresses"] for d in seen()), "hearing the forgery")
        assert known() == before
        assert f"127.0.0.1:{other.port}" in {a for d in seen() for a in d["addresses"]}, "its goodbye hid nothing"
        assert one.client.get("status")["linked"] == 1
        other.kill()
        other.start()
        one.linked()
        assert known()[0] == "other"


def test_metrics_and_logs_name_nobody(tmp_path: Path) -> None:
    port, secret = free_udp(), "The purple heron of Zanzibar made me weep."
    names = ("Quetzalcoatl", "Huitzilopochtli")
    host, guest = (
        Daemon(tmp_path / name, name, **LO, mesh__hello_port=port, api__metrics="true", log__level="debug") for name in names
    )
    try:
        host.start()
        guest.start()
        window = host.client.events("pair", method="POST", body={})
        opened = next(window)
        at = f"127.0.0.1:{opened['port']}"
        wrong = opened["code"][:-1] + str((int(opened["code"][-1]) + 1) % 10)
        with pytest.raises(Refused):
            guest.client.post("pair", "join", body={"code": wrong, "at": at})
        codes = [opened["code"], next(window)["code"]]
        guest.client.post("pair", "join", body={"code": codes[1], "at": at})
        assert next(window)["event"] == "paired"
        host.client.post("peers", names[1], "allow", body={"preset": "own"})
        guest.client.post("peers", names[0], "allow", body={"preset": "own"})
        guest.linked()
        job = guest.ended(guest.submit("emotion.text", secret.encode(), on=names[0], variant="tiny"), 60)
        assert job["status"] == "SUCCEEDED"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"noise", ("127.0.0.1", int(port)))
        time.sleep(0.1)
        scraped = {d: d.client.bytes("metrics").decode() for d in (host, guest)}
    finally:
        host.kill(signal.SIGTERM)
        guest.kill(signal.SIGTERM)
    guest_numbers = scraped[guest]
    assert 'moodmesh_jobs{status="SUCCEEDED"} 1.0' in guest_numbers
    assert 'moodmesh_attempts{outcome="COMMITTED"} 1.0' in guest_numbers
    assert "moodmesh_links 1.0" in guest_numbers
    assert re.search(r'moodmesh_sightings\{radio="hello"\} 1.0', guest_numbers)
    assert re.search(r"moodmesh_queue_seconds 0?\.?\d", guest_numbers)
    assert 'moodmesh_pool_slots{state="all"} 1.0' in guest_numbers
    assert sum("moodmesh_unparsable_datagrams 1.0" in each for each in scraped.values()) == 1
    said = "\n".join([*scraped.values(), *(d.log.read_text() for d in (host, guest))])
    tokens = [(d.home / "api.token").read_text() for d in (host, guest)]
    digits = [code.partition("-")[2] for code in (*codes, wrong)]
    for word in (*names, secret, "heron", *tokens, *codes, wrong, *digits, host.identity.id, guest.identity.id, "valence"):
        assert word not in said, word


def test_metrics_are_off_and_cost_nothing_until_they_are_wanted(tmp_path: Path) -> None:
    with daemons(tmp_path, "one", jobs__benchmark="false") as (one,), pytest.raises(NotFound):
        one.client.bytes("metrics")
    code = "import sys, moodmesh.nodes.daemon; print([m for m in sys.modules if 'prometheus' in m or m == 'rich'])"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=os.environ, timeout=60)
    assert found.stdout.strip() == "[]"


def test_metrics_want_the_token(tmp_path: Path) -> None:
    with daemons(tmp_path, "one", jobs__benchmark="false", api__metrics="true") as (one,):
        assert b"moodmesh_uptime_seconds" in one.client.bytes("metrics")
        (one.home / "api.token").write_text("guess")
        with pytest.raises(Refused):
            one.client.bytes("metrics")
