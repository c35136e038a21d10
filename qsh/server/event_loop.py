"""Descriptors and what to call when they are ready; one thread."""

from __future__ import annotations

import select
from typing import TYPE_CHECKING, Final

from qsh.terminal.screen import wait

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["READ", "WRITE", "EventLoop", "Watched"]

Watched = tuple[int, bytes, float, float, float, float]
"""A terminal that is looked at meanwhile (``qsh._native.wait``)."""

READ: Final = select.EPOLLIN
WRITE: Final = select.EPOLLOUT
_READABLE: Final = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
_WRITABLE: Final = select.EPOLLOUT | select.EPOLLERR


class EventLoop:
    """epoll with one handler for each descriptor, called with READ, WRITE or both."""

    def __init__(self) -> None:
        self._poll = select.epoll()
        self._watched: dict[int, tuple[int, Callable[[int], None]]] = {}
        self.first = -1
        """The descriptor whose handler goes before those of all others that are ready at the same time."""

    def watch(self, descriptor: int, events: int, handler: Callable[[int], None]) -> None:
        """Call ``handler`` when one of ``events`` holds; 0: no more, until it is watched again."""
        known = self._watched.get(descriptor)
        if not events:
            if known is not None:
                self.forget(descriptor)
            return
        if known is None:
            self._poll.register(descriptor, events)
        elif known[0] != events:
            self._poll.modify(descriptor, events)
        self._watched[descriptor] = (events, handler)

    def forget(self, descriptor: int) -> None:
        """Before the descriptor is closed."""
        if self._watched.pop(descriptor, None) is not None:
            self._poll.unregister(descriptor)

    def wait(
        self, timeout_s: float | None, watched: list[Watched] | None = None
    ) -> tuple[bool, bool]:
        """Wait for events and call their handlers; whether there were any, and whether a terminal has changed. Raises what they
        raise.
        """
        found, changed = wait(self._poll.fileno(), timeout_s, watched or [])
        if len(found) > 1:
            found.sort(key=lambda pair: pair[0] != self.first)
        for descriptor, ready in found:
            known = self._watched.get(descriptor)
            if known is None:
                continue  # an earlier handler has closed it
            wanted, handler = known
            events = (READ if ready & _READABLE else 0) | (WRITE if ready & _WRITABLE else 0)
            handler(events & wanted or (wanted if ready & select.EPOLLERR else 0) or events)
        return bool(found), changed

    def close(self) -> None:
        """Idempotent."""
        self._poll.close()
