"""Frames that come before their turn, as BlueZ passes them on over several channels."""

from __future__ import annotations

import asyncio
import itertools
import socket
from collections.abc import AsyncIterator

import pytest

from moodmesh.mesh.ble import lane as lanes
from moodmesh.mesh.ble.frames import Framed, Kind
from moodmesh.mesh.ble.lane import Lane

OPEN = Framed(Kind.OPEN, 0, 1, b"\x03")
DATA = [Framed(Kind.DATA, seq, 1, b"%d" % seq) for seq in (1, 2, 3)]


@pytest.fixture
async def listening() -> AsyncIterator[tuple[Lane, list[socket.socket]]]:
    """A lane that takes every stream, and our ends of them."""
    opened: list[socket.socket] = []

    async def send(frame: bytes) -> None:
        pass

    lane = Lane(send, 100, lambda port, sock: opened.append(sock) is None, central=False)
    yield lane, opened
    lane.close("done")
    await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)
    for sock in opened:
        sock.close()


Listening = tuple[Lane, list[socket.socket]]


@pytest.mark.parametrize("order", list(itertools.permutations((OPEN, *DATA)))[1:])
async def test_frames_before_their_turn_wait_for_it(listening: Listening, order: tuple[Framed, ...]) -> None:
    lane, opened = listening
    for frame in order:
        lane.received(frame)
    came = b""
    async with asyncio.timeout(5):
        while len(came) < 3:
            came += await asyncio.get_running_loop().sock_recv(opened[0], 3)
    assert came == b"123"
    assert lane.why is None


async def test_a_frame_that_stays_away_ends_the_lane(listening: Listening, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lanes, "GAP_S", 0.02)
    lane, _ = listening
    lane.received(OPEN)
    lane.received(DATA[1])
    await asyncio.sleep(0.1)
    assert lane.why == "a frame was lost on the way"


async def test_a_frame_that_is_late_within_its_time_does_not_end_the_lane(
    listening: Listening, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The clock of a gap would go on after it was filled."""
    monkeypatch.setattr(lanes, "GAP_S", 0.02)
    lane, _ = listening
    for frame in (OPEN, DATA[1], DATA[0]):
        lane.received(frame)
    await asyncio.sleep(0.1)
    assert lane.why is None


@pytest.mark.parametrize("frames", [(OPEN, OPEN), (OPEN, DATA[1], DATA[1]), (Framed(Kind.OPEN, lanes.EARLY, 1, b"\x03"),)])
async def test_doubled_frames_and_those_far_ahead_end_the_lane(listening: Listening, frames: tuple[Framed, ...]) -> None:
    """What is far ahead would be kept without bound."""
    lane, _ = listening
    for frame in frames:
        lane.received(frame)
        await asyncio.sleep(0)
    assert lane.why == "a frame was lost or doubled on the way"
