"""Who shared or checked falsely, as the checks of single senders show it (room-mood §9)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from moodmesh.privacy.sums.decoding import Undecodable, decode, off
from moodmesh.privacy.sums.field import Residues, residues
from moodmesh.privacy.sums.later import np

from .holder import CHALLENGES, Proposal
from .transcript import Draw, verified
from .wire import SIG, Item, Malformed, read_numbers

MOST_JUDGED = 16
"""Senders that are looked into at a time: who lies to or about more of them is found out by these."""


class Faults(NamedTuple):
    """`suspects`: senders whose shares lie on no polynomial; `disputes`: (sender, holder) whose shares do not fit, which either
    of them may be at fault for."""

    suspects: frozenset[int] = frozenset()
    disputes: frozenset[tuple[int, int]] = frozenset()

    @property
    def excluded(self) -> frozenset[int]:
        """Who is not to take part again: suspects, and who is marked by two different others."""
        marks: dict[int, set[int]] = {}
        for one, other in self.disputes:
            marks.setdefault(one, set()).add(other)
            marks.setdefault(other, set()).add(one)
        return self.suspects | {member for member, by in marks.items() if len(by) > 1}


class Checks:
    """R2d of one run, as heard."""

    def __init__(self, draw: Draw) -> None:
        self._draw = draw
        self._x = {member: j + 1 for j, member in enumerate(draw.committee)}
        self._said: dict[tuple[bytes, bytes], dict[int, Residues]] = {}
        self._senders: dict[tuple[bytes, bytes], Sequence[int]] = {}

    def hear(self, items: Iterable[Item], proposals: Mapping[tuple[bytes, bytes], Proposal]) -> None:
        """Those that a member of the committee signed for one of the proposals; the first of each."""
        for author, body in items:
            text, sig = body[:-SIG], body[-SIG:]
            for key, proposal in proposals.items():
                if author not in self._x or author in self._said.get(key, ()):
                    continue
                if verified(self._draw.roster.seats[author].e_pub, sig, "R2d", self._draw.ctx, *key, text):
                    self._keep(key, sorted(proposal.contributors), author, text)

    def _keep(self, key: tuple[bytes, bytes], senders: Sequence[int], author: int, text: bytes) -> None:
        params = self._draw.roster.params
        try:
            values = read_numbers(text, params.p)
        except Malformed:
            return
        if len(values) == len(senders) * CHALLENGES * params.d:
            self._senders[key] = senders
            self._said.setdefault(key, {})[author] = residues(values, params.p).reshape(len(senders), -1)

    @property
    def found(self) -> Faults:
        """By all that was heard; nobody where no more spoke than open a sum."""
        suspects: set[int] = set()
        disputes: set[tuple[int, int]] = set()
        for key, said in self._said.items():
            holders = set(said)
            while len(holders) > self._draw.roster.params.t:
                told = self._judge(self._senders[key], {h: said[h] for h in sorted(holders)})
                suspects, disputes = suspects | told.suspects, disputes | told.disputes
                if not holders & Faults(disputes=told.disputes).excluded:
                    break
                holders -= Faults(disputes=told.disputes).excluded  # what they said hides others: look again without it
        if len(suspects) > (self._draw.roster.n - 1) // 3:
            suspects = set()  # more than can be hostile: a holder lies about them, and which one cannot be told
        return Faults(frozenset(suspects), frozenset(disputes))

    def _judge(self, senders: Sequence[int], said: Mapping[int, Residues]) -> Faults:
        params, holders = self._draw.roster.params, list(said)
        xs = [self._x[h] for h in holders]
        table = np.stack([said[h] for h in holders])
        wrong = off(xs, table.reshape(len(xs), -1), params.t, params.p).reshape(len(senders), -1).any(axis=1)
        suspects, disputes = set(), set()
        for k in np.flatnonzero(wrong)[:MOST_JUDGED].tolist():
            try:
                told = decode(xs, table[:, k], params.t, params.p).wrong
            except Undecodable:
                suspects.add(senders[k])
            else:
                disputes |= {(senders[k], holders[j]) for j in told}
        return Faults(frozenset(suspects), frozenset(disputes))
