"""What messages and ``~#`` call the forwarded connections: numbers as in ssh, the lowest that is free."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["ChannelNumbers"]


class ChannelNumbers:
    """Of one client. The program's channel and each listening socket have one, which they keep."""

    def __init__(self, kept: int) -> None:
        self._first = kept
        self._open: dict[int, str] = {}
        self._held: set[int] = set()
        """Those of ``_open`` that the client does not end before."""
        self._idle = asyncio.Event()
        self._idle.set()

    def keep(self, count: int) -> None:
        """So many more are taken for good."""
        self._first += count

    @contextlib.contextmanager
    def one(self, text: str, *, holds: bool = True) -> Iterator[int]:
        """A number for a connection, while it lives; ``text`` is what ``~#`` says of it. ``holds``: :meth:`idle` waits for it."""
        number = self._first
        while number in self._open:
            number += 1
        self._open[number] = text
        if holds:
            self._held.add(number)
            self._idle.clear()
        try:
            yield number
        finally:
            del self._open[number]
            self._held.discard(number)
            if not self._held:
                self._idle.set()

    async def idle(self) -> None:
        """Return when no connection is open."""
        await self._idle.wait()

    def describe(self, number: int, text: str) -> None:
        """More is known of it."""
        self._open[number] = text

    def lines(self) -> list[str]:
        """All of them, for ``~#``."""
        return [f"#{number} {text}" for number, text in sorted(self._open.items())]
