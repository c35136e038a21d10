"""``qshctl replay``: a recording of a session, played in the terminal, or its last screen as text."""

from __future__ import annotations

import contextlib
import os
import re
import select
import signal
import sys
from typing import TYPE_CHECKING, Final

from qsh.client.text import visible
from qsh.client.tty import Terminal, window_size
from qsh.clock import monotonic_s
from qsh.errors import RecordingError, UsageError
from qsh.terminal.asciicast import read_event, read_header
from qsh.terminal.picture import Picture, shown
from qsh.terminal.playback import MAX_SPEED, MIN_SPEED, Playback

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType
    from typing import BinaryIO

    from qsh.terminal.asciicast import Event

__all__ = ["replay"]

FAILED: Final = 1
MAX_LINE: Final = 4 << 20
"""Bytes: ours have at most 400 KB."""
MAX_COMPLAINTS: Final = 5
FRAME_S: Final = 1 / 30
SKIP_S, LONG_SKIP_S = 5.0, 60.0
_ENTER: Final = b"\x1b[?1049h"
_LEAVE: Final = b"\x1b[m\x1b[?25h\x1b[?1049l"
_KEY: Final = re.compile(rb"\x1b[\[O][0-9;]*[A-Za-z~]|\x1b[\[O]?[0-9;]*$|.", re.DOTALL)
_SKIPS: Final = {b"C": SKIP_S, b"D": -SKIP_S, b"A": LONG_SKIP_S, b"B": -LONG_SKIP_S}
_QUITS: Final = (b"q", b"Q", b"\x03", b"\x04")
HELP: Final = "space: pause  +/-: speed  arrows: skip  q: quit"


class _Recording:
    """A file that is read a line at a time; ``complaints`` name lines that are no good."""

    def __init__(self, file: BinaryIO, name: str) -> None:
        self._file, self._name = file, name
        self.complaints: dict[int, str] = {}
        self.header = read_header(file.readline(MAX_LINE))
        self.rewinds = file.seekable()
        self._begin = file.tell() if self.rewinds else 0
        self._read = False

    def events(self) -> Iterator[Event]:
        """From the beginning, where that can be had again."""
        if self._read and not self.rewinds:
            return
        if self._read:
            self._file.seek(self._begin)
        self._read, number = True, 1
        while line := self._file.readline(MAX_LINE):
            number += 1
            try:
                if len(line) == MAX_LINE:
                    while line and not line.endswith(b"\n"):
                        line = self._file.readline(MAX_LINE)
                    raise RecordingError("the line is too long")
                if line.strip():
                    yield read_event(line)
            except RecordingError as error:
                if len(self.complaints) <= MAX_COMPLAINTS:
                    self.complaints[number] = f"{self._name}:{number}: {error}"

    def complain(self) -> int:
        """The exit status."""
        for complaint in list(self.complaints.values())[:MAX_COMPLAINTS]:
            sys.stderr.write(f"{complaint}\n")
        if len(self.complaints) > MAX_COMPLAINTS:
            sys.stderr.write(f"{self._name}: more lines are damaged\n")
        return FAILED if self.complaints else 0


def replay(path: str, *, speed: float, max_idle_s: float | None, at: str, dump: bool) -> int:
    """Play the recording in a file (``-``: standard input); the exit status."""
    try:
        if not MIN_SPEED <= speed <= MAX_SPEED:
            raise UsageError(f"--speed: {MIN_SPEED:g} to {MAX_SPEED:g}")
        at_s = _seconds(at) if at else None
    except UsageError as error:
        sys.stderr.write(f"{error}\n")
        return FAILED
    name = visible(path)
    try:
        with sys.stdin.buffer if path == "-" else open(path, "rb") as file:
            try:
                recording = _Recording(file, name)
            except RecordingError as error:
                sys.stderr.write(f"{name}:1: {error}\n")
                return FAILED
            if max_idle_s is None:
                max_idle_s = recording.header.idle_s
            playback = Playback(
                recording.header,
                recording.events,
                monotonic_s(),
                speed=speed,
                max_idle_s=max_idle_s or None,
            )
            if dump or not os.isatty(1):
                playback.go_to(0.0, float("inf") if at_s is None else at_s)
                _print(playback)
            else:
                playback.go_to(monotonic_s(), at_s or 0.0)
                _Player(playback, recording).run()
            return recording.complain()
    except (BrokenPipeError, KeyboardInterrupt):
        return FAILED
    except OSError as error:
        sys.stderr.write(f"{name}: {error.strerror or error}\n")
        return FAILED


