"""Sockets that a forward listens on: which addresses, and what goes wrong, as OpenSSH has it (channels.c)."""

from __future__ import annotations

import errno
import os
import socket
from contextlib import suppress
from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.forward.dialing import Address

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = [
    "Bound",
    "ListenError",
    "bind_address",
    "enlarge",
    "listen_on",
    "listen_tcp",
    "listen_unix",
]

BACKLOG: Final = 1024
"""Who connects while it is full tries again after a second: OpenSSH's 128 are too few for a browser that begins 200 at once."""


UDP_BUFFER_BYTES: Final = 1 << 20
"""What a UDP socket may hold: some 10 ms at the highest rate. The default is a tenth of that."""


class ListenError(OSError):
    """Nothing could be listened on; the text is OpenSSH's."""


class Bound(NamedTuple):
    """Listening sockets, all on one port, and what could not be had beside them."""

    sockets: list[socket.socket]
    port: int
    complaints: list[str]
    last_failed: bool = False
    """The last complaint is about the last address: OpenSSH tells that one without ``-v``."""


def bind_address(
    host: str | None, gateway_ports: str, *, is_client: bool
) -> tuple[str | None, bool]:
    """The address to listen on (None: loopback, or all of them), and whether it is all of them.

    ``gateway_ports``: no, yes, clientspecified (server). The rules are those of channel_fwd_bind_addr.
    """
    if host is None:
        return None, gateway_ports == "yes" or (not is_client and gateway_ports != "no")
    if gateway_ports == "no" and not is_client:
        return (host, False) if host in ("127.0.0.1", "::1") else (None, False)
    if host in ("", "*") or (not is_client and gateway_ports == "yes"):
        return None, True
    return (None if host == "localhost" else host), False


def listen_tcp(address: str | None, wildcard: bool, port: int, *, udp: bool = False) -> Bound:
    """Listen on every address that is meant. ``port`` 0: a free one, the same for both families. Raises ListenError.

    A name is looked up, which may take its time. ``udp``: sockets for datagrams.
    """
    passive = socket.AI_PASSIVE if wildcard else 0
    try:
        found = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM, flags=passive)
    except (OSError, ValueError, UnicodeError) as error:
        text = getattr(error, "strerror", None) or "invalid name"
        raise ListenError(f"getaddrinfo: {address or '<NULL>'}: {text}") from None
    return listen_on([Address(family, where) for family, _, _, _, where in found], port, udp=udp)


def listen_on(addresses: Sequence[Address], port: int, *, udp: bool = False) -> Bound:
    """As :func:`listen_tcp`, on addresses that are known."""
    sockets: list[socket.socket] = []
    complaints: list[str] = []
    last_failed = False
    for family, where in addresses:
        host = str(where[0])
        try:
            sock = _bound(family, (host, port, *where[2:]), udp)
        except OSError as error:
            complaints.append(f"bind [{host}]:{port}: {os.strerror(error.errno or errno.EIO)}")
            last_failed = True
            continue
        last_failed = False
        sockets.append(sock)
        port = int(sock.getsockname()[1])
    if not sockets:
        text = f"channel_setup_fwd_listener_tcpip: cannot listen to {'udp ' * udp}port: {port}"
        raise ListenError("\n".join((*complaints[-1:], text)))
    return Bound(sockets, port, complaints, last_failed)


def _bound(family: int, where: tuple[object, ...], udp: bool) -> socket.socket:
    kind = socket.SOCK_DGRAM if udp else socket.SOCK_STREAM
    sock = socket.socket(family, kind | socket.SOCK_NONBLOCK)
    try:
        if udp:
            enlarge(sock)  # and no SO_REUSEADDR: others could take the port, too
        else:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        sock.bind(where)
        if not udp:
            sock.listen(BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def enlarge(sock: socket.socket) -> None:
    """Give a UDP socket the buffers that it should have, as far as the system lets us."""
    for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, option, UDP_BUFFER_BYTES)


def listen_unix(path: bytes, mask: int, *, unlink: bool) -> socket.socket:
    """Listen on a unix socket made with this umask. Raises ListenError."""
    shown = os.fsdecode(path)
    if unlink:
        with suppress(OSError):
            os.unlink(path)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    before = os.umask(mask)
    try:
        sock.bind(path)
        sock.listen(BACKLOG)
    except (OSError, ValueError) as error:
        sock.close()
        reason = getattr(error, "strerror", None) or str(error)
        text = f"unix_listener: cannot bind to path {shown}: {reason}"
        raise ListenError(text) from None
    finally:
        os.umask(before)
    return sock
