"""The book of releases: charges never fall, and whatever cannot be believed closes it."""

from __future__ import annotations

import contextlib
import errno
import itertools
import multiprocessing
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from moodmesh.privacy.release import ledger as book
from moodmesh.privacy.release.budget import DAY, total
from moodmesh.privacy.release.ledger import Charge, Closed, Ledger, Refused, State

ROOM, OTHER = "a1" * 32, "b2" * 32
AMBIENT = {"kind": "ambient", "n": 30, "sigma": 7399}


def ambient(epoch: int, room: str = ROOM, honest: int = 15) -> Charge:
    return Charge(epoch=epoch, room=room, kind="ambient", n=30, sigma=7399, honest=honest)


def on_demand(epoch: int, room: str = ROOM, eps: int = 4) -> Charge:
    return Charge(epoch=epoch, room=room, kind="on-demand", n=9, eps=eps, honest=1)


def circle(epoch: int, people: str) -> Charge:
    return Charge(epoch=epoch, room=ROOM, kind="circle", n=len(people), honest=1, people=list(people))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger"


def test_a_charge_is_on_disk_and_counts_after_a_restart(path: Path) -> None:
    Ledger(path, begun=False).charge(on_demand(100))
    again = Ledger(path, begun=True)
    assert again.spent(100)[0].room == 4
    with pytest.raises(Refused, match="eps_room of the hour would be 8"):
        again.charge(on_demand(101, OTHER))
    assert again.spent(100)[0].room == 4
    assert [line.what for line in again.lines()] == ["charge", "refused"]


def test_what_would_be_charged_is_told_before_and_nothing_is_entered(path: Path) -> None:
    ledger = Ledger(path, begun=False)
    ledger.allows(on_demand(100))
    assert ledger.lines() == ()
    ledger.charge(on_demand(100))
    for new, why in ((on_demand(101, OTHER), "limit is 4"), (on_demand(100), "has had a release"), (on_demand(99), "behind")):
        with pytest.raises(Refused, match=why):
            ledger.allows(new)
    assert len(ledger.lines()) == 1
    path.write_text("nonsense")
    with pytest.raises(Closed):
        ledger.allows(circle(200, "abc"))


def test_what_left_and_came_to_nothing_is_no_refusal_and_is_told_once(path: Path) -> None:
    ledger = Ledger(path, begun=False)
    for _ in range(2):
        ledger.sent(100, ROOM, "no relay brought it to an end")
    assert [(line.what, line.why) for line in ledger.lines()] == [("sent", "no relay brought it to an end")]


def test_the_budget_is_one_for_all_rooms(path: Path) -> None:
    """Attack 17, two rooms."""
    ledger = Ledger(path, begun=False)
    ledger.charge(on_demand(100, eps=2))
    ledger.charge(on_demand(100, OTHER, eps=2))
    with pytest.raises(Refused, match="limit is 4"):
        ledger.charge(on_demand(101, "c3" * 32, eps=1))


def _charge_in_process(path: Path, room: int, told: object) -> None:
    try:
        Ledger(path, begun=True).charge(on_demand(100, f"{room:064x}"))
        told.put("sent")  # type: ignore[attr-defined]
    except Refused:
        told.put("refused")  # type: ignore[attr-defined]


def test_the_budget_is_one_for_all_processes(path: Path) -> None:
    """Attack 17, two processes at the same time: one of six gets it."""
    Ledger(path, begun=False)
    context = multiprocessing.get_context("fork")
    told = context.SimpleQueue()
    processes = [context.Process(target=_charge_in_process, args=(path, k, told)) for k in range(6)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert sorted(told.get() for _ in processes) == ["refused"] * 5 + ["sent"]


def test_once_in_an_epoch_and_room(path: Path) -> None:
    """Attack 13: aborting to get another draw costs nothing twice and gives nothing twice."""
    ledger = Ledger(path, begun=False)
    ledger.charge(ambient(100))
    for _ in range(20):
        with pytest.raises(Refused, match="in this epoch"):
            ledger.charge(ambient(100))
    assert sum(isinstance(line, Charge) for line in ledger.lines()) == 1


def test_a_clock_set_back_closes_it_until_it_is_right_again(path: Path) -> None:
    ledger = Ledger(path, begun=False)
    ledger.charge(ambient(100))
    with pytest.raises(Refused, match="clock"):
        ledger.charge(ambient(99, OTHER))
    assert ledger.spent(99)[0] == ledger.spent(100)[0], "what lies ahead of the clock counts"
    ledger.charge(ambient(101))


@pytest.mark.parametrize("cut", range(1, 200, 7))
def test_cut_in_half_it_is_closed(path: Path, cut: int) -> None:
    ledger = Ledger(path, begun=False)
    ledger.charge(ambient(100))
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) - min(cut, len(whole))])
    with pytest.raises(Closed, match="accept-full-day"):
        ledger.charge(ambient(101))
    with pytest.raises(Closed):
        ledger.spent(101)


