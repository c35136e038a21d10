"""Why a forwarded connection could not be had: the words of OPEN-FAILED (docs/protocol.md 11.3), and ssh's for people."""

from __future__ import annotations

import errno
import os
import socket
from typing import Final, NamedTuple

__all__ = ["NOT_PERMITTED", "Failure", "of_error", "open_failed"]

_SHORTAGES: Final = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)
_GAI_NAMES: Final = {getattr(socket, name): name for name in dir(socket) if name.startswith("EAI_")}
_WORDS: Final = {
    "not-permitted": "administratively prohibited",
    "connect-failed": "connect failed",
    "unknown-kind": "unknown channel type",
    "resources": "resource shortage",
}
"""As OpenSSH calls its reason codes (channels.c, reason2txt)."""


class Failure(NamedTuple):
    """``detail`` is the system's symbol (``ECONNREFUSED``, ``EAI_NONAME``): SOCKS has codes for some."""

    code: str
    reason: str
    detail: str = ""


NOT_PERMITTED: Final = Failure("not-permitted", "open failed")


def of_error(error: OSError | int) -> Failure:
    """Of an attempt to resolve (gaierror) or to connect (OSError, or its errno)."""
    if isinstance(error, socket.gaierror):
        text = error.strerror or str(error)
        return Failure("connect-failed", text, _GAI_NAMES.get(error.errno or 0, ""))
    number = error if isinstance(error, int) else error.errno or errno.EIO
    code = "resources" if number in _SHORTAGES else "connect-failed"
    return Failure(code, os.strerror(number), errno.errorcode.get(number, ""))


def open_failed(code: str, reason: str) -> str:
    """OpenSSH's text for a channel that could not be opened."""
    return f"open failed: {_WORDS.get(code, code or 'failed')}: {reason or 'open failed'}"
