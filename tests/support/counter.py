"""A program for kill tests: it counts aloud, and writes down what it says and what it hears.

    python -S counter.py FOLDER [PAUSE_S]

Each word that is typed (blanks end them) is said again in a line. FOLDER/heard has all input, FOLDER/said all output.
Ctrl-D ends it with the status 42.
"""

from __future__ import annotations

import os
import select
import sys
import time
import tty

STATUS = 42
HELLO = b"counting"


def main() -> None:
    folder = sys.argv[1]
    pause_s = float(sys.argv[2]) if len(sys.argv) > 2 else 0.004
    tty.setraw(0)
    word, number, due = b"", 0, 0.0
    with open(f"{folder}/heard", "wb", 0) as heard, open(f"{folder}/said", "wb", 0) as said:

        def say(line: bytes) -> None:
            said.write(line + b"\n")
            line += b"\r\n"
            while line:
                line = line[os.write(1, line) :]

        say(HELLO)
        while True:
            left_s = due - time.monotonic()
            if left_s > 0:
                if not select.select([0], [], [], left_s)[0]:
                    continue
                data = os.read(0, 4096)
                if not data:
                    sys.exit(1)
                heard.write(data)
                *words, word = (word + data).split(b" ")
                for each in words:
                    say(b"heard " + each)
                if data.endswith(b"\x04"):
                    say(b"the end")
                    sys.exit(STATUS)
            else:
                due = time.monotonic() + pause_s
                say(b"said %06d" % number)
                number += 1


if __name__ == "__main__":
    main()
