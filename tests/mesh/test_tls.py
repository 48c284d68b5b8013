"""The TLS matrix and the server names of pairing §10, points 2 and 3, against real listeners."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import os
import ssl
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID

from moodmesh.mesh import certificates, sni, tls
from moodmesh.mesh.certificates import Credential, rid_of
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.rid import Rids
from moodmesh.mesh.tls import PeerTls, blind_context, client_context, read_rid, server_context

from .support import ManualClock, new_identity, pair_with

SECRET = b"s" * 32


def other_certificate(identity: Identity, serial: int | None = None, expired: bool = False) -> Credential:
    """Another certificate for the same key."""
    original = x509.load_der_x509_certificate(identity.credential.certificate)
    builder = x509.CertificateBuilder(
        original.issuer,
        original.subject,
        original.public_key(),
        serial or original.serial_number,
        original.not_valid_before_utc,
        datetime(2025, 1, 1, tzinfo=UTC) if expired else original.not_valid_after_utc,
    )
    for extension in original.extensions:
        builder = builder.add_extension(extension.value, extension.critical)
    key = identity.credential.key
    return Credential(key, builder.sign(key, None).public_bytes(Encoding.DER))


@contextlib.asynccontextmanager
async def listening(context: ssl.SSLContext) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A listener that greets whoever gets through, and notes every byte the application received."""
    received: list[bytes] = []
    handlers: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        handlers.add(asyncio.current_task())  # type: ignore[arg-type]
        with contextlib.suppress(OSError, ConnectionError):
            received.append(await reader.read(5))
            writer.write(b"welcome")
            await writer.drain()
        writer.transport.abort()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1], received
    finally:
        server.close()
        await asyncio.gather(*handlers, return_exceptions=True)


async def gets_through(port: int, context: ssl.SSLContext, name: str | None = None) -> bool:
    """Whether a dialler reads the listener's first message: only then is a link up (pairing §3)."""
    try:
        async with asyncio.timeout(5):
            reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname=name or "")
            writer.write(b"hello")
            answer = await reader.read(7)
            writer.transport.abort()
            return answer == b"welcome"
    except (OSError, TimeoutError):
        return False


async def shown_certificate(port: int, name: str) -> bytes:
    """What a stranger sees who sends this server name."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=blind_context(), server_hostname=name)
    certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    assert certificate
    return bytes(certificate)


def presented(identity: Identity, kind: str) -> Credential | None:
    return {
        "right": identity.credential,
        "wrong": new_identity().credential,
        "missing": None,
        "same key, other serial": other_certificate(identity, serial=1),
        "expired": other_certificate(identity, expired=True),
    }[kind]


KINDS = ["right", "wrong", "missing", "same key, other serial", "expired"]


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize("side", ["client", "server"])
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
async def test_only_one_cell_of_the_matrix_connects(kind: str, side: str, version: ssl.TLSVersion) -> None:
    ann, bob = new_identity(), new_identity()
    shown = {"client": bob.credential, "server": ann.credential, side: presented({"client": bob, "server": ann}[side], kind)}
    server = server_context(shown["server"] or ann.credential, bob.credential.certificate)
    if shown["server"] is None:  # a TLS 1.3 server has to show something
        server = tls._context(ssl.PROTOCOL_TLS_SERVER, None, bob.credential.certificate)
    client = tls._context(ssl.PROTOCOL_TLS_CLIENT, shown["client"], ann.credential.certificate)
    if version is ssl.TLSVersion.TLSv1_2:  # the far end is an old program; ours stays as it is
        old = client if side == "client" else server
        old.minimum_version, old.maximum_version = version, version
    async with listening(server) as (port, received):
        through = await gets_through(port, client)
        assert through == (kind == "right" and version is ssl.TLSVersion.TLSv1_3)
        assert bool(received and received[0]) == through, "refused callers reach the application with 0 bytes"


async def test_mutation_two_anchors_let_a_second_device_in() -> None:
    """All our certificates share one name, and of such anchors OpenSSL tries the first alone."""
    ann, bob, eve = (new_identity() for _ in range(3))
    pinned = server_context(ann.credential, eve.credential.certificate)
    pinned.load_verify_locations(cadata=bob.credential.certificate)
    async with listening(pinned) as (port, _):
        assert await gets_through(port, client_context(eve.credential, ann.credential.certificate))


async def test_mutation_without_certificate_required_anybody_gets_in() -> None:
    ann, bob = new_identity(), new_identity()
    lax = server_context(ann.credential, bob.credential.certificate)
    lax.verify_mode = ssl.CERT_NONE
    async with listening(lax) as (port, _):
        assert await gets_through(port, blind_context())


async def test_a_pinned_certificate_is_the_whole_certificate() -> None:
    """The same name, and even the same key, under another certificate is another device."""
    ann, bob = new_identity(), new_identity()
    subject = x509.load_der_x509_certificate(bob.credential.certificate).subject
    assert subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == "moodmesh"
    async with listening(server_context(ann.credential, other_certificate(bob, serial=7).certificate)) as (port, _):
        assert not await gets_through(port, client_context(bob.credential, ann.credential.certificate))


async def test_clocks_may_be_anywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """A certificate that is not valid yet, on a device whose clock was set back, is the same case."""
    monkeypatch.setattr(certificates, "NOT_BEFORE", datetime(2999, 1, 1, tzinfo=UTC))
    ann, bob = new_identity(), new_identity()
    async with listening(server_context(ann.credential, bob.credential.certificate)) as (port, _):
        assert await gets_through(port, client_context(bob.credential, ann.credential.certificate))
        monkeypatch.setattr(tls, "_NO_CHECK_TIME", 0)
        assert not await gets_through(port, client_context(bob.credential, ann.credential.certificate))


@dataclasses.dataclass
class Listener:
    """Ann listens; bob is paired with her."""

    ann: Identity
    bob: Identity
    pairs: Pairs
    rids: Rids
    tls: PeerTls

    @property
    def pair(self) -> Pair:
        """Ann, in bob's book."""
        return pair_with(self.ann, SECRET)

    def name(self, rid: bytes | None = None) -> str:
        return sni.server_name(self.pair, self.bob.id, rid or self.rids.current)

    def client(self) -> ssl.SSLContext:
        return client_context(self.bob.credential, self.ann.credential.certificate)


