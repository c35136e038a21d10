"""Whether guesses are worth showing, and whether they are underlined."""

from __future__ import annotations

from typing import Final, Literal

__all__ = ["Setting", "Thresholds"]

Setting = Literal["adaptive", "always", "never"]

SHOW_ON_S: Final = 0.030
SHOW_OFF_S: Final = 0.015
UNDERLINE_ON_S: Final = 0.100
UNDERLINE_OFF_S: Final = 0.060
GLITCH_S: Final = 0.250
"""A key that waits this long makes guesses visible on a fast link too (mosh's values, as the next ones)."""
GLITCH_KEYS: Final = 10
"""Quick answers until that is forgotten, one counted in ``GLITCH_STEP_S``."""
GLITCH_STEP_S: Final = 0.150
_GAIN: Final = 1 / 8


class Thresholds:
    """Fed with the time from key to settled echo."""

    def __init__(self, setting: Setting) -> None:
        self._setting = setting
        self.echo_s: float | None = None
        """Smoothed."""
        self._sampled = False
        self._shown = setting == "always"
        self._underlined = False
        self._glitch = 0
        self._glitch_at = float("-inf")

    @property
    def never(self) -> bool:
        return self._setting == "never"

    def rtt(self, rtt_s: float) -> None:
        """The path's round trip: an echo is not faster, and until one was seen it is the guess."""
        if not self._sampled:
            self.echo_s = rtt_s
            self._decide()

    def echoed(self, latency_s: float, now: float) -> None:
        """A key had its effect after this time."""
        old = self.echo_s if self._sampled else None
        self.echo_s = latency_s if old is None else old + (latency_s - old) * _GAIN
        self._sampled = True
        if latency_s >= GLITCH_S:
            self._glitch = GLITCH_KEYS
        elif self._glitch and now >= self._glitch_at + GLITCH_STEP_S:
            self._glitch -= 1
            self._glitch_at = now
        self._decide()

    def _decide(self) -> None:
        echo_s = self.echo_s or 0.0
        self._shown = echo_s > (SHOW_OFF_S if self._shown else SHOW_ON_S)
        self._underlined = echo_s > (UNDERLINE_OFF_S if self._underlined else UNDERLINE_ON_S)

    def showing(self, oldest: float, now: float) -> bool:
        """Whether guesses are shown when the oldest one was typed at ``oldest``."""
        if self._setting != "adaptive":
            return self._setting == "always"
        return self._shown or self._glitch > 0 or now >= oldest + GLITCH_S

    def underlined(self) -> bool:
        return self._underlined

    def shows_at(self, oldest: float, now: float) -> float | None:
        """When :meth:`showing` changes by itself."""
        if self._setting != "adaptive" or self.showing(oldest, now):
            return None
        return oldest + GLITCH_S
