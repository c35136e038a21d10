"""The line behind ``~C``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.terminal.command_line import MAX_BYTES, CommandLine


@pytest.mark.parametrize(
    ("typed", "line", "seen"),
    [
        (b"-L1:h:2\r", "-L1:h:2", "-L1:h:2\r\n"),
        (b"ab\x7fc\n", "ac", "ab\b \bc\r\n"),
        (b"\x7f\x08x\r", "x", "x\r\n"),
        (b"abc\x15d\r", "d", "abc\b \b\b \b\b \bd\r\n"),
        (b"abc\x03", "", "abc\r\n"),
        (b"abc\x1b", "", "abc\r\n"),
        (b"\x00\xff\x01a\r", "a", "a\r\n"),
        (b"x" * (MAX_BYTES + 9) + b"\r", "x" * MAX_BYTES, "x" * MAX_BYTES + "\r\n"),
    ],
)
def test_keys(typed: bytes, line: str, seen: str) -> None:
    whole = CommandLine()
    assert whole.receive(typed + b"rest") == (seen, b"rest")
    assert whole.line == line
    single = CommandLine()
    assert "".join(single.receive(bytes([key]))[0] for key in typed) == seen
    assert single.line == line


def test_not_before_enter() -> None:
    line = CommandLine()
    assert line.receive(b"-D1080") == ("-D1080", b"")
    assert line.line is None


@given(st.binary(max_size=200))
def test_nothing_that_drives_a_terminal_is_shown(data: bytes) -> None:
    seen, _ = CommandLine().receive(data)
    assert all(" " <= char <= "~" or char in "\b\r\n" for char in seen)
