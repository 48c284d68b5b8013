"""Streams over a line of frames: whole and in order or not at all, and bounded whatever the far end does."""

from __future__ import annotations

import asyncio
import gc
import random
import tracemalloc
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moodmesh.mesh.ble import frames, lane
from moodmesh.mesh.ble.frames import LARGEST, SMALLEST, Framed, Kind, credit
from moodmesh.mesh.ble.lane import HALF, STREAMS, WINDOW, Lane, LaneClosed

from .support import PORT, End, Line, Numbered, Tamper, line, settle, stuck

SENT = random.Random(1).randbytes(3 * WINDOW)
Chunks = list[bytes]
CHUNKS = st.lists(st.binary(min_size=1, max_size=1500), max_size=8)


@settings(max_examples=40, deadline=None)
@given(st.integers(SMALLEST, LARGEST), st.lists(st.tuples(CHUNKS, CHUNKS), min_size=1, max_size=3))
def test_bytes_arrive_whole_and_in_order_whatever_the_frame_size(
    most: int, streams: list[tuple[list[bytes], list[bytes]]]
) -> None:
    async def send(end: End, chunks: Chunks) -> None:
        for chunk in chunks:
            await end.say(chunk)

    async def one(joined: Line, up: Chunks, down: Chunks) -> None:
        ours, theirs = await joined.stream()
        sums = [sum(map(len, chunks)) for chunks in (up, down)]
        _, _, came_up, came_down = await asyncio.gather(
            send(ours, up), send(theirs, down), theirs.reader.readexactly(sums[0]), ours.reader.readexactly(sums[1])
        )
        assert came_up == b"".join(up)
        assert came_down == b"".join(down)
        await asyncio.gather(ours.close(), theirs.close())

    async def every() -> None:
        longest = 0

        def note(frame: bytes) -> list[bytes]:
            nonlocal longest
            longest = max(longest, len(frame))
            return [frame]

        async with line(most, note, note) as joined, asyncio.timeout(20):
            for up, down in streams:  # opened one after the other, as a pair of ends belongs together
                await one(joined, up, down)
        assert longest <= most

    asyncio.run(every())


async def test_a_stream_that_nobody_reads_does_not_hold_up_another() -> None:
    async with line() as joined:
        slow = await End.of(await joined.central.open(PORT))
        unread = await joined.accepted.get()
        slow.writer.write(SENT)
        await settle(500)
        fast, theirs = await joined.stream()
        fast.writer.write(SENT)
        assert await theirs.reader.readexactly(len(SENT)) == SENT
        unread.close()
        for end in (slow, fast, theirs):
            await end.close()


async def test_either_end_may_close_and_the_far_end_reads_the_rest_first() -> None:
    async with line() as joined:
        for closer in (0, 1):
            ends = await joined.stream()
            ends[closer].writer.write(SENT)
            await ends[closer].close()
            assert await ends[1 - closer].reader.read(-1) == SENT
            await ends[1 - closer].close()
        await settle()
        assert joined.central.streams == joined.peripheral.streams == 0
        assert joined.central.why is joined.peripheral.why is None


async def test_a_port_without_a_listener_ends_the_stream_and_not_the_lane() -> None:
    async with line() as joined:
        refused = await End.of(await joined.central.open(PORT + 1))
        assert await refused.reader.read() == b""
        await refused.close()
        ours, theirs = await joined.stream()
        ours.writer.write(b"still here")
        assert await theirs.reader.readexactly(10) == b"still here"
        await ours.close()
        await theirs.close()


async def test_a_ninth_stream_is_refused_at_both_ends() -> None:
    async with line() as joined:
        ends = [await joined.stream() for _ in range(STREAMS)]
        with pytest.raises(LaneClosed, match="too many"):
            await joined.central.open(PORT)
        await ends[0][0].close()
        await ends[0][1].close()
        await settle()
        ends[0] = await joined.stream()
        for ours, theirs in ends:
            await ours.close()
            await theirs.close()