def test_cut_at_the_end_of_a_line_it_is_closed_too(path: Path) -> None:
    ledger = Ledger(path, begun=False)
    ledger.charge(ambient(100))
    ledger.charge(ambient(101))
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(Closed, match="cut short"):
        ledger.charge(ambient(102))


@pytest.mark.parametrize("gone", [("",), (".head",), ("", ".head")])
def test_missing_after_first_use_it_is_closed(path: Path, gone: tuple[str, ...]) -> None:
    Ledger(path, begun=False).charge(ambient(100))
    for name in gone:
        path.with_name(path.name + name).unlink()
    with pytest.raises(Closed):
        Ledger(path, begun=True).charge(ambient(101))


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_byte_changed_closes_it(path: Path, data: st.DataObject) -> None:
    path.unlink(missing_ok=True)
    path.with_suffix(".head").unlink(missing_ok=True)
    ledger = Ledger(path, begun=False)
    ledger.charge(ambient(100))
    ledger.charge(ambient(101))
    raw = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(raw) - 1))
    raw[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(raw)
    with pytest.raises(Closed):
        ledger.spent(101)


@pytest.mark.parametrize(
    "bad", [{"sigma": 5e-324}, {"sigma": -1}, {"honest": 0}, {"eps": 3}, {"n": 2}, {"epoch": -1}, {"room": "x"}]
)
def test_numbers_that_cannot_be_are_no_charge(bad: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="validation"):
        Charge.model_validate({"epoch": 1, "room": ROOM, "honest": 3, **AMBIENT, **bad})


def test_a_full_day_is_charged_before_it_opens_again(path: Path) -> None:
    Ledger(path, begun=False).charge(ambient(100))
    path.write_bytes(b"nonsense")
    ledger = Ledger(path, begun=True)
    aside = ledger.accept_full_day(200)
    assert aside is not None
    assert aside.read_bytes() == b"nonsense"
    assert ledger.spent(343) == (ledger.caps.hour, ledger.caps.day)
    assert ledger.spent(344)[1].room == 0
    for epoch in (200, 343):
        with pytest.raises(Refused, match="full day"):
            ledger.charge(ambient(epoch))
    ledger.charge(ambient(344))


class Killed(BaseException):
    """As by kill -9: nobody catches it."""


class Cut:
    """Lets so many steps to the disk through, and ends the next."""

    def __init__(self, patch: pytest.MonkeyPatch, steps: int, error: BaseException) -> None:
        self.left, self._error = steps, error
        for name in ("open", "write", "fsync", "replace"):
            patch.setattr(book.os, name, self._step(getattr(os, name)))

    def _step(self, real: Callable[..., object]) -> Callable[..., object]:
        def step(*args: object, **more: object) -> object:
            self.left -= 1
            if self.left < 0:
                raise self._error
            return real(*args, **more)

        return step


CLOSED = {
    "damaged": (b"nonsense", None), "cut short": (b"start", None), "gone": (None, None), "without head": (b"whole", b""),
}  # fmt: skip


@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "no space left")], ids=["killed", "full disk"])
@pytest.mark.parametrize(("text", "head"), CLOSED.values(), ids=list(CLOSED))
def test_interrupted_while_it_is_accepted_it_stays_closed(
    path: Path, monkeypatch: pytest.MonkeyPatch, text: bytes | None, head: bytes | None, error: BaseException
) -> None:
    """At every step to the disk."""
    begun = text is None
    for steps in itertools.count():
        for old in path.parent.iterdir():
            old.unlink()
        Ledger(path, begun=False).charge(ambient(100))
        whole = path.read_bytes()
        path.write_bytes({b"whole": whole, b"start": whole.splitlines(keepends=True)[0]}.get(text or b"", text or b""))
        if text is None:
            path.unlink()
        if head is not None:
            path.with_suffix(".head").write_bytes(head)
        with monkeypatch.context() as patch:
            cut = Cut(patch, steps, error)
            with contextlib.suppress(type(error)):
                Ledger(path, begun=begun).accept_full_day(200)
        again = Ledger(path, begun=begun)
        with pytest.raises(Refused, match=r"full[- ]day"):
            again.charge(ambient(200))
        if cut.left >= 0:
            break
        again.accept_full_day(200)
        assert again.spent(200) == (again.caps.hour, again.caps.day)
    assert steps > 8


