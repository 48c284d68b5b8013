"""Attack 2: two sums of one epoch, whose difference is one person. A relay that lies, and traitors who hold shares."""

from __future__ import annotations

import copy
import itertools

import numpy as np
import pytest

from moodmesh.mesh.rooms.holder import Holder, Proposal
from moodmesh.mesh.rooms.transcript import Draw, verified
from moodmesh.mesh.rooms.wire import SIG, Item, Step, decode, read_numbers
from moodmesh.privacy.sums.committee import size
from moodmesh.privacy.sums.field import P, lift
from moodmesh.privacy.sums.shamir import combine

from .rooms import RUN, Room, Someone, batch, bodies, moods, proposal, silent


def tolerated(n: int) -> int:
    """The most hostile holders with which no two sets of one epoch open."""
    m, t = size(n)
    return 2 * t - m - 1


def shared(n: int) -> Room:
    """A room in which everybody reported and nothing was proposed."""
    room = Room(n).set_up()
    room.passed = lambda place, data: [] if decode(data).step is Step.PROPOSAL else [data]
    return room.open(rounds=2)


def anew(holder: Holder) -> Holder:
    """A traitor's: free to vote for every set."""
    free = copy.copy(holder)
    free._vote = free._proposal = free._sum = None
    free._openings, free._voted, free._once = {}, set(), lambda contributors: True
    return free


class TwoSets:
    """A relay that shows one half of the honest members a proposal of everyone, and the other half one without the victim; or,
    `at_once`, both, in one message that names the victim as active and as dropped."""

    def __init__(self, room: Room, traitors: int, at_once: bool = False) -> None:
        self.room, draw = room, room.draw
        order = list(draw.relays)
        self.traitors, honest = order[:traitors], order[traitors:]
        self.victim = honest[0]
        self.authors = (order[0], order[1])
        everyone, reports = set(range(draw.roster.n)), bodies(room, Step.REPORT)
        sets = (everyone, everyone - {self.victim})
        self.proposals = [
            proposal(draw, room.members[room.place(a)].keys, a, reports, u) for a, u in zip(self.authors, sets, strict=True)
        ]
        half = (len(honest) + 1) // 2
        self.shown, self.at_once = (honest[:half], honest[half:]), at_once

    def sums(self, which: int) -> dict[int, bytes]:
        """R3 for a set, of everybody who can be brought to give it."""
        (_, wanted), room = self.proposals[which], self.room
        votes = {h: self._votes(h, which) for h in self.shown[which]}
        free = {t: anew(room.members[room.place(t)].holder) for t in self.traitors}
        items = [Item(h, vote) for h, vote in votes.items() if vote] + [Item(t, f.vote(wanted)) for t, f in free.items()]
        found = {}
        for t, holder in free.items():
            holder.hear_votes(items)
            found[t] = holder.open()[0] or self._forced(holder, wanted)
        for h in votes:
            member = room.members[room.place(h)]
            said = member.hear(decode(batch(room.run, Step.VOTE, items))) + member.lapse()
            found.update((h, m.body) for m in map(decode, said) if m.step is Step.SUM)
        draw = room.draw
        return {a: body[:-SIG] for a, body in found.items() if self._signed(draw, a, body, wanted)}

    def _votes(self, holder: int, which: int) -> bytes | None:
        items = [item for item, _ in self.proposals] if self.at_once else [self.proposals[which][0]]
        member = self.room.members[self.room.place(holder)]
        said = member.hear(decode(batch(self.room.run, Step.PROPOSAL, items[:: 1 - 2 * which])))
        return decode(said[-1]).body if said else None

    def _forced(self, holder: Holder, wanted: Proposal) -> bytes:
        """A traitor needs no votes."""
        body = (sum(holder._shares[i][0] for i in wanted.contributors) % P).astype("<u4").tobytes()
        return body + holder._keys.sign("R3", self.room.draw.ctx, wanted.statement, body)

    @staticmethod
    def _signed(draw: Draw, author: int, body: bytes, wanted: Proposal) -> bool:
        return verified(draw.roster.seats[author].e_pub, body[-SIG:], "R3", draw.ctx, wanted.statement, body[:-SIG])

    def opened(self) -> list[tuple[int, ...] | None]:
        """The sums of both sets, as far as enough of the committee gave theirs."""
        draw, t = self.room.draw, self.room.draw.roster.params.t
        found: list[tuple[int, ...] | None] = []
        for which in (0, 1):
            sums = list(itertools.islice(sorted(self.sums(which).items()), t))
            if len(sums) < t:
                found.append(None)
                continue
            xs = [draw.committee.index(a) + 1 for a, _ in sums]
            columns = np.array([read_numbers(body, P) for _, body in sums], dtype=np.int64)
            found.append(tuple(lift(combine(xs, columns)).tolist()))
        return found

    def victims_value(self, opened: list[tuple[int, ...] | None]) -> tuple[int, ...]:
        (all_of_them, others) = opened
        return tuple(a - b for a, b in zip(all_of_them, others, strict=True))


