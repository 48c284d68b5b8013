"""A worker process: `python -m moodmesh.nodes.pool.worker`, frames on stdin and stdout, one attempt at a time."""

from __future__ import annotations

import os
import queue
import signal
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from moodmesh.nodes.pool.confine import confine, die_with_parent, private_tmp
from moodmesh.nodes.pool.frames import FrameError, read_frame, write_frame
from moodmesh.nodes.pool.messages import Failed, Message, Ready, Setup, pack, unpack
from moodmesh.nodes.pool.seam import AttemptFailed, Work
from moodmesh.nodes.pool.session import Emit, Session
from moodmesh.tasks import registry
from moodmesh.tasks.models import ModelStore

NO_ROOM = b"".join(pack(Failed("out_of_memory", "MemoryError: the task filled what memory jobs may use (`pool.memory_mb`)")))
"""Made beforehand, for an attempt that leaves too little memory to say how it ended."""


def main() -> None:
    """Serve until stdin ends."""
    die_with_parent()
    requests, replies = _streams()
    setup = unpack(read_frame(requests))
    assert isinstance(setup, Setup)
    inbox: queue.SimpleQueue[Message] = queue.SimpleQueue()
    threading.Thread(target=_read, args=(requests, inbox), daemon=True).start()
    confine(setup.memory_mb, setup.nice)
    with (Path(setup.scratch) / "alive").open("w"):  # held open: a sweep knows us by it
        _serve(setup, inbox.get, _Writer(replies).write)


def _serve(setup: Setup, receive: Callable[[], Message], reply: Callable[[list[bytes]], None]) -> None:
    models, scratch = ModelStore(Path(setup.models), packaged=setup.packaged), Path(setup.scratch)
    session = Session(registry.load()[0], models.path)
    reply(pack(Ready(os.getpid())))
    while True:
        work = receive()
        assert isinstance(work, Work)
        reply(answer(session, work, scratch, lambda event: reply(pack(event))))


class _Writer:
    """One frame at a time, since a task may report from its own threads."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._lock = stream, threading.Lock()

    def write(self, frame: list[bytes]) -> None:
        with self._lock:
            write_frame(self._stream, frame)


def _streams() -> tuple[BinaryIO, BinaryIO]:
    """Private copies of stdin and stdout; a task that reads or prints meets /dev/null."""
    requests, replies = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    os.dup2(null, 1)
    return requests, replies


def _read(requests: BinaryIO, inbox: queue.SimpleQueue[Message]) -> None:
    """Pass messages on; when the pool is gone, so is this process with all it has started."""
    try:
        while True:
            inbox.put(unpack(read_frame(requests)))
    except (EOFError, OSError, FrameError, MemoryError):
        os.killpg(0, signal.SIGKILL)


def answer(session: Session, work: Work, scratch: Path, emit: Emit) -> list[bytes]:
    """Run one attempt in a temp dir of its own: the message of its `Done`, or of a `Failed` that says why not."""
    with suppress(MemoryError):  # the error holds what the task held: only after it is there room for anything
        return _answer(session, work, scratch, emit)
    return [NO_ROOM]


def _answer(session: Session, work: Work, scratch: Path, emit: Emit) -> list[bytes]:
    try:
        with private_tmp(scratch):
            return pack(session.run(work, emit))
    except AttemptFailed as failed:
        return pack(Failed(failed.reason, str(failed)))
    except OSError as error:
        return pack(Failed("transient", f"the worker has no temp dir: {error}"))
    except FrameError as error:
        return pack(Failed("task_error", f"the task's output cannot be sent: {error}"))


if __name__ == "__main__":
    main()
