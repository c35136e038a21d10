"""What a login child becomes that has opened a PAM session: the session host's parent, which closes it at its end.

Limits, groups, labels and the scope that modules gave to this process are the session host's too, since it is forked here.
"""

from __future__ import annotations

import contextlib
import os
import resource
import select
import signal
from typing import TYPE_CHECKING, Final, NoReturn

from qsh.server import confinement
from qsh.server.process import set_title

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.log import Log
    from qsh.server.packets import PacketSocket
    from qsh.server.pam_login import PamLogin
    from qsh.server.requests import Begin

__all__ = ["keep", "wait_for_begin"]

PASSED_ON: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
"""Who ends the keeper means the session; it is still to be closed."""


def wait_for_begin(monitor: PacketSocket[Begin]) -> list[int]:
    """The session host's descriptors; none when the monitor does not want it any more."""
    while True:
        select.select([monitor], [], [])
        try:
            received = monitor.receive()
        except EOFError:
            return []
        if received is not None:
            return received[1]


def keep(
    login: PamLogin,
    be_session: Callable[[], NoReturn],
    after_fork: Callable[[], None],
    log: Log,
) -> NoReturn:
    """Fork the session host, wait for its end, close the session, end as it did. ``after_fork``: before the wait."""
    waited = {signal.SIGCHLD, *PASSED_ON}
    signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    pid = os.fork()
    if pid == 0:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, waited)
        be_session()
    set_title("qshd-keeper")
    log.role = "qshd-keeper"
    after_fork()
    confinement.refuse_rare_calls()
    status = _wait(pid, waited)
    reason = login.close()
    if reason is not None:
        log.error(f"session of {login.user}: {reason}")
    _end_as(status)


def _wait(pid: int, waited: set[signal.Signals]) -> int:
    while True:
        number = signal.sigwait(waited)
        if number != signal.SIGCHLD:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return status


def _end_as(status: int) -> NoReturn:
    """The monitor reads it in our status."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        with contextlib.suppress(OSError):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {number})
        os.kill(os.getpid(), number)
    os._exit(os.waitstatus_to_exitcode(status) & 0xFF)
