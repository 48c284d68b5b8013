"""TLS contexts of the peer listener and its diallers: 1.3 only, one pinned certificate a context (pairing §3)."""

from __future__ import annotations

import asyncio
import contextlib
import ssl

from . import sni
from .address import Address
from .certificates import Credential, epoch_credential, rid_of
from .identity import Identity
from .pairs import Pair, Pairs
from .reach import patience, stream
from .rid import Rids
from .seams import DeviceId

ALPN = "moodmesh/1"
_NO_CHECK_TIME = 0x200000  # X509_V_FLAG_NO_CHECK_TIME: a pin does not expire, and a device's clock may be anywhere


def server_context(credential: Credential, anchor: bytes | None) -> ssl.SSLContext:
    """A listener that shows `credential` and takes exactly the client certificate `anchor` (None: takes nobody)."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, credential, anchor)
    context.num_tickets = 0
    return context


def client_context(credential: Credential, anchor: bytes) -> ssl.SSLContext:
    """A dialler that shows `credential`, and only to the holder of the certificate `anchor`."""
    return _context(ssl.PROTOCOL_TLS_CLIENT, credential, anchor)


def window_context(credential: Credential) -> ssl.SSLContext:
    """A pairing window: no client certificate is asked for (pairing §3)."""
    context = _context(ssl.PROTOCOL_TLS_SERVER, credential, None)
    context.verify_mode = ssl.CERT_NONE
    context.num_tickets = 0
    return context


def blind_context() -> ssl.SSLContext:
    """A dialler that shows no certificate and takes any: for reading a rid, and for the guest of a pairing window."""
    context = _context(ssl.PROTOCOL_TLS_CLIENT, None, None)
    context.verify_mode = ssl.CERT_NONE
    return context


class PeerTls:
    """The contexts of one device: a base one for strangers, and for each pair one to accept and one to dial with."""

    def __init__(self, identity: Identity, pairs: Pairs, rids: Rids) -> None:
        self._identity, self._pairs, self._rids = identity, pairs, rids
        self._servers: dict[DeviceId, ssl.SSLContext] = {}
        self._clients: dict[DeviceId, ssl.SSLContext] = {}
        self._nonces = sni.Nonces()
        for pair in pairs:
            self._changed(pair.peer, pair)
        self._rotated()
        pairs.watch(self._changed)
        rids.watch(self._rotated)

    @property
    def base(self) -> ssl.SSLContext:
        """What the listener uses now: epoch certificate, empty trust store, and the door to the pairs' contexts."""
        return self._base

    def client(self, peer: DeviceId) -> ssl.SSLContext | None:
        """The context to dial `peer` with, None when it is no pair."""
        return self._clients.get(peer)

    def server_name(self, pair: Pair, rid: bytes) -> str:
        """A fresh server name for one connection."""
        return sni.server_name(pair, self._identity.id, rid)

    def _changed(self, peer: DeviceId, pair: Pair | None) -> None:
        if pair is None:
            self._servers.pop(peer, None)
            self._clients.pop(peer, None)
        else:
            self._servers[peer] = server_context(self._identity.credential, pair.certificate)
            self._clients[peer] = client_context(self._identity.credential, pair.certificate)

    def _rotated(self) -> None:
        self._nonces.keep(self._rids.valid)
        base = server_context(epoch_credential(self._rids.current), None)
        base.sni_callback = self._choose
        self._base = base

    def _choose(self, connection: ssl.SSLObject, name: str | None, base: ssl.SSLContext) -> None:
        if connection.context is not base:  # second ClientHello of one handshake
            return
        pair = sni.caller(name, self._identity.id, self._rids.valid, self._pairs, self._nonces)
        if pair is not None and pair.peer in self._servers:
            connection.context = self._servers[pair.peer]


async def read_rid(address: Address, timeout: float | None = None) -> bytes | None:
    """The rid that the listener at an address shows to strangers, None when it shows none (pairing §2)."""
    certificate: bytes | None = None
    try:
        async with asyncio.timeout(timeout or patience(address[0])):
            made = await stream(address)
            if made is None:
                _, writer = await asyncio.open_connection(*address, ssl=blind_context())
            else:
                _, writer = await asyncio.open_connection(sock=made, ssl=blind_context(), server_hostname="")
            certificate = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            abort(writer.transport)
    except (OSError, TimeoutError):
        return None
    return rid_of(certificate) if certificate else None


def _context(protocol: int, credential: Credential | None, anchor: bytes | None) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VerifyFlags(_NO_CHECK_TIME)
    context.set_alpn_protocols([ALPN])
    context.options |= ssl.OP_NO_COMPRESSION
    if credential is not None:
        credential.load_into(context)
    if anchor is not None:
        context.load_verify_locations(cadata=anchor)
    return context


def abort(transport: asyncio.WriteTransport) -> None:
    """End a TLS connection at once. Python 3.11.2 forgets the protocol of one closed twice: its own shutdown ends it."""
    with contextlib.suppress(AttributeError):
        transport.abort()
