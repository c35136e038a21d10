"""Sockets with buffers that fit: UDP the speed of the engine, TCP the patience of a terminal."""

from __future__ import annotations

import contextlib
import errno
import socket
from typing import Final

__all__ = ["client_socket", "server_socket", "suit_packets", "tcp_listener"]

BUFFER_BYTES: Final = 4 << 20
"""The default of 208 KiB overflows at once on loopback and on fast links."""

_ANY_IPV4: Final = "0.0.0.0"  # noqa: S104 - a server listens, a client's address is the route's choice

_BUFFERS: Final = (
    (33, socket.SO_RCVBUF),  # SO_RCVBUFFORCE
    (32, socket.SO_SNDBUF),  # SO_SNDBUFFORCE
)
"""Options that go over net.core.?mem_max (root only), and those that do not."""


def _enlarge(udp: socket.socket) -> None:
    for forced, plain in _BUFFERS:
        try:
            udp.setsockopt(socket.SOL_SOCKET, forced, BUFFER_BYTES)
        except OSError:
            with contextlib.suppress(OSError):
                udp.setsockopt(socket.SOL_SOCKET, plain, BUFFER_BYTES)


def client_socket(remote_ip: str, bind_ip: str | None = None) -> socket.socket:
    """A socket that can reach the address: not connected, so that the path may change."""
    ipv6 = ":" in (bind_ip or remote_ip)
    udp = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        _enlarge(udp)
        udp.bind((bind_ip or ("::" if ipv6 else _ANY_IPV4), 0))
    except OSError:
        udp.close()
        raise
    return udp


def server_socket(port: int, bind_ip: str | None = None) -> socket.socket:
    """A socket to listen on: both families where no address is given and the system has IPv6."""
    if bind_ip is None:
        try:
            return server_socket(port, "::")
        except OSError as error:
            # Only a missing family is a reason to try the other: a taken port must be reported.
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return server_socket(port, _ANY_IPV4)
    ipv6 = ":" in bind_ip
    udp = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_DGRAM)
    try:
        _enlarge(udp)
        if ipv6:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bind_ip != "::")
        udp.bind((bind_ip, port))
    except OSError:
        udp.close()
        raise
    return udp


_UNSENT_BYTES: Final = 16 * 1024
"""What TCP takes beyond what it can send: a terminal's datagrams wait behind that."""
_BACKLOG: Final = 128


def suit_packets(tcp: socket.socket) -> None:
    """Make a TCP connection carry packets without delay."""
    if tcp.family not in (socket.AF_INET, socket.AF_INET6):
        return
    for level, option, value in (
        (socket.IPPROTO_TCP, socket.TCP_NODELAY, 1),
        (socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _UNSENT_BYTES),
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1),
    ):
        with contextlib.suppress(OSError):
            tcp.setsockopt(level, option, value)


def tcp_listener(port: int, bind_ip: str | None = None) -> socket.socket:
    """A non-blocking socket that accepts, bound as :func:`server_socket` is."""
    if bind_ip is None:
        try:
            return tcp_listener(port, "::")
        except OSError as error:
            if error.errno not in (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL):
                raise
            return tcp_listener(port, _ANY_IPV4)
    ipv6 = ":" in bind_ip
    tcp = socket.socket(socket.AF_INET6 if ipv6 else socket.AF_INET, socket.SOCK_STREAM)
    try:
        tcp.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if ipv6:
            tcp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, bind_ip != "::")
        tcp.bind((bind_ip, port))
        tcp.listen(_BACKLOG)
    except OSError:
        tcp.close()
        raise
    tcp.setblocking(False)
    return tcp
