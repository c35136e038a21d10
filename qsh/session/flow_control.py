"""How one client gets a terminal's output: every byte of it (PASS), or paintings of the newest screen (SKIP).

In PASS the terminal is read no faster than the client shows what it gets, so that little is under way when a key is to stop a
flood. A client that cannot keep up at all is skipped to now. Sizes in bytes, times in seconds of a clock that never goes back.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass
from typing import Final

from qsh.errors import RemoteProtocolError

__all__ = ["FlowControl", "Mode"]

QUEUE_S: Final = 0.008
"""What may wait in the network beyond a round trip's worth: the price of Ctrl-C under a flood."""
WINDOW_MIN: Final = 16 * 1024
WINDOW_MAX: Final = 256 * 1024
WINDOW_FIRST: Final = 16 * 1024
"""While no delivery rate is known."""
START_GAIN: Final = 2.0
START_GROWTH: Final = 1.25
START_ROUNDS: Final = 3
"""The window is doubled until the rate has not risen by a quarter for three rounds (BBR's start)."""
RATE_MEMORY_S: Final = 2.0
RTT_MEMORY_S: Final = 30.0
RTT_GUESS_S: Final = 0.05
BLOCKED_S: Final = 0.3
OLD_S: Final = 0.3
OLD_RTTS: Final = 3
OUTAGE_S: Final = 1.0
OUTAGE_BYTES: Final = 4096
"""Less than this is kept exact through an outage: to send it costs nothing."""
INTERRUPT_DRAIN_S: Final = 0.15
GRAPHICS_S: Final = 5.0
FRAME_MIN_S, FRAME_MAX_S = 0.016, 0.25
FRAMES_UNDER_WAY: Final = 2
GATHER_S: Final = 0.008
IDLE_S: Final = 0.02
CALM_S: Final = 0.5
CALM_SHARE: Final = 0.5
SAMPLE_MIN_S: Final = 0.001
FLIGHTS_MAX: Final = 4096
"""Pieces under way that are told apart."""


class Mode(enum.Enum):
    """What the client gets."""

    PASS = "pass"  # noqa: S105 - no password
    SKIP = "skip"


@dataclass(slots=True)
class _Flight:
    """Something sent and not yet consumed."""

    end: int
    sent_at: float
    wire_end: int
    delivered: int
    """Bytes delivered when it was sent, and since when."""
    delivered_at: float
    limited: bool
    """The window, not the program, decided how much was under way."""


