"""When to dial and in what order: pure functions, and the race between addresses (mesh-lessons §4, Dialling)."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Awaitable, Callable, Iterable, Sequence

from .address import Address
from .clock import Clock
from .errors import CertificateRefused, DialFailed, MeshError
from .pairs import Pair
from .pipe import Dialler, Pipe
from .reach import by_radio

STAGGER_S = 0.15
JITTER_S = 0.15
BACKOFF_S = (0.5, 60.0)
MOST_ADDRESSES, MOST_BY_RADIO = 8, 4
RADIO_LAST_S = 1.0
"""What a network answers in this time is not asked for by radio."""


def jitter(us: str, peer: str) -> float:
    """Seconds to wait before dialling, in [0, 0.15], from a hash: the two ends rarely dial at once."""
    return JITTER_S * int.from_bytes(hashlib.sha256(f"{us}>{peer}".encode()).digest()[:4], "big") / (2**32 - 1)


def backoff(failures: int, draw: float) -> float:
    """Seconds to wait after the n-th failure (from 1): 0.5 doubled up to 60, times `draw` in [0, 1) scaled to [0.5, 1)."""
    shortest, longest = BACKOFF_S
    return min(longest, shortest * 2.0 ** min(failures, 16)) * (0.5 + draw / 2)


def ordered(addresses: Iterable[Address]) -> tuple[Address, ...]:
    """The first eight without repeats, IPv6 link-local in front; then the first four of those behind a radio."""
    newest = tuple(dict.fromkeys(addresses))
    near = [address for address in newest if not by_radio(address[0])][:MOST_ADDRESSES]
    far = [address for address in newest if by_radio(address[0])][:MOST_BY_RADIO]
    return (*sorted(near, key=lambda address: not address[0].lower().startswith("fe80")), *far)


async def open_pipe(dialler: Dialler, pair: Pair, address: Address, rid: bytes | None) -> Pipe:
    """A pipe to one address; without a rid, or with one out of date, ask there for the rid first."""
    rid = rid or await dialler.ask(address)
    if rid is None:
        raise DialFailed("nobody shows a rid there")
    try:
        return await dialler.open(pair, address, rid)
    except CertificateRefused:
        fresh = await dialler.ask(address)
        if fresh is None or fresh == rid:
            raise
        return await dialler.open(pair, address, fresh)


async def race(clock: Clock, addresses: Sequence[Address], open_one: Callable[[Address], Awaitable[Pipe]]) -> Pipe:
    """The first pipe of attempts started 150 ms apart, by radio a second later; `DialFailed` names the cause of each."""

    async def attempt(place: int, address: Address) -> Pipe:
        await clock.sleep(place * STAGGER_S + (RADIO_LAST_S if place and by_radio(address[0]) else 0.0))
        return await open_one(address)

    tasks = {asyncio.create_task(attempt(place, address)): address for place, address in enumerate(addresses)}
    causes: list[str] = []
    stranger = False
    winner: asyncio.Task[Pipe] | None = None
    pending = set(tasks)
    try:
        while pending and winner is None:
            done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
            for task in done:
                if task.exception() is None:
                    winner = winner or task
                else:
                    causes.append(_cause(tasks[task], task.exception()))
                    stranger |= isinstance(task.exception(), CertificateRefused)
    finally:
        await _drop([task for task in tasks if task is not winner])
    if winner is None:
        raise DialFailed("; ".join(causes) or "no address is known", stranger)
    return winner.result()


def _cause(address: Address, error: BaseException | None) -> str:
    if not isinstance(error, MeshError):
        raise error or AssertionError
    return f"{address[0]} port {address[1]}: {error}"


async def _drop(tasks: Sequence[asyncio.Task[Pipe]]) -> None:
    for task in tasks:
        task.cancel()
    for pipe in await asyncio.gather(*tasks, return_exceptions=True):
        if not isinstance(pipe, BaseException):
            await pipe.close()
