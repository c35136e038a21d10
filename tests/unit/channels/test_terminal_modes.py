"""Encoded terminal modes on real pseudo-terminals."""

from __future__ import annotations

import os
import pty
import termios
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.channels.terminal_modes import apply, encode

if TYPE_CHECKING:
    from collections.abc import Iterator

OPENSSH_ON_LINUX = {
    *range(1, 11),
    *(12, 13, 14, 18),
    *range(30, 43),
    *range(50, 63),
    *range(70, 76),
    *(90, 91, 92, 93),
    *(128, 129),
}
"""What ssh sends (ttymodes.h on glibc: no VDSUSP, VFLUSH, VSWTCH, VSTATUS)."""

IFLAG, OFLAG, CFLAG, LFLAG = range(4)


@pytest.fixture
def slave() -> Iterator[int]:
    master, end = pty.openpty()
    yield end
    os.close(end)
    os.close(master)


def through_the_kernel(slave: int, modes: dict[int, int]) -> list[Any]:
    termios.tcsetattr(slave, termios.TCSANOW, apply(termios.tcgetattr(slave), modes))
    return termios.tcgetattr(slave)


def test_sends_the_opcodes_that_openssh_sends(slave: int) -> None:
    assert set(encode(termios.tcgetattr(slave))) == OPENSSH_ON_LINUX


def test_a_new_terminal(slave: int) -> None:
    modes = encode(termios.tcgetattr(slave))
    expected = {1: 3, 2: 28, 3: 127, 4: 21, 5: 4, 6: 255, 7: 255, 8: 17, 9: 19, 10: 26}
    expected |= {36: 1, 38: 1, 50: 1, 51: 1, 53: 1, 70: 1, 72: 1, 90: 1, 91: 1, 92: 0}
    assert {opcode: modes[opcode] for opcode in expected} == expected
    assert modes[128] == modes[129] == 38400


def test_what_was_encoded_arrives(slave: int) -> None:
    master, other = pty.openpty()
    try:
        attributes = termios.tcgetattr(other)
        attributes[IFLAG] |= termios.IXANY | 0x4000
        attributes[IFLAG] &= ~(termios.IXON | termios.ICRNL)
        attributes[LFLAG] &= ~(termios.ECHO | termios.ECHOCTL)
        attributes[LFLAG] |= termios.TOSTOP
        attributes[OFLAG] &= ~termios.OPOST
        attributes[6][termios.VINTR] = b"\x11"
        attributes[6][termios.VSUSP] = b"\0"
        attributes[4] = attributes[5] = termios.B9600
        termios.tcsetattr(other, termios.TCSANOW, attributes)
        sent = encode(termios.tcgetattr(other))
        assert through_the_kernel(slave, sent) == termios.tcgetattr(other)
        assert sent[10] == 255
    finally:
        os.close(master)
        os.close(other)


@pytest.mark.parametrize(
    "modes", [{90: 1, 91: 1}, {90: 1, 91: 0}, {90: 0, 91: 0}, {92: 1, 93: 1}, {90: 1}]
)
def test_a_pty_has_eight_bits_and_no_parity(slave: int, modes: dict[int, int]) -> None:
    after = through_the_kernel(slave, modes)
    assert after[CFLAG] & termios.CSIZE == termios.CS8
    assert not after[CFLAG] & termios.PARENB


@pytest.mark.parametrize("modes", [{0: 1}, {11: 3, 15: 3, 16: 3, 17: 3}, {200: 9}, {128: 12345}])
def test_unknown_opcodes_and_speeds_change_nothing(slave: int, modes: dict[int, int]) -> None:
    before = termios.tcgetattr(slave)
    assert apply(before, modes) == before


def test_the_original_is_left_alone(slave: int) -> None:
    before = termios.tcgetattr(slave)
    copy = [*before[:6], list(before[6])]
    apply(before, {1: 9, 53: 0})
    assert before == copy


def test_raw_mode_keeps_min_and_time(slave: int) -> None:
    attributes = termios.tcgetattr(slave)
    attributes[LFLAG] &= ~termios.ICANON
    attributes[6][termios.VMIN] = 3
    termios.tcsetattr(slave, termios.TCSANOW, attributes)
    attributes = termios.tcgetattr(slave)
    assert encode(attributes)[51] == 0
    assert apply(attributes, {53: 0})[6][termios.VMIN] == 3


@given(st.dictionaries(st.integers(0, 255), st.integers(0, 2**32 - 1)))
def test_the_kernel_takes_anything(modes: dict[int, int]) -> None:
    master, end = pty.openpty()
    try:
        through_the_kernel(end, modes)
    finally:
        os.close(master)
        os.close(end)
