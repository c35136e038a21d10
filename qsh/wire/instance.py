"""What a client and a qshd say to each other before packets, over ssh's channel (docs/protocol.md 15.6): a line each.

client: qsh-instance 1 ssh-ed25519 AAAA…        the key is good for one client's logins; it may be missing
server: qsh-instance 1 0.1.0 60001 ssh-ed25519 AAAA… ecdsa-sha2-nistp256 AAAA…
client: qsh-instance 1 to 22 4                  packets are for this UDP port, where a qshd runs that the client knows by IPv4
server: qsh-instance 1 0.1.0 22
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

__all__ = [
    "MAX_LINE",
    "VARIABLE",
    "Here",
    "answer_line",
    "bridge_line",
    "parse_answer",
    "parse_bridge",
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
_TO: Final = "to"
_ANSWER_WORDS: Final = 4
_BRIDGE_WORDS: Final = 5
_LOOPBACK: Final = {"4": "127.0.0.1", "6": "::1"}
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


def bridge_line(port: int, *, ipv6: bool) -> str:
    """The same where the qshd at this UDP port is meant, whoever runs it. ``ipv6``: the connection is by that."""
    return f"{_WORD} {_VERSION} {_TO} {port} {6 if ipv6 else 4}"


def parse_bridge(line: bytes) -> tuple[str, int] | None:
    """Address and port; None: that is no such request."""
    words = line.decode("ascii", "replace").split()
    if words[:3] != [_WORD, _VERSION, _TO] or len(words) != _BRIDGE_WORDS:
        return None
    host, port = _LOOPBACK.get(words[4]), _port(words[3])
    return (host, port) if host and port else None


def parse_request(line: bytes) -> str | None:
    """The key, "" without one; None: that is no request of this version."""
    words = line.decode("ascii", "replace").split()
    if words[:2] != [_WORD, _VERSION] or len(words) not in (2, 4):
        return None
    keys = _keys(words[2:])
    return None if keys is None else "".join(keys)


def answer_line(here: Here) -> bytes:
    """The server's line."""
    words = (_WORD, _VERSION, here.version, str(here.port), *here.keys)
    return f"{' '.join(words)}\n".encode()


def parse_answer(line: bytes, *, keys: bool = True) -> Here | None:
    """None: that is something else, such as what a shell's start-up file prints. ``keys``: there must be some."""
    words = line.decode("ascii", "replace").split()
    if words[:2] != [_WORD, _VERSION] or len(words) < _ANSWER_WORDS:
        return None
    found, port = _keys(words[4:]), _port(words[3])
    if found is None or bool(found) != keys or not port or not _SOFTWARE.fullmatch(words[2]):
        return None
    return Here(port, found, words[2])


def _port(word: str) -> int:
    """0: that is none."""
    port = int(word) if word.isascii() and word.isdigit() and len(word) <= 5 else 0
    return port if port <= 0xFFFF else 0


def _keys(words: list[str]) -> tuple[str, ...] | None:
    if len(words) % 2 or len(words) > 2 * MAX_KEYS:
        return None
    pairs = list(zip(words[::2], words[1::2], strict=True))
    if not all(_TYPE.fullmatch(kind) and _BASE64.fullmatch(blob) for kind, blob in pairs):
        return None
    return tuple(f"{kind} {blob}" for kind, blob in pairs)
