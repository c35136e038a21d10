"""What a client and a qshd say to each other before packets, over ssh's channel (docs/protocol.md 15.6): a line each.

client: qsh-instance 1 ssh-ed25519 AAAA…        the key is good for one client's logins; it may be missing
server: qsh-instance 1 0.1.0 60001 ssh-ed25519 AAAA… ecdsa-sha2-nistp256 AAAA…
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = [
    "MAX_LINE",
    "VARIABLE",
    "Here",
    "answer_line",
    "parse_answer",
    "parse_request",
    "request_line",
]

MAX_LINE: Final = 16 * 1024
"""Bytes of a line: an RSA key of 16384 bits is below 3 KiB."""
VARIABLE: Final = "QSH_INSTANCE"
"""The environment variable with the client's line: on standard input it would come a round trip later."""
MAX_KEYS: Final = 8
_WORD: Final = "qsh-instance"
_VERSION: Final = "1"
_TYPE: Final = re.compile(r"[a-z0-9@.-]{1,64}", re.ASCII)
_SOFTWARE: Final = re.compile(r"[A-Za-z0-9.+-]{1,32}", re.ASCII)
_BASE64: Final = re.compile(r"[A-Za-z0-9+/]{16,}={0,2}", re.ASCII)


class Here(NamedTuple):
    """Where an instance is found, and by what it is known."""

    port: int
    keys: tuple[str, ...]
    """Each ``TYPE BASE64``."""
    version: str = ""


def request_line(key: str = "") -> str:
    """The client's line, which is not ended. ``key``: ``TYPE BASE64``."""
    return f"{_WORD} {_VERSION} {key}".rstrip()


def parse_request(line: bytes) -> str | None:
    """The key, "" without one; None: that is no request of this version."""
    words = line.decode("ascii", "replace").split()
    if words[:2] != [_WORD, _VERSION] or len(words) not in (2, 4):
        return None
    keys = _keys(words[2:])
    return None if keys is None else "".join(keys)


def answer_line(here: Here) -> bytes:
    """The server's line."""
    return f"{_WORD} {_VERSION} {here.version} {here.port} {' '.join(here.keys)}\n".encode()


def parse_answer(line: bytes) -> Here | None:
    """None: that is something else, such as what a shell's start-up file prints."""
    words = line.decode("ascii", "replace").split()
    if words[:2] != [_WORD, _VERSION] or len(words) < 6 or not words[3].isascii():
        return None
    keys = _keys(words[4:])
    port = int(words[3]) if words[3].isdigit() and len(words[3]) <= 5 else 0
    if not keys or not 0 < port <= 0xFFFF or not _SOFTWARE.fullmatch(words[2]):
        return None
    return Here(port, keys, words[2])


def _keys(words: list[str]) -> tuple[str, ...] | None:
    if len(words) % 2 or len(words) > 2 * MAX_KEYS:
        return None
    pairs = list(zip(words[::2], words[1::2], strict=True))
    if not all(_TYPE.fullmatch(kind) and _BASE64.fullmatch(blob) for kind, blob in pairs):
        return None
    return tuple(f"{kind} {blob}" for kind, blob in pairs)