@pytest.mark.parametrize("n", [7, 10])
@pytest.mark.parametrize("at_once", [False, True])
def test_as_many_traitors_as_are_tolerated_never_open_two_sets(n: int, at_once: bool) -> None:
    """With `at_once` it is the request that Flower 1.41 fell to: a victim both active and dropped."""
    opened = TwoSets(shared(n), tolerated(n), at_once).opened()
    assert None in opened


def test_one_traitor_more_opens_both_as_the_documents_say() -> None:
    attack = TwoSets(shared(10), tolerated(10) + 1)
    opened = attack.opened()
    assert attack.victims_value(opened) == attack.room.total([attack.victim])


def test_without_the_rule_of_one_vote_two_sets_open(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: a second R3 is allowed."""
    monkeypatch.setattr(Holder, "vote", lambda self, proposal, vote=Holder.vote: self._fresh() or vote(self, proposal))
    monkeypatch.setattr(Holder, "_fresh", lambda self: self.__dict__.update(anew(self).__dict__), raising=False)
    attack = TwoSets(shared(10), 2)
    attack.shown = (attack.shown[0] + attack.shown[1],) * 2
    opened = attack.opened()
    assert attack.victims_value(opened) == attack.room.total([attack.victim])


class TwoAttempts:
    """A relay that has one attempt of an epoch open everyone's sum, and another one that without the victim."""

    def __init__(self, kind: str = "on-demand") -> None:
        self.people = [Someone(value, kind) for value in moods(7)]
        self.rooms = [Room(7, people=self.people, run=RUN._replace(attempt=attempt)).set_up() for attempt in (1, 2)]
        if kind != "circle":  # it opens of all or not at all
            self.rooms[1].said = silent({0}, Step.SHARES)

    def opened(self) -> list[set[tuple[int, ...]]]:
        """The sums of both attempts, as far as somebody read them."""
        return [{m.opened.sums for m in room.open().members if m.opened is not None} for room in self.rooms]


@pytest.mark.parametrize("kind", ["on-demand", "circle"])
def test_two_attempts_of_one_epoch_never_open_two_sets(kind: str) -> None:
    attack = TwoAttempts(kind)
    assert attack.opened() == [{attack.rooms[0].total(range(7))}, set()]


def test_without_the_right_that_is_used_up_two_attempts_open_two_sets(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: `once` is not asked, or does not remember."""
    monkeypatch.setattr(Someone, "once", lambda self, draw, contributors: True)
    attack = TwoAttempts()
    ((everyone,), (others,)) = attack.opened()
    assert tuple(a - b for a, b in zip(everyone, others, strict=True)) == attack.people[0].value


def test_a_relay_that_proposes_twice_is_left() -> None:
    attack = TwoSets(shared(7), 2)
    room, relay = attack.room, attack.authors[0]
    keys = room.members[room.place(relay)].keys
    second, _ = proposal(room.draw, keys, relay, bodies(room, Step.REPORT), set(range(7)) - {attack.victim})
    member = room.members[room.place(attack.victim)]
    member.hear(decode(batch(room.run, Step.PROPOSAL, [attack.proposals[0][0]])))
    with pytest.raises(ValueError, match="two proposals"):
        member.hear(decode(batch(room.run, Step.PROPOSAL, [second])))
    assert len(member._proposals) == 1
    assert member.excluded == {room.draw.roster.seats[relay].e_pub}, "two signatures are proof"


def test_who_is_no_relay_proposes_nothing() -> None:
    room = shared(10)
    outsider = room.draw.relays[-1]
    with pytest.raises(ValueError, match="no relay"):
        proposal(room.draw, room.members[room.place(outsider)].keys, outsider, bodies(room, Step.REPORT), range(10))
