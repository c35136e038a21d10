"""Names to addresses beside the session host's loop: a name service that hangs holds up the one who asked it, nobody else."""

from __future__ import annotations

import _thread
import os
import socket
from collections import deque
from typing import TYPE_CHECKING, Final

from qsh.forward.dialing import Address
from qsh.server.event_loop import READ

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.event_loop import EventLoop

    Found = list[Address] | OSError

__all__ = ["Resolver", "literal"]

MAX_THREADS: Final = 32
"""Lookups at a time; the rest waits its turn. glibc gives one up after 10 s or so."""


class Resolver:
    """Answers come through the loop. Threads exist only while there is something to look up."""

    def __init__(self, loop: EventLoop) -> None:
        self._loop = loop
        self._questions: deque[tuple[str, int, Callable[[Found], None]]] = deque()
        self._answers: deque[tuple[Found, Callable[[Found], None]]] = deque()
        self._threads = 0
        self._wake = -1

    def ask(self, host: str, port: int, take: Callable[[Found], None]) -> None:
        """``take`` gets the addresses, at least one, or the error. Raises OSError, RuntimeError: no descriptor or thread."""
        if self._wake < 0:
            self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
            self._loop.watch(self._wake, READ, lambda _: self._deliver())
        self._questions.append((host, port, take))
        self._start_threads()

    def _start_threads(self) -> None:
        while self._threads < min(MAX_THREADS, len(self._questions) + self._threads):
            if not self._questions:
                return
            question = self._questions.popleft()
            self._threads += 1
            try:
                # not threading, which every fork of the image would pay for: it runs Python of its own after each
                _thread.start_new_thread(self._work, question)
            except RuntimeError as error:
                self._threads -= 1
                question[2](OSError(str(error)))

    def _work(self, host: str, port: int, take: Callable[[Found], None]) -> None:
        self._answers.append((_look_up(host, port), take))
        try:
            os.eventfd_write(self._wake, 1)
        except OSError:
            pass  # the host is closing

    def _deliver(self) -> None:
        os.eventfd_read(self._wake)
        while self._answers:
            found, take = self._answers.popleft()
            self._threads -= 1
            take(found)
        self._start_threads()


def literal(host: str, port: int) -> list[Address]:
    """The address that ``host`` is, without asking anybody; nothing if it is a name."""
    if not host or not (":" in host or host[-1:].isdigit()):
        return []
    found = _look_up(host, port, socket.AI_NUMERICHOST)
    return [] if isinstance(found, OSError) else found


def _look_up(host: str, port: int, flags: int = 0) -> Found:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=flags)
    except OSError as error:
        return error
    except (ValueError, UnicodeError):  # a NUL, a label that IDNA does not know
        return socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    return [Address(family, where) for family, _, _, _, where in found]
