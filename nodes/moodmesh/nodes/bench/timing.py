"""bench timing: does the time of an operation tell something about a secret? (pairing §10.10, room-mood §12.15; Reparaz et al.
2017, "dudect")

Two classes of input in random order, Welch's t between their times; |t| < 4.5 is what chance makes. The slowest times are
interruptions, not the operation, and are cut off at quantiles of both classes together. The reference in the same run is a
comparison that leaks: it shows what this instrument sees.
"""

from __future__ import annotations

import gc
import hmac
import math
import os
import random
import statistics
import struct
import time
from collections.abc import Callable, Iterator, Sequence

from moodmesh.mesh.pairing import spake2
from moodmesh.nodes.bench.report import Report
from moodmesh.nodes.cli.output import progress
from moodmesh.privacy.raw import EmotionVector
from moodmesh.privacy.release.mechanism import Ambient, Circle, Mechanism, OnDemand

RUNS, QUICK = 100_000, 10_000
GOAL = 4.5
CROPS = (1.0, 0.95, 0.8, 0.5)
Operation = Callable[[bytes], object]


def run(quick: bool) -> Report:
    """The comparisons of a confirmation and of the API's token, everything that touches w, and the encoding of moods."""
    report, count = Report("timing", quick), QUICK if quick else RUNS
    with progress("timing") as bar:
        timed = cases()
        for done, (what, operation, inputs) in enumerate(timed):
            bar(done / len(timed), f"timing {what}")
            report.rows.append({"what": what, "n": count, "t": round(t_of(operation, inputs, count), 2)})
    ours = {row["what"]: row["t"] for row in report.rows if not row["what"].startswith("reference")}
    reference = next(row["t"] for row in report.rows if row["what"].startswith("reference"))
    worst = max(ours.values(), key=abs)
    report.notes.append(f"goal |t| < {GOAL}; the reference leaks by construction")
    report.summary = {"largest_t": worst, "goal": GOAL, "met": abs(worst) < GOAL, "reference_t": reference}
    return report


def cases() -> list[tuple[str, Operation, tuple[Callable[[], bytes], Callable[[], bytes]]]]:
    """What is timed: a name, the operation, and how an input of each class is made."""
    mac, token = os.urandom(32), f"Bearer {os.urandom(32).hex()}".encode()
    secret, fixed = spake2.secret_scalar(), spake2.secret_scalar()
    theirs = spake2.share(spake2.secret_scalar(), fixed, spake2.N)

    def wrong(text: bytes, at: int) -> Callable[[], bytes]:
        found = text[:at] + bytes([text[at] ^ 1]) + text[at + 1 :]
        return lambda: found

    def leaking(given: bytes) -> bool:
        return all(a == b for a, b in zip(given, mac, strict=True))

    def either() -> tuple[Callable[[], bytes], Callable[[], bytes]]:
        return (lambda: fixed), spake2.secret_scalar

    return [
        ("confirmation, first or last byte wrong", lambda x: hmac.compare_digest(x, mac), (wrong(mac, 0), wrong(mac, 31))),
        ("token, first or last byte wrong", lambda x: hmac.compare_digest(x, token), (wrong(token, 7), wrong(token, 70))),
        ("share, one w or any", lambda w: spake2.share(secret, w, spake2.M), either()),
        ("shared key, one w or any", lambda w: spake2.shared(secret, w, theirs, spake2.N), either()),
        ("transcript and keys, one w or any", lambda w: spake2.key_schedule(
            spake2.transcript(b"a", b"b", theirs, theirs, theirs, w[::-1]), b""), either()),
        *encodings(),
        ("reference: a comparison that stops at the first difference", leaking, (wrong(mac, 0), wrong(mac, 31))),
    ]  # fmt: skip


def encodings() -> Iterator[tuple[str, Operation, tuple[Callable[[], bytes], Callable[[], bytes]]]]:
    """What a device does with a mood before anything of it leaves, by kind of room: glad or sad, within the disc or beyond."""
    mechanisms: tuple[Mechanism, ...] = (Circle(), OnDemand(4), Ambient.within(30))

    def at(valence: float, arousal: float) -> Callable[[], bytes]:
        return lambda: struct.pack("<dd", valence, arousal)

    def encoding(how: Mechanism) -> Operation:
        def encode(mood: bytes) -> object:
            valence, arousal = struct.unpack("<dd", mood)
            return how.encode(EmotionVector(valence, arousal, valence_sd=0.1, arousal_sd=0.1, at=0.0))

        return encode

    for how in mechanisms:
        yield f"encoding for a room ({how.kind}), glad or sad", encoding(how), (at(0.8, 0.5), at(-0.8, -0.5))
        yield f"encoding for a room ({how.kind}), within the disc or beyond", encoding(how), (at(0.3, 0.2), at(1.0, 0.9))


def t_of(operation: Operation, inputs: tuple[Callable[[], bytes], Callable[[], bytes]], count: int) -> float:
    """Welch's t of the two classes, the one of largest size over the crops."""
    draw, clock = random.Random(1), time.perf_counter_ns  # noqa: S311 - only the order of classes
    classes = [draw.randrange(2) for _ in range(count)]
    data = [bytes(bytearray(inputs[which]())) for which in classes]  # each a fresh copy, made in the same way
    times: tuple[list[int], list[int]] = ([], [])
    gc.disable()
    try:
        for which, each in zip(classes, data, strict=True):
            began = clock()
            operation(each)
            times[which].append(clock() - began)
    finally:
        gc.enable()
    ordered = sorted(times[0] + times[1])
    limits = (ordered[min(len(ordered) - 1, int(share * len(ordered)))] for share in CROPS)
    return max((welch(*([t for t in each if t <= limit] for each in times)) for limit in limits), key=abs)


def welch(a: Sequence[float], b: Sequence[float]) -> float:
    """Welch's t; 0 where it cannot be told: too few, or nothing varies."""
    if min(len(a), len(b)) < 2:
        return 0.0
    spread = math.sqrt(statistics.variance(a) / len(a) + statistics.variance(b) / len(b))
    return (statistics.fmean(a) - statistics.fmean(b)) / spread if spread else 0.0
