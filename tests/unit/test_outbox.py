"""What waits for a peer is bounded in bytes, and inputs and results, which their jobs hold anyway, wait once."""

from __future__ import annotations

import asyncio

from moodmesh.nodes.messages import MAX_LIVE, Blob, Cancel, LogLine, Reserve, Result, Unsupported
from moodmesh.nodes.outbox import ROOM, Outbox

JOB = "0" * 32


def large(n: int) -> Result:
    return Result(job=f"{n:032x}", attempt=1, outputs={"value": Blob.of(bytes(50_000))})


async def test_messages_come_out_in_order_and_make_room() -> None:
    box = Outbox(room=10_000)
    for n in range(8):
        assert box.put(LogLine(job=JOB, attempt=1, seq=n, line="x"))
    assert not all(box.put(LogLine(job=JOB, attempt=1, seq=n, line="x")) for n in range(8))
    for n in range(8):
        assert f'"seq":{n},' in (await box.get()).body.decode()
        assert box.put(Unsupported(what=str(n)))


async def test_a_reader_is_woken() -> None:
    box = Outbox()
    reading = asyncio.create_task(box.get())
    await asyncio.sleep(0)
    box.put(Unsupported(what="a"))
    assert (await reading).kind == "unsupported"


async def test_a_result_waits_once_and_again_after_it_was_written() -> None:
    box, result = Outbox(), large(1)
    assert all(box.put(result) for _ in range(100_000))
    assert (await box.get()).kind == "result"
    assert not box._waiting
    assert box.put(result)
    assert len(box._waiting) == 1


def test_everything_that_an_honest_pair_may_have_in_flight_fits() -> None:
    box = Outbox()
    for n in range(MAX_LIVE):
        ask = Reserve(
            job=f"{n:032x}", attempt=1, task="t" * 64, version=1, variant="v" * 64, units=1.0, input_bytes=2**40,
            result_bytes=2**40, personal=True, waited=1.0,
        )  # fmt: skip
        assert box.put(ask)
        assert box.put(Cancel(job=JOB, attempt=n + 1))
        assert box.put(large(n))


def test_a_flood_of_answers_does_not() -> None:
    box = Outbox()
    taken = sum(box.put(Unsupported(what="x" * 64)) for _ in range(50_000))
    assert 0 < taken < ROOM / 1024
