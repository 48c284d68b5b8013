"""The book of what this device has released: charged before anything is sent, closed when it cannot be believed (room-mood §8).

One file a device, shared by all its rooms and processes. Each line carries a checksum over itself and the line before it; a
second small file names the last line, so that a ledger cut short is noticed too. No mood is in it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import itertools
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from .audit import solvable
from .budget import DAY, HOUR, Caps, Spent, exceeded, total, window
from .mechanism import Ambient, Circle, Kind, Mechanism, OnDemand, Price

_START, _AFTER = "moodmesh ledger 1", " after "
KEPT = 8 * DAY
"""How many epochs a line is kept at least; only the last day's count."""


class Refused(Exception):
    """Nothing may be sent; the message says why and what would help."""


class Closed(Refused):
    """The ledger cannot be believed: nothing is sent until its owner accepts a full day's charge."""


class _Line(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
    epoch: int = Field(ge=0, lt=2**40)


class Charge(_Line):
    """A release that was sent, or was about to be. `honest`: how many contributors it was priced for; `people`: of a circle."""

    what: Literal["charge"] = "charge"
    room: str = Field(pattern=r"^[0-9a-f]{64}$")
    kind: Kind
    n: int = Field(ge=3, le=1000)
    honest: int = Field(ge=1, le=1000)
    eps: Literal[0, 1, 2, 4] = 0
    sigma: int = Field(default=0, ge=0, lt=2**31)
    people: list[str] = []

    @property
    def mechanism(self) -> Mechanism:
        """What it was encoded with."""
        if self.kind == "circle":
            return Circle()
        return OnDemand(self.eps) if self.kind == "on-demand" else Ambient(self.sigma)

    @property
    def price(self) -> Price:
        """What it cost, as far as known when it was sent."""
        return self.mechanism.price(self.honest)


class Opened(_Line):
    """What became of a release: how many contributed, and for how many honest ones it is priced now, never more than before."""

    what: Literal["opened"] = "opened"
    room: str = Field(pattern=r"^[0-9a-f]{64}$")
    contributors: int = Field(ge=1, le=1000)
    honest: int = Field(ge=1, le=1000)


class Refusal(_Line):
    """Why nothing was sent."""

    what: Literal["refused"] = "refused"
    room: str = Field(pattern=r"^[0-9a-f]{64}$")
    why: str = Field(max_length=300)


class Sent(_Line):
    """Shares left, and what became of them where no charge tells it."""

    what: Literal["sent"] = "sent"
    room: str = Field(pattern=r"^[0-9a-f]{64}$")
    why: str = Field(max_length=300)


class Accepted(_Line):
    """The owner accepted a full day's charge, since the book or the clock could not be believed: nothing may be sent for a
    day, and the lines before it say no longer what time it is."""

    what: Literal["accepted"] = "accepted"


Line = Charge | Opened | Refusal | Sent | Accepted
_LINES: TypeAdapter[Line] = TypeAdapter(Line)


class State(NamedTuple):
    """Everything the ledger holds, and the checksum of its last line."""

    lines: tuple[Line, ...]
    last: str


class Ledger:
    """`begun`: whether this device is known to have a ledger, so that a missing one is noticed."""

    def __init__(self, path: Path, caps: Caps | None = None, *, begun: bool) -> None:
        self._path, self._head = path, path.with_suffix(".head")
        self.caps = caps or Caps()
        if not begun and not path.exists() and not self._head.exists():
            with self._locked():
                self._begin()

    def lines(self) -> tuple[Line, ...]:
        """All of it, oldest first; `Closed`."""
        with self._locked():
            return self._read().lines

    def spent(self, now: int) -> tuple[Spent, Spent]:
        """Of the last hour and day; `Closed`."""
        with self._locked():
            lines = _counting(self._read().lines, now)
        if _day_accepted(lines, now):
            return self.caps.hour, self.caps.day
        charges = _charges(lines)
        hour, day = (total(window(charges, now, epochs)) for epochs in (HOUR, DAY))
        return hour, day

    def charge(self, new: Charge) -> None:
        """Enter a release, on disk before this returns: only then may it be sent. `Refused` when a cap, an earlier charge of
        the same room and epoch, the audit of circles or the clock forbids it; that is entered instead."""
        with self._locked():
            state = self._read()
            why = _objection(state.lines, new, self.caps)
            self._append(state, new if why is None else Refusal(epoch=new.epoch, room=new.room, why=why))
        if why is not None:
            raise Refused(why)

    def allows(self, new: Charge) -> None:
        """Whether `charge` would enter this now; nothing is entered. `Refused`."""
        with self._locked():
            why = _objection(self._read().lines, new, self.caps)
        if why is not None:
            raise Refused(why)

    def opened(self, epoch: int, room: str, contributors: int, honest: int) -> None:
        """A release became known: raise its charge when fewer could be honest than it was priced for, never lower it."""
        with self._locked():
            state = self._read()
            self._append(state, Opened(epoch=epoch, room=room, contributors=contributors, honest=honest))

    def refuse(self, epoch: int, room: str, why: str) -> None:
        """Enter that nothing was sent, and why."""
        with self._locked():
            self._append(self._read(), Refusal(epoch=epoch, room=room, why=why[:300]))

    def sent(self, epoch: int, room: str, why: str) -> None:
        """Enter that shares left, and what became of them."""
        with self._locked():
            self._append(self._read(), Sent(epoch=epoch, room=room, why=why[:300]))

    def accept_full_day(self, now: int) -> Path | None:
        """A whole day is used up, and what can be read counts on. A book that cannot be read begins anew; it is kept under the
        returned name. Interrupted, it stays closed: the head comes first, and names a line that is not there yet."""
        with self._locked():
            state = None
            with contextlib.suppress(Closed):
                state = self._read()
            if state is not None:
                self._append(state, Accepted(epoch=now))
                return None
            last, text = _entry(_sum("", _START), Accepted(epoch=now))
            _write(self._head, f"{last}\n")
            aside = None
            if self._path.exists():
                names = (self._path.with_suffix(f".damaged-{number}") for number in itertools.count(now))
                aside = next(name for name in names if not name.exists())
                os.replace(self._path, aside)
            _write(self._path, _FIRST + text)
            return aside

    # -- the file ------------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(self._path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def _begin(self) -> None:
        _write(self._head, f"{_sum('', _START)}\n")
        _write(self._path, _FIRST)

    def _read(self) -> State:
        try:
            text, head = self._path.read_text("ascii"), self._head.read_text("ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise Closed(f"the privacy ledger cannot be read ({error}); {_REMEDY}") from None
        first, *rest = text.split("\n")
        told, _, begin = first.partition(" ")
        start, _, before = begin.partition(_AFTER)
        last, lines = _sum("", begin), []
        found = {last, before or last}  # a head that is still of the book before this one, too
        if told != last or start != _START or rest[-1:] != [""]:
            raise Closed(f"the privacy ledger is damaged at its ends; {_REMEDY}")
        for number, line in enumerate(rest[:-1], start=2):
            told, _, body = line.partition(" ")
            last = _sum(last, body)
            try:
                if told != last:
                    raise ValueError
                lines.append(_LINES.validate_json(body))
            except (ValidationError, ValueError):
                raise Closed(f"the privacy ledger is damaged at line {number}; {_REMEDY}") from None
            found.add(last)
        if head not in found:
            raise Closed(f"the privacy ledger was cut short; {_REMEDY}")
        return State(tuple(lines), last)

    def _append(self, state: State, line: Line) -> None:
        """On disk before this returns; what says nothing but what was said is not said again. `Closed` on a full disk."""
        if isinstance(line, Opened | Refusal | Sent) and line in state.lines:
            return
        new_day = line.epoch // DAY > max((old.epoch for old in state.lines), default=line.epoch) // DAY
        try:
            last = (
                self._anew(state, line) if new_day and state.lines[0].epoch <= line.epoch - KEPT else self._added(state, line)
            )
            _write(self._head, f"{last}\n")
        except OSError as error:
            raise Closed(f"the privacy ledger cannot be written: {error}. Nothing is sent; free some disk space") from None

    def _added(self, state: State, line: Line) -> str:
        last, text = _entry(state.last, line)
        file = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
        try:
            size, data = os.fstat(file).st_size, text.encode("ascii")
            try:
                if os.write(file, data) != len(data):
                    raise OSError("the disk is full")
                os.fsync(file)
            except OSError:
                os.ftruncate(file, size)
                raise
        finally:
            os.close(file)
        return last

    def _anew(self, state: State, line: Line) -> str:
        """Without what is old, in one step: its start names the last line of the book before it, which the head still has."""
        begin = f"{_START}{_AFTER}{state.last}"
        last = _sum("", begin)
        text = [f"{last} {begin}\n"]
        for kept in [*(old for old in state.lines if old.epoch > line.epoch - KEPT), line]:
            last, entry = _entry(last, kept)
            text.append(entry)
        _write(self._path, "".join(text))
        return last


_REMEDY = "nothing is sent until `moodmesh privacy ledger --accept-full-day` takes a whole day as spent"


def _objection(lines: tuple[Line, ...], new: Charge, caps: Caps) -> str | None:
    """Why a release may not be sent; None when it may."""
    lines = _counting(lines, new.epoch)
    if new.epoch < max((line.epoch for line in lines), default=0):
        return "the clock is behind the last entry of the ledger: set it right, or accept a full day's charge"
    if _day_accepted(lines, new.epoch):
        return "a full day was charged when the ledger could not be believed: sending begins again when that day is over"
    charges = [line for line in lines if isinstance(line, Charge)]
    if any((line.room, line.epoch) == (new.room, new.epoch) for line in charges) and new.kind != "circle":
        return "this room has had a release of this device in this epoch"
    if new.kind == "circle":
        return _given_away(charges, new)
    return exceeded(_charges(lines), new.price, new.epoch, caps)


def _counting(lines: tuple[Line, ...], now: int) -> tuple[Line, ...]:
    """All but those ahead of a clock that its owner has accepted since: they count when their time has come."""
    accepted = max((i for i, line in enumerate(lines) if isinstance(line, Accepted)), default=0)
    return tuple(line for i, line in enumerate(lines) if i >= accepted or line.epoch <= now)


def _day_accepted(lines: tuple[Line, ...], now: int) -> bool:
    """Whether a whole day is taken as spent, and not over."""
    return any(isinstance(line, Accepted) and line.epoch > now - DAY for line in lines)


def _given_away(charges: list[Charge], new: Charge) -> str | None:
    """Whether this circle, with those of the last day, gives somebody's mood away."""
    before = [c.people for c in charges if c.kind == "circle" and c.epoch > new.epoch - DAY]
    found = solvable([*before, new.people])
    return None if found is None else "together with the circles of the last day, one of its people could solve for another"


def _charges(lines: tuple[Line, ...]) -> list[tuple[int, Price]]:
    """What each release cost, at its dearest."""
    honest = {(line.room, line.epoch): line.honest for line in lines if isinstance(line, Charge)}
    for line in lines:
        if isinstance(line, Opened) and (line.room, line.epoch) in honest:
            honest[line.room, line.epoch] = min(honest[line.room, line.epoch], line.honest)
    return [(line.epoch, line.mechanism.price(honest[line.room, line.epoch])) for line in lines if isinstance(line, Charge)]


def _sum(before: str, body: str) -> str:
    return hashlib.sha256(f"{before} {body}".encode()).hexdigest()[:32]


def _entry(before: str, line: Line) -> tuple[str, str]:
    """The checksum of a line that comes after another, and its text."""
    body = json.dumps(line.model_dump(exclude_defaults=False), sort_keys=True, separators=(",", ":"))
    return (last := _sum(before, body)), f"{last} {body}\n"


_FIRST = f"{_sum('', _START)} {_START}\n"


def _write(path: Path, text: str) -> None:
    """Replace a small file whole, and have it on disk."""
    part = path.with_suffix(path.suffix + ".part")
    with open(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "w", encoding="ascii") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(part, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