@pytest.fixture
def listener() -> Listener:
    ann, bob, pairs, rids = new_identity(), new_identity(), Pairs(), Rids(ManualClock())
    pairs.add(pair_with(bob, SECRET))
    return Listener(ann, bob, pairs, rids, PeerTls(ann, pairs, rids))


async def test_a_server_name_opens_one_connection(listener: Listener) -> None:
    async with listening(listener.tls.base) as (port, _):
        name = listener.name()
        assert await gets_through(port, listener.client(), name)
        assert not await gets_through(port, listener.client(), name)
        assert await gets_through(port, listener.client(), listener.name())
        assert rid_of(await shown_certificate(port, name)) == listener.rids.current


async def test_a_replayed_name_never_shows_the_identity_certificate_also_after_a_restart(listener: Listener) -> None:
    async with listening(listener.tls.base) as (port, _):
        name = listener.name()
        assert await gets_through(port, listener.client(), name)
        assert await shown_certificate(port, name) != listener.ann.credential.certificate
    rids = Rids(ManualClock())
    restarted = PeerTls(listener.ann, listener.pairs, rids)
    async with listening(restarted.base) as (port, _):
        assert rid_of(await shown_certificate(port, name)) == rids.current


async def test_mutation_a_rid_kept_over_a_restart_shows_the_identity_to_a_replayer(listener: Listener) -> None:
    name = listener.name()
    listener.tls._nonces.take(listener.rids.current, bytes.fromhex(name[:16]))
    kept = Rids(ManualClock(), fresh=lambda: listener.rids.current)
    restarted = PeerTls(listener.ann, listener.pairs, kept)
    async with listening(restarted.base) as (port, _):
        assert await shown_certificate(port, name) == listener.ann.credential.certificate


async def test_mutation_without_the_nonces_a_replay_shows_the_identity(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sni.Nonces, "take", lambda self, rid, nonce: True)
    async with listening(listener.tls.base) as (port, _):
        name = listener.name()
        assert await gets_through(port, listener.client(), name)
        assert await shown_certificate(port, name) == listener.ann.credential.certificate


