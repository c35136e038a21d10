"""Questions to the person, on /dev/tty or through SSH_ASKPASS, as OpenSSH asks them (readpass.c)."""

from __future__ import annotations

import contextlib
import os
import signal
import termios
from typing import TYPE_CHECKING, Final

from qsh.client.log import log

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

__all__ = ["Prompter", "permission"]

_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_MAX_ANSWER: Final = 1024
"""Bytes of an answer, as OpenSSH's readpassphrase buffer."""


class _Interrupted(BaseException):
    def __init__(self, number: int) -> None:
        self.number = number
        super().__init__()


class Prompter:
    """Asks, unless ``batch`` (BatchMode) forbids it. Every method blocks."""

    def __init__(self, *, batch: bool = False) -> None:
        self.batch = batch

    def passphrase(self, prompt: str) -> str | None:
        """A secret, not echoed; None when nobody can be asked. An empty answer is ""."""
        return self._ask(prompt, secret=True)

    def line(self, prompt: str) -> str | None:
        """A line, echoed; None when nobody can be asked."""
        return self._ask(prompt, secret=False)

    def _ask(self, prompt: str, *, secret: bool) -> str | None:
        if self.batch:
            return None
        require = os.environ.get("SSH_ASKPASS_REQUIRE", "").lower()
        can_show = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
        if require == "force" or (require == "prefer" and can_show):
            return _askpass(prompt)
        try:
            tty = os.open("/dev/tty", os.O_RDWR | os.O_CLOEXEC)
        except OSError as error:
            log.debug(f"read_passphrase: can't open /dev/tty: {error.strerror}")
            return _askpass(prompt) if can_show and require != "never" else None
        try:
            return _read_tty(tty, prompt, secret=secret)
        finally:
            os.close(tty)


def permission(question: str) -> bool:
    """Yes or no, of the person at the display (OpenSSH's ask_permission). Without one: no."""
    answer = _askpass(question)
    return answer is not None and answer.lower() in ("", "yes")


def _askpass(prompt: str) -> str | None:
    import subprocess

    program = os.environ.get("SSH_ASKPASS", "/usr/bin/ssh-askpass")
    environment = {**os.environ}
    environment.pop("SSH_ASKPASS_PROMPT", None)
    try:
        done = subprocess.run(
            [program, prompt], stdout=subprocess.PIPE, env=environment, check=False
        )
    except OSError as error:
        log.error(f"ssh_askpass: exec({program}): {error.strerror}")
        return None
    if done.returncode != 0:
        return None
    answer: bytes = done.stdout[:_MAX_ANSWER].split(b"\n")[0].split(b"\r")[0]
    return answer.decode("utf-8", "surrogateescape")


def _read_tty(tty: int, prompt: str, *, secret: bool) -> str | None:
    with _signals_raise(), _echo(tty, on=not secret):
        os.write(tty, prompt.encode("utf-8", "surrogateescape"))
        try:
            answer = _read_line(tty)
        except OSError:
            answer = None
        if secret:
            os.write(tty, b"\n")
    return None if answer is None else answer.decode("utf-8", "surrogateescape")


def _read_line(tty: int) -> bytes | None:
    line = b""
    while not line.endswith((b"\n", b"\r")):
        data = os.read(tty, _MAX_ANSWER)
        if not data:
            return line or None
        line += data
    return line.rstrip(b"\r\n")[:_MAX_ANSWER]


@contextlib.contextmanager
def _echo(tty: int, *, on: bool) -> Iterator[None]:
    """Echo as asked, input in lines; what was before comes back whatever happens."""
    try:
        before = termios.tcgetattr(tty)
    except termios.error:
        yield
        return
    mode = [*before]
    mode[3] |= termios.ICANON | termios.ISIG | termios.ECHO
    if not on:
        mode[3] &= ~(termios.ECHO | termios.ECHOE | termios.ECHOK | termios.ECHONL)
    termios.tcsetattr(tty, termios.TCSAFLUSH if not on else termios.TCSADRAIN, mode)
    try:
        yield
    finally:
        termios.tcsetattr(tty, termios.TCSADRAIN, before)


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """A signal while a question stands has its usual effect, after the terminal was restored."""

    def _raise(number: int, _frame: FrameType | None) -> None:
        raise _Interrupted(number)

    before = {
        number: signal.signal(number, _raise)
        for number in _SIGNALS
        if signal.getsignal(number) is not signal.SIG_IGN
    }
    interrupted = 0
    try:
        yield
    except _Interrupted as caught:
        interrupted = caught.number
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if interrupted:
        signal.signal(interrupted, signal.SIG_DFL)
        os.kill(os.getpid(), interrupted)
