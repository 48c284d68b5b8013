"""What this node knows of its peers, and the messages between them: documents, heartbeats, job messages (routing §3, §9).

One `Peer` per paired device, and one for this device itself, whose messages take the same way without a link.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, Literal, Protocol

from moodmesh.mesh.clock import Clock
from moodmesh.mesh.errors import BadMessage
from moodmesh.mesh.identity import Identity
from moodmesh.mesh.link import PeerLink
from moodmesh.mesh.pairs import Pair, Pairs
from moodmesh.mesh.pipe import BAD_MESSAGE
from moodmesh.mesh.reach import by_radio
from moodmesh.mesh.seams import DeviceId, Envelope, LinkClosed
from moodmesh.mesh.signatures import verify
from moodmesh.nodes import rates
from moodmesh.nodes.access import Access
from moodmesh.nodes.background import Background
from moodmesh.nodes.jobs.desk import STALL_S
from moodmesh.nodes.jobs.executor import LEASE_S, Executor
from moodmesh.nodes.jobs.network import ANSWER_RADIO_S, ANSWER_S, Neighbour
from moodmesh.nodes.jobs.pooled import heard, pool_for
from moodmesh.nodes.jobs.pursuit import RESTART_WAIT_S
from moodmesh.nodes.jobs.submitter import Submitter
from moodmesh.nodes.kinds import PARTS, parse
from moodmesh.nodes.messages import (
    Attempted,
    Cancel,
    Capability,
    Dynamic,
    HaveModel,
    Heartbeat,
    Inspect,
    Inspected,
    Message,
    MoodTold,
    PartAck,
    Pool,
    Replica,
    Reserve,
    ResultAck,
    Rights,
    RoomInvite,
    RoomMember,
    RoomWord,
    SeekModel,
    Start,
    Take,
    Unsupported,
    Withdraw,
)
from moodmesh.nodes.outbox import Outbox
from moodmesh.nodes.peer import AVOID_S, Peer
from moodmesh.nodes.placement.pull import Heap, Waiting
from moodmesh.nodes.placement.view import RADIO, WIRED, WIRELESS, Device
from moodmesh.nodes.woken import woken

BEAT_LIVE_S, BEAT_IDLE_S = 1.0, 10.0
LOST_S, ABSENT_S = 4.5, 25.0  # lost half a second before the lease ends: elsewhere within 5 s
UNREAD_S, UNREAD_RADIO_S = 30.0, 300.0  # the first: as long as a link may be silent
DOCUMENT_GAP_S = 0.2
PULSE_S = 1.0
RECONNECT_S = 0.3  # one dial and its handshake; what a crash then took away runs elsewhere within 0.5 s
RTT_WEIGHT = 0.2
COPIED_S = 120.0  # a copy that still runs is met again within a minute: that is the longest back-off
COPIED = "it runs in two places"
COPIED_REMEDY = "`moodmesh identity reset` on the copy, then pair that one anew"
TO_EXECUTOR = (Reserve, Start, Cancel, Withdraw, ResultAck, PartAck)
log = logging.getLogger(__name__)


class Documents(Protocol):
    """What this device says of itself."""

    def document(self, peer: DeviceId) -> Capability:
        """The capability document for one peer."""

    def dynamic(self, peer: DeviceId | None = None) -> Dynamic:
        """How busy this device is; for a peer, with no word of tasks it may not use."""


class Peers:
    """The network of one node: implements `jobs.network.Network` and the mesh's `Events`."""

    def __init__(self, identity: Identity, name: str, pairs: Pairs, access: Access, documents: Documents, clock: Clock) -> None:
        self.me = identity.id
        self._identity, self._pairs, self._access, self._documents, self._clock = identity, pairs, access, documents, clock
        self.peers: dict[DeviceId, Peer] = {self.me: Peer(self.me, name, here=True, bandwidth=WIRED)}
        self.submitter: Submitter
        self.executor: Executor
        self.transfers: Callable[[PeerLink, Envelope], bool] = lambda link, envelope: False
        self.models: Callable[[DeviceId, SeekModel | HaveModel], Coroutine[Any, Any, None]]
        self.on_change: Callable[[DeviceId], None] = lambda peer: None
        self.on_confirmed: Callable[[DeviceId], None] = lambda peer: None
        self.on_corrected: Callable[[DeviceId, float], None] = lambda peer, correction: None
        self.on_seen: Callable[[Mapping[DeviceId, Capability]], None] = lambda documents: None
        self.on_down: list[Callable[[DeviceId], None]] = []
        self.on_linked: Callable[[PeerLink], None] = lambda link: None
        self.inspection: Callable[[DeviceId, Replica | Inspect | Inspected | Rights], None] = lambda peer, message: None
        self.rooms: Callable[[DeviceId, RoomWord | RoomMember | RoomInvite], None] = lambda peer, message: None
        self.moods: Callable[[DeviceId, MoodTold], None] = lambda peer, message: None
        self.trouble: Callable[[DeviceId], str] = lambda peer: ""
        self._copied: dict[DeviceId, float] = {}
        self._tasks: asyncio.TaskGroup
        self._background = Background()
        self._to_self: asyncio.Queue[Message] = asyncio.Queue()
        self._serving = False
        self._documents_due = asyncio.Event()
        self._pulse_at, self._stood_until = math.inf, -math.inf
        for pair in pairs:
            self._add(pair.peer, pair.name)
        pairs.watch(self._pair_changed)

    async def run(self) -> None:
        """Serve until cancelled."""
        async with asyncio.TaskGroup() as self._tasks:
            self._serving = True
            self._tasks.create_task(self._serve_self())
            self._tasks.create_task(self._pulse())
            try:
                await self._publish()
            finally:
                self._serving = False
                await self._background.finish(cancel=True)

    # -- Network -------------------------------------------------------------------------------------------------------

    def send(self, peer: DeviceId, message: Message) -> bool:
        """Queue a message for a linked peer, or for this device."""
        found = self.peers.get(peer)
        if found is None or (found.link is None and not found.here):
            return False
        if found.here:
            self._to_self.put_nowait(message)
        else:
            self._put(found, message)
        if isinstance(message, Reserve):
            found.pending_s += message.units * self._mean(found, message)
        self._wake_if_live(found)
        return True

    def _put(self, p: Peer, message: Message) -> None:
        """Queue a message for a link; a peer that lets too much pile up loses it, and hears the rest on the next one."""
        if not p.out.put(message) and p.link is not None:
            self._background.spawn(p.link.close(reason="it does not read what it is sent"))

    def devices(self) -> Sequence[Device]:
        """This device and every paired one."""
        now = self._clock.now()
        self.peers[self.me].capability = self._documents.document(self.me)
        self.peers[self.me].dynamic = self._documents.dynamic()
        return [self._device(peer, now) for peer in self.peers.values()]

    def _device(self, p: Peer, now: float) -> Device:
        own, told = p.here or self._access.owns(p.id), self._access.may(p.id, "mood.share")
        return p.view(now, own=own, told_moods=told, trouble=self.trouble)

    def heaps(self) -> Mapping[DeviceId, Sequence[Heap]]:
        """What is held back, at each peer and here, and may run on this device."""
        return {
            p.id: self.submitter.desk.heaps_for(p.id) if p.here else p.held for p in self.peers.values() if p.here or p.held
        }

    def waiting(self) -> Mapping[DeviceId, Sequence[Waiting]]:
        """What has long to wait in other devices' queues, and may run on this device."""
        desk = self.submitter.desk
        return {p.id: desk.waiting_for(p.id) if p.here else p.waiting for p in self.peers.values() if p.here or p.waiting}

    def pool_changed(self) -> None:
        """What this device holds back or has waiting elsewhere changed: tell the peers soon."""
        for p in self.peers.values():
            p.told_pool = False
        self._documents_due.set()
        self.executor.look_again()

    def tell_pool(self, peer: DeviceId) -> None:
        """Tell one peer what is there for it."""
        p = self.peers[peer]
        if p.here:
            self.executor.pool_heard(peer)
        elif p.link is not None:
            pool = pool_for(self.submitter.desk, peer, self._clock.now())
            p.told_pool, p.pool_there = True, bool(pool.held or pool.waiting)
            self._put(p, pool)

    def remember(self, peer: DeviceId, document: Capability, absent_s: float) -> None:
        """What a peer could do when it was last here, so long ago."""
        p = self.peers[peer]
        p.capability, p.gone_since = document, self._clock.now() - max(0.0, absent_s)

    def seen(self) -> Mapping[DeviceId, Capability]:
        """What linked peers can do."""
        return {p.id: p.capability for p in self.linked() if p.capability is not None}

    def rates(self, task: str, variant: str) -> Sequence[float]:
        """Seconds per unit that peers have measured of a variant."""
        docs = (p.capability.tasks.get(task) for p in self.peers.values() if p.capability is not None and not p.here)
        found = (doc.variants.get(variant) for doc in docs if doc is not None)
        return [v.mean for v in found if v is not None and not v.guess and v.mean > 0]

    def patience(self, peer: DeviceId) -> float:
        """Seconds within which a message there is answered: by radio one may wait for pieces of others."""
        p = self.peers.get(peer)
        return ANSWER_RADIO_S if p is not None and p.link is not None and p.link.slow else ANSWER_S

    def slow(self) -> bool:
        """Whether somebody is linked by radio."""
        return any(p.link is not None and p.link.slow for p in self.peers.values())

    def silent(self, peer: DeviceId) -> None:
        """A reservation was not answered: nothing more goes there until something is heard."""
        if (p := self.peers.get(peer)) is not None and not p.here:
            p.unanswered = True

    def _mean(self, p: Peer, ask: Reserve) -> float:
        task = p.capability.tasks.get(ask.task) if p.capability else None
        doc = task.variants.get(ask.variant) if task else None
        return doc.mean if doc else 0.0

    def trusted(self, peer: DeviceId, *, shared: bool) -> bool:
        """Whether personal input may go there."""
        return peer == self.me or self._access.owns(peer) or (shared and self._access.may(peer, "mood.share"))

    def measured(self, peer: DeviceId, claim_s: float, actual_s: float) -> None:
        """Move the peer's correction towards what happened; this device learns its own rates instead."""
        p = self.peers.get(peer)
        if p is not None and not p.here:
            p.correction = rates.correct(p.correction, actual_s, claim_s)
            self.on_corrected(peer, p.correction)

    def handed(self, peer: DeviceId, seconds: float) -> None:
        """Learn what messages and journals of an attempt there take."""
        if (p := self.peers.get(peer)) is not None:
            p.hand = rates.handed(p.hand, seconds)

    def transferred(self, peer: DeviceId, size: int, seconds: float) -> None:
        """Learn the bandwidth from a real transfer that took a while: of more than 256 KiB, by radio of more than 8."""
        p = self.peers.get(peer)
        if p is not None and size > (8 if p.by_radio else 256) * 1024 and seconds > 0:
            p.bandwidth = (1 - RTT_WEIGHT) * p.bandwidth + RTT_WEIGHT * size / seconds

    def gives(self, peer: DeviceId, artefact: str, whole: bool) -> None:
        """A peer takes an artefact from here; `whole`: it may have all of it from here on."""
        self.submitter.gives(peer, artefact, whole)

    def refused(self, peer: DeviceId) -> None:
        """Count a refusal."""
        if peer in self.peers:
            self.peers[peer].refusals.append(self._clock.now())
            self.peers[peer].seen = None

    def avoid(self, peer: DeviceId) -> None:
        """Leave a peer out for ten minutes."""
        if peer in self.peers:
            self.peers[peer].avoid_until = self._clock.now() + AVOID_S

    def verify(self, peer: DeviceId, data: bytes, signature: bytes) -> bool:
        """Whether the key behind the pinned certificate of a peer signed this."""
        pair = self._pairs.get(peer)
        certificate = self._identity.credential.certificate if peer == self.me else pair.certificate if pair else None
        return certificate is not None and verify(certificate, data, signature)

    def sign(self, data: bytes) -> bytes:
        """Sign with the device key."""
        return self._identity.sign(data)

    # -- mesh Events ---------------------------------------------------------------------------------------------------

    def link_up(self, link: PeerLink) -> None:
        """Start to read and write a link; tell the peer who we are and what it may do."""
        p = self._add(link.peer, self.peers[link.peer].name if link.peer in self.peers else "")
        now = self._clock.now()
        p.link, p.heard, p.since, p.silenced, p.out = link, now, now, False, Outbox()
        p.their_seq, p.sent = 0, {}
        slow = by_radio(link.address[0])
        if link.address[0].startswith(("127.", "::1")):
            p.bandwidth = WIRED
        elif slow != p.by_radio:
            p.bandwidth = RADIO if slow else WIRELESS
        p.by_radio, p.streams = slow, PARTS in link.features
        self._tasks.create_task(self._serve(p, link, p.out))
        self.tell_rights(p.id)
        self.executor.repeat(p.id)
        self._beat(p)
        self.on_linked(link)
        self.on_change(p.id)

    def link_down(self, peer: DeviceId, reason: str) -> None:
        """The link is gone: give it a moment to come back, then give up what ran there."""
        p = self.peers.get(peer)
        if p is None or p.link is None or not self._serving:
            return
        if p.capability is not None:  # work may wait for it
            self.on_seen({**self.seen(), peer: p.capability})
        p.link, p.dynamic, p.gone_since = None, None, self._clock.now()
        p.held, p.waiting, p.told_pool, p.pool_there, p.unanswered = [], [], False, False, False
        for gone in self.on_down:
            gone(peer)
        log.info("link down", extra={"peer": peer[:8], "reason": reason})
        self._background.spawn(self._after_loss(p, reason, p.gone_since))
        self.on_change(peer)

    def link_duplicate(self, peer: DeviceId, whose: Literal["peer", "us"]) -> None:
        """A copied identity is running: a peer's, or this device's own."""
        device, known = (self.me if whose == "us" else peer), self.copied()
        self._copied[device] = self._clock.now()
        if device not in known:
            name = self.peers[device].name if device in self.peers else device[:8]
            log.warning("identity of %s: %s; %s", name, COPIED, COPIED_REMEDY)

    def copied(self) -> dict[DeviceId, str]:
        """Devices whose identity was seen to run in two places of late, with their names; a copy that is gone is forgotten."""
        since = self._clock.now() - COPIED_S
        self._copied = {device: at for device, at in self._copied.items() if at > since}
        return {device: self.peers[device].name for device in self._copied if device in self.peers}

    def pair_confirmed(self, peer: DeviceId) -> None:
        """A half-paired peer proved itself."""
        self.on_confirmed(peer)

    # -- one link ------------------------------------------------------------------------------------------------------

    async def _serve(self, p: Peer, link: PeerLink, out: Outbox) -> None:
        async with asyncio.TaskGroup() as group:
            helpers = [group.create_task(self._write(out, link)), group.create_task(self._beats(p, link))]
            try:
                while True:
                    await self._received(p, link, await link.receive())
            except LinkClosed:
                pass
            except ValueError as error:
                log.warning("link closed: %s", error, extra={"peer": p.id[:8]})
                await link.close(BAD_MESSAGE, str(error))
            except Exception:  # whatever a peer sends, the node goes on
                log.exception("a message could not be handled: link closed", extra={"peer": p.id[:8]})
                await link.close(reason="internal error")
            finally:
                for task in helpers:
                    task.cancel()

    async def _write(self, out: Outbox, link: PeerLink) -> None:
        with contextlib.suppress(LinkClosed):
            while True:
                envelope = await out.get()
                try:
                    async with asyncio.timeout(UNREAD_RADIO_S if link.slow else UNREAD_S):
                        await link.send(envelope)
                except BadMessage as error:  # over its cap: a fault of ours, and no reason to lose the link
                    log.error("not sent: %s", error)
                except TimeoutError:
                    await link.close(reason=f"it has read nothing for {UNREAD_S:.0f} s")

    async def _received(self, p: Peer, link: PeerLink, envelope: Envelope) -> None:
        p.heard, p.unanswered = self._clock.now(), False
        if self.transfers(link, envelope):
            return
        message = parse(envelope)
        if message is None:
            self.send(p.id, Unsupported(what=envelope.kind))
            return
        await self._hear(p, message)

    async def _serve_self(self) -> None:
        here = self.peers[self.me]
        while True:
            message = await self._to_self.get()
            try:
                await self._hear(here, message)
            except Exception:
                log.exception("a message of this device to itself could not be handled")

    async def _hear(self, p: Peer, message: Message) -> None:
        match message:
            case Cancel():  # waits for a worker to be gone: the link must not
                self._background.spawn(self.executor.hear(p.id, message))
            case Attempted():
                await (self.executor if isinstance(message, TO_EXECUTOR) else self.submitter).hear(p.id, message)
                self._wake_if_live(p)
            case Heartbeat():
                await self._beaten(p, message)
            case Capability():
                if p.dynamic is None:  # the first one of this link
                    self.on_seen({**self.seen(), p.id: message})
                self.documented(p, message)
                self.submitter.look_again()
                self.executor.look_again()
                self.on_change(p.id)
            case Dynamic():
                self.documented(p, message)
                self.submitter.look_again()
                self.executor.look_again()
            case Pool():
                p.held, p.waiting = heard(message, self._clock.now())
                self.executor.pool_heard(p.id)
            case Take():
                self.submitter.take(p.id, message)
            case Rights():
                p.rights = tuple(message.actions)
                self.inspection(p.id, message)
            case Replica() | Inspect() | Inspected():
                self.inspection(p.id, message)
            case RoomWord() | RoomMember():
                self.rooms(p.id, message)
            case RoomInvite() if self._access.may(p.id, "room.invite"):
                self.rooms(p.id, message)
            case MoodTold():
                self.moods(p.id, message)
            case SeekModel() | HaveModel():
                self._background.spawn(self.models(p.id, message))

    def documented(self, p: Peer, document: Capability | Dynamic) -> None:
        """A peer says what it can do, or how busy it is; what follows is worked out now, not when a job waits for it."""
        now = self._clock.now()
        if isinstance(document, Capability):
            p.capability = document
        else:
            p.dynamic, p.dynamic_at, p.pending_s = document, now, 0.0
        self._device(p, now).ready()

    # -- heartbeat -----------------------------------------------------------------------------------------------------

    def _live(self, p: Peer) -> bool:
        return bool(self.submitter.live(p.id)) or bool(self.executor.live(p.id))

    def _wake_if_live(self, p: Peer) -> None:
        if p.live_since is None and not p.here and self._live(p):
            p.live_since = self._clock.now()
            p.wake.set()

    def _beat(self, p: Peer) -> None:
        p.seq += 1
        now = self._clock.now()
        p.sent = {seq: at for seq, at in p.sent.items() if seq > p.seq - 8} | {p.seq: now}
        mine, yours = self.submitter.live(p.id), self.executor.live(p.id)
        held = now - p.their_seq_at if p.their_seq else 0.0
        self._put(p, Heartbeat(seq=p.seq, echo=p.their_seq, held_s=held, mine=mine, yours=yours))

    async def _beats(self, p: Peer, link: PeerLink) -> None:
        """Beat every second while an attempt is live on the link, else every ten; close it when it was silent too long."""
        pieces = link.pieces
        while True:
            before, limit = self._clock.now(), LOST_S if p.live_since is not None else ABSENT_S
            wait = min(BEAT_LIVE_S if p.live_since is not None else BEAT_IDLE_S, max(0.01, limit - p.silent(before)))
            await woken(p.wake, wait)
            p.wake.clear()
            now = self._clock.now()
            if now - before > wait + STALL_S:  # this process stood still: judge nobody, count anew
                log.warning("the event loop stood still for %.1f s", now - before - wait)
                p.heard = now
            if link.pieces != pieces:  # a long message is on its way, and a beat behind it
                pieces, p.heard = link.pieces, now
            if not self._live(p):
                p.live_since = None
            if p.silent(now) >= (ABSENT_S if p.live_since is None else LOST_S):
                break
            self._beat(p)
        p.silenced = True
        await link.close(reason=f"silent for {p.silent(now):.1f} s")

    async def _beaten(self, p: Peer, beat: Heartbeat) -> None:
        now = self._clock.now()
        if beat.seq <= p.their_seq:
            return
        p.their_seq, p.their_seq_at = beat.seq, now
        if (sent := p.sent.get(beat.echo)) is not None:
            rtt = max(0.0, now - sent - beat.held_s)
            p.rtt_s = (1 - RTT_WEIGHT) * p.rtt_s + RTT_WEIGHT * min(rtt, 2.0)
        self.submitter.reconcile(p.id, beat.yours)
        self.executor.reconcile(p.id, beat.mine)

    async def _after_loss(self, p: Peer, reason: str, since: float) -> None:
        """A broken link may come back at once; silence has lasted long enough. Then what ran there is lost, and the lease
        of what it has running here lapses at its end."""
        silenced, p.silenced = p.silenced, False
        waited = LOST_S if silenced else RESTART_WAIT_S if self._stood_still() else RECONNECT_S
        if not silenced:
            await self._clock.sleep(waited)
        if p.link is None and p.gone_since == since:
            self.submitter.lost(p.id, f"{p.name} is gone: {reason}")
        await self._clock.sleep(LEASE_S - waited)
        if p.link is None and p.gone_since == since:
            await self.executor.lapse(p.id)

    async def _pulse(self) -> None:
        """Notice when this process stood still."""
        while True:
            self._pulse_at = self._clock.now()
            await self._clock.sleep(PULSE_S)
            if self._stood_still():
                self._stood_until = self._clock.now()

    def _stood_still(self) -> bool:
        """Whether it has just begun to go on: links that broke meanwhile say nothing of their peers (routing §9)."""
        now = self._clock.now()
        return now - self._pulse_at > PULSE_S + STALL_S or now - self._stood_until < RESTART_WAIT_S

    # -- documents -----------------------------------------------------------------------------------------------------

    def changed(self) -> None:
        """How busy this device is has changed: tell the peers soon."""
        self._documents_due.set()

    async def _publish(self) -> None:
        while True:
            desk = self.submitter.desk
            busy = self.executor.busy() or bool(desk.held) or bool(desk.live)
            await woken(self._documents_due, 1.0 if busy else BEAT_IDLE_S)
            self._documents_due.clear()
            self.submitter.reconcile(self.me, self.executor.live(self.me))
            self.executor.reconcile(self.me, self.submitter.live(self.me))
            for p in self.linked():
                if self._access.rules(p.id):
                    self._tell_rates(p)
                    self._put(p, self._documents.dynamic(p.id))
                if not p.told_pool or desk.live:
                    self._tell_pool_if_any(p)
            self.submitter.look_again()
            await self._clock.sleep(DOCUMENT_GAP_S)

    def _tell_pool_if_any(self, p: Peer) -> None:
        """Send a pool that is not empty, and once an empty one after it."""
        pool = pool_for(self.submitter.desk, p.id, self._clock.now())
        if pool.held or pool.waiting or p.pool_there:
            self._put(p, pool)
        p.told_pool, p.pool_there = True, bool(pool.held or pool.waiting)

    def tell_rights(self, peer: DeviceId) -> None:
        """Send a peer what it may do here, and the documents that follow from it."""
        p = self.peers.get(peer)
        if p is not None and p.link is not None:
            self._put(p, Rights(actions=sorted(self._access.rules(peer)), name=self.peers[self.me].name[:32]))
            self._tell_document(p, self._documents.document(peer))
            if self._access.rules(peer):
                self._put(p, self._documents.dynamic(peer))

    def retell(self) -> None:
        """Rates or tasks changed: send every peer its document anew."""
        for p in self.linked():
            self._tell_document(p, self._documents.document(p.id))

    def _tell_rates(self, p: Peer) -> None:
        """Send the document again when something in it changed, a rate by more than 5 % (routing §3)."""
        document = self._documents.document(p.id)
        if p.told is None or document.differs(p.told):
            self._tell_document(p, document)

    def _tell_document(self, p: Peer, document: Capability) -> None:
        p.told = document
        self._put(p, document)

    def linked(self) -> Iterable[Peer]:
        """Peers with a live link."""
        return [p for p in self.peers.values() if p.link is not None]

    def neighbours(self) -> Sequence[Neighbour]:
        """Every linked peer, as the inspection of jobs sees it."""
        return [
            Neighbour(p.id, frozenset(p.rights), p.since, p.dynamic is not None and p.dynamic.power == "ok", p.out.size)
            for p in self.linked()
        ]

    def names(self) -> dict[DeviceId, str]:
        """What this device and every paired one is called."""
        return {p.id: p.name for p in self.peers.values()}

    def _pair_changed(self, peer: DeviceId, pair: Pair | None) -> None:
        if pair is None:
            self._remove(peer)
        else:
            self._add(peer, pair.name)

    def _add(self, peer: DeviceId, name: str) -> Peer:
        found = self.peers.setdefault(peer, Peer(peer, name, gone_since=self._clock.now()))
        found.name = name
        return found

    def _remove(self, peer: DeviceId) -> None:
        self._access.forget(peer)
        if self.peers.pop(peer, None) is not None:
            self.submitter.lost(peer, "the peer was forgotten")
            self._background.spawn(self.executor.drop_peer(peer))
            self.on_change(peer)
