"""The test vectors of RoomSum under docs/vectors. `python tests/vectors.py` writes them anew; a test holds them to the code.

All that is chance in the protocol comes here from SHA-256 of a counter, so that another implementation can follow every byte.
"""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np

from mesh.rooms import ROOM, RUN, Room, keys_of
from moodmesh.mesh.rid import pair_tag
from moodmesh.mesh.rooms import wire
from moodmesh.mesh.rooms.faults import Faults
from moodmesh.mesh.rooms.holder import genuine_report
from moodmesh.mesh.rooms.sitting import gatherers, room_tag
from moodmesh.mesh.rooms.transcript import Channel, Draw, Params, Roster, Seat, claimed, seated
from moodmesh.mesh.rooms.wire import Item, Malformed, Step
from moodmesh.privacy.release.audit import solvable
from moodmesh.privacy.release.budget import Caps, exceeded, total
from moodmesh.privacy.release.gaussian import DELTA, SENSITIVITY, mu_of, sigma_for
from moodmesh.privacy.release.mechanism import Ambient, Circle, OnDemand, Price, quantise
from moodmesh.privacy.release.privunit import EPSILONS, randomiser
from moodmesh.privacy.sums.committee import size
from moodmesh.privacy.sums.decoding import Undecodable, correctable, decode
from moodmesh.privacy.sums.field import P
from moodmesh.privacy.sums.shamir import combine, share

FOLDER = Path(__file__).parents[1] / "docs" / "vectors"
NAMES = ("anna", "ben", "cleo", "dan", "eve")


@contextmanager
def chance(seed: bytes) -> Iterator[None]:
    """`os.urandom`, of the field: SHA-256(seed | u32 counter), block after block, a new block for each call."""
    count = 0

    def drawn(size: int) -> bytes:
        nonlocal count
        found = b""
        while len(found) < size:
            found += hashlib.sha256(seed + count.to_bytes(4, "little")).digest()
            count += 1
        return found[:size]

    with mock.patch("moodmesh.privacy.sums.field.os.urandom", drawn):
        yield


def refused(read: Callable[[], object]) -> str:
    """Why bytes are no message; an AssertionError when they are."""
    try:
        found = read()
    except (Malformed, Undecodable) as error:
        return str(error)
    assert found in (None, False), "a negative vector that is taken"
    return "not genuine"


def negative(what: str, data: bytes, read: Callable[[bytes], object]) -> dict[str, str]:
    return {"what": what, "hex": data.hex(), "refused": refused(lambda: read(data))}


def room_of(kind: str, n: int, disputed: bool = False) -> tuple[Room, dict[Step, bytes]]:
    """A whole run with known keys and shares, and the first batch of each step that its relay passed on. `disputed`: the
    holder with index 3 takes 1 more for the value of the sender with index 1 than it was sent."""
    room, passed = Room(n, kind, keys=[keys_of(RUN, name) for name in NAMES[:n]]), dict[Step, bytes]()

    def kept(place: int, data: bytes) -> list[bytes]:
        passed.setdefault(wire.decode(data).step, data)
        return [data]

    def said(place: int, data: bytes) -> list[bytes]:
        member = room.members[place]
        if disputed and wire.decode(data).step is Step.REPORT and member.index == 3 and member.holder is not None:
            member.holder._shares[1] = member.holder._shares[1] + np.array([[1], [0], [0]])
        return [data]

    room.passed, room.said = kept, said
    with chance(seed(kind)):
        return room.set_up().open(), passed


def seed(kind: str) -> bytes:
    return b"moodmesh vectors " + kind.encode()


def messages() -> dict[str, Any]:
    """Everything that is said in a run, and bytes that are nothing of it."""
    runs = [run_of("on-demand", 5), run_of("on-demand", 5, disputed=True), run_of("circle", 3)]
    return {"randomness": HOW, "runs": runs, "negative": bad_messages()}


HOW = (
    "blocks SHA-256('moodmesh vectors ' | kind | u32 counter), a new block for each draw; 4 bytes a number, top bit cleared, "
    "drawn again if it is p. Members share in the order of `keys`: first the masks, then the coefficients, degree by degree."
)


