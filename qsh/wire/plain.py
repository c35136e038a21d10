"""MessagePack without msgspec, for a process that lives as long as one request: importing msgspec would be half of its time.

The same frames as framing.py, a few types, and a table of what the master of a shared connection says (sharing.py).
"""

from __future__ import annotations

from qsh.errors import RemoteProtocolError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

__all__ = ["FrameReader", "Told", "frame"]

LIMIT: Final = 320 * 1024
"""Bytes of a message."""
_DEPTH: Final = 4
_HEADER: Final = 4

_FIELDS: dict[str, dict[str, type]] = {
    "welcome": {"version": int, "pid": int, "stays": bool},
    "opened": {"notices": list, "terminal": bool},
    "refused": {"code": str, "reason": str},
    "exited": {"status": int, "signal": str, "error": str},
    "answered": {"text": str, "port": int},
    "use-ssh": {"line": str},
}


_NOTHING: dict[type, object] = {int: 0, str: "", list: [], bool: False}
_MAX_STATUS: Final = 255


class Told:
    """A message of a master: ``t`` is its type. What was not said is empty, a status or a signal None."""

    def __init__(self, fields: dict[str, Any]) -> None:
        """Raises RemoteProtocolError."""
        self.t = str(fields.get("t"))
        expected = _FIELDS.get(self.t)
        if expected is None:
            raise RemoteProtocolError("unknown-message", self.t[:40])
        for name, kind in expected.items():
            if not _fits(fields.get(name, _NOTHING[kind]), kind):
                raise RemoteProtocolError("bad-message", f"{self.t}: {name}")
        self.version: int = fields.get("version", 0)
        self.pid: int = fields.get("pid", 0)
        self.stays: bool = fields.get("stays", False)
        self.notices: list[str] = fields.get("notices", [])
        self.code: str = fields.get("code", "")
        self.reason: str = fields.get("reason", "")
        self.status: int | None = fields.get("status")
        if self.status is not None and not 0 <= self.status <= _MAX_STATUS:
            raise RemoteProtocolError("bad-message", "exited: status")
        self.signal: str | None = fields.get("signal")
        self.error: str = fields.get("error", "")
        self.text: str = fields.get("text", "")
        self.port: int = fields.get("port", 0)
        self.line: str = fields.get("line", "")


def _fits(value: object, kind: type) -> bool:
    if isinstance(value, list):
        return kind is list and all(isinstance(each, str) for each in value)
    return type(value) is kind


class FrameReader:
    """Bytes in, messages of a master out."""

    def __init__(self) -> None:
        self._buffer = b""

    def feed(self, data: bytes) -> None:
        """Add received bytes."""
        self._buffer += data

    def next(self) -> Told | None:
        """The next whole message. Raises RemoteProtocolError."""
        size = int.from_bytes(self._buffer[:_HEADER], "big")
        if len(self._buffer) >= _HEADER and size > LIMIT:
            raise RemoteProtocolError("message-too-large", f"{size} bytes")
        end = _HEADER + size
        if len(self._buffer) < max(end, _HEADER):
            return None
        payload, self._buffer = self._buffer[_HEADER:end], self._buffer[end:]
        value, at = _decode(payload, 0, _DEPTH)
        if at != len(payload) or not isinstance(value, dict):
            raise RemoteProtocolError("bad-message", "not a map")
        return Told(value)


def frame(fields: dict[str, Any]) -> bytes:
    """One frame."""
    payload = _encode(fields)
    return len(payload).to_bytes(_HEADER, "big") + payload


def _encode(value: object) -> bytes:
    if isinstance(value, dict):
        parts = [_encode(key) + _encode(each) for key, each in value.items()]
        return b"\xdf" + len(parts).to_bytes(4, "big") + b"".join(parts)
    if isinstance(value, str):
        data = value.encode("utf-8", "replace")
        return b"\xdb" + len(data).to_bytes(4, "big") + data
    if isinstance(value, bytes):
        return b"\xc6" + len(value).to_bytes(4, "big") + value
    if isinstance(value, bool):
        return b"\xc3" if value else b"\xc2"
    if isinstance(value, int):
        return b"\xcf" + value.to_bytes(8, "big")
    raise TypeError(type(value).__name__)


_INTEGERS: dict[int, tuple[int, bool]] = {
    0xCC: (1, False),
    0xCD: (2, False),
    0xCE: (4, False),
    0xCF: (8, False),
    0xD0: (1, True),
    0xD1: (2, True),
    0xD2: (4, True),
    0xD3: (8, True),
}
_SIZED: dict[int, tuple[str, int]] = {
    0xC4: ("bytes", 1),
    0xC5: ("bytes", 2),
    0xC6: ("bytes", 4),
    0xD9: ("text", 1),
    0xDA: ("text", 2),
    0xDB: ("text", 4),
    0xDC: ("list", 2),
    0xDD: ("list", 4),
    0xDE: ("map", 2),
    0xDF: ("map", 4),
}
_CONSTANTS: dict[int, bool | None] = {0xC0: None, 0xC2: False, 0xC3: True}


def _decode(data: bytes, at: int, depth: int) -> tuple[Any, int]:
    """A value and where the next one begins. Raises RemoteProtocolError."""
    if at >= len(data):
        raise RemoteProtocolError("bad-message", "cut off")
    kind = data[at]
    at += 1
    if kind < 0x80:
        return kind, at
    if kind >= 0xE0:
        return kind - 256, at
    if kind in _CONSTANTS:
        return _CONSTANTS[kind], at
    if kind in _INTEGERS:
        width, signed = _INTEGERS[kind]
        return int.from_bytes(_take(data, at, width), "big", signed=signed), at + width
    if kind < 0xC0:
        what, size = _short(kind)
    elif kind in _SIZED:
        what, width = _SIZED[kind]
        size = int.from_bytes(_take(data, at, width), "big")
        at += width
    else:
        raise RemoteProtocolError("bad-message", f"type {kind:#x}")
    if what in ("text", "bytes"):
        piece = _take(data, at, size)
        return (piece if what == "bytes" else _text(piece)), at + size
    return _collection(what, size, data, at, depth)


def _short(kind: int) -> tuple[str, int]:
    if kind >= 0xA0:
        return "text", kind & 0x1F
    return ("list" if kind >= 0x90 else "map"), kind & 0x0F


def _collection(what: str, size: int, data: bytes, at: int, depth: int) -> tuple[Any, int]:
    if not depth or size > len(data) - at:
        raise RemoteProtocolError("bad-message", "too much in one another")
    values = []
    for _ in range(size if what == "list" else 2 * size):
        value, at = _decode(data, at, depth - 1)
        values.append(value)
    if what == "list":
        return values, at
    if not all(isinstance(key, str) for key in values[::2]):
        raise RemoteProtocolError("bad-message", "a key that is no text")
    return dict(zip(values[::2], values[1::2], strict=True)), at


def _take(data: bytes, at: int, size: int) -> bytes:
    if len(data) - at < size:
        raise RemoteProtocolError("bad-message", "cut off")
    return data[at : at + size]


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise RemoteProtocolError("bad-message", "a text that is none") from None
