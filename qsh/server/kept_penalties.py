"""What the monitor remembers of the front's penalties, so that the next front refuses whom this one refused.

The front decides (penalties.py) and says what it has noted: once for each connection that came to something bad, never for one
that is refused. Lost only when qshd itself is started again, as sshd's are. A front that was broken into may say anything; no
source is refused for longer than the rules let it be since the front's word, however many fronts come after it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from qsh.config.daemon_penalties import PenaltyRules
from qsh.server.requests import Penalised, PenalisedBefore

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["KeptPenalties"]

MAX_KEPT: Final = 2 * 65536
"""As many as a front holds where the configuration says nothing, of both families."""
EACH: Final = 200
"""In one packet."""


class KeptPenalties:
    """Times are monotonic seconds, which all processes have alike."""

    def __init__(self, most: int = MAX_KEPT) -> None:
        self._most = most
        self.rules = PenaltyRules()
        """Those that hold now."""
        self._found: dict[str, Penalised] = {}

    def keep(self, penalty: Penalised, now: float) -> None:
        """It replaces what was said of the same source."""
        self._found.pop(penalty.source, None)
        if not penalty.until > now:  # or it is no number
            return
        if len(self._found) >= self._most:
            self._drop(now)
        until = min(penalty.until, now + self.rules.longest)
        self._found[penalty.source] = Penalised(penalty.source, until, penalty.active)

    def _drop(self, now: float) -> None:
        """What is over; if nothing is, the eighth that was noted first."""
        over = [source for source, each in self._found.items() if each.until <= now]
        for source in over or list(self._found)[: self._most // 8 + 1]:
            del self._found[source]

    def messages(self, now: float) -> Iterator[PenalisedBefore]:
        """For the next front."""
        found = [each for each in self._found.values() if each.until > now]
        for start in range(0, len(found), EACH):
            yield PenalisedBefore(found[start : start + EACH])