async def test_a_lane_that_ends_ends_its_streams_at_both_ends() -> None:
    async with line() as joined:
        ours, theirs = await joined.stream()
        begun = await joined.central.open(PORT)  # its task has not run yet
        joined.central.close("out of reach")
        joined.peripheral.close("out of reach")
        assert await ours.reader.read() == await theirs.reader.read() == b""
        with pytest.raises(LaneClosed, match="out of reach"):
            await joined.central.open(PORT)
        assert await asyncio.get_running_loop().sock_recv(begun, 1) == b""
        begun.close()
        await ours.close()
        await theirs.close()
        assert joined.central.streams == joined.peripheral.streams == 0


async def test_an_error_of_the_radio_ends_the_lane_with_its_words() -> None:
    async def fails(frame: bytes) -> None:
        raise OSError("the adapter is gone")

    ended: list[str] = []
    broken = Lane(fails, 64, closed=ended.append)
    with pytest.raises(LaneClosed, match="the adapter is gone"):
        await broken.open(PORT)
    assert ended == ["the adapter is gone"]


# -- what is lost, doubled, swapped or cut short on the way ------------------------------------------------------------


def at(number: int, change: Callable[[bytes, list[bytes]], list[bytes]]) -> Tamper:
    """Change one frame, and see the next: what it held back may go then."""
    seen, held = 0, list[bytes]()

    def tamper(frame: bytes) -> list[bytes]:
        nonlocal seen
        seen += 1
        if seen == number:
            return change(frame, held)
        later, held[:] = held[:], []
        return [frame, *later]

    return tamper


def swap(frame: bytes, held: list[bytes]) -> list[bytes]:
    held.append(frame)
    return []


WRONGS: dict[str, Callable[[bytes, list[bytes]], list[bytes]]] = {
    "lost": lambda frame, held: [],
    "doubled": lambda frame, held: [frame, frame],
    "swapped": swap,
    "cut short": lambda frame, held: [frame[:-7]],
    "cut to its head": lambda frame, held: [frame[:3]],
}


async def delivered(wrong: str, number: int) -> tuple[bytes, bool]:
    """What arrives of SENT when one frame is tampered with, and whether the lane ended."""
    async with line(up=at(number, WRONGS[wrong])) as joined, asyncio.timeout(10):
        ours, theirs = await joined.stream()
        ours.writer.write(SENT)
        ours.writer.close()
        came = await theirs.reader.read(-1)
        ended = joined.peripheral.why is not None
        joined.central.close("no more credit comes")
        await ours.close()
        await theirs.close()
    return came, ended


@pytest.mark.parametrize("number", [2, 3, 17, 60])
@pytest.mark.parametrize("wrong", [wrong for wrong in WRONGS if wrong != "swapped"])
async def test_a_frame_gone_wrong_ends_the_lane_and_no_wrong_byte_arrives(
    wrong: str, number: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lane, "GAP_S", 0.3)
    came, ended = await delivered(wrong, number)
    assert ended
    assert len(came) < len(SENT)
    assert came == SENT[: len(came)]


@pytest.mark.parametrize("number", [2, 3, 17, 60])
async def test_swapped_frames_are_put_in_their_order(number: int) -> None:
    assert await delivered("swapped", number) == (SENT, False)


@pytest.mark.parametrize("wrong", ["lost", "doubled", "swapped"])
async def test_mutation_without_the_numbers_wrong_bytes_arrive(wrong: str, monkeypatch: pytest.MonkeyPatch) -> None:
    received = Lane.received

    def careless(self: Lane, frame: Framed | None) -> None:
        received(self, frame and Framed(frame.kind, self._heard % 256, frame.stream, frame.body))

    monkeypatch.setattr(Lane, "received", careless)
    came, _ = await delivered(wrong, 17)
    assert came != SENT[: len(came)]


async def test_mutation_without_the_size_a_frame_cut_short_is_taken_for_a_whole_one(monkeypatch: pytest.MonkeyPatch) -> None:
    framed = frames._framed

    def careless(kind: Kind, data: bytes) -> Framed | None:
        return Framed(kind, data[1], data[2], data[frames.DATA_HEAD :]) if kind is Kind.DATA else framed(kind, data)

    monkeypatch.setattr(frames, "_framed", careless)
    came, _ = await delivered("cut short", 17)
    assert came != SENT[: len(came)]


# -- whoever waits for a frame is cancelled ----------------------------------------------------------------------------


class Slow:
    """A radio that sends each frame when told to."""

    def __init__(self) -> None:
        self.frames: list[bytes] = []
        self.go = asyncio.Semaphore(0)

    async def send(self, frame: bytes) -> None:
        await self.go.acquire()
        self.frames.append(frame)


