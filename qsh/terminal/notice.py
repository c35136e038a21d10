"""Lost contact: when it is lost, and the line that says so, sans-IO.

Contact is lost when something was asked (a key, a probe) and nothing at all has come for max(1 s, 3 round trips). Silence
alone says nothing: an idle connection is silent.
"""

from __future__ import annotations

from typing import Final

__all__ = ["Contact", "line"]

_PATIENCE_S: Final = 1.0
_ROUND_TRIPS: Final = 3


class Contact:
    """When the other side was last heard of, and whether it should have been since."""

    def __init__(self, now: float) -> None:
        self.heard_s = now
        """When the last word came."""
        self._asked_s: float | None = None
        self._rtt_s = 0.0

    def rtt(self, rtt_s: float) -> None:
        """The path's round trip."""
        self._rtt_s = rtt_s

    def asked(self, now: float) -> bool:
        """Something that wants an answer has left; True if nothing else was unanswered."""
        if self._asked_s is not None:
            return False
        self._asked_s = now
        return True

    def heard(self, now: float) -> None:
        """Anything came. What is still unanswered has to be :meth:`asked` anew."""
        self.heard_s = now
        self._asked_s = None

    @property
    def waiting(self) -> bool:
        """An answer is due."""
        return self._asked_s is not None

    @property
    def deadline(self) -> float | None:
        """When contact is lost if nothing comes."""
        if self._asked_s is None:
            return None
        return self._asked_s + max(_PATIENCE_S, _ROUND_TRIPS * self._rtt_s)

    def lost(self, now: float) -> bool:
        """Whether the user should know."""
        deadline = self.deadline
        return deadline is not None and now >= deadline


def line(
    silence_s: float,
    *,
    missing: str = "contact",
    reason: str = "",
    waiting: int = 0,
    escape: str = "",
) -> str:
    """The notice, printable ASCII. ``waiting``: bytes typed and not delivered; ``escape``: the escape character as shown."""
    parts = [f"qsh: no {missing} for {_duration(silence_s)}"]
    if waiting:
        parts.append(f"{waiting} key{'s wait' if waiting > 1 else ' waits'}")
    if escape:
        shown = _ascii(escape)
        parts.append(f"Enter {shown}. ends, {shown}d leaves")
    if reason:  # last: what does not fit is cut off
        parts.append(_ascii(reason))
    return "; ".join(parts)


def _duration(seconds: float) -> str:
    whole = int(max(0.0, seconds))
    if whole < 120:
        return f"{whole} s"
    if whole < 2 * 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole // 60 % 60} min"


def _ascii(text: str) -> str:
    return "".join(character if " " <= character <= "~" else "?" for character in text)
