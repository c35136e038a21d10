"""The data types of SSH's wire format (RFC 4251 section 5): what keys, signatures and agents speak.

Stricter than OpenSSH in one point: text must be UTF-8 without NUL, so that no name has two
readings.
"""

from __future__ import annotations

from qsh.errors import KeyFormatError

__all__ = ["Reader", "Writer"]

MPINT_LIMIT = 2048 + 1
"""Bytes of the longest number: 16384 bits and the sign byte, as OpenSSH's SSHBUF_MAX_BIGNUM."""


class Reader:
    """Takes values off the front of a blob; every short or odd blob is a KeyFormatError."""

    __slots__ = ("_data", "_offset")

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._offset = 0

    @property
    def offset(self) -> int:
        """Bytes read so far."""
        return self._offset

    @property
    def remaining(self) -> int:
        """Bytes not yet read."""
        return len(self._data) - self._offset

    def take(self, size: int) -> bytes:
        """The next ``size`` bytes as they are."""
        if size > self.remaining:
            raise KeyFormatError(f"truncated: {size} bytes wanted, {self.remaining} left")
        start = self._offset
        self._offset += size
        return self._data[start : self._offset]

    def byte(self) -> int:
        """A single octet."""
        return self.take(1)[0]

    def boolean(self) -> bool:
        """An octet that is false only when zero."""
        return self.byte() != 0

    def uint32(self) -> int:
        """Four octets, big-endian."""
        return int.from_bytes(self.take(4), "big")

    def uint64(self) -> int:
        """Eight octets, big-endian."""
        return int.from_bytes(self.take(8), "big")

    def string(self) -> bytes:
        """A length and as many octets."""
        return self.take(self.uint32())

    def text(self) -> str:
        """A string that must be UTF-8 without NUL."""
        raw = self.string()
        if b"\0" in raw:
            raise KeyFormatError("NUL in a text")
        try:
            return raw.decode()
        except UnicodeDecodeError:
            raise KeyFormatError("a text that is not UTF-8") from None

    def mpint(self, *, canonical: bool = False) -> int:
        """A number that is not negative; ``canonical`` refuses needless leading zeros."""
        raw = self.string()
        if len(raw) > MPINT_LIMIT:
            raise KeyFormatError(f"a number of {len(raw)} bytes is too large")
        if raw and raw[0] & 0x80:
            raise KeyFormatError("a negative number")
        if canonical and raw[:1] == b"\0" and not raw[1:2] >= b"\x80":
            raise KeyFormatError("a number with needless leading zeros")
        return int.from_bytes(raw, "big")

    def rest(self) -> bytes:
        """All that is left."""
        return self.take(self.remaining)

    def end(self) -> None:
        """There must be nothing left."""
        if self.remaining:
            raise KeyFormatError(f"{self.remaining} bytes too many")


class Writer:
    """Builds a blob; every method returns the writer, so that calls chain."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def raw(self, data: bytes) -> Writer:
        """Octets as they are."""
        self._parts.append(data)
        return self

    def byte(self, value: int) -> Writer:
        """A single octet."""
        return self.raw(value.to_bytes(1, "big"))

    def boolean(self, value: bool) -> Writer:
        """One or zero."""
        return self.byte(int(value))

    def uint32(self, value: int) -> Writer:
        """Four octets, big-endian."""
        return self.raw(value.to_bytes(4, "big"))

    def uint64(self, value: int) -> Writer:
        """Eight octets, big-endian."""
        return self.raw(value.to_bytes(8, "big"))

    def string(self, data: bytes) -> Writer:
        """A length and the octets."""
        return self.uint32(len(data)).raw(data)

    def text(self, text: str) -> Writer:
        """A string of UTF-8."""
        return self.string(text.encode())

    def mpint(self, value: int) -> Writer:
        """A number that is not negative, in its shortest form."""
        return self.string(value.to_bytes((value.bit_length() + 8) // 8, "big") if value else b"")

    def bytes(self) -> bytes:
        """The blob."""
        return b"".join(self._parts)