def test_a_charge_is_raised_when_fewer_were_honest_and_never_lowered(path: Path) -> None:
    ledger = Ledger(path, begun=False)
    ledger.charge(ambient(100))
    before = ledger.spent(100)[0]
    ledger.opened(100, ROOM, 28, 20)
    assert ledger.spent(100)[0] == before
    ledger.opened(100, ROOM, 20, 5)
    assert ledger.spent(100)[0].room > before.room
    assert ledger.spent(100)[0].alone == before.alone


def test_what_was_said_is_not_said_again(path: Path) -> None:
    """But for charges: each circle that is opened counts."""
    ledger = Ledger(path, begun=False)
    ledger.charge(on_demand(100))
    for _ in range(20):
        with pytest.raises(Refused, match="in this epoch"):
            ledger.charge(on_demand(100))
        ledger.refuse(100, ROOM, "too few")
        ledger.opened(100, ROOM, 9, 4)
    ledger.refuse(101, ROOM, "too few")
    ledger.refuse(101, OTHER, "too few")
    assert [line.what for line in ledger.lines()] == ["charge", "refused", "refused", "opened", "refused", "refused"]
    ledger.charge(circle(101, "ABC"))
    ledger.charge(circle(101, "ABC"))
    assert sum(isinstance(line, Charge) for line in ledger.lines()) == 3


def weeks(path: Path) -> Ledger:
    """Nine days, a room's release in each, and one in the last hour of the ninth."""
    ledger = Ledger(path, begun=False)
    for day in range(9):
        ledger.charge(ambient(day * DAY))
        ledger.opened(day * DAY, ROOM, 30, 15)
    ledger.charge(on_demand(9 * DAY - 1, OTHER, eps=2))
    return ledger


