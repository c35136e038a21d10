"""``-f``: going to the background once the login is done.

ssh forks after authentication. Native threads do not survive a fork, so qsh forks at the start: the
parent waits on a pipe for word that the login is done, and until then the child may still ask for
passphrases on the terminal.
"""

from __future__ import annotations

import os
import signal
from typing import Final

__all__ = ["Background"]

_READY: Final = b"+"


class Background:
    """In the child: tells the parent when it may go."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe

    @classmethod
    def fork(cls) -> Background:
        """Returns in the child only; the parent exits as the child's login turns out."""
        reader, writer = os.pipe()
        child = os.fork()
        if child:
            os.close(writer)
            _wait(reader, child)
        os.close(reader)
        return cls(writer)

    def ready(self) -> None:
        """The login is done: let the parent go and leave its session."""
        os.write(self._pipe, _READY)
        os.close(self._pipe)
        os.setsid()
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.close(null)


def _wait(reader: int, child: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    if os.read(reader, 1) == _READY:
        os._exit(0)
    _, status = os.waitpid(child, 0)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
