"""The picture of a key for VisualHostKey: the drunken bishop's walk (OpenSSH sshkey.c,
fingerprint_randomart)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qsh.auth.keys import PublicKey

__all__ = ["randomart"]

WIDTH, HEIGHT = 17, 9
SHADES = " .o+=*BOX@%&#/^SE"
"""By number of visits; the last two mark the start and the end."""


def randomart(key: PublicKey, algorithm: str = "sha256") -> str:
    """The picture, eleven lines without a final line end."""
    field = [[0] * WIDTH for _ in range(HEIGHT)]
    x, y = WIDTH // 2, HEIGHT // 2
    for octet in key.digest(algorithm):
        for shift in (0, 2, 4, 6):
            move = octet >> shift
            x = min(max(x + (1 if move & 1 else -1), 0), WIDTH - 1)
            y = min(max(y + (1 if move & 2 else -1), 0), HEIGHT - 1)
            field[y][x] = min(field[y][x] + 1, len(SHADES) - 3)
    field[HEIGHT // 2][WIDTH // 2] = len(SHADES) - 2
    field[y][x] = len(SHADES) - 1
    title = f"[{key.label} {key.bits}]"
    if len(title) > WIDTH:
        title = f"[{key.label}]"
    rows = ["|" + "".join(SHADES[visits] for visits in row) + "|" for row in field]
    return "\n".join((_border(title), *rows, _border(f"[{algorithm.upper()}]")))


def _border(text: str) -> str:
    left = (WIDTH - len(text)) // 2
    return "+" + "-" * left + text + "-" * (WIDTH - len(text) - left) + "+"
