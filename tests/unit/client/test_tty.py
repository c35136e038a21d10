"""The local terminal is always given back as it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import termios

import pytest

from tests.support.terminal import OnTerminal, wait_until

PROGRAM = """
import os, signal, sys
from qsh.client.tty import Terminal, window_size
terminal = Terminal(0)
terminal.enter()
terminal.watch()
os.write(1, b"size %d %d\\r\\n" % (window_size(0).rows, window_size(0).cols))
{rest}
"""

READ = "os.read(0, 1)"


def start(rest: str) -> OnTerminal:
    """A shell stays the session's leader, so that the terminal outlives the program."""
    code = PROGRAM.format(rest=rest)
    return OnTerminal(
        ["/bin/sh", "-c", 'stty -g; "$0" -c "$1"; echo "end $?"; read x', sys.executable, code]
    )


def is_raw(terminal: OnTerminal) -> bool:
    return not termios.tcgetattr(terminal.fd)[3] & termios.ICANON


def child_of(terminal: OnTerminal) -> int:
    found = subprocess.run(
        ["ps", "-o", "pid=", "--ppid", str(terminal.pid)],
        capture_output=True,
        text=True,
        check=True,
    )
    return int(found.stdout.split()[0])


def test_raw_and_back() -> None:
    with start("os.read(0, 1); terminal.close()") as terminal:
        before = terminal.modes()
        terminal.expect(b"size 24 80")
        assert is_raw(terminal)
        terminal.type(b"x")
        terminal.expect(b"end 0")
        assert terminal.modes() == before


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM])
def test_restored_after_a_violent_death(number: int) -> None:
    with start(READ) as terminal:
        before = terminal.modes()
        terminal.expect(b"size")
        wait_until(lambda: is_raw(terminal), "raw mode")
        os.kill(child_of(terminal), number)
        terminal.expect(b"end ")
        wait_until(lambda: terminal.modes() == before, "terminal restored")


def test_the_watcher_respects_others() -> None:
    """If somebody has set the terminal since, it stays as they set it."""
    with start(
        "import subprocess; subprocess.run(['stty', 'raw', 'susp', '^X']); " + READ
    ) as terminal:
        terminal.expect(b"size")
        pid = child_of(terminal)
        wait_until(lambda: termios.tcgetattr(terminal.fd)[6][termios.VSUSP] == b"\x18", "stty")
        wait_until(lambda: is_raw(terminal), "raw mode")
        os.kill(pid, signal.SIGKILL)
        terminal.expect(b"end ")
        assert termios.tcgetattr(terminal.fd)[6][termios.VSUSP] == b"\x18"


def test_no_terminal() -> None:
    code = PROGRAM.format(rest="terminal.close()")
    done = subprocess.run(
        [sys.executable, "-c", code], stdin=subprocess.DEVNULL, capture_output=True, check=True
    )
    assert done.stdout == b"size 0 0\r\n"
    assert done.stderr == b""
