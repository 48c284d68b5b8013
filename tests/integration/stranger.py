"""A stranger in a network namespace of its own: scans, probes and floods a device. Orders come as JSON lines on stdin."""

from __future__ import annotations

import asyncio
import contextlib
import json
import select
import socket
import ssl
import struct
import sys
import time
from typing import Any

HELLO_ASK = b"MMH1\x02\x04" + bytes(16) + struct.pack("<HBHH", 4000, 255, 0, 0) + bytes(64)
# one question for PTR _moodmesh._tcp.local, answer by unicast
MDNS_ASK = bytes.fromhex("000000000001000000000000") + b"\x09_moodmesh\x04_tcp\x05local\x00" + struct.pack(">HH", 12, 0x8001)
REQUESTS = (
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /pair HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /status HTTP/1.1\r\n\r\n",
    b"\x00" * 64,
)


async def scan(host: str, places: int = 500) -> dict[str, Any]:
    """Every TCP port that takes a connection, so many tried at a time."""
    began = time.monotonic()
    found = [port for first in range(1, 65536, places) for port in connected(host, range(first, min(first + places, 65536)))]
    return {"open": found, "seconds": time.monotonic() - began}


def connected(host: str, ports: range) -> list[int]:
    """Those of the ports that take a connection; one that does not even refuse within two seconds counts as closed."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    poll, waiting, found = select.poll(), {}, []
    for port in ports:
        sock = socket.socket(family, socket.SOCK_STREAM)
        sock.setblocking(False)
        sock.connect_ex((host, port))
        waiting[sock.fileno()] = sock, port
        poll.register(sock, select.POLLOUT)
    end = time.monotonic() + 2
    while waiting and time.monotonic() < end:
        for descriptor, _ in poll.poll(100):
            sock, port = waiting.pop(descriptor)
            poll.unregister(sock)
            if sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0:
                found.append(port)
            sock.close()
    for sock, _ in waiting.values():
        sock.close()
    return sorted(found)


async def udp(host: str) -> dict[str, Any]:
    """All that comes back when every UDP port is asked in both protocols."""
    loop, answers = asyncio.get_running_loop(), []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        sock.bind(("", 0))
        loop.add_reader(sock, lambda: answers.append(sock.recvfrom(65536)))
        for port in range(1, 65536):
            for ask in (HELLO_ASK, MDNS_ASK):
                with contextlib.suppress(OSError):  # port unreachable, for an earlier one
                    sock.sendto(ask, (host, port))
            if port % 500 == 0:
                await asyncio.sleep(0)
        await asyncio.sleep(1.1)  # the limits of answers have room again
        for port, ask in ((47077, HELLO_ASK), (5353, MDNS_ASK)):
            with contextlib.suppress(OSError):
                sock.sendto(ask, (host, port))
        await asyncio.sleep(0.5)
        loop.remove_reader(sock)
    return {"answers": [{"port": source[1], "data": data.hex()} for data, source in answers]}


async def tls(host: str, port: int) -> dict[str, Any]:
    """The certificate that a port shows, and everything it says to a stranger, inside TLS and around it."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["moodmesh/1"])
    certificates, inside = set(), b""
    for request in REQUESTS:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            async with asyncio.timeout(3):
                reader, writer = await asyncio.open_connection(host, port, ssl=context, server_hostname="x")
                certificates.add(writer.get_extra_info("ssl_object").getpeercert(binary_form=True).hex())
                writer.write(request)
                with contextlib.suppress(OSError):
                    inside += await reader.read(65536)
                writer.transport.abort()
    plain = b""
    with contextlib.suppress(OSError):
        async with asyncio.timeout(3):
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(REQUESTS[0])
            plain = await reader.read(65536)
            writer.transport.abort()
    return {"certificates": sorted(certificates), "inside": inside.hex(), "plain": plain.hex()}


async def flood(host: str, port: int, count: int) -> dict[str, Any]:
    """Half a TLS handshake again and again, 200 of them open at any time."""
    left, began = iter(range(count)), time.monotonic()

    async def worker() -> None:
        for _ in left:
            with contextlib.suppress(OSError):
                async with asyncio.timeout(2):
                    reader, writer = await asyncio.open_connection(host, port)
                    writer.write(b"\x16\x03\x01\x02")
                    await reader.read(1)
                    writer.transport.abort()

    await asyncio.gather(*(worker() for _ in range(200)))
    return {"seconds": time.monotonic() - began}


def main() -> None:
    print("{}", flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        work = {"scan": scan, "udp": udp, "tls": tls, "flood": flood}[order.pop("do")]
        print(json.dumps(asyncio.run(work(**order))), flush=True)


if __name__ == "__main__":
    main()
