"""`check_task` finds each broken promise, and passes a task that keeps them all."""

from __future__ import annotations

import os
import random
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict

from moodmesh.tasks import Context, Escalation, InvalidInput, Output, PartRefused, Request, TaskSpec, Variant
from moodmesh.tasks.parts import MOST_PARTS, PART_BYTES, STREAM_BYTES, Stream
from moodmesh.tasks.testing import ContractBroken, check_task

Behaviour = Callable[[Request, Context], dict[str, Any]]


class Ask(BaseModel):
    model_config = ConfigDict(extra="forbid")
    word: str = ""


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    letters: int


class Letters:
    """Counts letters, with one behaviour that a test can spoil."""

    def __init__(self, behaviour: Behaviour, memory_mb: int = 50, word: object = "calm", units: float = 4.0) -> None:
        self.behaviour, self.word, self.size = behaviour, word, units
        self.spec = TaskSpec("letters", 1, "counts letters", Ask, Answer, (Variant("only", 1, memory_mb),), "letter")

    def units(self, request: Request) -> float:
        return self.size

    def result_bytes(self, request: Request) -> int:
        return 20

    def benchmark_request(self) -> Request:
        return Request({"word": self.word})

    def open(self, variant: str, context: Context) -> Letters:
        return self

    def run(self, request: Request, context: Context) -> Output:
        return Output(self.behaviour(request, context))


def good(request: Request, context: Context) -> dict[str, Any]:
    if request.input:
        raise InvalidInput("letters takes no input file: give the parameter word")
    context.check()
    context.progress(1.0)
    return {"letters": len(request.params["word"])}


def wrong_result(request: Request, context: Context) -> dict[str, Any]:
    return good(request, context) | {"extra": 1}


def lossy_result(request: Request, context: Context) -> dict[str, Any]:
    return {"letters": str(good(request, context)["letters"])}


def random_result(request: Request, context: Context) -> dict[str, Any]:
    good(request, context)
    return {"letters": random.SystemRandom().randrange(1 << 60)}


def falling_progress(request: Request, context: Context) -> dict[str, Any]:
    context.progress(1.0)
    context.progress(0.5)
    return good(request, context)


def never_checks(request: Request, context: Context) -> dict[str, Any]:
    return {"letters": 4}


def slow_to_check(request: Request, context: Context) -> dict[str, Any]:
    answer = good(request, context)
    time.sleep(1.1)
    return answer


def swallows_cancel(request: Request, context: Context) -> dict[str, Any]:
    try:
        return good(request, context)
    except InvalidInput:
        raise
    except Exception:
        return {"letters": 4}


def greedy(request: Request, context: Context) -> dict[str, Any]:
    return good(request, context) | {"letters": len(b"x" * (80 << 20)) >> 24}


def dials_out(request: Request, context: Context) -> dict[str, Any]:
    with socket.socket() as dialled:
        dialled.connect(("127.0.0.1", 9))
    return good(request, context)


def dials_out_quietly(request: Request, context: Context) -> dict[str, Any]:
    try:
        return dials_out(request, context)
    except AssertionError:
        return good(request, context)


def takes_anything(request: Request, context: Context) -> dict[str, Any]:
    context.check()
    return {"letters": 4}


def curt(request: Request, context: Context) -> dict[str, Any]:
    if request.input:
        raise InvalidInput("no")
    return good(request, context)


def stumbles(request: Request, context: Context) -> dict[str, Any]:
    if request.input:
        raise ZeroDivisionError("division by zero")
    return good(request, context)


def crashes(request: Request, context: Context) -> dict[str, Any]:
    if not request.input:
        raise ZeroDivisionError("division by zero")
    return good(request, context)


def dies(request: Request, context: Context) -> dict[str, Any]:
    os._exit(7)


def test_a_good_task_passes(tmp_path: Path) -> None:
    check_task(Letters(good), tmp_path)


@pytest.mark.parametrize(
    ("behaviour", "complaint"),
    [
        (wrong_result, "result schema"),
        (lossy_result, "round trip"),
        (random_result, "determinism"),
        (falling_progress, "progress"),
        (never_checks, "cancellation: a run calls"),
        (slow_to_check, "passed without a check"),
        (swallows_cancel, "must pass through"),
        (greedy, "memory"),
        (dials_out, "network"),
        (dials_out_quietly, "network"),
        (takes_anything, "was not refused"),
        (curt, "says what to change"),
        (stumbles, "InvalidInput is due"),
        (crashes, "ZeroDivisionError"),
        (dies, "code 7"),
    ],
)
def test_each_broken_promise_is_named(behaviour: Behaviour, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match=complaint):
        check_task(Letters(behaviour), tmp_path)


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (Letters(good, word=7), "request schema"),
        (Letters(good, memory_mb=0), "memory"),
        (Letters(good, units=0.0), "units"),
    ],
)
def test_a_wrong_spec_is_named(task: Letters, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match=complaint):
        check_task(task, tmp_path)


