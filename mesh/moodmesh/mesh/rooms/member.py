"""One member of a room in one run: what it says, and what it makes of what it hears (room-mood §5).

No clock and no network: whoever drives it passes messages in, sends what comes out to the relay of the moment, and says when a
step has taken long enough. `Malformed` tells that the relay, or whoever it passed on, is at fault; nothing has changed then.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from moodmesh.privacy.sums.decoding import Undecodable, decode
from moodmesh.privacy.sums.field import Residues, lift, residues, uniform
from moodmesh.privacy.sums.later import np
from moodmesh.privacy.sums.shamir import share

from .faults import Checks, Faults
from .holder import CHALLENGES, Holder, Proposal
from .transcript import Channel, Draw, Keys, Params, Roster, Run, seated, u16, verified
from .wire import HASH, MOST_MEMBERS, SIG, Malformed, Message, Step, encode, read_numbers, unpack

NONCE_BYTES = 32
_SET_UP = 2
"""Of what a member says, how much belongs to the set-up: S1, S2."""


class Declined(Exception):
    """This device takes no part; the message says why, in words for its user."""


class Person(Protocol):
    """Who takes part: everything that a run asks of the device behind a member."""

    def joining(self, keys: Keys) -> None:
        """May this device take part in this attempt? Asked before its first word of it; `Declined` where it could not send.
        Else these are the keys under which it joins now, and those who know it may be told."""

    def params(self, n: int) -> Params:
        """What is agreed in a room of `n`; `Declined` when there can be none."""

    def welcome(self, e_pub: bytes) -> bool:
        """Whether this device, where it gathers, lets in the owner of this key."""

    def most(self) -> int:
        """How many it takes in where it gathers: not more than it would accept."""

    def accepts(self, roster: Roster) -> None:
        """Whether the roster is one that its user consented to; `Declined`."""

    def release(self, draw: Draw) -> Sequence[int]:
        """The randomised numbers to share, charged for before this returns, the same again in the same epoch; `Declined`."""

    def once(self, draw: Draw, contributors: Collection[int]) -> bool:
        """Take the one right of this epoch to let a sum be opened, of these, for good; False when it was taken or is refused,
        `Declined`."""


@dataclass(frozen=True)
class Opened:
    """A sum: integers per axis, of the `contributors` among `n`. `unchecked`: lying senders could not have been told."""

    sums: tuple[int, ...]
    contributors: frozenset[int]
    draw: Draw
    unchecked: bool = False


class Member:
    """`said`: everything it has said in this run, to be said again, byte for byte, to another relay."""

    def __init__(self, run: Run, person: Person, keys: Keys | None = None) -> None:
        self.run, self._person = run, person
        self.keys = keys or Keys(run, os.urandom(NONCE_BYTES))
        self.said: list[bytes] = []
        self.roster: Roster | None = None
        self.draw: Draw | None = None
        self.index: int | None = None
        self.holder: Holder | None = None
        self.opened: Opened | None = None
        self.spoke = False
        """Whether its shares left, or were made to leave."""
        self._channels: dict[int, Channel] = {}
        self._proposals: dict[tuple[bytes, bytes], Proposal] = {}
        self._checks: Checks | None = None
        self._lapsed = False
        self._two_faced: set[int] = set()
        """Relays that signed two proposals."""
        self._sums: dict[tuple[bytes, int], Residues] = {}

    def join(self) -> list[bytes]:
        """S1; `Declined`, and nothing is said."""
        self._person.joining(self.keys)
        return self._say(Step.JOIN, self.keys.join())

    def hear(self, message: Message) -> list[bytes]:
        """What it says to a batch that the relay passed on; `Malformed`, `Declined`."""
        if (message.room, message.epoch, message.attempt) != (self.run.room, self.run.epoch, self.run.attempt):
            return []
        if not message.batch:
            raise Malformed("a relay only passes on")
        match message.step:
            case Step.JOIN:
                return self._rostered(message.body)
            case Step.REVEAL:
                return self._drawn(message.body)
            case Step.SHARES if self.holder is not None and self.spoke:
                return self._say(Step.REPORT, self.holder.take(unpack(message.body), self.channel))
            case Step.PROPOSAL if self.draw is not None:
                return self._proposed(message.body)
            case Step.VOTE if self.holder is not None:
                self.holder.hear_votes(unpack(message.body))
                return self.lapse() if self.holder.complete or self._lapsed else []  # else the rest is waited for, for a while
            case Step.IDENTIFY if self._checks is not None:
                self._checks.hear(unpack(message.body), self._proposals)
            case Step.SUM if self.draw is not None:
                self._read(message.body)
        return []

    def greet(self, relay: int) -> list[bytes]:
        """What it says first to the coordinator with this index; then again what it has said since the draw."""
        draw = self.draw
        if draw is None or self.index is None:
            return []
        proof = self.keys.sign("seat", draw.ctx, draw.roster.seats[relay].e_pub)
        return [self._encode(Step.SEAT, u16(self.index) + proof), *self.said[_SET_UP:]]

    def contribute(self) -> list[bytes]:
        """R1, once the draw is known: its shares, sealed for each of the committee; nothing a second time. `Declined`."""
        draw = self.draw
        if draw is None or self.index is None or self.spoke:
            return []
        params = draw.roster.params
        values = residues(list(self._person.release(draw)), params.p)
        rows = 1 if params.exact else 1 + CHALLENGES
        secrets = np.concatenate([values, uniform(((rows - 1) * params.d,), params.p)])
        shares = share(secrets, params.t, params.m, params.p)
        self.spoke = True
        parts = []
        for row, member in zip(shares, draw.committee, strict=True):
            if member == self.index:
                assert self.holder is not None
                self.holder.keep(row.reshape(rows, params.d))
            else:
                parts.append(self.channel(member).seal(row.astype("<u4").tobytes()))
        return self._say(Step.SHARES, b"".join(parts))

    def lapse(self) -> list[bytes]:
        """Nobody else's vote is waited for any more: R2d, R3, if so many came."""
        self._lapsed = True
        total, identify = self.holder.open() if self.holder is not None else (None, None)
        said = self._say(Step.IDENTIFY, identify) if identify is not None else []
        return said + self._say(Step.SUM, total) if total is not None else said

    @property
    def faults(self) -> Faults:
        """Who lied, by index, as far as it came out."""
        return self._checks.found if self._checks is not None else Faults()

    @property
    def excluded(self) -> frozenset[bytes]:
        """The signing keys of those who are not to take part again."""
        found = self.faults.excluded | self._two_faced
        return frozenset(self.roster.seats[i].e_pub for i in found) if self.roster is not None else frozenset()

    # -- set-up --------------------------------------------------------------------------------------------------------

    def _rostered(self, body: bytes) -> list[bytes]:
        items = unpack(body)
        if self.roster is not None:
            return []
        seats = seated(item.body for item in items)
        if len(seats) > MOST_MEMBERS or len(seats) != len(items):
            raise Malformed("a roster with doubled keys")
        roster = Roster(self.run, seats, self._person.params(len(seats)))
        index = roster.index(self.keys.e_pub)
        if index is None or seats[index].body != self.keys.join():
            raise Malformed("a roster without this member")
        self._person.accepts(roster)
        self.roster, self.index = roster, index
        return self._say(Step.REVEAL, self.keys.reveal(roster.hash))

    def _drawn(self, body: bytes) -> list[bytes]:
        if self.roster is None or self.draw is not None:
            return []
        items = sorted(unpack(body))
        nonces = [self.roster.reveal(item.author, item.body) for item in items if item.author < self.roster.n]
        if len(items) != self.roster.n or len(nonces) != self.roster.n or None in nonces:
            raise Malformed("reveals that are missing, or that fit no commitment")
        draw = Draw(self.roster, tuple(nonce for nonce in nonces if nonce is not None))
        for member in draw.committee:
            seat, sig = self.roster.seats[member], items[member].body[HASH:]
            if not seat.genuine(self.run) or not verified(seat.e_pub, sig, "S2", self.run.bytes, self.roster.hash):
                raise Malformed("a committee member that did not sign this roster")
        self.draw, self._checks, own = draw, Checks(draw), self.index
        if own is not None and own in draw.committee:
            self.holder = Holder(draw, self.keys, own, partial(self._person.once, draw))
        return []

    def channel(self, other: int) -> Channel:
        """The way to another member of the roster, made once."""
        assert self.draw is not None
        assert self.index is not None
        if other not in self._channels:
            self._channels[other] = Channel(self.keys, self.draw, self.index, other)
        return self._channels[other]

    # -- opening -------------------------------------------------------------------------------------------------------

    def _proposed(self, body: bytes) -> list[bytes]:
        assert self.draw is not None
        said: list[bytes] = []
        for item in unpack(body):
            proposal = Proposal(self.draw, item)
            if any(p.author == proposal.author and p.key != proposal.key for p in self._proposals.values()):
                self._two_faced.add(proposal.author)
                raise Malformed("two proposals of one relay")
            self._proposals.setdefault(proposal.key, proposal)
            vote = None if self.holder is None else self.holder.vote(proposal)
            if vote is not None:
                said += self._say(Step.VOTE, vote)
        return said

    def _read(self, body: bytes) -> None:
        """Sum shares of the committee: the sum, once enough of one set have come."""
        draw = self.draw
        assert draw is not None
        params = draw.roster.params
        for author, text in unpack(body):
            values, sig = text[: 4 * params.d], text[4 * params.d :]
            if len(sig) != SIG or author not in draw.committee:
                continue
            for statement in {p.statement for p in self._proposals.values()}:
                if verified(draw.roster.seats[author].e_pub, sig, "R3", draw.ctx, statement, values):
                    with suppress(Malformed):  # the author is at fault, not who passed it on
                        self._sums[statement, author] = residues(read_numbers(values, params.p), params.p)
        for statement, proposal in {p.statement: p for p in self._proposals.values()}.items():
            authors = sorted(a for s, a in self._sums if s == statement and not (self.holder and a in self.holder.liars))
            if self.opened is None and len(authors) >= params.t:
                self.opened = self._decoded(proposal, authors)

    def _decoded(self, proposal: Proposal, authors: Sequence[int]) -> Opened | None:
        assert self.draw is not None
        params = self.draw.roster.params
        place = {member: j + 1 for j, member in enumerate(self.draw.committee)}
        columns = np.array([self._sums[proposal.statement, a] for a in authors], dtype=np.int64)
        try:
            found = decode([place[a] for a in authors], columns, params.t, params.p)
        except Undecodable:
            return None
        sums = tuple(int(v) for v in lift(found.values, params.p))
        return Opened(sums, proposal.contributors, self.draw, self._unchecked(proposal, authors))

    def _unchecked(self, proposal: Proposal, authors: Sequence[int]) -> bool:
        """By the votes, where they are heard, else by those reported; and by the sum shares, of which as many as are needed and
        no more fit any lie."""
        assert self.draw is not None
        params = self.draw.roster.params
        heard = self.holder.heard if self.holder is not None else 0
        return not params.exact and min(heard or len(proposal.reporters), len(authors)) <= params.t

    def _say(self, step: Step, body: bytes) -> list[bytes]:
        data = self._encode(step, body)
        if data not in self.said:
            self.said.append(data)
        return [data]

    def _encode(self, step: Step, body: bytes) -> bytes:
        return encode(Message(step, False, self.run.attempt, self.run.epoch, self.run.room, body))
