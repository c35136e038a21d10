"""Typed bytes to keys, across reads."""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["PASTE_BYTES", "Key", "KeyReader", "ends_line", "merged"]

PASTE_BYTES: Final = 64
"""More than this in one read was not typed."""
MAX_SEQUENCE: Final = 256

TEXT: Final = "text"
CONTROL: Final = "control"
LEFT: Final = "left"
RIGHT: Final = "right"
HOME: Final = "home"
END: Final = "end"
DELETE: Final = "delete"
WORD_LEFT: Final = "word-left"
WORD_RIGHT: Final = "word-right"
ESCAPE: Final = "escape"
FUNCTION: Final = "function"
REPLY: Final = "reply"
PASTE: Final = "paste"

_CSI: Final = {
    b"C": RIGHT,
    b"D": LEFT,
    b"H": HOME,
    b"F": END,
    b"1~": HOME,
    b"7~": HOME,
    b"4~": END,
    b"8~": END,
    b"3~": DELETE,
}
_ALT: Final = {b"b": WORD_LEFT, b"f": WORD_RIGHT}
_ESC: Final = 0x1B
_PASTE_BEGIN: Final = b"\x1b[200~"
_PASTE_END: Final = b"\x1b[201~"
_STRINGS: Final = b"]P_^X"
_LINE_ENDS: Final = "\r\n\x03\x0f\x1a\x1c"


class Key(NamedTuple):
    """One key, or a paste, or a terminal's reply."""

    kind: str
    text: str
    """The character of TEXT and CONTROL."""
    end: int
    """Input offset behind it."""


def ends_line(key: Key) -> bool:
    """Whether it gives the line to a program, or throws it away."""
    return key.kind == CONTROL and key.text in _LINE_ENDS


def merged(first: Key, second: Key) -> Key:
    """One of unknown effect in place of two."""
    if ends_line(first) or ends_line(second):
        return Key(CONTROL, "\r", second.end)
    return Key(FUNCTION, "", second.end)


class KeyReader:
    """Of unknown effect here are FUNCTION (a key that sends a sequence: up, F5) and ESCAPE (a lone ESC, Alt with a letter)."""

    def __init__(self) -> None:
        self._open = b""
        self._pasting = False

    def read(self, data: bytes, offset: int) -> list[Key]:
        """The keys that end in ``data``, whose first byte is at input offset ``offset``."""
        end = offset + len(data)
        if self._pasting or len(data) > PASTE_BYTES or _PASTE_BEGIN in data:
            return self._paste(data, end)
        if len(data) == 1 and not self._open and 0x20 <= data[0] < 0x7F:
            return [Key(TEXT, chr(data[0]), end)]
        whole, self._open = self._open + data, b""
        found: list[Key] = []
        at = 0
        while at < len(whole):
            kind, text, size = _one(whole, at)
            if size == 0:
                rest = whole[at:]
                if len(rest) <= MAX_SEQUENCE and rest != b"\x1b":
                    self._open = rest
                    break
                if rest == b"\x1b":
                    # a lone ESC acts at once; what may still follow makes it Alt or a sequence
                    self._open = rest
                kind, text, size = ESCAPE, "", len(rest)
            at += size
            found.append(Key(kind, text, end - (len(whole) - at)))
        return found

    def _paste(self, data: bytes, end: int) -> list[Key]:
        begin, stop = data.rfind(_PASTE_BEGIN), data.rfind(_PASTE_END)
        if begin >= 0 or stop >= 0:
            self._pasting = begin > stop
        self._open = b""
        return [Key(PASTE, "", end)]


def _one(data: bytes, at: int) -> tuple[str, str, int]:
    """Kind, text and size of the key at ``at``; size 0: it is not whole yet."""
    byte = data[at]
    if byte == _ESC:
        return _escape(data, at)
    if byte < 0x20 or byte == 0x7F:
        return CONTROL, chr(byte), 1
    if byte < 0x80:
        return TEXT, chr(byte), 1
    size = 2 if byte >> 5 == 6 else 3 if byte >> 4 == 14 else 4 if byte >> 3 == 30 else 1
    part = data[at : at + size]
    try:
        return TEXT, part.decode(), size
    except UnicodeDecodeError as error:
        if error.reason == "unexpected end of data":
            return TEXT, "", 0
        return ESCAPE, "", 1


def _escape(data: bytes, at: int) -> tuple[str, str, int]:
    second = data[at + 1 : at + 2]
    if second == b"[":
        stops = (stop for stop in range(at + 2, len(data)) if 0x40 <= data[stop] <= 0x7E)
        stop = next(stops, 0)
        return (_csi(data[at + 2 : stop + 1]), "", stop + 1 - at) if stop else (ESCAPE, "", 0)
    if second == b"O":
        size = 3 if len(data) > at + 2 else 0
        return _CSI.get(data[at + 2 : at + 3], FUNCTION), "", size
    if second and second in _STRINGS:
        return REPLY, "", _string_size(data, at)
    return (_ALT.get(second, ESCAPE), "", 2) if second else (ESCAPE, "", 0)


def _string_size(data: bytes, at: int) -> int:
    """Size of the control string at ``at``, 0 while its end is missing."""
    for stop in range(at + 2, len(data)):
        if data[stop] == 7 or data[stop - 1 : stop + 1] == b"\x1b\\":
            return stop + 1 - at
    return 0


def _csi(body: bytes) -> str:
    if body in (b"I", b"O") or (body[0] in b"?>" and body[-1] in b"cuyn") or body[-1] in b"R":
        return REPLY
    return _CSI.get(body, FUNCTION)
