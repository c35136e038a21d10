"""The terminal's state as its master side tells it, on real terminals."""

from __future__ import annotations

import os
import termios
from typing import TYPE_CHECKING

import pytest

from qsh.server.tty_state import TtyWatch, waiting_bytes

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture
def pair() -> Iterator[tuple[int, int]]:
    master, slave = os.openpty()
    yield master, slave
    os.close(master)
    os.close(slave)


def test_flags_and_keys(pair: tuple[int, int]) -> None:
    watch = TtyWatch(pair[0])
    assert watch.check(0.0)
    assert watch.kernel_echo
    assert (watch.state.intr, watch.state.eof, watch.state.erase) == (3, 4, 127)
    assert not watch.check(0.1), "nothing has changed"
    attributes = termios.tcgetattr(pair[1])
    attributes[3] &= ~termios.ECHO
    attributes[6][termios.VINTR] = b"\0"
    termios.tcsetattr(pair[1], termios.TCSANOW, attributes)
    before = watch.state.serial
    assert watch.check(0.2)
    assert watch.state.serial == before + 1
    assert watch.state.flags & 3 == 2
    assert watch.state.intr == -1
    watch.release_peer()


def test_unread_input_is_counted_line_by_line(pair: tuple[int, int]) -> None:
    watch = TtyWatch(pair[0])
    watch.check(0.0)
    os.write(pair[0], b"abc")
    assert watch.unread == 0, "no finished line"
    os.write(pair[0], b"\n")
    assert watch.unread == 4
    assert os.read(pair[1], 100) == b"abc\n"
    assert watch.unread == 0
    watch.release_peer()
    assert watch.unread == 0


def test_keys_that_make_a_line_longer_are_seen_by_no_program(pair: tuple[int, int]) -> None:
    watch = TtyWatch(pair[0])
    watch.check(0.0)
    assert watch.gathers([b"abc", "\u00e9".encode()])
    for keys in ([b"abc", b"x\r"], [b"\n"], [b"\x03"], [b"\x04"], [b"\x1a"]):
        assert not watch.gathers(keys)
    attributes = termios.tcgetattr(pair[1])
    attributes[3] &= ~termios.ICANON
    termios.tcsetattr(pair[1], termios.TCSANOW, attributes)
    watch.check(0.1)
    assert not watch.gathers([b"abc"])
    watch.release_peer()


def test_a_terminal_that_is_gone_changes_nothing() -> None:
    master, slave = os.openpty()
    watch = TtyWatch(master)
    watch.check(0.0)
    watch.release_peer()
    os.close(slave)
    os.close(master)
    assert not watch.check(1.0)
    assert waiting_bytes(master) == 0


def test_the_name_is_read_again_when_asked(
    monkeypatch: pytest.MonkeyPatch, pair: tuple[int, int]
) -> None:
    watch = TtyWatch(pair[0])
    names = iter(["sh", "bash", "vim"])
    monkeypatch.setattr(watch, "_program", lambda: next(names))
    assert watch.check(0.0)
    assert watch.check(9.0), "the first look after it has had its time reads it once more"
    assert watch.state.program == "bash"
    assert not watch.check(10.0), "nobody reads it at every turn"
    watch.name_again()
    assert watch.check(10.0)
    assert watch.state.program == "vim"
    watch.release_peer()
