"""Connecting to where a remote forward leads, on this side."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from threading import Thread
from typing import TYPE_CHECKING

from qsh.clock import monotonic_s
from qsh.forward.dialing import Address, Dial, for_datagrams
from qsh.forward.listening import enlarge

if TYPE_CHECKING:
    from qsh.wire.messages import Target

__all__ = ["connect", "connect_udp"]


async def connect(target: Target) -> socket.socket:
    """A non-blocking socket. Raises OSError; gaierror for a name that is none."""
    if target.path:
        return await _attempt(Address(socket.AF_UNIX, target.path))
    dial = Dial(await _addresses(target.host, target.port))
    attempts: set[asyncio.Task[socket.socket]] = set()
    try:
        while True:
            now = monotonic_s()
            while (address := dial.due(now)) is not None:
                attempts.add(asyncio.ensure_future(_attempt(address)))
            if dial.over:
                raise OSError(dial.error, os.strerror(dial.error))
            limit_s = None if dial.deadline is None else max(0.0, dial.deadline - now)
            done, _ = await asyncio.wait(
                attempts, timeout=limit_s, return_when=asyncio.FIRST_COMPLETED
            )
            for attempt in done:
                error = attempt.exception()
                if error is None:
                    attempts.discard(attempt)
                    return attempt.result()
                attempts.discard(attempt)
                dial.failed(getattr(error, "errno", None) or errno.EIO)
    finally:
        for attempt in attempts:
            attempt.cancel()
            attempt.add_done_callback(_close_result)


async def connect_udp(target: Target) -> socket.socket:
    """A UDP socket that sends there. Raises OSError; gaierror for a name that is none."""
    error = OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL))
    for family, where in for_datagrams(await _addresses(target.host, target.port)):
        sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            enlarge(sock)
            sock.connect(where)
        except OSError as failure:
            sock.close()
            error = failure
        else:
            return sock
    raise error


def _close_result(attempt: asyncio.Task[socket.socket]) -> None:
    """One that was too late."""
    if not attempt.cancelled() and attempt.exception() is None:
        attempt.result().close()


async def _attempt(address: Address) -> socket.socket:
    sock = socket.socket(address.family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        await asyncio.get_running_loop().sock_connect(sock, address.where)
    except BaseException:
        sock.close()
        raise
    return sock


async def _addresses(host: str, port: int) -> list[Address]:
    """A thread for each name: one whose name service hangs must not hold up the others."""
    loop = asyncio.get_running_loop()
    found: asyncio.Future[list[Address] | OSError] = loop.create_future()

    def give(result: list[Address] | OSError) -> None:
        if not found.done():
            found.set_result(result)

    def work() -> None:
        result = _look_up(host, port)
        with contextlib.suppress(RuntimeError):  # the loop is closed
            loop.call_soon_threadsafe(give, result)

    Thread(target=work, daemon=True).start()
    result = await found
    if isinstance(result, OSError):
        raise result
    return result


def _look_up(host: str, port: int) -> list[Address] | OSError:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except (ValueError, UnicodeError):  # a NUL, a label that IDNA does not know
        return socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [Address(family, where) for family, _, _, _, where in found]
