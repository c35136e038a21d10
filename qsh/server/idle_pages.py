"""When a session host gives memory back: once, after nothing has come for a while (native/src/image.rs).

Sans-IO. What it costs to have the pages again, half a millisecond, is paid by the first key after a pause; who types
on pays nothing.
"""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["QUIET_S", "IdlePages"]

QUIET_S: Final = 3.0
RETURN_S: Final = 10.0
"""A client whose front has ended is expected back within it: with those of all other hosts, which have better to do than that."""


class IdlePages:
    """``give_back`` is called once after what was typed or shown, and once more when nothing at all has come for as long: a
    client asks every second for a while whether its path is still there, and that touches few pages.
    """

    def __init__(self, give_back: Callable[[], int]) -> None:
        self._give_back = give_back
        self._after_traffic: float | None = None
        self._after_all: float | None = None
        self._traffic = 0.0
        self._held = 0.0

    def touched(self, now: float, traffic: float) -> None:
        """Something came; ``traffic`` is when the terminals' last bytes did."""
        self._after_all = now + QUIET_S
        if traffic != self._traffic:
            self._traffic = traffic
            self._after_traffic = now + QUIET_S

    @property
    def deadline(self) -> float | None:
        """When :meth:`expire` has something to do."""
        times = [when for when in (self._after_traffic, self._after_all) if when is not None]
        return max(min(times), self._held) if times else None

    def front_lost(self, now: float) -> None:
        """Its client may come back soon."""
        self._held = now + RETURN_S

    def expire(self, now: float) -> None:
        """Give back what can be, if the time has come."""
        due = self.deadline
        if due is None or now < due:
            return
        if self._after_all is not None and now >= self._after_all:
            self._after_all = None
        self._after_traffic = None
        with contextlib.suppress(OSError):
            sys._clear_type_cache()  # it holds on to the names of attributes
            self._give_back()
