"""How many columns a character takes, as the screen model counts."""

from __future__ import annotations

__all__ = ["columns"]


def columns(char: str) -> int:
    """0 (combining, joiners), 1 or 2. Ambiguous characters are narrow."""
    if char < "\x7f":
        return 1
    import unicodedata  # most sessions never need it

    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1
