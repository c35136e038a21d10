"""Full-screen programs for the far side, run there as ``python3 full_screen.py answer|paint …``; standard library only.

answer                         a key is answered with its number at a place that changes: nobody can foretell it
paint ROWS COLUMNS RATE_HZ S   a key paints the whole screen anew; after the key ``s`` it repaints itself for S seconds
"""

from __future__ import annotations

import os
import sys
import termios
import time
import tty

__all__ = ["ANSWER_START", "PAINTED_BY_ITSELF", "picture", "pictures", "place"]

ANSWER_START = "<0>"
PAINTED_BY_ITSELF = b"s"
CTRL_C = 3


def place(number: int) -> tuple[int, int]:
    """Row and column, from 1, of the answer to key ``number``, on 24 × 80."""
    return 2 + number * 7 % 20, 1 + number * 13 % 70


def picture(number: int, rows: int, columns: int) -> list[str]:
    """The rows of picture ``number``: no cell stays as it was."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    lines = []
    for row in range(rows):
        shift = (number * 5 + row * 3) % 26
        band = letters[shift:] + letters[:shift]
        head = f"{number:05d}.{row:02d}."
        lines.append((head + band * (columns // 26 + 1))[:columns])
    return lines


def pictures(rate_hz: float, seconds: float) -> int:
    """How many the key ``s`` makes."""
    return max(1, round(rate_hz * seconds))


def _write(text: str) -> None:
    data = text.encode()
    while data:
        data = data[os.write(1, data) :]


def _answer() -> None:
    _write("\x1b[?1049h\x1b[2J\x1b[1;1H" + ANSWER_START + "\x1b[24;1H")
    number = 0
    while True:
        for key in os.read(0, 256):
            if key == CTRL_C:
                return
            number += 1
            row, column = place(number)
            _write(f"\x1b[{row};{column}H<{number}>\x1b[24;1H")


def _paint(rows: int, columns: int, rate_hz: float, seconds: float) -> None:
    number, left, due = 0, 0, 0.0
    _write("\x1b[?1049h\x1b[2J")
    while True:
        lines = picture(number, rows, columns)
        _write("".join(f"\x1b[{row};1H{line}" for row, line in enumerate(lines, 1)) + "\x1b[1;1H")
        if left:
            time.sleep(max(0.0, due - time.monotonic()))
            left, due = left - 1, due + 1 / rate_hz
        else:
            key = os.read(0, 1)
            if key[0] == CTRL_C:
                return
            if key == PAINTED_BY_ITSELF:
                left, due = pictures(rate_hz, seconds) - 1, time.monotonic() + 1 / rate_hz
        number += 1


def main() -> None:
    before = termios.tcgetattr(0)
    tty.setraw(0)
    try:
        if sys.argv[1] == "answer":
            _answer()
        else:
            rows, columns = int(sys.argv[2]), int(sys.argv[3])
            _paint(rows, columns, float(sys.argv[4]), float(sys.argv[5]))
    finally:
        termios.tcsetattr(0, termios.TCSANOW, before)
        _write("\x1b[?1049l")


if __name__ == "__main__":
    main()
