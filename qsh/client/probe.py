"""Looking at a host that does not answer QUIC: is the UDP port closed, does ssh answer on TCP?"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.client.addresses import Address

__all__ = ["is_web", "refused", "ssh_greets"]

_GREETING: Final = b"SSH-2.0-"
_MAX_GREETING: Final = 8192
"""A server may send lines before its version (RFC 4253 4.2)."""
_PATIENCE_S: Final = 1.0
"""An SSH server speaks first. Who has said nothing after this is asked, as a web server wants it."""
_ASKING: Final = b"SSH-2.0-qsh\r\n\r\n"


async def refused(address: Address, port: int) -> None:
    """Return when this address has said "port unreachable" (ICMP); else wait for ever.

    The engine's socket is not connected and so hears no ICMP; a connected one that sends one byte
    does. A qshd drops it.
    """
    loop = asyncio.get_running_loop()
    with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
        sock.setblocking(False)
        try:
            sock.connect((address.host, port))
            sock.send(b"\0")
            while True:
                await loop.sock_recv(sock, 1)
        except ConnectionRefusedError:
            return
        except OSError:
            return  # no route: nothing will come from there


async def ssh_greets(addresses: Sequence[Address], port: int, limit_s: float) -> str:
    """``ssh`` if one address answers on TCP with SSH's greeting, else why not: ``web`` (a web server answers, as a captive portal
    has it), ``other``, ``refused``, ``silent``.
    """
    reasons = await asyncio.gather(*(_greets(address, port, limit_s) for address in addresses))
    for reason in ("ssh", "web", "other", "refused"):
        if reason in reasons:
            return reason
    return "silent"


async def _greets(address: Address, port: int, limit_s: float) -> str:
    try:
        async with asyncio.timeout(limit_s):
            return await _greeting(address, port)
    except TimeoutError:
        return "silent"
    except ConnectionRefusedError:
        return "refused"
    except OSError:
        return "silent"


async def _greeting(address: Address, port: int) -> str:
    loop = asyncio.get_running_loop()
    with socket.socket(address.family, socket.SOCK_STREAM) as sock:
        sock.setblocking(False)
        await loop.sock_connect(sock, (address.host, port))
        asking = loop.call_later(_PATIENCE_S, _ask, sock)
        received = b""
        try:
            while len(received) < _MAX_GREETING:
                data = await loop.sock_recv(sock, 1024)
                if not data:
                    break
                received += data
                if any(line.startswith(_GREETING) for line in received.split(b"\n")):
                    return "ssh"
                if is_web(received):
                    return "web"
        finally:
            asking.cancel()
    return "other"


def _ask(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.send(_ASKING)


def is_web(head: bytes) -> bool:
    """Whether this is how a web server begins."""
    low = head.lower()
    return low.startswith(b"http/") or b"<html" in low or b"<!doctype" in low
