"""A program for the far end of a terminal: it shows the files that it is told to, byte by byte, and says when they are shown.

    python -S player.py      the terminal becomes raw; ``play:PATH`` and a newline on standard input

The end of each is marked by a question to the terminal; when the answer is there, all before it has been interpreted by
whoever answered. Then ``PATH.done`` is made. What else came as input meanwhile is in ``PATH.answers``. ``quit:N`` ends it
with the status N.
"""

from __future__ import annotations

import os
import sys
import termios
import tty

ASK, ANSWER = b"\x18\x1b\\\x1b[5n", b"\x1b[0n"
"""Whatever sequence is open is given up first."""


def write(data: bytes) -> None:
    """All of it."""
    while data:
        data = data[os.write(1, data) :]


class Player:
    """Standard input and output are the terminal."""

    def __init__(self) -> None:
        self._input = b""

    def until(self, text: bytes) -> bytes:
        """Input before ``text``."""
        while text not in self._input:
            data = os.read(0, 65536)
            if not data:
                sys.exit(1)
            self._input += data
        before, _, self._input = self._input.partition(text)
        return before

    def play(self, path: str) -> None:
        """Show a file."""
        with open(path, "rb", buffering=0) as file:  # a FIFO too, as it comes
            while data := file.read(65536):
                write(data)
        write(ASK)
        answers = self.until(ANSWER)
        with open(path + ".answers", "wb") as file:
            file.write(answers)
        os.rename(path + ".answers", path + ".done")

    def run(self) -> None:
        """Until ``quit``."""
        os.write(1, b"player ready\r\n")
        while True:
            line = self.until(b"\n")
            verb, _, word = line.rpartition(b":")
            if verb.endswith(b"play"):
                self.play(os.fsdecode(word))
            elif verb.endswith(b"quit"):
                sys.exit(int(word))


def main() -> None:
    tty.setraw(0, termios.TCSANOW)
    Player().run()


if __name__ == "__main__":
    main()
