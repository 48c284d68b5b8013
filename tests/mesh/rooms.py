"""A room in one process, without clock or network: members, and a relay between them, any of which can be made to lie."""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from moodmesh.mesh.rooms.holder import Proposal
from moodmesh.mesh.rooms.member import Declined, Member
from moodmesh.mesh.rooms.relay import Gathering, Out, Relay
from moodmesh.mesh.rooms.transcript import Draw, Keys, Params, Roster, Run, digest, u16
from moodmesh.mesh.rooms.wire import MOST_MEMBERS, Item, Malformed, Message, Step, bitmap, decode, encode, pack
from moodmesh.privacy.sums.committee import size

ROOM, EPOCH = bytes(range(32)), 3_000_000
RUN = Run(ROOM, EPOCH, 1)
LATER = Run(ROOM, EPOCH + 1, 1)
SET_UP = (Step.JOIN, Step.REVEAL)
ORDER = [*SET_UP, Step.SEAT, *(step for step in Step if Step.SHARES <= step <= Step.SUM)]


class Someone:
    """A `Person` who sends `value`; how often it was asked to, and whether its right of the epoch is used up."""

    def __init__(self, value: Sequence[int], kind: str = "on-demand") -> None:
        self.value, self.kind = value, kind
        self.charges, self.used = 0, False

    def joining(self, keys: Keys) -> None:
        self.key = keys.e_pub

    def params(self, n: int) -> Params:
        if n < 3:
            raise Declined("too few")
        m, t = (n, n) if self.kind == "circle" else size(n)
        return Params(self.kind, 3, m, t)

    def welcome(self, e_pub: bytes) -> bool:
        return True

    def most(self) -> int:
        return MOST_MEMBERS

    def accepts(self, roster: Roster) -> None:
        pass

    def release(self, draw: Draw) -> Sequence[int]:
        self.charges += 1
        return self.value

    def once(self, draw: Draw, contributors: Collection[int]) -> bool:
        self.used, before = True, self.used
        return not before


def moods(n: int, seed: int = 1) -> list[tuple[int, int]]:
    chance = random.Random(seed)
    return [(chance.randint(-5000, 5000), chance.randint(-5000, 5000)) for _ in range(n)]


