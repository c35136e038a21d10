"""Showing text that came from elsewhere: nothing in it may drive the user's terminal."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qsh.errors import ConnectionLost

__all__ = ["lost_text", "visible", "visible_lines"]


def visible(text: str) -> str:
    """``text`` in one line: controls and what is not printable as octal escapes of their UTF-8, as
    OpenSSH does it.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(char if char.isprintable() else _octal(char) for char in text)


def visible_lines(text: str) -> str:
    """As :func:`visible`, but line ends and tabs stay (banners, server notices); CR LF becomes LF."""
    text = text.replace("\r\n", "\n")
    return "".join(char if char in "\n\t" else visible(char) for char in text)


def lost_text(host: str, error: ConnectionLost) -> str:
    """What a lost connection is to the user."""
    if error.kind == "timeout":
        return f"Timeout, server {host} not responding."
    if error.kind == "closed-by-peer" and not str(error):
        return f"Connection to {host} closed by remote host."
    return f"Connection to {host} closed: {visible(str(error))}"


def _octal(char: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in char.encode("utf-8", "surrogateescape"))
