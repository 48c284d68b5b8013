"""What a device shows to a stranger on its network, over a real wire between two namespaces (pairing §9, rows 1, 7, 8)."""

from __future__ import annotations

import importlib.util
import socket
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID

from integration.scenes import play
from moodmesh.mesh.discovery.datagram import decode

pytestmark = [pytest.mark.netns, pytest.mark.timeout(180)]


@pytest.fixture(scope="module")
def fresh(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return play("fresh", tmp_path_factory.mktemp("fresh"))


def test_only_the_peer_port_takes_connections(fresh: Any) -> None:
    assert fresh["tcp"]["open"] == fresh["tcp6"]["open"] == [fresh["port"]]
    print(f"65535 TCP ports in {fresh['tcp']['seconds']:.1f} s")


def test_during_pairing_only_the_window_joins_it(fresh: Any) -> None:
    assert fresh["window_tcp"]["open"] == sorted([fresh["port"], fresh["window"]])


def test_over_udp_only_hello_and_mdns_answer(fresh: Any) -> None:
    assert fresh["udp"]
    for answer in fresh["udp"]:
        data = bytes.fromhex(answer["data"])
        assert decode(data) is not None or (answer["port"] == 5353 and b"_moodmesh" in data), answer
    assert any(decode(bytes.fromhex(answer["data"])) for answer in fresh["udp"])
    assert any(answer["port"] == 5353 for answer in fresh["udp"])


def test_the_peer_port_shows_the_epoch_certificate_and_hangs_up(fresh: Any) -> None:
    (der,) = fresh["tls"]["certificates"]
    certificate = x509.load_der_x509_certificate(bytes.fromhex(der))
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    rids = {hello.rid.hex() for answer in fresh["udp"] if (hello := decode(bytes.fromhex(answer["data"])))}
    assert name.value in rids, "it says no more than the hello"
    assert len(list(certificate.subject)) == 1
    assert {extension.oid._name for extension in certificate.extensions} == {"basicConstraints", "keyUsage"}
    assert (fresh["tls"]["inside"], fresh["tls"]["plain"]) == ("", "")


def test_nothing_that_was_heard_names_the_device_or_what_it_can_do(fresh: Any) -> None:
    said = [fresh[where][part] for where in ("tls", "window_tls") for part in ("inside", "plain")]
    said += fresh["tls"]["certificates"] + fresh["window_tls"]["certificates"] + [a["data"] for a in fresh["udp"]]
    heard = b"\n".join(bytes.fromhex(each) for each in said).lower()
    words = [fresh["name"], fresh["device"], socket.gethostname(), "emotion", "python", "aiohttp", "linux", "process", "laptop"]
    for word in words:
        if len(word) < 5:
            continue  # a host name that short may stand in random bytes
        assert word.lower().encode() not in heard, word
    inside = bytes.fromhex(fresh["window_tls"]["inside"])
    assert inside.startswith(b"HTTP/1.1 4"), "the window answers, and says no more than that"


@pytest.mark.ray
def test_a_device_that_runs_jobs_on_ray_shows_no_more(tmp_path: Path) -> None:
    if importlib.util.find_spec("ray") is None:
        pytest.skip("ray is not installed")
    found = play("ray", tmp_path)
    assert found["status"] == "SUCCEEDED"
    assert found["engine"].startswith("ray")
    assert found["tcp"]["open"] == [found["port"]]
    assert found["udp"]
    for answer in found["udp"]:
        assert decode(bytes.fromhex(answer["data"])) is not None or answer["port"] == 5353


def test_ten_thousand_strangers_at_the_door_cost_little_and_keep_no_pair_out(tmp_path: Path) -> None:
    found = play("flood:10000", tmp_path)
    print(f"10000 strangers: {found['more_mb']:.1f} MB more, {found['seconds']:.1f} s")
    assert found["more_mb"] < 50
    assert found["jobs"] == ["SUCCEEDED", "SUCCEEDED"]
    assert found["ran_on"] == "one"