def test_what_is_older_than_eight_days_is_forgotten_when_a_day_begins(path: Path) -> None:
    ledger = weeks(path)
    before = ledger.lines()
    assert [line.epoch // DAY for line in before] == [day for day in range(1, 9) for _ in "co"] + [8]
    ledger.charge(ambient(9 * DAY + 5))
    assert ledger.lines()[:-1] == before[2:]
    assert ledger.spent(9 * DAY + 5)[1].room > 3, "what counts is still there"
    ledger.charge(ambient(9 * DAY + 6))
    ledger.charge(ambient(10 * DAY))
    assert Ledger(path, begun=True).lines()[0].epoch == 3 * DAY, "and again the next day"


@pytest.mark.parametrize("error", [Killed(), OSError(errno.ENOSPC, "no space left")], ids=["killed", "full disk"])
def test_interrupted_while_it_forgets_it_is_the_old_book_or_the_new_one(
    path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    """At every step to the disk."""
    weeks(path)
    files = {name: name.read_bytes() for name in path.parent.iterdir()}
    old, new, seen = Ledger(path, begun=True).lines(), ambient(9 * DAY), set[int]()
    for steps in itertools.count():
        for name, data in files.items():
            name.write_bytes(data)
        with monkeypatch.context() as patch:
            cut, sent = Cut(patch, steps, error), False
            with contextlib.suppress(Killed, Refused, OSError):
                Ledger(path, begun=True).charge(new)
                sent = True
        lines = Ledger(path, begun=True).lines()
        assert lines == old if lines[-1] != new else lines == (*old[2:], new)
        assert lines[-1] == new or not sent
        seen.add(len(lines))
        if cut.left >= 0:
            break
    assert sent
    assert len(seen) == 2
    assert steps > 6


def test_a_new_book_cut_short_is_closed(path: Path) -> None:
    weeks(path).charge(ambient(9 * DAY))
    whole = path.read_bytes().splitlines(keepends=True)
    for kept in range(len(whole)):
        path.write_bytes(b"".join(whole[:kept]))
        with pytest.raises(Closed):
            Ledger(path, begun=True).charge(ambient(9 * DAY + 1))
    path.write_bytes(b"".join(whole))
    path.with_suffix(".head").write_bytes(b"")
    with pytest.raises(Closed):
        Ledger(path, begun=True).charge(ambient(9 * DAY + 1))


def test_a_clock_that_was_weeks_ahead_for_a_while_forgets_but_does_not_open(path: Path) -> None:
    """Without the line for which it forgot in the same step, the new book would be an empty one."""
    weeks(path)
    Ledger(path, begun=True).charge(ambient(30 * DAY))
    again = Ledger(path, begun=True)
    assert len(again.lines()) == 1
    with pytest.raises(Refused, match="clock"):
        again.charge(on_demand(9 * DAY))


def test_a_full_disk_sends_nothing_and_keeps_the_book(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(path, begun=False)
    ledger.charge(ambient(100))
    real, broken = os.write, []

    def full(file: int, data: bytes) -> int:
        broken.append(file)
        return real(file, data[:10])

    monkeypatch.setattr(book.os, "write", full)
    with pytest.raises(Closed, match="disk"):
        ledger.charge(ambient(101))
    monkeypatch.undo()
    assert broken
    ledger.charge(ambient(101))
    assert len(ledger.lines()) == 2


def test_the_last_line_written_before_its_head_counts(path: Path) -> None:
    """Killed between the two writes: charged, since it may have been sent."""
    ledger = Ledger(path, begun=False)
    head = path.with_suffix(".head").read_bytes()
    ledger.charge(ambient(100))
    path.with_suffix(".head").write_bytes(head)
    assert Ledger(path, begun=True).spent(100)[0].room > 0


def test_a_circle_that_gives_somebody_away_is_refused_for_a_day(path: Path) -> None:
    ledger = Ledger(path, begun=False)
    ledger.charge(circle(100, "ABC"))
    ledger.charge(circle(100, "ABC"))
    with pytest.raises(Refused, match="solve"):
        ledger.charge(circle(120, "ABCD"))
    ledger.charge(circle(244, "ABCD"))
    assert ledger.spent(244)[0].room == 0, "an exact mean has no epsilon"


def test_ignoring_the_ledger_would_be_noticed(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation of attack 17: an error of the ledger taken for an empty one."""
    Ledger(path, begun=False).charge(on_demand(100))
    path.write_bytes(b"")
    with pytest.raises(Closed):
        Ledger(path, begun=True).charge(on_demand(100))
    monkeypatch.setattr(Ledger, "_read", lambda self: book.State((), "0" * 32))
    Ledger(path, begun=True).charge(on_demand(100))


def test_no_mood_is_in_it(path: Path) -> None:
    ledger = Ledger(path, begun=False)
    ledger.charge(ambient(100))
    ledger.opened(100, ROOM, 30, 15)
    assert not {"valence", "arousal", "sum", "mean", "mood"} & set(path.read_text().replace('"', " ").split())


def behind(path: Path) -> Ledger:
    """A day accepted because the clock was behind, and the clock right again."""
    ledger = Ledger(path, begun=False)
    ledger.charge(on_demand(1000))
    with pytest.raises(Refused, match="clock is behind"):
        ledger.charge(on_demand(712, OTHER))
    assert ledger.accept_full_day(712) is None
    with pytest.raises(Refused, match="full day"):
        ledger.charge(on_demand(712, OTHER))
    return ledger


def test_a_day_accepted_while_the_clock_is_behind_forgets_nothing(path: Path) -> None:
    ledger = behind(path)
    assert ledger.spent(1000)[1] == total([on_demand(1000).price])
    for again in range(3):
        with pytest.raises(Refused, match=r"clock is behind|the limit is"):
            [ledger.charge(on_demand(1000 + i, f"{again}{i}" * 32)) for i in range(6)]
        ledger.accept_full_day(712)


def test_a_clock_that_was_ahead_is_believed_a_day_after_that_was_accepted(path: Path) -> None:
    ledger = behind(path)
    ledger.charge(on_demand(712 + DAY, OTHER))
    with pytest.raises(Refused, match="clock is behind"):
        ledger.charge(on_demand(712 + DAY - 1, "c" * 64))


def test_a_book_begun_anew_with_every_accepted_day_would_forget(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mutation: what can be read does not count on."""

    def unread(self: Ledger) -> State:
        raise Closed("begun anew")

    ledger = Ledger(path, begun=False)
    ledger.charge(on_demand(1000))
    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "_read", unread)
        ledger.accept_full_day(712)
    assert ledger.spent(1000)[1].alone == 0
    ledger.charge(on_demand(1000, OTHER))


def test_what_was_set_aside_stays_when_another_is(path: Path) -> None:
    found = []
    for text in (b"one", b"other"):
        path.write_bytes(text)
        found.append(Ledger(path, begun=True).accept_full_day(200))
    assert [aside and aside.read_bytes() for aside in found] == [b"one", b"other"]
