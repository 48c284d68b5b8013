"""Who plays: which kind of room so many people have, who comes, goes and crashes when, and how late the next epoch is."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal, NamedTuple

from moodmesh.mesh.rooms.wire import MOST_MEMBERS
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.rooms.model import Descriptor, Eps
from moodmesh.nodes.rooms.person import mechanism
from moodmesh.privacy.release.budget import Caps, exceeded
from moodmesh.privacy.release.mechanism import LEAST, Kind, Price

PROCESSES = 12
"""The most people who get a daemon each; more of them live in one process."""
ROUGHEST = 14
"""With fewer people, epsilon 2 would drown their mood (room-mood §2.2)."""
MOVES = 15
"""One in so many people comes, goes or crashes at a time; at least one."""
SPAN_S = {"circle": 2.0, "on-demand": 2.0, "ambient": 14.0}
"""How long a run takes about: whoever crashes within it does so at some moment of this."""
What = Literal["joins", "leaves", "crashes", "returns"]


class Move(NamedTuple):
    """Somebody does something before an epoch, or crashes within it."""

    what: What
    who: int
    within: bool = False


def kind_for(people: int, asked: Kind | None = None) -> tuple[Kind, Eps]:
    """The kind of room, and the epsilon of an on-demand one; `UsageError` for what can be no room."""
    if people < LEAST["circle"]:
        raise UsageError(
            f"--people {people}: two people never get a room mood, since each would subtract his own and know the other's; "
            f"from {LEAST['circle']} on there is one"
        )
    if people > MOST_MEMBERS:
        raise UsageError(f"--people {people}: a room has at most {MOST_MEMBERS}")
    usual: Kind = "ambient" if people >= LEAST["ambient"] else "on-demand" if people >= LEAST["on-demand"] else "circle"
    kind = asked or usual
    if people < LEAST[kind]:
        raise UsageError(f"--kind {kind} needs at least {LEAST[kind]} people, here are {people}: its mean would be too rough")
    if kind == "circle" and people > PROCESSES:
        raise UsageError(f"--kind circle is of people who are all paired with each other: here at most {PROCESSES}")
    return kind, (4 if people < ROUGHEST else 2) if kind == "on-demand" else 0


def late(people: int, kind: Kind) -> list[int]:
    """Who is not there from the beginning: nobody, where everybody is needed."""
    few = max(1, people // MOVES)
    return list(range(people - few, people)) if kind != "circle" and people - few >= LEAST[kind] else []


def moves(people: int, kind: Kind, epochs: int, seed: int) -> list[list[Move]]:
    """What happens at each epoch. The first person stays throughout: somebody has to tell the story."""
    chance, few = random.Random(seed), max(1, people // MOVES)  # noqa: S311 - who acts, nothing secret
    plan: list[list[Move]] = [[] for _ in range(epochs)]
    crashed: list[int] = []
    left: list[int] = []
    for epoch, now in enumerate(plan):
        now += [Move("returns", who) for who in crashed] + [Move("joins", who) for who in left]
        away = {*crashed, *left, *(late(people, kind) if epoch < 2 else ())}
        others = [who for who in range(1, people) if who not in away]
        some, crashed, left = chance.sample(others, min(few, len(others))), [], []
        match epoch % 6:
            case 1 if epoch == 1:
                now += [Move("joins", who) for who in late(people, kind)]
            case 2:
                crashed = some
                now += [Move("crashes", who, within=True) for who in some]
            case 3:
                left = some
                now += [Move("leaves", who) for who in some]
            case 5:
                now += [Move("crashes", who) for who in some] + [Move("returns", who) for who in some]
            case _:
                pass
    return plan


def next_epoch(room: Descriptor, people: int, charges: Sequence[tuple[int, Price]], after: int) -> tuple[int, Price, str]:
    """The first epoch after one at which budgets allow another release, what that costs, and why not the very next."""
    caps, why = Caps(), ""
    price = mechanism(room, people).price(max(1, people // 2))
    epoch = after + 1
    while (refused := exceeded(charges, price, epoch, caps)) is not None:
        epoch, why = epoch + 1, refused
    return epoch, price, why