def run_of(kind: str, n: int, disputed: bool = False) -> dict[str, Any]:
    room, passed = room_of(kind, n, disputed)
    said = [
        {"member": NAMES[place], "index": room.members[place].index, "step": m.step.name, "hex": wire.encode(m).hex()}
        for place, m in room.heard
    ]
    opened = room.members[0].opened
    told = {"sum": list(opened.sums), "contributors": sorted(opened.contributors)} if opened else {"sum": None}
    return {
        "kind": kind,
        "keys": [private(name) for name in NAMES[:n]],
        "params": room.draw.roster.params.canonical().decode(),
        "values": {NAMES[k]: list(person.value) for k, person in enumerate(room.people)},
        "said": unique(said),
        "passed on first": {step.name: data.hex() for step, data in sorted(passed.items())},
        **told,
        "excluded": sorted(room.members[0].faults.excluded),
    }


def unique(said: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return list({entry["hex"]: entry for entry in said}.values())


def private(name: str) -> dict[str, str]:
    keys = keys_of(RUN, name)
    found = {"x": keys.x.private_bytes_raw(), "e": keys._e.private_bytes_raw(), "x_pub": keys.x_pub, "e_pub": keys.e_pub}
    return {"name": name, **{key: value.hex() for key, value in {**found, "nonce": keys.nonce}.items()}}


def bad_messages() -> list[dict[str, str]]:
    room, _ = room_of("on-demand", 5)
    draw, good = room.draw, {m.step: (room.members[place].index, m) for place, m in room.heard}
    whole, seat = wire.encode(good[Step.SUM][1]), good[Step.JOIN][1].body
    author, report = good[Step.REPORT]
    reveal = good[Step.REVEAL][1].body
    small = (1).to_bytes(32, "little") + seat[32:]
    return [
        negative("an envelope cut short", whole[:43], wire.decode),
        negative("version 2", b"\x02" + whole[1:], wire.decode),
        negative("a step that does not exist", whole[:1] + b"\x0d" + whole[2:], wire.decode),
        negative("a zero that is none", whole[:3] + b"\x01" + whole[4:], wire.decode),
        negative("a batch with two items of one author", wire.pack([Item(1, b"a"), Item(1, b"b")]), wire.unpack),
        negative("a batch cut short", wire.pack([Item(1, b"abc")])[:-1], wire.unpack),
        negative("a bitmap of five with a sixth bit", b"\x20", lambda data: wire.members_of(data, 5)),
        negative("a number that is the modulus", wire.numbers([P]), lambda data: wire.read_numbers(data, P)),
        negative("S1 of another length", seat[:-1], Seat.read),
        negative("S1 with a key of small order", small, Seat.read),
        negative("S1 signed for another run", seat, lambda data: Seat.read(data).genuine(RUN._replace(attempt=2))),
        negative("S1 with a byte changed", seat[:64] + bytes([seat[64] ^ 1]) + seat[65:], lambda d: Seat.read(d).genuine(RUN)),
        negative("S2 with another nonce", bytes(32) + reveal[32:], lambda data: draw.roster.reveal(0, data)),
        negative("R2a of another member", report.body, lambda data: genuine_report(draw, Item((author + 1) % 5, data))),
    ]  # fmt: skip


def transcript() -> dict[str, Any]:
    """Roster, beacon, context, committee, relays, keys of a channel, a sealed share."""
    draw = room_of("on-demand", 5)[0].draw
    keys = {k.e_pub: k for k in (keys_of(RUN, name) for name in NAMES)}
    a, b = (keys[draw.roster.seats[i].e_pub] for i in (0, 1))
    one, other = Channel(a, draw, 0, 1), Channel(b, draw, 1, 0)
    sealed = one.seal(bytes(24))
    elsewhere = Draw(Roster(RUN._replace(attempt=2), draw.roster.seats, draw.roster.params), draw.nonces)
    return {
        "run": {"room": ROOM.hex(), "epoch": RUN.epoch, "attempt": RUN.attempt},
        "tag": room_tag(ROOM, RUN.epoch).hex(),
        "gatherers": [rid.hex() for rid in gatherers(ROOM, RUN.epoch, [bytes([k]) * 16 for k in range(5)])],
        "identifiers": identifiers(),
        "claim": claim(),
        "roster": [seat.body.hex() for seat in draw.roster.seats],
        "params": draw.roster.params.canonical().decode(),
        "roster_hash": draw.roster.hash.hex(),
        "beacon": draw.beacon.hex(),
        "ctx": draw.ctx.hex(),
        "relays": list(draw.relays),
        "challenge": {
            "list_hash": bytes(32).hex(),
            "chi": [[draw.challenge(bytes(32), i, r, P) for r in (0, 1)] for i in range(5)],
        },
        "channel": {
            "of": [0, 1],
            "first_to_second": one._send.hex(),
            "second_to_first": one._receive.hex(),
            "plain": bytes(24).hex(),
            "sealed": sealed.hex(),
            "negative": [
                negative("in the other direction", sealed, one.open),
                negative("in another attempt", sealed, Channel(b, elsewhere, 1, 0).open),
                negative("with a byte changed", sealed[:-1] + bytes([sealed[-1] ^ 1]), other.open),
                negative("in a later epoch", (RUN.epoch + 1).to_bytes(8, "little") + sealed[8:], other.open),
            ],
        },
        "sampled": sampled(),
    }


def identifiers() -> list[dict[str, str]]:
    """What a pair recognises of each other's random rid, by its secret."""
    secret = b"k" * 32
    return [
        {"k_pair": secret.hex(), "rid": rid.hex(), "tag": pair_tag(secret, rid).hex()} for rid in (bytes(16), bytes(range(16)))
    ]


def claim() -> dict[str, Any]:
    """A paired device's word that a key of the roster is its own."""
    keys, device = keys_of(RUN, "anna"), "a" * 52
    proof = keys.claim(device)

    def taken(of: str = device, epoch: int = RUN.epoch, room: bytes = ROOM) -> Callable[[bytes], bool]:
        return lambda data: claimed(keys.e_pub, data, room, epoch, of)

    assert taken()(proof)
    return {
        "device": device,
        "e_pub": keys.e_pub.hex(),
        "proof": proof.hex(),
        "negative": [
            negative("of another device", proof, taken(of="b" * 52)),
            negative("in another epoch", proof, taken(epoch=RUN.epoch + 1)),
            negative("in another room", proof, taken(room=bytes(32))),
            negative("S1's own signature", Seat.read(keys.join()).sig, taken()),
        ],
    }


def sampled() -> dict[str, Any]:
    """Committees of 100: members are SHA-256('member' | u16 i) as signing key, everything else of S1 zero."""
    m, t = size(100)
    bodies = [
        bytes([1]) + k.to_bytes(31, "little") + hashlib.sha256(b"member" + wire_u16(k)).digest() + bytes(96)
        for k in range(2, 102)
    ]
    draws = [Draw(Roster(RUN, seated(bodies), Params("on-demand", 5, m, t)), (bytes([k]) * 32,) * 100) for k in range(3)]
    return {"n": 100, "m": m, "t": t, "draws": [{"beacon": d.beacon.hex(), "committee": list(d.committee)} for d in draws]}


def wire_u16(value: int) -> bytes:
    return value.to_bytes(2, "little")


def sums() -> dict[str, Any]:
    """Thresholds, sharing, decoding, and who is excluded."""
    return {
        "p": P,
        "committees": [{"n": n, "m": m, "t": t, "hostile": 2 * t - m - 1} for n in NS for m, t in [size(n)]],
        "sharing": [shared(t, m, secret) for t, m, secret in ((3, 5, 77), (4, 5, P - 1), (7, 10, 0), (21, 30, 4096))],
        "decoding": [decoded(wrong) for wrong in ({}, {2: 1}, {0: 5, 9: 7}, {1: 1, 2: 2, 3: 3})],
        "excluded": [excluded(faults) for faults in FAULTS],
    }


NS = (3, 5, 6, 7, 8, 10, 16, 20, 30, 40, 50, 64, 65, 100, 200, 300, 500, 1000)


FAULTS = (Faults(frozenset({4})), Faults(disputes=frozenset({(1, 2)})), Faults(disputes=frozenset({(1, 2), (1, 3), (4, 3)})))


def excluded(faults: Faults) -> dict[str, Any]:
    marks = {"suspects": sorted(faults.suspects), "disputes": [list(pair) for pair in sorted(faults.disputes)]}
    return {**marks, "excluded": sorted(faults.excluded)}


def shared(t: int, m: int, secret: int) -> dict[str, Any]:
    with chance(b"moodmesh vectors sharing"):
        shares = share(np.array([secret]), t, m)[:, 0]
    assert combine(range(1, t + 1), shares[:t, None]).tolist() == [secret]
    return {
        "t": t,
        "m": m,
        "secret": secret,
        "randomness": "SHA-256('moodmesh vectors sharing' | u32 counter)",
        "shares": shares.tolist(),
    }


def decoded(wrong: dict[int, int]) -> dict[str, Any]:
    """Of ten shares of which four open the sum, these are changed by adding."""
    with chance(b"moodmesh vectors decoding"):
        shares = share(np.array([123456789]), 4, 10)
        for holder, by in wrong.items():
            shares[holder] = (shares[holder] + by) % P
        told: dict[str, Any] = {"t": 4, "shares": shares[:, 0].tolist(), "correctable": correctable(10, 4)}
        try:
            found = decode(range(1, 11), shares, 4)
        except Undecodable as error:
            return {**told, "refused": str(error)}
    return {**told, "value": found.values.tolist()[0], "wrong": sorted(found.wrong)}


def release() -> dict[str, Any]:
    """Encodings, noise, prices and what the ledger adds up; real numbers with nine digits."""
    return {
        "circle": [{"mood": [x, y], "encoded": list(quantise(x, y))} for x, y in ((0.5, -0.5), (1.0, 0.0), (0.3, 0.7001))],
        "directions": [directions(eps) for eps in EPSILONS],
        "mu": [{"eps": eps, "delta": DELTA, "mu": nine(mu_of(eps))} for eps in (0.5, 1, 2, 4, 8, 16, 32, 48)],
        "sensitivity": SENSITIVITY,
        "sigma": [
            {"n": n, "eps_room": room, "eps_alone": alone, "sigma": sigma_for(n, 6, room, alone)}
            for n in (22, 30, 100, 1000) for room, alone in ((4, 16), (2, 8))
        ],
        "bounds": [
            {"kind": how.kind, "contributors": n, "bound": nine(how.bound(n))}
            for n in (3, 5, 30) for how in (Circle(), OnDemand(1), OnDemand(2), OnDemand(4), Ambient.within(30))
        ],
        "ledger": [spent(releases) for releases in LEDGERS],
        "circles": [{"sets": s, "solvable": solvable(s) is not None} for s in CIRCLES],
    }  # fmt: skip


def directions(eps: int) -> dict[str, Any]:
    r = randomiser(eps)
    table = hashlib.sha256(json.dumps(r.table).encode()).hexdigest()
    first = [list(r.table[j]) for j in (0, 1, 1024, 4095)]
    told = {"eps": eps, "k": r.half, "inside": r.inside, "stretch": nine(r.stretch), "total": r.total}
    return {**told, "at 0, 1, 1024, 4095": first, "sha256 of the table as JSON": table}


AMBIENT, REPORT_2, REPORT_4 = Ambient.within(30).price(15), OnDemand(2).price(1), OnDemand(4).price(1)
LEDGERS: tuple[list[tuple[int, Price]], ...] = (
    [], [(0, AMBIENT)], [(k, AMBIENT) for k in range(6)], [(k, AMBIENT) for k in range(31)], [(0, REPORT_2), (0, AMBIENT)],
    [(0, REPORT_2), (1, REPORT_2)], [(0, REPORT_4)], [(0, Ambient.within(30).price(1))],
)  # fmt: skip
CIRCLES = (["ABC"], ["AB"], ["ABC", "ABCD"], ["ABC", "ABCDE"], ["ABC", "DEF"], ["ABCD", "ABEF", "CDEF"])


def spent(releases: list[tuple[int, Price]]) -> dict[str, Any]:
    """What releases cost together, and whether one more, as the last or the default ambient one, would be refused, and why."""
    now, new = (releases[-1][0], releases[-1][1]) if releases else (0, AMBIENT)
    told = [{"epoch": epoch, "pure": p.pure, "room": nine(p.room), "alone": nine(p.alone)} for epoch, p in releases]
    sums_of = total(price for _, price in releases)
    one_more = exceeded(releases, new, now, Caps())
    return {
        "releases": told,
        "eps_room": nine(sums_of.room),
        "eps_alone": nine(sums_of.alone),
        "one more": one_more or "allowed",
    }


def nine(value: float) -> float:
    return float(f"{value:.9g}")


FILES = {"messages.json": messages, "transcript.json": transcript, "sums.json": sums, "release.json": release}


def text(name: str) -> str:
    """A file as it should be."""
    return json.dumps(FILES[name](), indent=1, ensure_ascii=True) + "\n"


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parent))
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (FOLDER / name).write_text(text(name), encoding="ascii")
