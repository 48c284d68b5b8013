"""The guest: dial a window, run the exchange, pin what the QR code pins (pairing §5.1)."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aiohttp import ClientError, ClientSession, ClientWebSocketResponse, WSMsgType

from moodmesh.mesh.address import Address
from moodmesh.mesh.errors import NoWindow, PairingFailed, WrongCode
from moodmesh.mesh.pairing import spake2
from moodmesh.mesh.pairing.code import Code
from moodmesh.mesh.pairing.flow import NO_VERSION, Guest, Me
from moodmesh.mesh.pairing.messages import LARGEST, P2, P4, P6, P8, Message, decode
from moodmesh.mesh.pairing.window import STEP_S, certificate_hash
from moodmesh.mesh.pairs import Pair
from moodmesh.mesh.reach import connector, patience
from moodmesh.mesh.tls import blind_context

M = TypeVar("M", bound=Message)


async def join(me: Me, code: Code, at: Address, store: Callable[[Pair], Awaitable[None]], cost: int = spake2.SCRYPT_N) -> Pair:
    """Pair with the window at an address. `store` is awaited with the half pair before the host hears that we have it.

    `WrongCode`, `NoWindow`, or another `PairingFailed`; nothing is kept after any of them.
    """
    query = "?by=qr" if code.pin is not None else ""
    url = f"https://window.moodmesh.invalid:{at[1]}/pair{query}"
    try:
        async with asyncio.timeout(patience(at[0])):
            way = await connector(at, blind_context())
        async with ClientSession(connector=way) as session:
            async with asyncio.timeout(patience(at[0])):
                socket = await session.ws_connect(url, max_msg_size=LARGEST, autoping=False, compress=0)
            async with socket:
                return await _exchange(me, code, socket, store, cost)
    except (ClientError, OSError, TimeoutError) as error:
        why = f" ({error})" if str(error) else ""
        where = f"{at[0]} port {at[1]}{why}"
        raise NoWindow(
            f"nothing that pairs answers at {where}: its window may be closed, `moodmesh pair` there opens one"
        ) from error


async def _exchange(
    me: Me, code: Code, socket: ClientWebSocketResponse, store: Callable[[Pair], Awaitable[None]], cost: int
) -> Pair:
    tls = socket.get_extra_info("ssl_object")
    spki = certificate_hash(tls.getpeercert(True))
    if code.pin is not None and spki != code.pin:
        raise PairingFailed("another device answers at that address than the one whose QR code was scanned")
    guest = Guest(me, code.password, code.nameplate, spki, cost)
    await socket.send_str(guest.begin().encode())
    p2 = await _receive(socket, P2)
    await socket.send_str((await asyncio.to_thread(guest.reply, p2)).encode())
    await socket.send_str(guest.check(await _receive(socket, P4)).encode())
    p7 = guest.accept(await _receive(socket, P6))
    await store(guest.pair)
    await socket.send_str(p7.encode())
    guest.finish(await _receive(socket, P8))
    return guest.pair


async def _receive(socket: ClientWebSocketResponse, model: type[M]) -> M:
    async with asyncio.timeout(STEP_S):
        message = await socket.receive()
    if message.type is WSMsgType.TEXT:
        return decode(model, message.data)
    raise _farewell(str(message.extra or ""))


def _farewell(reason: str) -> PairingFailed:
    if reason == "wrong code":
        return WrongCode("wrong code; nothing was paired. Type the new one that the other device shows now")
    if reason == "version":
        return PairingFailed(NO_VERSION)
    if reason == "busy":
        return NoWindow("the other device is pairing with someone else right now; try again in a moment")
    if reason == "locked":
        return NoWindow("that window takes no more tries; open a new one there with `moodmesh pair`")
    return PairingFailed("the other device broke off; nothing was paired. Try again with its newest code")
