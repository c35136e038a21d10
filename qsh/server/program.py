"""Starting a user's program: on a terminal of its own or on three pipes. Called in the session host, as the user."""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # what the module signal is made of
import errno
import fcntl
import os
import signal
import struct
import termios
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, NoReturn

from qsh.channels import terminal_modes

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.session_rules import Plan
    from qsh.wire.messages import Pty

__all__ = ["Program", "Terminal", "open_terminal", "set_window", "start", "start_function"]

PIPE_BYTES: Final = 1 << 20
"""Size asked for of a program's pipes: Linux's limit for ordinary users; bulk copies need fewer wake-ups."""
_SIG_BLOCK, _SIG_SETMASK = int(signal.SIG_BLOCK), int(signal.SIG_SETMASK)
_ALL_SIGNALS: Final = frozenset(map(int, signal.valid_signals()))
"""For _signal: signal's own functions make an enumeration member or an exception of every signal, which dirties a quarter of a
megabyte in each session host."""
_TO_DEFAULT: Final = tuple(_ALL_SIGNALS - {int(signal.SIGKILL), int(signal.SIGSTOP)})
EXIT_NOT_STARTED: Final = 1
"""Exit status when the shell cannot be executed (session.c: perror and exit 1)."""


@dataclass(frozen=True, slots=True)
class Terminal:
    """A pseudo-terminal: descriptors of its two sides and the name of the user's."""

    master: int
    slave: int
    name: str


@dataclass(frozen=True, slots=True)
class Program:
    """A started program and our ends of its input and output; ``stderr`` is -1 on a terminal."""

    pid: int
    pidfd: int
    stdin: int
    stdout: int
    stderr: int


def open_terminal(pty: Pty) -> Terminal:
    """A new terminal with the client's size and modes. Raises OSError."""
    master, slave = os.openpty()
    try:
        os.set_inheritable(master, False)
        set_window(master, pty.rows, pty.cols, pty.xpixel, pty.ypixel)
        if pty.modes:
            attributes = terminal_modes.apply(termios.tcgetattr(slave), pty.modes)
            termios.tcsetattr(slave, termios.TCSANOW, attributes)
        return Terminal(master, slave, os.ttyname(slave))
    except (OSError, termios.error) as error:
        os.close(master)
        os.close(slave)
        raise OSError(errno.EIO, f"terminal: {error}") from None


def set_window(master: int, rows: int, cols: int, xpixel: int, ypixel: int) -> None:
    """Set the terminal's size; its foreground process group gets SIGWINCH if it changed."""
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, xpixel, ypixel))


def start(plan: Callable[[], Plan], terminal: Terminal | None) -> Program:
    """Start what ``plan`` says; with a terminal as leader of its session, else on pipes.

    For a terminal ``plan`` is called in the child, which ends with the memory that this takes. Closes the terminal's user side,
    unless it raises OSError because there is no process or descriptor to be had; a program that cannot be executed says so on
    its own stderr.
    """
    if terminal is not None:
        theirs = (terminal.slave, terminal.slave, terminal.slave)
        ours = (os.dup(terminal.master), os.dup(terminal.master), -1)
        to_close: tuple[int, ...] = (terminal.slave,)
    else:
        ours, theirs = _pipes()
        to_close = theirs
    try:
        spawned = None if terminal is not None else _spawn(plan, theirs)
        if spawned is None:
            pid, pidfd = _fork(lambda: _run(plan, theirs, terminal is not None))
        else:
            pid, pidfd = spawned, _pidfd(spawned)
    except OSError:
        for descriptor in (*ours, *(theirs if terminal is None else ())):
            if descriptor >= 0:
                os.close(descriptor)
        raise
    for descriptor in to_close:
        os.close(descriptor)
    return Program(pid, pidfd, *ours)


def start_function(function: Callable[[], int]) -> Program:
    """Run ``function`` in a child on three pipes, as if it were a program; what it returns is the exit status. Raises OSError."""
    ours, theirs = _pipes()
    try:
        pid, pidfd = _fork(lambda: _call(function, theirs))
    except OSError:
        for descriptor in (*ours, *theirs):
            os.close(descriptor)
        raise
    for descriptor in theirs:
        os.close(descriptor)
    return Program(pid, pidfd, *ours)