class FlowControl:
    """The state of one attachment: what was sent and consumed up to which output offset, in which mode."""

    def __init__(self, now: float, offset: int, *, exact: bool = False) -> None:
        self.mode = Mode.PASS
        self.exact = exact
        self.sent = offset
        self.consumed = offset
        self.rate_bytes_s = 0.0
        """Delivery rate, measured; 0: not known yet."""
        self._flights: deque[_Flight] = deque()
        self._wire = self._delivered = 0
        self._delivered_at = self._progress_at = now
        self._rates: deque[tuple[float, float]] = deque()
        self._round_end, self._round_rate, self._flat_rounds = 0, 0.0, 0
        self._rtts: deque[tuple[float, float]] = deque()
        self._srtt_s = RTT_GUESS_S
        self._blocked_since: float | None = None
        self._graphics_at = float("-inf")
        self._hurry = False
        # in SKIP
        self._frame_at = float("-inf")
        self._changed_at: float | None = None
        self._output_at = now
        self._calm_since = now
        self._produced, self._produced_since = 0, now

    # -- the path ------------------------------------------------------------------------------

    def path(self, now: float, rtt_s: float) -> None:
        """A round-trip time as measured."""
        self._srtt_s = rtt_s
        while self._rtts and self._rtts[-1][1] >= rtt_s:
            self._rtts.pop()
        self._rtts.append((now, rtt_s))
        while self._rtts[0][0] < now - RTT_MEMORY_S:
            self._rtts.popleft()

    @property
    def rtt_s(self) -> float:
        """Smoothed round-trip time."""
        return self._srtt_s

    @property
    def _min_rtt_s(self) -> float:
        return self._rtts[0][1] if self._rtts else RTT_GUESS_S

    @property
    def window(self) -> int:
        """Bytes that may be unconsumed before the terminal is read no further."""
        if self.rate_bytes_s <= 0:
            return WINDOW_FIRST
        gain = START_GAIN if self._flat_rounds < START_ROUNDS else 1.0
        wanted = gain * self.rate_bytes_s * (self._min_rtt_s + QUEUE_S)
        return int(min(max(wanted, WINDOW_MIN), WINDOW_MAX))

    @property
    def unconsumed(self) -> int:
        """Bytes of output sent and not reported as shown."""
        return self.sent - self.consumed

    @property
    def oldest_at(self) -> float | None:
        """When the oldest of it was sent; None: nothing is under way."""
        return self._flights[0].sent_at if self._flights else None

    @property
    def room(self) -> int:
        """Bytes that may be read from the terminal now, in PASS."""
        return max(0, self.window - self.unconsumed)

    @property
    def waiting_since(self) -> float | None:
        """When the client last reported progress, or when what it has not shown was sent; None: it has shown all."""
        return max(self._progress_at, self._flights[0].sent_at) if self._flights else None

    @property
    def drain_s(self) -> float:
        """How long what is unconsumed will take."""
        return self.unconsumed / self.rate_bytes_s if self.rate_bytes_s > 0 else 0.0

    # -- what happened -------------------------------------------------------------------------

    def send(self, now: float, end: int, wire_size: int) -> None:
        """Raw output or a frame up to ``end`` was sent, in ``wire_size`` bytes."""
        if not self._flights:
            self._delivered_at = self._progress_at = now
        self.sent = end
        self._wire += wire_size
        if end <= self.consumed:
            return  # a painting of what the client shows already: no report will tell of it
        if len(self._flights) >= FLIGHTS_MAX:
            self._flights.pop()  # this one's report stands for both
        self._flights.append(
            _Flight(
                end,
                now,
                self._wire,
                self._delivered,
                self._delivered_at,
                self.room == 0 or self.mode is Mode.SKIP,
            )
        )

    def acknowledge(self, now: float, offset: int) -> bool:
        """The client shows the output up to ``offset``; whether that is news. Raises RemoteProtocolError ``bad-offset``."""
        if offset > self.sent:
            raise RemoteProtocolError("bad-offset", f"{offset} consumed, {self.sent} sent")
        if offset <= self.consumed and not (self._flights and self._flights[0].end <= offset):
            return False
        self.consumed = max(self.consumed, offset)
        self._progress_at = now
        newest = None
        while self._flights and self._flights[0].end <= offset:
            newest = self._flights.popleft()
        if newest is not None:
            self._measure(now, newest)
        return True

    def _measure(self, now: float, flight: _Flight) -> None:
        self._delivered, self._delivered_at = flight.wire_end, now
        elapsed_s = max(now - flight.delivered_at, SAMPLE_MIN_S)
        rate = (flight.wire_end - flight.delivered) / elapsed_s
        if flight.limited or rate > self.rate_bytes_s:
            while self._rates and self._rates[-1][1] <= rate:
                self._rates.pop()
            self._rates.append((now, rate))
            memory_s = max(RATE_MEMORY_S, 10 * self._srtt_s)
            while self._rates[0][0] < now - memory_s:
                self._rates.popleft()
            self.rate_bytes_s = self._rates[0][1]
        if flight.delivered >= self._round_end:
            self._round_end = self._wire
            if self.rate_bytes_s >= START_GROWTH * self._round_rate:
                self._round_rate, self._flat_rounds = self.rate_bytes_s, 0
            elif flight.limited:
                self._flat_rounds += 1

    def blocked(self, now: float, is_blocked: bool) -> None:
        """Whether the program has output that is not read because of this client."""
        if not is_blocked:
            self._blocked_since = None
        elif self._blocked_since is None:
            self._blocked_since = now

    def interrupt(self) -> None:
        """A key was typed that stops a program: the user wants to see the end."""
        self._hurry = self._hurry or self.drain_s > INTERRUPT_DRAIN_S

    def graphics(self, now: float) -> None:
        """A picture has begun in the output, which no painting can bring."""
        self._graphics_at = now

    def produced(self, now: float, size: int) -> None:
        """The program has put out ``size`` bytes; the frames bring them."""
        if self._changed_at is None:
            self._changed_at = now
        self._output_at = now
        self._produced += size
        self._judge_calm(now)

    # -- PASS to SKIP --------------------------------------------------------------------------

    def may_skip(self, now: float) -> bool:
        """Whether the client can be skipped to now: it does not insist on every byte, and nothing would be lost for good."""
        return not self.exact and now - self._graphics_at >= GRAPHICS_S

    def wants_skip(self, now: float) -> bool:
        """Whether the client is to be skipped to now."""
        if self.mode is Mode.SKIP or not self.may_skip(now):
            return False
        if self._hurry:
            return True
        when = self._skip_at
        return when is not None and now >= when

    @property
    def _skip_at(self) -> float | None:
        """When it will be time, if nothing happens."""
        if not self._flights:
            return None
        candidates = []
        oldest = self._flights[0].sent_at
        if self._blocked_since is not None:
            old_s = max(OLD_S, OLD_RTTS * self._srtt_s)
            candidates.append(max(self._blocked_since + BLOCKED_S, oldest + old_s))
        if self._blocked_since is not None or self.unconsumed >= OUTAGE_BYTES:
            candidates.append(max(self._progress_at, oldest) + OUTAGE_S)
        return min(candidates, default=None)

    def start_skip(self, now: float) -> None:
        """From here on frames."""
        self.mode = Mode.SKIP
        self._hurry = False
        self._blocked_since = None
        self._changed_at = self._output_at = self._calm_since = self._produced_since = now
        self._produced = 0
        self._frame_at = float("-inf")
        if self.exact:  # the first frame waits for nothing: each line until then would be one that is painted, not passed
            self._merge_flights()

    # -- frames --------------------------------------------------------------------------------

    def frame_due_at(self) -> float | None:
        """When the next frame may go; None: not before earlier ones are consumed, or nothing has changed."""
        if self._changed_at is None or len(self._flights) >= FRAMES_UNDER_WAY:
            return None
        pace_s = min(max(self._srtt_s / 2, FRAME_MIN_S), FRAME_MAX_S)
        return max(self._frame_at + pace_s, self._changed_at + GATHER_S)

    def changed(self, now: float) -> None:
        """The screen is to be painted although the program has put out nothing."""
        if self._changed_at is None:
            self._changed_at = now

    def framed(self, now: float, end: int, wire_size: int) -> None:
        """A frame was sent. Before the first one, raw output under way is no frame: it does not count among the two."""
        if self._frame_at == float("-inf"):
            self._merge_flights()
        self._frame_at = now
        self._changed_at = None
        self.send(now, end, wire_size)

    def _merge_flights(self) -> None:
        if len(self._flights) > 1:
            last, first = self._flights[-1], self._flights[0]
            last.sent_at = first.sent_at
            self._flights = deque([last])

    # -- SKIP to PASS --------------------------------------------------------------------------

    def _judge_calm(self, now: float) -> None:
        elapsed_s = now - self._produced_since
        if elapsed_s < 0.1:
            return
        if self._produced / elapsed_s >= CALM_SHARE * self.rate_bytes_s:
            self._calm_since = now
        self._produced, self._produced_since = 0, now

    def wants_pass(self, now: float) -> bool:
        """Whether the next frame, if it ends at a boundary, may be the last one."""
        if self.mode is Mode.PASS or len(self._flights) >= FRAMES_UNDER_WAY:
            return False
        if self.exact:
            return True
        self._judge_calm(now)
        return now - self._output_at >= IDLE_S or now - self._calm_since >= CALM_S

    def start_pass(self) -> None:
        """From here on every byte."""
        self.mode = Mode.PASS
        self._blocked_since = None
        self._changed_at = None

    def deadline(self, now: float) -> float | None:
        """When :meth:`wants_skip`, :meth:`wants_pass` or a frame will come true without an event; None: they are or will not."""
        if self.mode is Mode.PASS:
            skip_at = None if self.exact else self._skip_at
            times = [] if skip_at is None else [max(skip_at, self._graphics_at + GRAPHICS_S)]
        elif len(self._flights) >= FRAMES_UNDER_WAY:
            times = []
        else:
            due = self.frame_due_at()
            times = [self._output_at + IDLE_S, self._calm_since + CALM_S]
            times += [] if due is None else [due]
        return min((when for when in times if when > now), default=None)