# -- answers that are handed on part by part ---------------------------------------------------------------------------------


class Spelled(Letters):
    """Hands on one letter after the other; `behaviour` hands them on, and gives the answer."""

    def __init__(self, behaviour: Behaviour, **more: Any) -> None:
        super().__init__(behaviour)
        self.spec = replace(self.spec, **{"streams": True, **more})


def spell(request: Request, context: Context) -> dict[str, Any]:
    answer, word = good(request, context), request.params["word"].encode()
    for index in range(len(request.parts), len(word)):
        context.emit(index, word[index : index + 1])
    return answer


def spells_anew(request: Request, context: Context) -> dict[str, Any]:
    return spell(replace(request, parts=()), context)


def spells_by_chance(request: Request, context: Context) -> dict[str, Any]:
    context.emit(0, random.SystemRandom().randbytes(16))
    return good(request, context)


def ends_otherwise(request: Request, context: Context) -> dict[str, Any]:
    answer = spell(request, context)
    return answer | {"letters": len(request.parts)}


def goes_on_otherwise(request: Request, context: Context) -> dict[str, Any]:
    answer = good(request, context)
    for index in range(len(request.parts), 4):
        context.emit(index, b"%d" % (index - len(request.parts)))
    return answer


def spells_backwards(request: Request, context: Context) -> dict[str, Any]:
    context.emit(1, b"a")
    return good(request, context)


def too_much_at_once(request: Request, context: Context) -> dict[str, Any]:
    context.emit(0, bytes(PART_BYTES + 1))
    return good(request, context)


def test_a_task_that_streams_passes(tmp_path: Path) -> None:
    check_task(Spelled(spell), tmp_path)


@pytest.mark.parametrize(
    ("task", "complaint"),
    [
        (Spelled(good), "if, and only if"),
        (Letters(spell), "if, and only if"),
        (Spelled(spells_anew), "after 1 of 4 parts it emits the others"),
        (Spelled(spells_by_chance), "determinism: same seed, same parts"),
        (Spelled(goes_on_otherwise), "after 1 of 4 parts the others are those"),
        (Spelled(ends_otherwise), "the output is that of a whole run"),
        (Spelled(spells_backwards), "out of order: the next one is 0"),
        (Spelled(too_much_at_once), "make parts smaller"),
        (Spelled(spell, escalation=Escalation("only", "only", lambda *_: None, lambda *_: {})), "what two variants answer"),
    ],
)
def test_a_broken_promise_about_parts_is_named(task: Letters, complaint: str, tmp_path: Path) -> None:
    with pytest.raises(ContractBroken, match=complaint):
        check_task(task, tmp_path)


# -- what a stream takes -----------------------------------------------------------------------------------------------------


def test_a_stream_takes_each_part_once_and_in_order() -> None:
    stream = Stream((b"a",))
    assert stream.add(1, b"b")
    assert not stream.add(1, b"b")
    assert not stream.add(0, b"a")
    assert stream.parts == [b"a", b"b"]
    for index, data, why in (
        (1, b"x", "other bytes"),
        (3, b"d", "out of order"),
        (-1, b"b", "out of order"),
        (True, b"b", "an index is an int"),
        (2, "text", "a part is bytes"),
        (2, bytes(PART_BYTES + 1), "make parts smaller"),
    ):
        with pytest.raises(PartRefused, match=why):
            stream.add(index, data)  # type: ignore[arg-type]
    assert stream.parts == [b"a", b"b"]


def test_a_stream_has_so_many_parts_and_bytes() -> None:
    many = Stream([b""] * MOST_PARTS)
    with pytest.raises(PartRefused, match="at most 1000 parts"):
        many.add(MOST_PARTS, b"")
    large = Stream([bytes(PART_BYTES)] * (STREAM_BYTES // PART_BYTES - 1))
    assert large.add(len(large.parts), bytes(PART_BYTES))
    with pytest.raises(PartRefused, match="goes in its files"):
        large.add(len(large.parts), b"x")
