"""Recordings of terminals in asciicast v2: a header and then an event in each line, as JSON. Sans-IO.

The format is asciinema's (docs.asciinema.org/manual/asciicast/v2); its players show what is written here, and what they record
can be read.
"""

from __future__ import annotations

import codecs
import json
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qsh.errors import RecordingError

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "INPUT",
    "MARKER",
    "OUTPUT",
    "RESIZE",
    "CastWriter",
    "Event",
    "Header",
    "read_event",
    "read_header",
]

OUTPUT, INPUT, RESIZE, MARKER = "o", "i", "r", "m"
VERSION: Final = 2
MAX_SIZE: Final = 1000
"""Columns and rows that a recording may ask for; the screen that it is shown on has limits of its own."""
MAX_SECONDS: Final = 1e9
MAX_TEXT: Final = 256
"""Characters of the header's texts that are of use to anybody."""


class Header(NamedTuple):
    """The first line, as far as a player needs it."""

    cols: int
    rows: int
    title: str = ""
    idle_s: float | None = None
    """Silence is to be shown no longer than this."""


class Event(NamedTuple):
    """One of the others. ``data`` of a RESIZE is ``COLUMNSxROWS``."""

    at_s: float
    kind: str
    data: str

    @property
    def size(self) -> tuple[int, int] | None:
        """Rows and columns of a RESIZE."""
        cols, _, rows = self.data.partition("x")
        if not (cols.isascii() and cols.isdecimal() and rows.isascii() and rows.isdecimal()):
            return None
        if len(cols) > 9 or len(rows) > 9:
            return None
        return max(1, min(int(rows), MAX_SIZE)), max(1, min(int(cols), MAX_SIZE))


class CastWriter:
    """Makes the lines of one recording; ``start_s`` is when it began, on the clock that all its methods are told.

    Texts are UTF-8 there, terminals put out anything: what is no UTF-8 becomes U+FFFD, and a character that comes in two pieces
    is written with the second one.
    """

    def __init__(self, start_s: float) -> None:
        self._start_s = start_s
        self._last_s = 0.0
        make = codecs.getincrementaldecoder("utf-8")
        self._decoders = {OUTPUT: make("replace"), INPUT: make("replace")}

    def header(
        self,
        rows: int,
        cols: int,
        timestamp: int,
        title: str,
        env: Mapping[str, str],
        command: str = "",
    ) -> bytes:
        """The first line; ``timestamp`` in seconds since 1970."""
        fields: dict[str, Any] = {
            "version": VERSION,
            "width": cols,
            "height": rows,
            "timestamp": timestamp,
        }
        if command:
            fields["command"] = command
        fields |= {"title": title, "env": dict(env)}
        return _line(fields)

    def output(self, now_s: float, data: bytes) -> bytes:
        """What the terminal has put out; empty as long as it is a part of a character."""
        return self._bytes(now_s, OUTPUT, data)

    def input(self, now_s: float, data: bytes) -> bytes:
        """What was typed."""
        return self._bytes(now_s, INPUT, data)

    def resize(self, now_s: float, rows: int, cols: int) -> bytes:
        """The terminal has another size."""
        return self._event(now_s, RESIZE, f"{cols}x{rows}")

    def marker(self, now_s: float, text: str) -> bytes:
        """A remark; players can stop there."""
        return self._event(now_s, MARKER, text)

    def end(self, now_s: float) -> bytes:
        """What is left of a character that never came to its end."""
        return b"".join(
            self._event(now_s, kind, text)
            for kind, decoder in self._decoders.items()
            if (text := decoder.decode(b"", final=True))
        )

    def _bytes(self, now_s: float, kind: str, data: bytes) -> bytes:
        text = self._decoders[kind].decode(data)
        return self._event(now_s, kind, text) if text else b""

    def _event(self, now_s: float, kind: str, data: str) -> bytes:
        self._last_s = max(
            self._last_s, now_s - self._start_s
        )  # time never goes back in a recording
        return _line([round(self._last_s, 6), kind, data])


def _line(value: Any) -> bytes:
    # ASCII would be six bytes for each letter of some languages. Surrogates come from names of the system's that are no UTF-8.
    return json.dumps(value, ensure_ascii=False).encode("utf-8", "replace") + b"\n"


def read_header(line: bytes) -> Header:
    """What the first line says. Raises RecordingError."""
    fields = _value(line)
    if not isinstance(fields, dict) or "version" not in fields:
        raise RecordingError("this is no asciicast recording")
    if fields["version"] != VERSION:
        raise RecordingError(
            f"asciicast version {str(fields['version'])[:16]} is unknown; only version 2 can be played"
        )
    cols, rows = _size(fields.get("width")), _size(fields.get("height"))
    if not cols or not rows:
        raise RecordingError("the header has no width and height")
    title, idle_s = fields.get("title"), _number(fields.get("idle_time_limit"))
    return Header(
        min(cols, MAX_SIZE),
        min(rows, MAX_SIZE),
        title[:MAX_TEXT] if isinstance(title, str) else "",
        idle_s or None,
    )


def read_event(line: bytes) -> Event:
    """One of the other lines. Raises RecordingError."""
    value = _value(line)
    if not isinstance(value, list) or len(value) != 3:
        raise RecordingError("this is no event")
    at_s, kind, data = _number(value[0]), value[1], value[2]
    if at_s is None:
        raise RecordingError("the event has no time")
    if not isinstance(kind, str) or not isinstance(data, str):
        raise RecordingError("this is no event")
    event = Event(at_s, kind, data)
    if kind == RESIZE and event.size is None:
        raise RecordingError("the event has no size")
    return event


def _value(line: bytes) -> Any:
    if not line.endswith(b"\n"):
        raise RecordingError("the line is cut off")
    try:
        return json.loads(line.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        raise RecordingError("the line is damaged") from None


def _number(value: Any) -> float | None:
    """A number of seconds."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    return float(value) if 0 <= value <= MAX_SECONDS else None  # no NaN is


def _size(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