class Room:
    """`said` is what becomes of a member's words on their way to the relay, `passed` of the relay's to a member: both hooks get
    (place, bytes) and give what arrives. A place is where a member stands in `members`, not its index in the roster."""

    def __init__(
        self, n: int, kind: str = "on-demand", run: Run = RUN, people: Sequence[Someone] = (), keys: Sequence[Keys] = ()
    ) -> None:
        self.run, self.people = run, list(people) or [Someone(value, kind) for value in moods(n)]
        self.members = [Member(run, p, k) for p, k in zip(self.people, keys or [None] * n, strict=True)]
        self.said: Callable[[int, bytes], Iterable[bytes]] = lambda place, data: [data]
        self.passed: Callable[[int, bytes], Iterable[bytes]] = lambda place, data: [data]
        self.heard: list[tuple[int, Message]] = []
        self.errors: dict[int, Exception] = {}
        self.thrown: set[int] = set()
        self.withheld: frozenset[int] = frozenset()
        self.sharing: int | None = None
        self.now = 0.0

    @property
    def draw(self) -> Draw:
        return next(m.draw for m in self.members if m.draw is not None)

    def place(self, index: int) -> int:
        return next(i for i, m in enumerate(self.members) if m.keys.e_pub == self.draw.roster.seats[index].e_pub)

    def total(self, members: Iterable[int]) -> tuple[int, ...]:
        """What the values of these add up to, by index."""
        values = [self.people[self.place(i)].value for i in members]
        return tuple(sum(column) for column in zip(*values, strict=True))

    def steps(self, *steps: Step) -> list[tuple[int, Message]]:
        return [(place, message) for place, message in self.heard if message.step in steps]

    def set_up(self) -> Room:
        gathering = Gathering(self.run, dict.fromkeys(range(len(self.members)), b""), 10.0, self.people[0].params)
        self._pump(
            lambda place, m: gathering.hear(place, m, self.now), [(i, d) for i, m in enumerate(self.members) for d in m.join()]
        )
        while not gathering.done:
            self.now += 20.0
            self._pump(lambda place, m: gathering.hear(place, m, self.now), self._delivered(gathering.tick(self.now)))
        self.withheld = gathering.withheld
        return self

    def open(self, rank: int = 0, rounds: int = 8) -> Room:
        """Through the relay of this rank, with time passing whenever all else stands still."""
        me = self.draw.relays[rank]
        self.relay = relay = Relay(self.members[self.place(me)], self.now + 3.0)

        def hear(place: int, message: Message) -> list[Out]:
            return relay.hear(place, message, self.now)

        ready = [i for i, m in enumerate(self.members) if m.draw is not None]
        self._pump(hear, [(i, d) for i in ready for d in self.members[i].greet(me)])
        for i in ready:
            self._pump(hear, [(i, d) for d in self._contributed(i)])
        for _ in range(rounds):
            self.now += 3.1
            self._pump(hear, self._delivered(relay.tick(self.now)))
            self._pump(hear, [(i, d) for i in ready for d in self.members[i].lapse()])
        return self

    def _contributed(self, place: int) -> list[bytes]:
        self.sharing = place
        try:
            return self.members[place].contribute()
        except Declined as error:
            self.errors[place] = error
            return []

    def _pump(self, hear: Callable[[int, Message], list[Out]], said: Iterable[tuple[int, bytes]]) -> None:
        queue = deque(said)
        while queue:
            place, data = queue.popleft()
            for word in self.said(place, data) if place not in self.thrown else ():
                try:
                    message = decode(word)
                    self.heard.append((place, message))
                    queue.extend(self._delivered(hear(place, message)))
                except Malformed:
                    self.thrown.add(place)

    def _delivered(self, outs: Iterable[Out]) -> list[tuple[int, bytes]]:
        said: list[tuple[int, bytes]] = []
        for out in outs:
            for data in self.passed(out.place, out.data):
                try:
                    said += [(out.place, d) for d in self.members[out.place].hear(decode(data))]
                except (Malformed, Declined) as error:
                    self.errors[out.place] = error
        return said


def silent(gone: Collection[int], since: Step) -> Callable[[int, bytes], list[bytes]]:
    """A `said` by which these places vanish at a step."""
    after = ORDER[ORDER.index(since) :]
    return lambda place, data: [] if place in gone and decode(data).step in after else [data]


def batch(run: Run, step: Step, items: Iterable[Item]) -> bytes:
    """As a relay passes on."""
    return encode(Message(step, True, run.attempt, run.epoch, run.room, pack(items)))


def bodies(room: Room, step: Step) -> dict[int, bytes]:
    """What each member said in a step, by index; the last."""
    return {room.members[place].index: m.body for place, m in room.steps(step)}


def proposal(
    draw: Draw, keys: Keys, author: int, reports: dict[int, bytes], contributors: Iterable[int]
) -> tuple[Item, Proposal]:
    """To open whichever set its author likes."""
    n = draw.roster.n
    listed = dict(sorted(reports.items()))
    u, j = bitmap(contributors, n), bitmap(listed, n)
    list_hash = digest(*(u16(a) + b for a, b in listed.items()))
    item = Item(author, u + j + list_hash + keys.sign("R2b", draw.ctx, u, j, list_hash) + b"".join(listed.values()))
    return item, Proposal(draw, item)


def keys_of(run: Run, name: str) -> Keys:
    """The same for the same run and name."""
    x, e, nonce = (digest(b"test", kind, run.bytes, name.encode()) for kind in (b"x", b"e", b"n"))
    return Keys(run, nonce, X25519PrivateKey.from_private_bytes(x), Ed25519PrivateKey.from_private_bytes(e))
