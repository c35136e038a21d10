"""The line that is typed after ``~C``, sans-IO: the terminal stays raw, since output goes on meanwhile."""

from __future__ import annotations

from typing import Final

__all__ = ["CommandLine"]

MAX_BYTES: Final = 1024
_ACCEPT, _CANCEL = b"\r\n", b"\x03\x04\x07\x1b"
"""Enter; ^C, ^D, ^G and Escape, which begins what cursor keys send."""
_ERASE, _ERASE_LINE = b"\x7f\x08", b"\x15"


class CommandLine:
    """Typed bytes in; what to show and, at the end, the line out."""

    def __init__(self) -> None:
        self._typed = bytearray()
        self.line: str | None = None
        """None until Enter; then without it. A cancelled one is empty."""

    def receive(self, data: bytes) -> tuple[str, bytes]:
        """What the user sees of it, and what was typed behind the end."""
        seen: list[str] = []
        for at, key in enumerate(data):
            if key in _ACCEPT or key in _CANCEL:
                self.line = "" if key in _CANCEL else self._typed.decode(errors="replace")
                return "".join((*seen, "\r\n")), data[at + 1 :]
            if key in _ERASE:
                if self._typed:
                    self._typed.pop()
                    seen.append("\b \b")
            elif key in _ERASE_LINE:
                seen.append("\b \b" * len(self._typed))
                self._typed.clear()
            elif 0x20 <= key < 0x7F and len(self._typed) < MAX_BYTES:
                self._typed.append(key)
                seen.append(chr(key))
        return "".join(seen), b""
