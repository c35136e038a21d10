"""What a program says once while its output is skipped (bell, clipboard, notices): no painting of the screen has it. Sans-IO."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["OneShots"]

MAX_SIZE: Final = 64 * 1024
MAX_NOTICES: Final = 4


class OneShots:
    """The newest of each kind, until the next painting."""

    def __init__(self) -> None:
        self._kept: dict[str, list[bytes]] = {}

    def keep(self, events: Iterable[tuple[str, int, bytes]]) -> bool:
        """Of what has happened in the output; whether the history was cleared."""
        cleared = False
        for kind, _, data in events:
            if len(data) > MAX_SIZE:
                continue
            if kind in ("bell", "clipboard"):
                self._kept[kind] = [data]
            elif kind == "notify":
                self._kept[kind] = [*self._kept.get(kind, []), data][-MAX_NOTICES:]
            elif kind == "clear-history":
                self._kept[kind] = [b"\x1b[3J"]
                cleared = True
        return cleared

    def take(self) -> list[bytes]:
        """All of them; they are forgotten."""
        found = [data for many in self._kept.values() for data in many]
        self._kept.clear()
        return found
