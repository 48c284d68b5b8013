"""Attacks by whoever copies an advertisement, or stands in for a device at the other end of a lane: TLS decides."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import socket
import ssl
from collections.abc import AsyncIterator, Callable

import pytest
from aiohttp import web

from mesh.support import pair_with
from moodmesh.mesh import dialling, pipe, reach, tls
from moodmesh.mesh.acceptor import Acceptor, settle
from moodmesh.mesh.ble import central
from moodmesh.mesh.certificates import Credential, epoch_credential
from moodmesh.mesh.errors import CertificateRefused, DialFailed
from moodmesh.mesh.frames import Caps
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.pairs import Pair
from moodmesh.mesh.reach import PEER
from moodmesh.mesh.rid import match

from .aired import Aired, aired

SECRET = b"s" * 32
CAPS = Caps()


@dataclasses.dataclass
class Impostor:
    """What eve listens with in the place of ann: her own key under whatever name is called, and any caller is welcome."""

    eve: Aired
    ann: Aired
    bob: Aired
    names: list[str] = dataclasses.field(default_factory=list)
    requests: list[str] = dataclasses.field(default_factory=list)

    def context(self) -> ssl.SSLContext:
        own = tls.server_context(self.eve.device.identity.credential, None)
        base = tls.server_context(epoch_credential(self.ann.device.endpoint.rids.current), None)  # which she read there

        def choose(connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
            if name:
                self.names.append(name)
                connection.context = own

        base.verify_mode = own.verify_mode = ssl.CERT_NONE
        base.sni_callback = choose
        return base

    async def link(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        settle(request)
        eve = self.eve.device
        eve.pairs.add(pair_with(self.bob.device.identity, SECRET))
        return await pipe.adopt(request, self.bob.device.identity.id, CAPS.largest, eve.endpoint.links.accept)


@contextlib.asynccontextmanager
async def impostor(eve: Aired, ann: Aired, bob: Aired) -> AsyncIterator[Impostor]:
    """Eve as ann, at eve's radio, until the block ends."""
    made = Impostor(eve, ann, bob)
    app = web.Application()
    app.router.add_get(pipe.PATH, made.link)
    acceptor = Acceptor(app, made.context)
    await acceptor.start(0, ("127.0.0.1",))
    eve.adopt = acceptor.adopt
    try:
        yield made
    finally:
        await acceptor.close()


def befriend(ann: Aired, bob: Aired) -> None:
    ann.device.befriend(bob.device)
    ann.show()
    bob.show()


