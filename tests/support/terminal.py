"""A program on a pseudo-terminal, for tests: what it shows is waited for, never slept for."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

__all__ = ["OnTerminal", "wait_until"]

LIMIT_S = 20.0


def wait_until(condition: object, what: str = "condition", limit_s: float = LIMIT_S) -> None:
    """Poll ``condition`` (a callable) until it is true."""
    assert callable(condition)
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"timed out: {what}"
        time.sleep(0.01)


class OnTerminal:
    """Runs ``argv`` as the leader of a session on a new pseudo-terminal."""

    def __init__(
        self,
        argv: Sequence[str],
        env: Mapping[str, str] | None = None,
        *,
        rows: int = 24,
        cols: int = 80,
        cwd: str | None = None,
    ) -> None:
        self.output = b""
        self.status: int | None = None
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            try:
                fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))
                if cwd:
                    os.chdir(cwd)
                os.execvpe(argv[0], list(argv), dict(os.environ if env is None else env))
            except OSError as error:
                os.write(2, str(error).encode())
            os._exit(127)

    def __enter__(self) -> OnTerminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)

    def resize(self, rows: int, cols: int) -> None:
        """Change the window's size; the program gets SIGWINCH."""
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, cols, 0, 0))

    def type(self, data: bytes) -> None:
        """Keys."""
        os.write(self.fd, data)

    def _read(self, limit_s: float) -> bool:
        ready, _, _ = select.select([self.fd], [], [], limit_s)
        if not ready:
            return False
        try:
            data = os.read(self.fd, 65536)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
            data = b""
        self.output += data
        return bool(data)

    def expect(self, text: bytes, limit_s: float = LIMIT_S) -> bytes:
        """Wait until ``text`` is shown; take the output up to and with it."""
        deadline = time.monotonic() + limit_s
        while text not in self.output:
            left_s = deadline - time.monotonic()
            assert left_s > 0, f"{text!r} not shown, only {self.output!r}"
            if not self._read(left_s):
                assert text in self.output, f"{text!r} not shown, only {self.output!r}"
        seen, found, self.output = self.output.partition(text)
        return seen + found

    def type_until(self, keys: bytes, text: bytes, every_s: float = 1.0) -> None:
        """Type ``keys``, again and again, until ``text`` is shown."""
        deadline = time.monotonic() + LIMIT_S
        while text not in self.output:
            assert time.monotonic() < deadline, f"{text!r} not shown, only {self.output!r}"
            self.type(keys)
            again = time.monotonic() + every_s
            while text not in self.output and (left_s := again - time.monotonic()) > 0:
                self._read(left_s)
        self.output = self.output.partition(text)[2]

    def read_on(self, limit_s: float = 0.02) -> None:
        """Take output into :attr:`output`, as soon as there is some."""
        self._read(limit_s)

    def wait(self, limit_s: float = LIMIT_S) -> int:
        """Exit status (negative: signal), the rest of the output read."""
        deadline = time.monotonic() + limit_s
        while True:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                while self._read(0.0):
                    pass
                self.status = os.waitstatus_to_exitcode(status)
                return self.status
            assert time.monotonic() < deadline, f"still running, output {self.output!r}"
            self._read(0.02)

    def modes(self) -> list[object]:
        """``tcgetattr`` of the terminal."""
        return termios.tcgetattr(self.fd)


if __name__ == "__main__":
    sys.exit("not a program")
