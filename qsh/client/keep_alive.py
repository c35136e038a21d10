"""When to send something only so that a NAT on the way does not forget the connection, sans-IO.

What a NAT has forgotten costs nothing on the way out: it makes another mapping, and the server follows the connection there. But
until then nothing of the server's gets in. So silence may be as long as mappings last, and that is found out: silence that was
survived may be longer the next time, up to a limit; when the server has asked whether we are still we (PATH_CHALLENGE) in answer
to the first packet after a silence, it was too long. What is learned belongs to the network that the client is in.

Other traffic keeps a mapping as well as a ping does, but nobody tells when it was. So the counters are looked at in the middle of
an interval: a silence whose beginning is unknown is cut short, and nothing is learned from it.
"""

from __future__ import annotations

from typing import Final, NamedTuple

__all__ = ["FIRST_S", "MAX_S", "KeepAlive", "Learned", "Traffic"]

FIRST_S: Final = 25.0
"""In a network that is not known: the shortest time for which mappings are commonly kept is 30 s."""
MIN_S: Final = 8.0
MAX_S: Final = 300.0
"""A server gives a silent connection up after 15 minutes (QshExecMax); one of three pings must get through."""
_GROWTH: Final = 1.5
_NEAR: Final = 1.25
"""What is known well enough: the silence that was too long is no more than so much longer than the one that was not."""
_SHRINK: Final = 0.6
_SETTLE_S: Final = 3.0
"""After a ping, until it has been answered, again if it was lost, and the counters stand still."""


class Learned(NamedTuple):
    """Of one network; 0: nothing yet."""

    survived_s: float = 0.0
    """The longest silence after which the path was as before."""
    lost_s: float = 0.0
    """The shortest one after which it was not."""

    def after(self, silence_s: float, *, survived: bool) -> Learned:
        """With one more experience."""
        if survived:
            longest = min(max(self.survived_s, silence_s), MAX_S)
            return Learned(longest, self.lost_s if self.lost_s > longest else 0.0)
        if silence_s > MAX_S * _NEAR:  # as after a suspension: nobody expected anything else
            return self
        lost_s = min(self.lost_s or silence_s, silence_s)
        survived_s = self.survived_s if self.survived_s < lost_s else lost_s * _SHRINK
        return Learned(survived_s, lost_s)

    @property
    def next_s(self) -> float:
        """How long to be silent now."""
        if not self.lost_s:
            return min(max(self.survived_s * _GROWTH, FIRST_S), MAX_S)
        silence_s = self.survived_s or self.lost_s * _SHRINK
        if self.survived_s and self.lost_s > self.survived_s * _NEAR:
            silence_s = (self.survived_s + self.lost_s) / 2
        return min(max(silence_s, MIN_S), MAX_S)


class Traffic(NamedTuple):
    """Counters of a connection."""

    sent: int
    received: int
    challenges: int
    """PATH_CHALLENGE frames that came."""
    moves: int
    """Migrations that the client knows of."""


class _Ping(NamedTuple):
    at_s: float
    silence_s: float | None
    """Before it, where that is known exactly."""
    before: Traffic


class KeepAlive:
    """Of one connection. Times are seconds that go on while the machine is suspended."""

    def __init__(self, learned: Learned, now: float, traffic: Traffic) -> None:
        self.learned = learned
        self._ping: _Ping | None = None
        self._silent_since_s: float | None = None
        self._seen = traffic
        self.deadline = now + learned.next_s / 2
        """When to :meth:`look`."""

    def look(self, now: float, traffic: Traffic) -> bool:
        """Whether a ping is to be sent now."""
        ping, self._ping = self._ping, None
        quiet = traffic == self._seen
        self._seen = traffic
        if ping is not None:
            self._judge(ping, traffic)
            self._silent_since_s = ping.at_s
            self.deadline = max(now, ping.at_s + self.learned.next_s / 2)
            return False
        since_s = self._silent_since_s
        if not quiet:
            self._silent_since_s = None
            self.deadline = now + self.learned.next_s / 2
        elif since_s is not None and now < since_s + self.learned.next_s:
            self.deadline = since_s + self.learned.next_s
        else:
            self._ping = _Ping(now, None if since_s is None else now - since_s, traffic)
            self.deadline = now + _SETTLE_S
            return True
        return False

    def _judge(self, ping: _Ping, after: Traffic) -> None:
        before = ping.before
        answered = after.received > before.received
        if ping.silence_s is None or not answered or after.moves != before.moves:
            return
        survived = after.challenges == before.challenges
        self.learned = self.learned.after(ping.silence_s, survived=survived)
