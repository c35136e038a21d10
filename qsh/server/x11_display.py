"""A display for programs on the host: its number, its sockets, and its line in .Xauthority (model: channels.c, session.c)."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
from typing import Final, NamedTuple

__all__ = ["MAX_DISPLAYS", "XauthEntry", "add_entry", "listen"]

FIRST_PORT: Final = 6000
MAX_DISPLAYS: Final = 1000
BACKLOG: Final = 128
LOOPBACK: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
EVERYWHERE: Final = ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::"))  # noqa: S104 - X11UseLocalhost no
_NO_FAMILY: Final = (errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL, errno.EPROTONOSUPPORT)


class XauthEntry(NamedTuple):
    """What xauth(1) is told. All three are of characters that mean nothing to it (see X11 in qsh/wire/messages.py)."""

    display: str
    protocol: str
    cookie: str


def listen(offset: int, *, localhost: bool) -> tuple[int, list[socket.socket]]:
    """The first display from ``offset`` on whose ports are all free, and sockets that listen there. Raises OSError."""
    for number in range(max(offset, 0), MAX_DISPLAYS):
        if (sockets := _listen(FIRST_PORT + number, localhost=localhost)) is not None:
            return number, sockets
    raise OSError(errno.EADDRINUSE, "no display is free")


def _listen(port: int, *, localhost: bool) -> list[socket.socket] | None:
    sockets: list[socket.socket] = []
    for family, address in LOOPBACK if localhost else EVERYWHERE:
        try:
            sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
        except OSError as error:
            if error.errno in _NO_FAMILY:
                continue
            _close(sockets)
            raise
        sockets.append(sock)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            sock.bind((address, port))
            sock.listen(BACKLOG)
        except OSError as error:
            if error.errno in _NO_FAMILY:
                sockets.pop().close()
                continue
            _close(sockets)
            return None  # half a display is none: somebody else would have the other half
    return sockets or None


def _close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def add_entry(xauth: str, entry: XauthEntry, env: dict[str, str]) -> None:
    """Let xauth(1) write the line, with the program's environment, in the program's own process. A failure is its own to tell."""
    text = f"remove {entry.display}\nadd {entry.display} {entry.protocol} {entry.cookie}\n"
    reader, writer = os.pipe()
    try:
        os.write(
            writer, text.encode()
        )  # before anybody reads: it fits, and no SIGPIPE can come of it
    finally:
        os.close(writer)
    with contextlib.suppress(OSError, ChildProcessError):
        actions = [(os.POSIX_SPAWN_DUP2, reader, 0), (os.POSIX_SPAWN_DUP2, 2, 1)]
        pid = os.posix_spawn(xauth, [xauth, "-q", "-"], env, file_actions=actions)
        os.waitpid(pid, 0)
    os.close(reader)
