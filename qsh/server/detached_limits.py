"""Which terminals have waited too long for a client (DetachedMax, DetachedIdleMax). No I/O."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from qsh.server.terminal_session import TerminalSession

__all__ = ["DetachedLimits"]

CHECK_S: Final = 60.0
"""Nobody tells when only the shell is left."""
BUSY_CHECK_S: Final = 1.0
"""The idle limit is over, and something runs."""
SOON_S: Final = 0.01


class DetachedLimits:
    """Both in seconds; 0 or less: there is no limit for idle ones."""

    def __init__(self, longest_s: float, longest_idle_s: float) -> None:
        self._longest_s, self._longest_idle_s = longest_s, longest_idle_s
        self.at: float | None = None
        """When to look again; None: nothing waits."""

    def over(
        self, now: float, terminals: Iterable[TerminalSession]
    ) -> list[tuple[TerminalSession, str]]:
        """Those whose time is over, and by which limit."""
        found = []
        self.at = None
        for terminal in terminals:
            if terminal.detached_at is None or terminal.attached:
                continue
            waited_s = now - terminal.detached_at
            if waited_s >= self._longest_s:
                found.append((terminal, "DetachedMax"))
            elif 0 < self._longest_idle_s <= waited_s and terminal.running and terminal.idle:
                found.append((terminal, "DetachedIdleMax"))
            else:
                self._look_again(now, waited_s)
        return found

    def _look_again(self, now: float, waited_s: float) -> None:
        wait_s = min(CHECK_S, max(self._longest_s - waited_s, SOON_S))
        if self._longest_idle_s > 0:
            wait_s = min(wait_s, max(self._longest_idle_s - waited_s, BUSY_CHECK_S))
        self.at = min(now + wait_s, self.at or now + wait_s)