def _fork(child: Callable[[], NoReturn]) -> tuple[int, int]:
    """Process id and pidfd of a new process. All signals are blocked in it: it unblocks them once it has the program's
    dispositions, so that a hang-up which comes at once does not get lost. Raises OSError.
    """
    mask = _signal.pthread_sigmask(_SIG_BLOCK, _ALL_SIGNALS)
    try:
        pid = os.fork()
        if pid == 0:
            child()
        return pid, _pidfd(pid)
    finally:
        _signal.pthread_sigmask(_SIG_SETMASK, mask)


def _spawn(make_plan: Callable[[], Plan], descriptors: tuple[int, int, int]) -> int | None:
    """Process id of a program on pipes before which nothing is to be done: started without a copy of this process, which costs
    more than the program. None: it is to be forked, be it only to say in its own process what is wrong.
    """
    try:
        plan, here = make_plan(), os.getcwd()
        if plan.prepare is not None or plan.greeting() or min(descriptors) <= 2:
            return None
        os.chdir(plan.home)
        try:
            return os.posix_spawn(
                plan.path,
                plan.argv,
                plan.env,
                file_actions=[
                    (os.POSIX_SPAWN_DUP2, descriptor, number)
                    for number, descriptor in enumerate(descriptors)
                ],
                setsid=True,
                setsigmask=(),
                setsigdef=_TO_DEFAULT,
            )
        finally:
            os.chdir(here)
    except Exception:  # whatever it is, a child of a fork says it where the user sees it
        return None


def _pidfd(pid: int) -> int:
    """Raises OSError; then there is no process either."""
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def _pipes() -> tuple[tuple[int, int, int], tuple[int, int, int]]:
    ends: list[int] = []
    try:
        for _ in range(3):
            ends += os.pipe2(os.O_CLOEXEC)
    except OSError:
        for end in ends:
            os.close(end)
        raise
    for end in ends[::2]:
        try:
            fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
        except OSError:
            break  # over the user's pipe budget: the default works too
    in_r, in_w, out_r, out_w, err_r, err_w = ends
    return (in_w, out_r, err_r), (in_r, out_w, err_w)


def _run(
    make_plan: Callable[[], Plan], descriptors: tuple[int, int, int], on_terminal: bool
) -> NoReturn:
    """In the child. Never returns, never raises."""
    path = "the program"
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        if on_terminal:
            fcntl.ioctl(0, termios.TIOCSCTTY, 0)
        for number in range(1, signal.NSIG):
            if (
                number not in (signal.SIGKILL, signal.SIGSTOP)
                and not 32 <= number < signal.SIGRTMIN
            ):
                signal.signal(number, signal.SIG_DFL)
        signal.set_wakeup_fd(-1)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        os.closerange(3, 1024)
        plan = make_plan()
        path = plan.path
        try:
            os.chdir(plan.home)
        except OSError as error:
            _say(f"Could not chdir to home directory {plan.home}: {error.strerror}\n")
            os.chdir("/")
        text = plan.greeting()
        if text:
            os.write(1, text.encode(errors="replace"))
        if plan.prepare is not None:
            plan.prepare(plan.env)
        os.execve(plan.path, plan.argv, plan.env)
    except OSError as error:
        _say(f"{path}: {error.strerror}\n")
    except BaseException as error:
        _say(f"qshd: cannot start {path}: {error}\n")
    os._exit(EXIT_NOT_STARTED)


def _call(function: Callable[[], int], descriptors: tuple[int, int, int]) -> NoReturn:
    """In the child. Never returns, never raises."""
    status = EXIT_NOT_STARTED
    try:
        os.setsid()
        for number, descriptor in enumerate(descriptors):
            os.dup2(descriptor, number)
        os.closerange(3, 1024)
        signal.set_wakeup_fd(-1)
        for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        status = function()
    except BaseException as error:
        _say(f"qshd: {error}\n")
    os._exit(status)


def _say(text: str) -> None:
    try:
        os.write(2, text.encode(errors="backslashreplace"))
    except OSError:
        pass