@pytest.mark.parametrize(
    "kind", ["rid too old", "wrong direction", "random", "another pair", "another rid", "no name", "garbage"]
)
async def test_any_other_name_sees_the_base_certificate_alone(listener: Listener, kind: str) -> None:
    first = listener.rids.current
    listener.rids.rotate()
    listener.rids.rotate()
    name = {
        "rid too old": listener.name(first),
        "wrong direction": sni.server_name(pair_with(listener.bob, SECRET), listener.ann.id, listener.rids.current),
        "random": os.urandom(16).hex() + sni.SUFFIX,
        "another pair": sni.server_name(pair_with(listener.ann, b"x" * 32), listener.bob.id, listener.rids.current),
        "another rid": listener.name(os.urandom(16)),
        "no name": "localhost",
        "garbage": "f" * 60 + sni.SUFFIX,
    }[kind]
    async with listening(listener.tls.base) as (port, received):
        assert rid_of(await shown_certificate(port, name)) == listener.rids.current
        assert not await gets_through(port, listener.client(), name)
        assert not any(received)


async def test_the_previous_rid_still_works(listener: Listener) -> None:
    name = listener.name()
    listener.rids.rotate()
    async with listening(listener.tls.base) as (port, _):
        assert await gets_through(port, listener.client(), name)


async def test_mutation_without_the_direction_a_reflected_name_shows_the_identity(
    listener: Listener, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = sni._tag
    monkeypatch.setattr(sni, "_tag", lambda key, dialler, peer, rid, nonce: real(key, "a", "b", rid, nonce))  # type: ignore[arg-type]
    reflected = sni.server_name(pair_with(listener.bob, SECRET), listener.ann.id, listener.rids.current)
    async with listening(listener.tls.base) as (port, _):
        assert await shown_certificate(port, reflected) == listener.ann.credential.certificate


async def test_a_full_book_of_nonces_opens_nothing(listener: Listener) -> None:
    listener.tls._nonces = sni.Nonces(limit=2)
    async with listening(listener.tls.base) as (port, _):
        assert [await gets_through(port, listener.client(), listener.name()) for _ in range(3)] == [True, True, False]
        listener.rids.rotate()
    async with listening(listener.tls.base) as (port, _):
        assert await gets_through(port, listener.client(), listener.name())


async def test_strangers_cannot_fill_the_book_of_nonces(listener: Listener) -> None:
    for _ in range(100):
        assert (
            sni.caller(
                os.urandom(16).hex() + sni.SUFFIX, listener.ann.id, listener.rids.valid, listener.pairs, listener.tls._nonces
            )
            is None
        )
    assert not any(listener.tls._nonces._taken.values())
    assert sni.NONCES_PER_RID == 10_000


async def test_a_dialler_who_lost_the_rid_reads_it_and_a_forgotten_one_never_gets_up(listener: Listener) -> None:
    async with listening(listener.tls.base) as (port, received):
        rid = await read_rid(("127.0.0.1", port))
        assert rid == listener.rids.current
        assert await gets_through(port, listener.client(), listener.name(rid))
        name = listener.name()
        listener.pairs.remove(listener.bob.id)
        assert not await gets_through(port, listener.client(), name)
        assert listener.tls.client(listener.bob.id) is None
        assert [data for data in received if data] == [b"hello"]
    assert await read_rid(("127.0.0.1", port), timeout=1) is None


async def test_the_base_certificate_says_the_rid_and_nothing_else(listener: Listener) -> None:
    async with listening(listener.tls.base) as (port, _):
        seen = x509.load_der_x509_certificate(await shown_certificate(port, "localhost"))
    assert seen.subject.rfc4514_string() == f"CN={listener.rids.current.hex()}"
    assert seen.public_key() != listener.ann.credential.key.public_key()
    listener.rids.rotate()
    async with listening(listener.tls.base) as (port, _):
        assert rid_of(await shown_certificate(port, "localhost")) == listener.rids.current


def test_contexts_are_strict(listener: Listener) -> None:
    for context in (listener.tls.base, listener.tls._servers[listener.bob.id], listener.client()):
        assert context.minimum_version is ssl.TLSVersion.TLSv1_3
        assert context.verify_mode is ssl.CERT_REQUIRED
    assert listener.tls.base.cert_store_stats()["x509"] == 0
    assert listener.tls._servers[listener.bob.id].cert_store_stats()["x509"] == 1
    assert listener.tls.base.num_tickets == listener.tls._servers[listener.bob.id].num_tickets == 0