def _seconds(text: str) -> float:
    """Seconds, or hours, minutes and seconds with colons between."""
    if not re.fullmatch(r"(?:[0-9]{1,6}:){0,2}[0-9]{1,9}(?:\.[0-9]{1,6})?", text):
        raise UsageError("--at: seconds, or minutes:seconds")
    seconds = 0.0
    for part in text.split(":"):
        seconds = seconds * 60 + float(part)
    return seconds


def _print(playback: Playback) -> None:
    screen = playback.screen
    lines = [shown(screen.row_text(row)) for row in range(screen.rows)]
    while lines and not lines[-1]:
        lines.pop()
    text = "".join(f"{line}\n" for line in lines)
    sys.stdout.write(text.encode(sys.stdout.encoding, "replace").decode(sys.stdout.encoding))
    sys.stdout.flush()


class _Player:
    """The terminal around a playback."""

    def __init__(self, playback: Playback, recording: _Recording) -> None:
        self._playback, self._recording = playback, recording
        self._keyboard = os.isatty(0)
        self._picture = Picture(*window_size(1)[:2])
        self._keys = b""
        self._quit = False
        self._line = ""

    def run(self) -> None:
        """Until the end, or until the user has seen enough."""
        terminal = Terminal(0)
        wake_r, wake_w = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        before = {
            signal.SIGWINCH: signal.signal(signal.SIGWINCH, self._resized),
            signal.SIGTERM: signal.signal(signal.SIGTERM, self._stop),
            signal.SIGHUP: signal.signal(signal.SIGHUP, self._stop),
            signal.SIGINT: signal.signal(signal.SIGINT, self._stop),
        }
        signal.set_wakeup_fd(wake_w)
        try:
            terminal.enter()
            _write(_ENTER)
            self._loop(wake_r)
        finally:
            with contextlib.suppress(OSError):  # the terminal may be gone
                _write(_LEAVE)
            terminal.close()
            signal.set_wakeup_fd(-1)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(wake_r)
            os.close(wake_w)

    def _resized(self, _number: int, _frame: FrameType | None) -> None:
        self._picture = Picture(*window_size(1)[:2])

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        self._quit = True

    def _loop(self, wake: int) -> None:
        playback, painted_s = self._playback, 0.0
        watched = [wake, *([0] if self._keyboard else [])]
        while not self._quit and (
            self._keyboard or not playback.finished
        ):  # the end can be looked at
            now = monotonic_s()
            playback.advance(now)
            due = playback.deadline(now)
            behind = due is not None and due <= now
            if not behind or now - painted_s >= FRAME_S:
                self._paint()
                painted_s = now
            wait_s = 0.0 if behind else None if due is None else max(FRAME_S, due - now)
            ready, _, _ = select.select(watched, [], [], wait_s)
            if wake in ready:
                os.read(wake, 4096)
            if 0 in ready:
                data = os.read(0, 1024)
                self._quit |= not data
                self._take(data)

    def _paint(self) -> None:
        playback, header = self._playback, self._recording.header
        seconds = int(playback.position_s)
        clock = f"{seconds // 3600}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        state = (
            "end" if playback.finished else "paused" if playback.paused else f"x{playback.speed:g}"
        )
        title = f"  {header.title}" if header.title else ""
        line = f" {clock}  {state}{title}  {HELP}"
        if data := self._picture.paint(playback.screen, line):
            _write(data)

    def _take(self, data: bytes) -> None:
        keys = _KEY.findall(self._keys + data)
        self._keys = b""
        if (
            keys
            and keys[-1].startswith(b"\x1b")
            and len(keys[-1]) < 8
            and not keys[-1][-1:].isalpha()
        ):
            self._keys = keys.pop()  # the rest of it is still to come
        for key in keys:
            self._key(key, monotonic_s())

    def _key(self, key: bytes, now: float) -> None:
        playback = self._playback
        if key in _QUITS:
            self._quit = True
        elif key == b" ":
            playback.pause(now)
        elif key in (b"+", b"="):
            playback.set_speed(now, playback.speed * 2)
        elif key in (b"-", b"_"):
            playback.set_speed(now, playback.speed / 2)
        elif key.startswith(b"\x1b") and key[-1:] in _SKIPS:
            seconds = _SKIPS[key[-1:]]
            if seconds > 0 or self._recording.rewinds:
                playback.skip(now, seconds)


def _write(data: bytes) -> None:
    while data:
        data = data[os.write(1, data) :]
