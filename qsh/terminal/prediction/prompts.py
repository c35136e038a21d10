"""What a line's prompt looks like, so that a program's echo is trusted only behind prompts like those it was seen behind.

A shell may read a secret with its own line editor (``read -es``): same program, same group, same flags, bracketed paste on. Only
the prompt tells that line from a command line. Paths and numbers may differ at once. Words may not, until the user typed behind
two prompts that differ in them alone ("[me@host src]$ ", "[me@host lib]$ "), and never in a question or all of them.

What is left: a secret asked for with the very prompt of the shell, or with one that differs from two known ones in the same word.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["Prompt", "Prompts", "prompt_of"]

MAX_SHAPES: Final = 32
"""Per program; the oldest go first."""

_RUN: Final = re.compile(r"[\w./~…+-]+")
_DIGITS: Final = re.compile(r"\d+")
_BLANKS: Final = re.compile(r"\s+")
_QUESTION_ENDS: Final = (":", "?", "\uff1a", "\uff1f")


class Prompt(NamedTuple):
    """Shape and words of a text left of the input floor, and the style of its last character that is not blank."""

    shape: str
    """Words: "a", numbers: "0", paths: "/"; what is between them as it is."""
    style: int
    words: tuple[str, ...]


def prompt_of(cells: Sequence[tuple[str, int, int]]) -> Prompt | None:
    """None: a blank one says nothing."""
    style = next((cell[2] for cell in reversed(cells) if cell[0].strip()), None)
    if style is None:
        return None
    words: list[str] = []

    def kind(run: re.Match[str]) -> str:
        text = run[0]
        if "/" in text or "~" in text:
            return "/"
        if text.isdecimal():
            return "0"
        if not any(map(str.isalnum, text)):
            return text
        words.append(_DIGITS.sub("0", text))
        return "a"

    shape = _RUN.sub(kind, "".join(cell[0] or " " * cell[1] for cell in cells))
    return Prompt(_BLANKS.sub(" ", shape), style, tuple(words))


class Prompts:
    """Those of one program behind which a typed character was seen."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, int], list[tuple[str | None, ...]]] = {}
        """The words by shape and style; None: any word."""

    def __contains__(self, prompt: Prompt) -> bool:
        known = self._known.get(prompt[:2], ())
        return any(
            all(a is None or a == b for a, b in zip(words, prompt.words, strict=True))
            for words in known
        )

    def add(self, prompt: Prompt) -> None:
        if prompt in self:
            return
        if prompt[:2] not in self._known and len(self._known) >= MAX_SHAPES:
            del self._known[next(iter(self._known))]
        known = self._known.setdefault(prompt[:2], [])
        words: tuple[str | None, ...] = prompt.words
        if not prompt.shape.rstrip().endswith(_QUESTION_ENDS):
            words = next((found for old in known if (found := _common(old, words))), words)
        if len(known) >= MAX_SHAPES:
            known.clear()
        known.append(words)


def _common(old: Sequence[str | None], new: Sequence[str | None]) -> tuple[str | None, ...] | None:
    """The words of both, if they differ in one place and a word is left."""
    words = tuple(a if a == b else None for a, b in zip(old, new, strict=True))
    differ = sum(a is not None and a != b for a, b in zip(old, new, strict=True))
    return words if differ == 1 and any(words) else None
