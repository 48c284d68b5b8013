"""A member of the committee: holds shares, reports and checks them, and gives away its share of one sum (room-mood §5, §9)."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from moodmesh.privacy.sums.decoding import Undecodable, decode
from moodmesh.privacy.sums.field import Residues, residues
from moodmesh.privacy.sums.later import np

from .transcript import MOST_RELAYS, Channel, Draw, Keys, Roster, digest, u16, verified
from .wire import HASH, SIG, Item, Malformed, bitmap, members_of, numbers, split

CHALLENGES = 2


class Proposal:
    """Whose sum a coordinator would have opened: contributors U, and the reports of J that hold them all."""

    def __init__(self, draw: Draw, item: Item) -> None:
        """`Malformed` unless it is whole and signed by its author. Whether U is held, each of J checks for itself."""
        n, width = draw.roster.n, (draw.roster.n + 7) // 8
        head, rest = item.body[: 2 * width + HASH + SIG], item.body[2 * width + HASH + SIG :]
        u, j, self.list_hash, sig = split(head, width, width, HASH, SIG)
        if item.author not in draw.relays[:MOST_RELAYS]:
            raise Malformed("a proposal of a member that is no relay")
        if not verified(draw.roster.seats[item.author].e_pub, sig, "R2b", draw.ctx, u, j, self.list_hash):
            raise Malformed("a proposal that its author did not sign")
        self.author, self.bits = item.author, u
        self.contributors, self.reporters = members_of(u, n), tuple(sorted(members_of(j, n)))
        size = width + HASH + SIG
        bodies = split(rest, *[size] * len(self.reporters))
        self.reports = dict(zip(self.reporters, bodies, strict=True))
        if digest(*(u16(a) + b for a, b in self.reports.items())) != self.list_hash:
            raise Malformed("a proposal with another list of reports")
        if len(self.reporters) < draw.roster.params.t or not set(self.reporters) <= set(draw.committee):
            raise Malformed("a proposal without enough of the committee")

    @property
    def statement(self) -> bytes:
        """What votes and sum shares sign of it."""
        return digest(self.bits)

    @property
    def key(self) -> tuple[bytes, bytes]:
        """The same of all proposals that open alike and check alike."""
        return self.statement, self.list_hash


def propose(draw: Draw, keys: Keys, author: int, reports: dict[int, bytes]) -> bytes | None:
    """The proposal to open all that everyone who reported holds, but for those who hold so little that it would be too few;
    None when the committee is not there."""
    n, width = draw.roster.n, (draw.roster.n + 7) // 8
    held = {a: members_of(reports[a][:width], n) for a in sorted(reports)}
    while len(held) >= draw.roster.params.t and not _enough(draw.roster, len(frozenset.intersection(*held.values()))):
        held.pop(min(held, key=lambda a: len(held[a])))
    if len(held) < draw.roster.params.t:
        return None
    listed = {a: reports[a] for a in held}
    u, j = bitmap(frozenset.intersection(*held.values()), n), bitmap(listed, n)
    list_hash = digest(*(u16(a) + b for a, b in listed.items()))
    return u + j + list_hash + keys.sign("R2b", draw.ctx, u, j, list_hash) + b"".join(listed.values())


def _enough(roster: Roster, size: int) -> bool:
    """Whether opening a set of this size keeps the promise that the members priced."""
    params = roster.params
    if params.exact:
        return size == roster.n
    return size >= params.n_min and (params.kind != "ambient" or size - (size - 1) // 3 >= params.honest)


def genuine_report(draw: Draw, item: Item) -> bool:
    """Whether a committee member reported this, of members that there are."""
    width = (draw.roster.n + 7) // 8
    if item.author not in draw.committee or len(item.body) != width + HASH + SIG:
        return False
    try:
        members_of(item.body[:width], draw.roster.n)
    except Malformed:
        return False
    return verified(draw.roster.seats[item.author].e_pub, item.body[-SIG:], "R2a", draw.ctx, item.body[:-SIG])


class Holder:
    """Its shares and its words in one run. `once`: takes the one right of the epoch, for these; whether it was free."""

    def __init__(self, draw: Draw, keys: Keys, own: int, once: Callable[[frozenset[int]], bool]) -> None:
        self._draw, self._keys, self._own, self._once = draw, keys, own, once
        params = draw.roster.params
        self._params, self._rows = params, 1 if params.exact else 1 + CHALLENGES
        self._x = {member: j + 1 for j, member in enumerate(draw.committee)}
        self._shares: dict[int, Residues] = {}
        self._hashes: dict[int, bytes] = {}
        self._reported: dict[bytes, frozenset[int]] = {}
        self._proposal: Proposal | None = None
        self._vote: bytes | None = None
        self._openings: dict[int, Residues | None] = {}
        self._voted: set[int] = set()
        self._sum: bytes | None = None
        self.liars: frozenset[int] = frozenset()
        """Committee members whose openings were wrong."""

    # -- R2a -----------------------------------------------------------------------------------------------------------

    def keep(self, shares: Residues) -> None:
        """The shares of this device itself, which never travel."""
        self._shares[self._own], self._hashes[self._own] = shares, bytes(HASH)

    def take(self, items: Iterable[Item], channel: Callable[[int], Channel]) -> bytes:
        """Parts of R1 that were sealed for this member; its report. What cannot be opened is not held."""
        parts: dict[int, bytes] = {}
        plains: list[bytes] = []
        for author, part in items:
            if author in self._shares or author >= self._draw.roster.n or len(part) != self._params.part_bytes:
                continue
            plain = channel(author).open(part)
            if plain is not None:
                parts[author] = part
                plains.append(plain)
        shares = _integers(b"".join(plains)).reshape(-1, self._rows, self._params.d)
        fit = np.all(shares < self._params.p, axis=(1, 2)).tolist()
        for author, held, right in zip(parts, shares, fit, strict=True):
            if right:
                self._shares[author], self._hashes[author] = held, digest(parts[author])
        return self.report()

    def report(self) -> bytes:
        """R2a: whom it holds shares of, and which bytes."""
        held = sorted(self._shares)
        fields = bitmap(held, self._draw.roster.n) + digest(*(u16(i) + self._hashes[i] for i in held))
        report = fields + self._keys.sign("R2a", self._draw.ctx, fields)
        self._reported[report] = frozenset(held)
        return report

    # -- R2c -----------------------------------------------------------------------------------------------------------

    def vote(self, proposal: Proposal) -> bytes | None:
        """R2c on the first proposal that may be opened, the same again later; None when it may not."""
        if self._vote is not None:
            return self._vote
        if not self.acceptable(proposal):
            return None
        if not self._params.exact and not self._once(proposal.contributors):
            return None
        opening = b"" if self._params.exact else numbers(self._opening(proposal).ravel().tolist())
        statement = (self._draw.ctx, proposal.statement, proposal.list_hash, opening)
        self._proposal, self._vote = proposal, opening + self._keys.sign("R2c", *statement)
        return self._vote

    def acceptable(self, proposal: Proposal) -> bool:
        """Whether U is held here as reported, and large enough."""
        held = self._reported.get(proposal.reports.get(self._own, b""), frozenset())
        return proposal.contributors <= held and _enough(self._draw.roster, len(proposal.contributors))

    def _opening(self, proposal: Proposal, sender: int | None = None) -> Residues:
        """The masked check sums, one row a challenge; of one sender, or of all of U."""
        p, senders = self._params.p, sorted(proposal.contributors) if sender is None else [sender]
        challenge, rounds = self._draw.challenge, range(CHALLENGES)
        chi = np.array([[challenge(proposal.list_hash, i, r, p) for r in rounds] for i in senders], dtype=np.int64)
        shares = np.array([self._shares[i] for i in senders])
        masked = chi[:, :, None] * shares[:, :1] % p + shares[:, 1:]
        return residues(masked.sum(axis=0), p)

    def hear_votes(self, items: Iterable[Item]) -> None:
        """The votes of others, for the proposal this member voted for; others do not count."""
        if (proposal := self._proposal) is None:
            return
        for author, body in items:
            self._voted.add(author)
            if author not in self._x or author in self._openings or len(body) < SIG:
                continue
            opening, sig = body[:-SIG], body[-SIG:]
            seat = self._draw.roster.seats[author]
            if verified(seat.e_pub, sig, "R2c", self._draw.ctx, proposal.statement, proposal.list_hash, opening):
                values = self._numbers(opening, 0 if self._params.exact else CHALLENGES)
                if values is not None:
                    self._openings[author] = values

    # -- R3, or R2d ----------------------------------------------------------------------------------------------------

    @property
    def complete(self) -> bool:
        """Whether all reporters have voted, if only with something that is no vote: waiting for more would be in vain."""
        return self._proposal is not None and self._voted >= set(self._proposal.reporters)

    @property
    def heard(self) -> int:
        """How many votes came: where no more than open the sum, lying senders cannot be told."""
        return len(self._openings)

    def open(self) -> tuple[bytes | None, bytes | None]:
        """With what has been heard, R3 and R2d: no R3 when the openings fit no polynomial, no R2d when all do; the same again
        later."""
        proposal, params = self._proposal, self._params
        if self._sum is not None or proposal is None or len(self._openings) < params.t:
            return self._sum, None
        if not params.exact:
            voters = sorted(self._openings)
            columns = np.array([self._openings[v] for v in voters], dtype=np.int64).reshape(len(voters), -1)
            try:
                found = decode([self._x[v] for v in voters], columns, params.t, params.p)
            except Undecodable:
                return None, self._identify(proposal)
            self.liars = frozenset(voters[k] for k in found.wrong)
        elif not self._once(proposal.contributors):
            return None, None
        total = residues(np.sum([self._shares[i][0] for i in proposal.contributors], axis=0), params.p)
        body = numbers(total.tolist())
        self._sum = body + self._keys.sign("R3", self._draw.ctx, proposal.statement, body)
        return self._sum, self._identify(proposal) if self.liars else None

    def _identify(self, proposal: Proposal) -> bytes:
        rows = [self._opening(proposal, sender).ravel() for sender in sorted(proposal.contributors)]
        body = numbers(np.concatenate(rows).tolist())
        return body + self._keys.sign("R2d", self._draw.ctx, proposal.statement, proposal.list_hash, body)

    def _numbers(self, data: bytes, rows: int) -> Residues | None:
        if len(data) != 4 * rows * self._params.d:
            return None
        values = _integers(data).reshape(rows, self._params.d)
        return values if (values < self._params.p).all() else None


def _integers(data: bytes) -> Residues:
    return np.frombuffer(data, dtype="<u4").astype(np.int64)
