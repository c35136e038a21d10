"""Work that nobody waits for: it is kept until it ends, and what goes wrong in it is told."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from qsh.client.log import log

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

__all__ = ["Spawned"]


class Spawned:
    """``what`` it is, for the log; ``quiet``: what may go wrong and is told elsewhere; ``on_end`` is called after each end."""

    def __init__(
        self,
        what: str,
        *,
        quiet: tuple[type[Exception], ...] = (),
        on_end: Callable[[], None] = lambda: None,
    ) -> None:
        self._what, self._quiet, self._on_end = what, quiet, on_end
        self._tasks: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._tasks)

    def spawn(self, work: Coroutine[object, object, None]) -> None:
        """Begin it."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not isinstance(error, self._quiet):
            log.error(f"qsh: {self._what}: {type(error).__name__}: {error}")
        self._on_end()
