"""Who holds which lane: one device each, one lane a device, and whoever else writes is not heard."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import pytest

from moodmesh.mesh.ble import lanes as module
from moodmesh.mesh.ble.frames import LARGEST, NONCE, Framed, Greeting, Kind, decode
from moodmesh.mesh.ble.lanes import IDLE_S, LANES, Lanes
from moodmesh.mesh.memory import ManualClock

from .support import PORT, settle, stuck

ANN, BOB, EVE = "F0:00:00:00:00:0A", "F0:00:00:00:00:0B", "F0:00:00:00:00:0E"


@dataclass
class Rig:
    """Lanes over a radio that notes what it sends, and an application that accepts everything."""

    clock: ManualClock = field(default_factory=ManualClock)
    sent: list[tuple[int, bytes]] = field(default_factory=list)
    opened: list[tuple[str, socket.socket]] = field(default_factory=list)
    lanes: Lanes = field(init=False)

    def __post_init__(self) -> None:
        async def notify(lane: int, frame: bytes) -> None:
            self.sent.append((lane, frame))

        def accept(device: str, port: int, sock: socket.socket) -> bool:
            self.opened.append((device, sock))
            return True

        self.lanes = Lanes(notify, accept, self.clock)

    async def greet(self, device: str, lane: int, most: int = LARGEST) -> Greeting:
        """The answer."""
        nonce = device.encode()[-NONCE:]
        self.sent.clear()
        self.lanes.written(lane, device, Greeting(Kind.HELLO, nonce, most).encode())
        await settle()
        answers = [decode(frame) for number, frame in self.sent if number == lane]
        (answer,) = [frame for frame in answers if isinstance(frame, Greeting)]
        assert answer.nonce == nonce
        return answer

    def say(self, lane: int, device: str, kind: Kind, seq: int, body: bytes = b"") -> None:
        self.lanes.written(lane, device, Framed(kind, seq, 1, body).encode())

    async def read(self) -> bytes:
        """What the first opened stream has to read."""
        await settle()
        try:
            return self.opened[0][1].recv(1000)
        except BlockingIOError:
            return b"nothing"


@pytest.fixture
async def rig() -> AsyncIterator[Rig]:
    made = Rig()
    yield made
    made.lanes.close()
    for _, sock in made.opened:
        sock.close()
    await settle()


async def test_a_free_lane_is_had_by_asking_with_frames_that_both_take(rig: Rig) -> None:
    answer = await rig.greet(ANN, 3, most=100)
    assert (answer.kind, answer.most) == (Kind.WELCOME, 100)


async def test_a_lane_that_somebody_has_is_busy_and_another_is_not(rig: Rig) -> None:
    await rig.greet(ANN, 3)
    assert (await rig.greet(BOB, 3)).kind is Kind.BUSY
    assert (await rig.greet(BOB, 4)).kind is Kind.WELCOME
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    assert [device for device, _ in rig.opened] == [ANN]


async def test_who_is_gone_has_its_lane_no_more(rig: Rig) -> None:
    await rig.greet(ANN, 3)
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    lane = rig.lanes.lane(ANN)
    assert lane is not None
    assert (lane.streams, rig.lanes.lane(BOB)) == (1, None)
    rig.lanes.gone(ANN)
    assert rig.lanes.lane(ANN) is None
    assert await rig.read() == b""
    assert (await rig.greet(BOB, 3)).kind is Kind.WELCOME


async def test_an_idle_lane_is_anybodys_and_one_with_a_stream_is_not(rig: Rig) -> None:
    await rig.greet(ANN, 3)
    await rig.greet(BOB, 4)
    rig.say(4, BOB, Kind.OPEN, 0, bytes((PORT,)))
    await rig.clock.advance(IDLE_S)
    assert (await rig.greet(EVE, 3)).kind is Kind.BUSY
    await rig.clock.advance(1)
    assert (await rig.greet(EVE, 4)).kind is Kind.BUSY
    assert (await rig.greet(EVE, 3)).kind is Kind.WELCOME


async def test_a_lane_is_idle_from_the_end_of_its_last_stream_on(rig: Rig) -> None:
    """Its central takes it for its own for some seconds more: nobody else may have it within them."""
    await rig.greet(ANN, 3)
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    await settle()
    await rig.clock.advance(3 * IDLE_S)
    rig.opened[0][1].close()
    await settle(100)
    lane = rig.lanes.lane(ANN)
    assert lane is not None
    assert lane.streams == 0
    assert (await rig.greet(EVE, 3)).kind is Kind.BUSY
    await rig.clock.advance(IDLE_S + 1)
    assert (await rig.greet(EVE, 3)).kind is Kind.WELCOME


async def test_who_greets_anew_begins_anew(rig: Rig) -> None:
    await rig.greet(ANN, 3)
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    assert (await rig.greet(ANN, 3)).kind is Kind.WELCOME
    assert await rig.read() == b"", "its old streams have ended"
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    assert len(rig.opened) == 2


@pytest.mark.parametrize("seq", [1, 7])
async def test_who_does_not_hold_a_lane_writes_to_it_in_vain(rig: Rig, seq: int) -> None:
    await rig.greet(ANN, 3)
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    rig.say(3, EVE, Kind.DATA, seq, b"forged")
    rig.lanes.written(3, EVE, b"no frame at all")
    rig.say(3, ANN, Kind.DATA, 1, b"true")
    assert await rig.read() == b"true"


async def test_mutation_without_asking_who_writes_the_forged_bytes_are_taken(rig: Rig) -> None:
    class Anybody(str):
        __hash__ = str.__hash__

        def __eq__(self, other: object) -> bool:
            return True

    await rig.greet(ANN, 3)
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    rig.say(3, Anybody(EVE), Kind.DATA, 1, b"forged")
    assert await rig.read() == b"forged"


async def test_a_frame_cut_short_by_the_radio_ends_the_lane_of_its_holder(rig: Rig) -> None:
    await rig.greet(ANN, 3)
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    rig.lanes.written(3, ANN, Framed(Kind.DATA, 1, 1, b"cut short").encode()[:-1])
    assert await rig.read() == b""
    assert (await rig.greet(BOB, 3)).kind is Kind.WELCOME


async def all_taken_by(rig: Rig, one: str) -> bool:
    """Whether one device that greets every lane leaves none to another."""
    for lane in range(LANES):
        assert (await rig.greet(one, lane)).kind is Kind.WELCOME
    return all([(await rig.greet(ANN, lane)).kind is Kind.BUSY for lane in range(LANES)])


async def test_one_device_that_greets_every_lane_has_one(rig: Rig) -> None:
    assert not await all_taken_by(rig, EVE)


async def test_mutation_without_giving_up_the_old_lane_one_device_has_them_all(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as mutation:
        mutation.setattr(Lanes, "gone", lambda self, device: None)
        assert await all_taken_by(rig, EVE)


async def waiting_answers(greetings: int) -> int:
    """How many answers wait when a device greets without end and the radio sends nothing."""
    lanes = Lanes(lambda number, frame: stuck(frame), lambda *_: False, ManualClock())
    before = len(asyncio.all_tasks())
    for number in range(greetings):
        lanes.written(number % LANES, EVE, Greeting(Kind.HELLO, bytes(NONCE), LARGEST).encode())
    waiting = len(asyncio.all_tasks()) - before
    lanes.close()
    for task in lanes._answers:
        task.cancel()
    await settle()
    return waiting


async def test_greetings_without_end_take_no_room() -> None:
    assert await waiting_answers(1000) <= 4 * LANES


async def test_mutation_without_the_bound_each_greeting_takes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LATE", 10**9)
    assert await waiting_answers(1000) == 1000


async def test_a_radio_that_fails_frees_the_lane() -> None:
    async def fails(lane: int, frame: bytes) -> None:
        raise OSError("gone")

    lanes = Lanes(fails, lambda *_: False, ManualClock())
    lanes.written(3, ANN, Greeting(Kind.HELLO, bytes(NONCE), LARGEST).encode())
    await settle()
    assert not lanes._held


async def test_a_lane_is_there_for_streams_of_this_end_once_its_holder_has_spoken_on_it(rig: Rig) -> None:
    """Before that the holder may not know yet that it has it: what came to it then would be lost."""
    await rig.greet(ANN, 3)
    assert rig.lanes.lane(ANN) is None
    rig.say(3, ANN, Kind.OPEN, 0, bytes((PORT,)))
    assert rig.lanes.lane(ANN) is not None
    await rig.clock.advance(0)
