"""Who echoes what is typed: the classes that decide how it may be predicted."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qsh.wire.terminal import TtyState

__all__ = ["FULL_SCREEN", "KERNEL", "LINE_EDITOR", "RAW", "SECRET", "looks_secret", "tty_class"]

KERNEL: Final = "K"
"""The terminal line itself: ECHO and ICANON."""
SECRET: Final = "P"  # noqa: S105 - a class, no password
"""A line is read without echo. Nothing is drawn, nothing is kept."""
LINE_EDITOR: Final = "L"
"""A program edits a line on the main screen and takes bracketed paste."""
RAW: Final = "R"
"""Another program that reads single keys."""
FULL_SCREEN: Final = "A"
"""A program on the alternate screen."""

ECHO: Final = 1
ICANON: Final = 2

_SECRET_WORDS: Final = (
    "passw",
    "passphrase",
    "passcode",
    "secret",
    "token",
    "verification code",
    "pin ",
    "pin:",
    "otp",
)
_ENDS: Final = (":", "?", ">")


def tty_class(tty: TtyState | None, *, alternate: bool, bracketed_paste: bool) -> str:
    """The class of a terminal in this state. Without word from the host: RAW, which trusts only what it saw."""
    flags = 0 if tty is None else tty.flags
    if flags & ICANON:
        return KERNEL if flags & ECHO else SECRET
    if alternate:
        return FULL_SCREEN
    return LINE_EDITOR if bracketed_paste and tty is not None else RAW


def looks_secret(prompt: str) -> bool:
    """Whether a line left of the cursor asks for a secret: an inner ssh's or tmux's programs cannot be asked."""
    text = prompt.rstrip().lower()
    return text.endswith(_ENDS) and any(word in text for word in _SECRET_WORDS)