async def given_up() -> list[int]:
    """The numbers of the frames sent when somebody opens a stream, gives up while the radio is slow, and opens another."""
    slow = Slow()
    ours = Lane(slow.send, 64)
    first = asyncio.create_task(ours.open(PORT))
    await settle()
    first.cancel()
    await settle()
    assert ours.streams == 0, "its place is free again"
    second = asyncio.create_task(ours.open(PORT))
    for _ in range(3):
        slow.go.release()
        await settle()
    (await second).close()
    ours.close("the end")
    await settle()
    return [frame[1] for frame in slow.frames]


async def test_giving_up_leaves_no_gap_in_the_numbers_and_no_stream() -> None:
    assert await given_up() == [0, 1, 2]


async def test_mutation_without_the_shield_giving_up_leaves_a_gap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane.asyncio, "shield", lambda task: task)
    assert 0 not in await given_up()


# -- a far end that floods ---------------------------------------------------------------------------------------------


def silent_accept(kept: list[object]) -> Callable[[int, object], bool]:
    """An application that never reads."""

    def accept(port: int, sock: object) -> bool:
        kept.append(sock)
        return True

    return accept


@pytest.mark.parametrize(
    ("kind", "body", "why"),
    [
        (Kind.DATA, bytes(WINDOW + 1), "sent more than it may"),
        (Kind.CREDIT, credit(1), "more credit than it has"),
        (Kind.OPEN, bytes((PORT,)), "opened twice"),
    ],
)
async def test_who_breaks_the_rules_loses_the_lane(kind: Kind, body: bytes, why: str) -> None:
    async with line() as joined:
        far = Numbered(joined.peripheral)
        far.say(Kind.OPEN, 1, bytes((PORT,)))
        far.say(kind, 1, body)
        assert why in str(joined.peripheral.why)


async def flood(kinds: list[Kind], count: int) -> tuple[int, str | None]:
    """Bytes that a lane grows by under frames of these kinds, and why it ended: nobody reads, and nothing is sent."""
    kept: list[object] = []
    victim = Lane(stuck, LARGEST, silent_accept(kept), central=False)
    far, draw = Numbered(victim), random.Random(2)
    for number in range(STREAMS):
        far.say(Kind.OPEN, number, b"\x05")
        if Kind.DATA not in kinds:
            far.say(Kind.DATA, number, bytes(WINDOW))  # its credit waits for the radio, so that the stream is there for long
    await settle()
    gc.collect()
    tracemalloc.start()
    try:
        for turn in range(count):
            kind = draw.choice(kinds)
            stream = draw.randrange(STREAMS, HALF) if kind is Kind.OPEN else draw.randrange(STREAMS)
            far.say(kind, stream, {Kind.OPEN: b"\x05", Kind.DATA: bytes(100), Kind.CREDIT: credit(0), Kind.CLOSE: b""}[kind])
            if turn % 100 == 0:
                await asyncio.sleep(0)
        await settle()
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    why = victim.why
    victim.close("the end")
    for task in list(victim._late):
        task.cancel()
    for sock in kept:
        sock.close()  # type: ignore[attr-defined]
    await settle()
    return grown, why


ROOM = 6 * WINDOW * STREAMS
"""What the streams may hold here and in their transports, and then some for the objects around it."""


@pytest.mark.parametrize("kinds", [[Kind.CLOSE], [Kind.OPEN], [Kind.DATA], [Kind.CREDIT], list(Kind)[3:]], ids=str)
async def test_memory_is_bounded_whatever_a_device_writes(kinds: list[Kind]) -> None:
    grown, _ = await flood(kinds, 15_000)
    assert grown < ROOM


async def test_opening_without_end_loses_the_lane() -> None:
    assert "asks for more than it reads" in str((await flood([Kind.OPEN], 1000))[1])


async def test_mutation_without_the_bound_answers_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "_LATE", 10**9)
    grown, _ = await flood([Kind.OPEN], 5_000)
    assert grown > ROOM


async def test_mutation_without_the_window_data_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lane, "WINDOW", 10**9)
    grown, _ = await flood([Kind.DATA], ROOM // 50)
    assert grown > ROOM
