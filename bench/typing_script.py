"""What is typed into a shell: harmless lines of words, with mistakes that are taken back."""

from __future__ import annotations

import random
from dataclasses import dataclass

__all__ = ["Key", "Line", "script"]

WORDS = (
    *("apply", "backup", "branch", "cache", "checkout", "compile", "daemon", "deploy", "fetch"),
    *("filter", "history", "index", "journal", "kernel", "ledger", "merge", "network", "output"),
    *("package", "query", "rebase", "release", "search", "socket", "table", "update", "version"),
)
SLIPS = "jqxz"
TYPOS = 0.03


@dataclass(frozen=True, slots=True)
class Key:
    """A key, and what the line says after it, blanks at its end left out."""

    data: bytes
    line: str
    counted: bool = True
    """A blank shows nothing."""


Line = tuple[Key, ...]


def script(keys: int, *, words_a_line: int = 4, typos: float = TYPOS, seed: int = 1) -> list[Line]:
    """Lines with at least ``keys`` counted keys in all, without the Enter that ends each. They are comments to the shell's
    ``:``; a mistake is one wrong letter and a backspace."""
    chance = random.Random(seed)
    lines: list[Line] = []
    counted = 0
    while counted < keys:
        line = [Key(b":", ":")]
        text = ":"
        for word in chance.sample(WORDS, words_a_line):
            line.append(Key(b" ", text, counted=False))
            text += " "
            for letter in word:
                if chance.random() < typos:
                    slip = chance.choice(SLIPS)
                    line.append(Key(slip.encode(), text + slip))
                    # before the first letter of a word it uncovers a blank only
                    line.append(Key(b"\x7f", text.rstrip()))
                text += letter
                line.append(Key(letter.encode(), text))
        lines.append(tuple(line))
        counted += sum(key.counted for key in line)
    return lines
