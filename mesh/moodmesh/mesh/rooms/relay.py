"""The coordinator: gathers what members say, step by step, and passes it on unchanged (room-mood §5.1).

Trusted with nothing: it can delay a run or leave members out, never learn or change what they share. Any member can be it. No
clock and no network: `tick` is told the time, and messages come out with the places they go to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple

from .holder import CHALLENGES, Proposal, genuine_report, propose
from .member import Declined, Member
from .transcript import Params, Roster, Run, Seat, commitment, seated, verified
from .wire import HASH, INDEX, MOST_MEMBERS, SIG, Item, Malformed, Message, Step, encode, item_head, pack, split

STEP_S = 3.0
MOST_AGAIN = 3
_NEXT = {Step.SHARES: Step.REPORT, Step.REPORT: Step.VOTE, Step.VOTE: Step.SUM}
"""What is gathered once a step is through."""


class Out(NamedTuple):
    """A message, and where to: whatever its caller named the place by."""

    place: Any
    data: bytes


class Gathering:
    """The set-up of one run: who joins, then what each committed to. `until`: when the roster closes, at the latest."""

    def __init__(
        self,
        run: Run,
        places: Mapping[Any, bytes],
        until: float,
        params: Callable[[int], Params] | None = None,
        welcome: Callable[[bytes], bool] = lambda e_pub: True,
        accepts: Callable[[Roster], None] = lambda roster: None,
        step_s: float = STEP_S,
    ) -> None:
        """`places`: who is there, and where each can be reached; with `params`, signatures of S2 are checked; `welcome`:
        whether the owner of a key is let in; `accepts`: whether this device takes part in such a roster, `Declined`."""
        self.run, self._expected, self._until = run, dict(places), until
        self._params, self._welcome, self._accepts, self._step_s = params, welcome, accepts, step_s
        self._joined: dict[Any, bytes] = {}
        self._seats: tuple[Seat, ...] = ()
        self._roster: Roster | None = None
        self._reveals: dict[bytes, bytes] = {}
        self.done = self.declined = False
        """`declined`: who joined are too few, or not who should; nobody reveals anything, and the attempt is not used."""
        self.withheld: frozenset[Any] = frozenset()
        """Who joined and did not reveal: the next attempt is without them."""

    def hear(self, place: Any, message: Message, now: float) -> list[Out]:
        """S1 or S2 of the member at `place`; `Malformed`."""
        if place not in self._expected:
            return []
        if message.step is Step.JOIN and not self._seats and len(self._joined) < MOST_MEMBERS:
            if not Seat.read(message.body).genuine(self.run):
                raise Malformed("keys that their owner did not sign")
            self._joined[place] = message.body
            return self._close(now) if len(self._joined) == len(self._expected) else []
        if message.step is Step.REVEAL and self._seats and place in self._joined:
            if not self._genuine(Seat.read(self._joined[place]), message.body):
                raise Malformed("a reveal that fits no commitment, or is not of this roster")
            self._reveals[self._joined[place]] = message.body
            return self._finish() if len(self._reveals) == len(self._seats) else []
        return []

    def _genuine(self, seat: Seat, body: bytes) -> bool:
        """One that is not would spoil the draw for everybody."""
        nonce, sig = split(body, HASH, SIG)
        if commitment(self.run, seat.e_pub, nonce) != seat.commit:
            return False
        if self._params is None:
            return True
        assert self._roster is not None
        return verified(seat.e_pub, sig, "S2", self.run.bytes, self._roster.hash)

    def tick(self, now: float) -> list[Out]:
        """The roster closes, or the reveals are late."""
        if self.done or now < self._until:
            return []
        return self._late() if self._seats else self._close(now)

    @property
    def due(self) -> float | None:
        """When `tick` has something to do."""
        return None if self.done else self._until

    def _close(self, now: float) -> list[Out]:
        self._seats = seated(body for body in self._joined.values() if self._welcome(Seat.read(body).e_pub))
        bodies = {seat.body for seat in self._seats}
        self._joined = {place: body for place, body in self._joined.items() if body in bodies}
        self._until = now + self._step_s
        try:
            if self._params is not None:
                self._roster = Roster(self.run, self._seats, self._params(len(self._seats)))
                self._accepts(self._roster)
        except Declined:
            self.done = self.declined = True  # each of them finds so itself
        return self._all(Step.JOIN, [seat.body for seat in self._seats])

    def _finish(self) -> list[Out]:
        self.done = True
        place_of = {body: place for place, body in self._joined.items()}
        where = [self._expected[place_of[seat.body]] for seat in self._seats]
        return self._all(Step.WHERE, where) + self._all(Step.REVEAL, [self._reveals[seat.body] for seat in self._seats])

    def _late(self) -> list[Out]:
        """Whoever keeps its reveal back is left out, and everybody else starts over: no choice of beacons for anyone."""
        self.done = True
        self.withheld = frozenset(place for place, body in self._joined.items() if body not in self._reveals)
        return []

    def _all(self, step: Step, bodies: list[bytes]) -> list[Out]:
        data = _message(self.run, step, pack(Item(i, body) for i, body in enumerate(bodies)))
        return [Out(place, data) for place in self._joined]


class Relay:
    """What comes after the draw, through the member of this device."""

    def __init__(self, member: Member, until: float, step_s: float = STEP_S) -> None:
        """`until`: when everybody has had their chance to share."""
        assert member.draw is not None
        self._member, self._draw, self._step_s = member, member.draw, step_s
        self._places: dict[int, Any] = {}
        self._members: dict[Any, int] = {}
        self._said: dict[Step, dict[int, bytes]] = {step: {} for step in Step}
        self._through: dict[Step, bytes | dict[int, bytes]] = {}
        self._step = Step.SHARES
        self._until: float | None = until

    def hear(self, place: Any, message: Message, now: float) -> list[Out]:
        """What the member at `place` says; the first message names it. `Malformed`."""
        if message.step is Step.SEAT:
            return self._seat(place, message.body)
        author = self._members.get(place)
        if author is None:
            raise Malformed("a member that did not say who it is")
        if message.step not in (Step.SHARES, Step.REPORT, Step.VOTE, Step.IDENTIFY, Step.SUM):
            return []
        if not self._fits(author, message):
            raise Malformed("not what a member says in this step")
        if message.step is Step.IDENTIFY:
            return self._identified(author, message.body)
        self._said[message.step][author] = message.body
        out: list[Out] = []
        while self._until is not None and self._whole():
            out += self._advance(now)
        return out

    def _fits(self, author: int, message: Message) -> bool:
        """Of the size that it must have, so that nobody is flooded, and of the committee where only that speaks."""
        params, size, sits = self._draw.roster.params, len(message.body), author in self._draw.committee
        row = 4 * params.d
        match message.step:
            case Step.SHARES:
                return size == params.part_bytes * (params.m - sits)
            case Step.REPORT:
                return genuine_report(self._draw, Item(author, message.body))
            case Step.VOTE:
                return sits and size == SIG + (0 if params.exact else CHALLENGES * row)
            case Step.IDENTIFY:
                return sits and not params.exact and SIG <= size <= SIG + CHALLENGES * row * self._draw.roster.n
            case _:
                return sits and size == SIG + row

    def _identified(self, author: int, body: bytes) -> list[Out]:
        """R2d, once of each: it is large, and whoever would have it sent again would have it sent to everyone."""
        said = self._said[Step.IDENTIFY]
        if author in said:
            return []
        said[author] = body
        self._through[Step.IDENTIFY] = pack(Item(a, text) for a, text in sorted(said.items()))
        return [self._out(member, Step.IDENTIFY, pack([Item(author, body)])) for member in self._places]

    def tick(self, now: float) -> list[Out]:
        """A step has taken long enough: go on with those who spoke."""
        return self._advance(now) if self._until is not None and now >= self._until else []

    @property
    def due(self) -> float | None:
        """When `tick` has something to do."""
        return self._until

    def _seat(self, place: Any, body: bytes) -> list[Out]:
        """A member comes, perhaps late: it hears what was passed on before."""
        number, proof = split(body, INDEX, SIG)
        index, roster = int.from_bytes(number, "little"), self._draw.roster
        own = self._member.keys.e_pub
        if index >= roster.n or not verified(roster.seats[index].e_pub, proof, "seat", self._draw.ctx, own):
            raise Malformed("a seat of somebody else")
        self._places[index], self._members[place] = place, index
        out = []
        for step, body_of in self._through.items():
            passed = body_of.get(index) if isinstance(body_of, dict) else body_of
            if passed is not None:
                out.append(Out(place, _message(self._member.run, step, passed)))
        return out

    def place_of(self, e_pub: bytes) -> Any:
        """Where the member with this key came from; None for one that did not."""
        index = self._draw.roster.index(e_pub)
        return None if index is None else self._places.get(index)

    def _whole(self) -> bool:
        """Whether everyone who can has spoken in this step."""
        said = self._said[self._step].keys()
        match self._step:
            case Step.SHARES:
                return len(said) == self._draw.roster.n
            case Step.REPORT:
                return said >= set(self._draw.committee)
            case _:
                return said >= self._said[Step.REPORT].keys()

    def _advance(self, now: float) -> list[Out]:
        step, self._step = self._step, _NEXT.get(self._step, Step.SUM)
        self._until = None if step is Step.SUM else now + self._step_s
        match step:
            case Step.SHARES:
                return self._boxes()
            case Step.REPORT:
                return self._propose()
            case Step.VOTE:
                return self._pass_on(step, self._draw.committee)
            case _:
                return self._pass_on(step)

    def _boxes(self) -> list[Out]:
        """To each of the committee, what was sealed for it."""
        committee, size = self._draw.committee, self._draw.roster.params.part_bytes
        parts: dict[int, list[bytes]] = {member: [] for member in committee}
        for author, body in self._said[Step.SHARES].items():
            others = [member for member in committee if member != author]
            if len(body) == size * len(others):  # one of another length is nobody's
                head = item_head(author, size)
                for k, member in enumerate(others):
                    parts[member] += (head, body[k * size : (k + 1) * size])
        boxes = {member: b"".join(items) for member, items in parts.items()}
        self._through[Step.SHARES] = boxes
        return [self._out(member, Step.SHARES, body) for member, body in boxes.items() if member in self._places]

    def _propose(self) -> list[Out]:
        assert self._member.index is not None
        body = propose(self._draw, self._member.keys, self._member.index, self._said[Step.REPORT])
        if body is None:
            self._until = None
            return []
        Proposal(self._draw, Item(self._member.index, body))
        return self._to_all(Step.PROPOSAL, pack([Item(self._member.index, body)]))

    def _pass_on(self, step: Step, to: Iterable[int] | None = None) -> list[Out]:
        return self._to_all(step, pack(Item(a, body) for a, body in sorted(self._said[step].items())), to)

    def _to_all(self, step: Step, body: bytes, to: Iterable[int] | None = None) -> list[Out]:
        self._through[step] = body if to is None else dict.fromkeys(to, body)
        data = _message(self._member.run, step, body)
        return [Out(self._places[member], data) for member in (self._places if to is None else to) if member in self._places]

    def _out(self, member: int, step: Step, body: bytes) -> Out:
        return Out(self._places[member], _message(self._member.run, step, body))


def _message(run: Run, step: Step, body: bytes) -> bytes:
    return encode(Message(step, True, run.attempt, run.epoch, run.room, body))
