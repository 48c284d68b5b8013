"""bench fuzz: every parser that faces a peer, a stranger or a web page, under edits of valid input (pairing §9, line 14).

A parser may answer or raise the one error it declares; anything else is a crash, and more than a second is a hang.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from moodmesh.mesh import frames, welcome
from moodmesh.mesh.artefacts import messages as artefacts
from moodmesh.mesh.artefacts.manifest import manifest_of
from moodmesh.mesh.ble import frames as ble
from moodmesh.mesh.ble import payload
from moodmesh.mesh.discovery import datagram, mdns
from moodmesh.mesh.errors import BadMessage, PairingFailed
from moodmesh.mesh.pairing import messages as pairing
from moodmesh.mesh.rooms import wire
from moodmesh.mesh.rooms.transcript import Run
from moodmesh.mesh.seams import Beacon, Envelope
from moodmesh.nodes.api.jobs import AdoptRequest, JobRequest
from moodmesh.nodes.api.pairing import JoinRequest
from moodmesh.nodes.api.peers import AllowRequest
from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.cli.output import progress
from moodmesh.nodes.errors import UsageError
from moodmesh.nodes.jobs.parts import join, split
from moodmesh.nodes.kinds import parse
from moodmesh.nodes.rooms import model as rooms

RUNS, QUICK = 1_000_000, 10_000
HANG_S = 1.0
JOB, SHA = "0123456789abcdef" * 2, "ab" * 32
HEAD: dict[str, Any] = {"job": JOB, "attempt": 3}
BLOB = {"size": 3, "inline": "YWJj"}
VARIANT = {
    "quality": 2, "memory_mb": 90, "mean": 0.5, "log_mean": -0.7, "log_var": 0.3, "count": 4, "guess": False, "load_s": 1.0,
}  # fmt: skip
PROVENANCE = {
    "device": "d" * 52, "engine": "process", "pid": 7, "task": "emotion.text", "version": 1, "variant": "tiny", "model": "m",
    "model_sha256": SHA, "seed": 5, "input_sha256": SHA, "output_sha256": {"value": SHA}, "started": 1.8e9, "finished": 1.8e9,
    "seconds": 0.5, "load_s": 0.1,
}  # fmt: skip
TABLE = {"why": "soonest", "rows": [
    {"device": "d" * 52, "name": "kitchen", "variant": "tiny", "chosen": True,
     "terms": {"total": 0.5}, "notes": {"guess": True}},
    {"device": "e" * 52, "name": "den", "chosen": False, "terms": {}, "notes": {}, "gate": {"name": "memory", "detail": "x"}},
]}  # fmt: skip
SEEN = {
    "id": JOB, "task": "emotion.text", "version": 1, "personal": True, "variant": "tiny", "on": "d" * 52, "quality": "best",
    "by_s": 3.0, "expire_s": 9.0, "seed": 5, "given": ["lines"], "units": 3.0, "input_bytes": 1, "result_bytes": 2,
    "input_sha256": SHA, "adopted_from": JOB, "parent": JOB, "warrant": "5" * 128,
    "escalation": {"share": 0.3, "measure": "r", "figures": {"tiny+base": 0.4}, "sent": 2, "of": 9, "why": "", "ran_on": "den"},
    "created": 1.8e9, "finished": 1.8e9, "status": "SUCCEEDED", "substate": "", "message": "",
    "share": 1.0, "winner": 3, "now": TABLE, "lines": [{"attempt": 3, "seq": 1, "at": 1.8e9, "line": "x"}],
    "attempts": [{"number": 3, "device": "d" * 52, "name": "kitchen", "variant": "tiny", "state": "COMMITTED", "created": 1.8e9,
                  "reserved": 1.8e9, "started": 1.8e9, "finished": 1.8e9, "message": "x", "table": TABLE}],
}  # fmt: skip
JOB_MESSAGES: dict[str, dict[str, Any]] = {
    "capability": {"revision": 1, "engine": "ray", "slots": 2, "own": True, "cores": 4, "gpus": ["A 1 MB"],
                   "tasks": {"emotion.text": {"version": 1, "variants": {"tiny": VARIANT}}}},
    "dynamic": {"revision": 1, "valid_s": 10.0, "free_slots": 1, "running": [0.5], "queue": {"a/b": [2, 1.5]}, "power": "ok",
                "quiet": False, "active": "limited", "memory_free_mb": 10, "disk_free_mb": 10, "loaded": ["a/b"]},
    "reserve": HEAD | {"task": "emotion.text", "version": 1, "variant": "tiny", "units": 3.0, "input_bytes": 1,
                       "result_bytes": 2, "personal": True, "waited": 0.0},
    "room": {"way": 1, "opened": True, "data": "AAEC", "end": False},
    "room_member": {"tag": "01234567", "epoch": 3, "key": "0" * 64, "proof": "0" * 128},
    "mood": {"mood": '{"valence":1,"arousal":2}'},
    "room_invite": {"code": "moodroom1:" + "a" * 40},
    "granted": HEAD | {"start_in_s": 0.0},
    "refused": HEAD | {"gate": "memory", "detail": "too little"},
    "start": HEAD | {"params": {"lines": True}, "input": BLOB, "seed": 1, "parts": {"size": 7, "inline": "AAAAA2FiYw=="}},
    "started": HEAD | {"load_s": 0.0, "ago_s": 0.0},
    "progress": HEAD | {"share": 0.5},
    "log": HEAD | {"seq": 1, "line": "x"},
    "part": HEAD | {"index": 2, "data": "YWJj"},
    "part_ack": HEAD | {"held": 3},
    "result": HEAD | {"outputs": {"value": BLOB}, "provenance": PROVENANCE, "signature": "ab"},
    "result_ack": HEAD,
    "cancel": HEAD,
    "cancelled": HEAD | {"reason": "shutdown"},
    "withdraw": HEAD,
    "withdrawn": HEAD,
    "pool": {"held": [{"task": "a.b", "variant": "c", "count": 2, "units": 3.0, "size": 4, "oldest": [1.0, 9.5],
                       "newest": [2.0, 0.5]}],
             "waiting": [{"task": "a.b", "variant": "c", "units": 1.0, "input_bytes": 3, "remaining_s": 4.5}]},
    "take": {"task": "a.b", "variant": "c", "newest": False, "queued": True},
    "heartbeat": {"seq": 2, "echo": 1, "held_s": 0.1, "mine": [HEAD | {"phase": "RUNNING"}], "yours": []},
    "unsupported": {"what": "x"},
    "seek_model": {"sha256": SHA},
    "have_model": {"sha256": SHA, "artefact": SHA},
    "rights": {"actions": ["emotion.*"], "name": "kitchen"},
    "replica": {"job": SEEN},
    "inspect": {"ask": 1, "what": "stop", "job": "7f3a", "owner": "d" * 52, "warrant": "5" * 128},
    "inspected": {"ask": 1, "jobs": [SEEN], "refused": "ended"},
}  # fmt: skip
API_BODIES: Sequence[tuple[type[BaseModel], dict[str, Any]]] = (
    (JobRequest, {"task": "emotion.text", "params": {"lines": True}, "input": "YWJj", "by_s": 3, "seed": 1, "quality": "fast"}),
    (AdoptRequest, {"params": {"lines": True}, "input": "YWJj", "on": "kitchen", "public": True}),
    (JoinRequest, {"code": "37-482915", "at": "127.0.0.1:1"}),
    (AllowRequest, {"preset": None, "actions": ["emotion.*"], "limits": {"jobs_per_hour": 3, "hours": "8-18"}}),
)  # fmt: skip


@dataclass(frozen=True)
class Target:
    """A parser: valid inputs to edit, how to call it, and the errors it declares."""

    samples: Sequence[bytes]
    read: Callable[[bytes], object]
    errors: tuple[type[Exception], ...] = ()

    def takes(self, data: bytes) -> bool:
        """Whether it answers; a declared error is a no, any other passes through."""
        try:
            return self.read(data) is not None
        except self.errors:
            return False


def targets() -> dict[str, Target]:
    """Every parser."""
    found = {"hello": _hello(), "mdns": _mdns(), "frame": _frame(), "artefacts": _artefacts()}
    found |= {f"P{message.step}": _step(message) for message in _steps()}
    found |= {kind: _job_message(kind, body) for kind, body in JOB_MESSAGES.items()}
    found |= {"room bytes": _room(), "room code": _room_code()}
    found |= {"parts": Target([join([b"one", b"", bytes(40)])], split, (ValueError,))}
    found |= {"Bluetooth payload": _payload(), "Bluetooth frame": _ble_frame()}
    return found | {
        model.__name__: Target([_json(body)], model.model_validate_json, (ValueError,)) for model, body in API_BODIES
    }


def run(quick: bool) -> Report:
    """A million edited inputs to each parser; a crash ends the run with the input that made it."""
    report, count, longest = Report("fuzz", quick), QUICK if quick else RUNS, 0.0
    found = targets()
    with progress("fuzzing") as bar:
        for done, (name, target) in enumerate(found.items()):
            bar(done / len(found), f"fuzzing {name}")
            row = attack(name, target, count, seed=1)
            report.rows.append(row)
            longest = max(longest, row["longest_ms"])
    hangs = sum(row["longest_ms"] > 1000 * HANG_S for row in report.rows)
    report.summary = {"parsers": len(found), "inputs_each": count, "crashes": 0, "hangs": hangs, "longest_ms": longest}
    return report


def attack(name: str, target: Target, count: int, seed: int) -> dict[str, Any]:
    """Feed one parser; its row. AssertionError with the input when it crashes."""
    taken, longest, clock = 0, 0.0, time.perf_counter
    began = clock()
    for data in mutants(target.samples, count, seed):
        start = clock()
        try:
            taken += target.takes(data)
        except Exception as error:
            raise AssertionError(f"{name} crashed ({type(error).__name__}: {error}) on {data!r}") from error
        longest = max(longest, clock() - start)
    each = 1e6 * (clock() - began) / count
    return {"parser": name, "n": count, "taken": taken, "us_each": round(each, 1), "longest_ms": round(1000 * longest, 2)}


def mutants(samples: Sequence[bytes], count: int, seed: int = 1) -> Iterator[bytes]:
    """`count` edited samples; the same for the same seed."""
    draw = random.Random(seed)  # noqa: S311 - the same inputs each time is what is wanted
    for _ in range(count):
        data = bytearray(draw.choice(samples))
        for _ in range(draw.randint(1, 4)):
            draw.choice(_EDITS)(data, draw)
        yield bytes(data)


def _flip(data: bytearray, draw: random.Random) -> None:
    if data:
        data[draw.randrange(len(data))] ^= 1 << draw.randrange(8)


def _cut(data: bytearray, draw: random.Random) -> None:
    del data[draw.randint(0, len(data)) :]


def _remove(data: bytearray, draw: random.Random) -> None:
    start = draw.randint(0, len(data))
    del data[start : start + draw.randint(1, 8)]


def _insert(data: bytearray, draw: random.Random) -> None:
    start = draw.randint(0, len(data))
    data[start:start] = draw.choice((draw.randbytes(draw.randint(1, 8)), *_ODD))


def _repeat(data: bytearray, draw: random.Random) -> None:
    start = draw.randint(0, len(data))
    data[start:start] = data[start : start + 16] * draw.randint(1, 20)


_ODD = (b'"', b"{" * 300, b"[" * 300, b"NaN", b"1e999", b"-1", b"null", b"\\u0000", b'"\\ud800"', b"9" * 400, b'{"a":1,"a":2}')
_EDITS: Sequence[Callable[[bytearray, random.Random], None]] = (_flip, _cut, _remove, _insert, _repeat)


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body).encode()


def _hello() -> Target:
    shapes = ((16, None, None), (16, 7, 9), (256, None, None))
    samples = [datagram.Hello(datagram.Kind.ANNOUNCE, 4, b"r" * 16, 4711, (b"abcd",) * n, *shown) for n, *shown in shapes]
    return Target([sample.encode() for sample in samples], datagram.decode)


def _mdns() -> Target:
    record = mdns.txt(Beacon(b"r" * 16, 4711, (), 7, 4242))
    sample = "&".join(f"{key}={value}" for key, value in record.items()).encode()

    def read(data: bytes) -> object:
        parts = [part.partition(b"=") for part in data.split(b"&")]
        return mdns.read({key: value for key, _, value in parts}, "192.0.2.1", 4000, 0)

    return Target([sample], read)


def _frame() -> Target:
    good = welcome.Welcome(versions=(1,), features=("x",), rid="0" * 32, port=1, instance="0" * 16)
    caps = frames.Caps()

    def read(data: bytes) -> object:
        frames.decode(frames.Frame(True, data), caps)
        return welcome.parse(frames.decode(frames.Frame(False, data), caps))

    return Target([frames.encode(good.envelope(), caps).data], read, (BadMessage,))


def _artefacts() -> Target:
    manifest = manifest_of([b"x" * 10], "text/plain")
    samples = [
        artefacts.Offered(artefact=manifest.id, manifest=manifest).envelope().body,
        artefacts.Want(artefact=manifest.id, missing=artefacts.bitmap([3], 7), window=1).envelope().body,
        artefacts.Have(artefact=manifest.id, index=3).envelope().body,
    ]

    def read(data: bytes) -> object:
        found: object = None
        for model in (artefacts.Offered, artefacts.Want, artefacts.Have):
            try:
                found = artefacts.parse(model, Envelope("x", data))
            except BadMessage:
                continue
        artefacts.unpack_chunk(Envelope(frames.CHUNK, data))
        return found

    return Target(samples, read, (BadMessage,))


def _room() -> Target:
    run = Run(b"r" * 32, 5, 1)
    bodies = [wire.pack([wire.Item(0, bytes(160)), wire.Item(1, bytes(160))]), bytes(160), wire.bitmap([1, 3], 9)]
    messages = [
        wire.Message(step, batch, run.attempt, run.epoch, run.room, b)
        for step in wire.Step
        for batch in (False, True)
        for b in bodies
    ]

    def read(data: bytes) -> object:
        message = wire.decode(data)
        return wire.unpack(message.body) if message.batch else message

    return Target([wire.encode(message) for message in messages], read, (wire.Malformed,))


def _room_code() -> Target:
    room = rooms.create("kitchen", "on-demand", 4)
    return Target([room.code().encode()], lambda data: rooms.read_code(data.decode("utf-8", "replace")), (UsageError,))


def _payload() -> Target:
    slots = (b"abc", b"def")
    samples = [
        payload.Payload(bytes(size), slots, plate, room, 7)
        for size in (3, 15)
        for plate in (None, 42)
        for room in (False, True)
    ]
    return Target([sample.encode() for sample in samples], payload.decode)


def _ble_frame() -> Target:
    greetings = [ble.Greeting(kind, b"n" * ble.NONCE, 244) for kind in (ble.Kind.HELLO, ble.Kind.WELCOME, ble.Kind.BUSY)]
    bodies = {ble.Kind.OPEN: b"\x01", ble.Kind.DATA: b"x" * 40, ble.Kind.CREDIT: ble.credit(2048), ble.Kind.CLOSE: b""}
    framed = [ble.Framed(kind, 3, 1, body) for kind, body in bodies.items()]
    return Target([*[one.encode() for one in greetings], *[one.encode() for one in framed]], ble.decode)


def _job_message(kind: str, body: dict[str, Any]) -> Target:
    return Target([_json(body)], lambda data: parse(Envelope(kind, data)), (ValueError,))


def _step(message: pairing.Message) -> Target:
    return Target([message.encode().encode()], lambda data: pairing.decode(type(message), data), (PairingFailed,))


def _steps() -> Sequence[pairing.Message]:
    word, sealed = b"x" * 16, b"x" * 64
    versions: dict[str, Any] = {"versions": [1], "suites": list(pairing.SUITES)}
    return (
        pairing.P1(**versions, nameplate="37", x_g=word),
        pairing.P2(version=1, suite=pairing.SUITES[0], **versions, x_h=word, share=word * 2),
        pairing.P3(share=word * 2, confirm=word * 2),
        pairing.P4(confirm=word * 2),
        *(model(sealed=sealed) for model in (pairing.P5, pairing.P6, pairing.P7, pairing.P8)),
    )