def failures(one: Aired, monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[DialFailed]:
    """Every dial of a device that fails, from now on."""
    failed: asyncio.Queue[DialFailed] = asyncio.Queue()
    dial = one.device.endpoint.links._dial

    async def noted(pair: Pair, *more: object) -> object:
        try:
            return await dial(pair, *more)  # type: ignore[arg-type]
        except DialFailed as error:
            failed.put_nowait(error)
            raise

    monkeypatch.setattr(one.device.endpoint.links, "_dial", noted)
    return failed


async def copied(ann: Aired, bob: Aired, eve: Aired, epochs: int = 0) -> bytes:
    """Ann's advertisement, as eve heard it and shows it from her radio; ann herself has gone when bob comes by."""
    ann.device.pairs.add(pair_with(bob.device.identity, SECRET))
    ann.show()
    shown = await eve.until_heard(ann)
    await ann.stop()
    for _ in range(epochs):
        ann.device.endpoint.rids.rotate()
    await eve.radio.peripheral.advertise(shown)
    bob.device.pairs.add(pair_with(ann.device.identity, SECRET))
    return shown


async def fooled(monkeypatch: pytest.MonkeyPatch, epochs: int = 0) -> tuple[bool, Impostor]:
    """Whether bob takes eve, who shows ann's advertisement of now, or of some epochs ago, for ann."""
    async with aired("ann", "bob", "eve") as (ann, bob, eve), impostor(eve, ann, bob) as fake:
        failed = failures(bob, monkeypatch)
        await copied(ann, bob, eve, epochs)
        up, down = asyncio.create_task(bob.device.events.up.get()), asyncio.create_task(failed.get())
        done, late = await asyncio.wait((up, down), return_when=asyncio.FIRST_COMPLETED)
        for task in late:
            task.cancel()
        if up in done:
            assert up.result().address == bob.at(eve)
            return True, fake
        assert bob.device.endpoint.links.get(ann.device.identity.id) is None
        assert down.result().stranger, "it was dialled, and did not show the pinned certificate"
        return False, fake


@pytest.mark.parametrize("epochs", [0, 3])
async def test_a_relayed_advertisement_is_dialled_and_refused_and_tells_nothing(
    epochs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Attack: eve shows what ann shows, or showed, from her own radio, and answers there with her key under ann's rid."""
    took, fake = await fooled(monkeypatch, epochs)
    assert not took
    assert fake.requests == [], "not a byte above TLS"
    assert len(set(fake.names)) == len(fake.names) == 1, "a name for one connection, which eve can match with nothing"


def unpinned(context: Callable[[Credential, bytes], ssl.SSLContext]) -> Callable[[Credential, bytes], ssl.SSLContext]:
    """The mutation: whatever certificate is shown will do."""

    def lax(credential: Credential, anchor: bytes) -> ssl.SSLContext:
        made = context(credential, anchor)
        made.verify_mode = ssl.CERT_NONE
        return made

    return lax


async def test_mutation_without_the_pin_a_relayed_advertisement_makes_a_link(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "client_context", unpinned(tls.client_context))
    took, fake = await fooled(monkeypatch)
    assert (took, fake.requests) == (True, [pipe.PATH])


@pytest.mark.parametrize("mute", [False, True], ids=["refused", "mute"])
async def test_a_relay_does_not_keep_the_true_device_away(mute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: eve goes on, and answers with the wrong key, or takes every stream and says nothing; then ann is near."""
    if mute:
        monkeypatch.setattr(reach, "_RADIO_S", 0.5)
    async with aired("ann", "bob", "eve") as (ann, bob, eve), impostor(eve, ann, bob):
        failed = failures(bob, monkeypatch)
        taken: list[socket.socket] = []
        if mute:
            eve.adopt = lambda sock, host: taken.append(sock)
        shown = await copied(ann, bob, eve)
        await failed.get()
        ann.start()
        link = await bob.device.events.up.get()
        assert link.address == bob.at(ann)
        assert (await ann.device.events.up.get()).peer == bob.device.identity.id
        assert (await bob.until_heard(eve)) == shown
        for sock in taken:
            sock.close()


async def test_six_that_show_it_and_answer_nobody_do_not_keep_the_true_device_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: ann's advertisement from six addresses at which nobody is any more; then ann is near."""
    monkeypatch.setattr(central, "CONNECT_S", 0.5)
    async with aired("ann", "bob", *(f"eve{number}" for number in range(6))) as (ann, bob, *eves):
        shown = await copied(ann, bob, eves[0])
        for eve in eves:
            await eve.radio.peripheral.advertise(shown)
            await bob.until_heard(eve)
            eve.radio.leave()
        ann.start()
        link = await bob.device.events.up.get()
        assert link.address == bob.at(ann)


async def test_what_is_replayed_after_its_epoch_cuts_no_link_and_is_not_dialled_beside_one() -> None:
    """Attack: eve shows what ann showed in an epoch that is over. A tag knows no time, since clocks may be a day apart
    (pairing §10): bob dials it only where he has no link, and there eve cannot show ann's key."""
    async with aired("ann", "bob", "eve") as (ann, bob, eve), impostor(eve, ann, bob) as fake:
        befriend(ann, bob)
        old = await eve.until_heard(ann)
        await bob.device.events.up.get()
        for one in (ann, bob):
            one.device.endpoint.rids.rotate()
            one.show()
        assert (await bob.until_heard(ann, old))[1:4] != old[1:4]
        await eve.radio.peripheral.advertise(old)
        assert await bob.until_heard(eve) == old
        await asyncio.sleep(0.1)
        assert fake.names == fake.requests == []
        link = bob.device.endpoint.links.get(ann.device.identity.id)
        assert link is not None
        assert link.address == bob.at(ann)
        assert not link.closed


async def test_what_a_device_showed_itself_is_no_more_than_a_hint_to_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attack: ann's own advertisement, of now and of before, is shown to her. A tag is the same for both ends of a pair."""
    async with aired("ann", "bob", "eve") as (ann, bob, eve), impostor(eve, ann, bob) as fake:
        ann.device.pairs.add(pair_with(bob.device.identity, SECRET))
        ann.show()
        failed = failures(ann, monkeypatch)
        shown = await eve.until_heard(ann)
        await eve.radio.peripheral.advertise(shown)
        assert await ann.until_heard(eve) == shown
        assert not ann.sightings, "what she shows now is her echo"
        ann.device.endpoint.rids.rotate()
        ann.show()
        assert (await failed.get()).stranger, "she dials what looks like bob, and is not"
        assert match(ann.sightings[0].tags, ann.sightings[0].rid, ann.device.pairs)
        assert fake.requests == []
        assert ann.device.endpoint.links.get(bob.device.identity.id) is None


# -- another identity over a lane --------------------------------------------------------------------------------------


async def dialled_in(
    monkeypatch: pytest.MonkeyPatch, change: Callable[[Aired, Aired, Aired], None] = lambda ann, bob, eve: None
) -> bool:
    """Whether eve, who learnt the secret of a pair but has another key, is taken for bob when she dials ann over a lane."""
    async with aired("ann", "bob", "eve") as (ann, bob, eve):
        change(ann, bob, eve)
        ann.device.pairs.add(pair_with(bob.device.identity, SECRET))
        ann.show()
        await eve.until_heard(ann)
        posing = Identity(bob.device.identity.id, eve.device.identity.credential)
        eve.device.pairs.add(pair_with(ann.device.identity, SECRET))
        dialler = pipe.WebSocketDialler(tls.PeerTls(posing, eve.device.pairs, eve.device.endpoint.rids), CAPS)
        monkeypatch.setattr(eve.device.endpoint.links, "_dialler", dialler)
        try:
            await eve.device.endpoint.links.dial(ann.device.identity.id, [eve.at(ann)])
        except DialFailed:
            assert ann.device.events.up.empty()
            return False
        assert (await ann.device.events.up.get()).peer == bob.device.identity.id
        return True


async def test_whoever_dials_with_another_key_is_no_peer_even_with_the_secret_of_the_pair(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert not await dialled_in(monkeypatch)


@pytest.mark.parametrize("gone", ["pin", "name", "both"])
async def test_mutation_only_without_the_pin_and_the_name_in_it_another_key_dials_in(
    gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two lines guard this: the listener's one anchor, and whose certificate it was that was shown."""
    context, device_id, eve = tls.server_context, pipe.device_id, []

    def lax(credential: Credential, anchor: bytes | None) -> ssl.SSLContext:
        return context(credential, anchor and eve[-1])

    def known(one: Aired, other: Aired, third: Aired) -> None:
        eve.append(third.device.identity.credential.certificate)
        if gone != "name":
            monkeypatch.setattr(tls, "server_context", lax)
        if gone != "pin":
            monkeypatch.setattr(pipe, "device_id", lambda der: other.device.identity.id if der == eve[-1] else device_id(der))

    assert await dialled_in(monkeypatch, known) == (gone == "both")


async def answered() -> bool:
    """Whether eve, whom bob dials over a lane at her own address, is taken for ann."""
    async with aired("ann", "bob", "eve") as (ann, bob, eve), impostor(eve, ann, bob) as fake:
        ann.device.befriend(bob.device)
        eve.show()
        await bob.until_heard(eve)
        pair = bob.device.pairs.get(ann.device.identity.id)
        assert pair is not None
        dialler = bob.device.endpoint.links._dialler
        try:
            made = await dialling.open_pipe(dialler, pair, (f"bob/{eve.radio.address}", PEER), None)
        except CertificateRefused:
            assert fake.requests == []
            return False
        await made.close()
        return True


async def test_whoever_answers_with_another_key_is_refused_in_the_handshake() -> None:
    assert not await answered()


async def test_mutation_without_the_pin_whoever_answers_is_the_peer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tls, "client_context", unpinned(tls.client_context))
    assert await answered()
