"""Who may try to log in: limits on connections that have not authenticated yet. Sans-IO.

Each new connection attempt is answered before any state is made for it:

    ACCEPT   go on with the handshake
    RETRY    send a Retry packet: the client proves its address, we keep nothing
    REFUSE   close with CONNECTION_REFUSED: the client says so at once
    IGNORE   no answer: the source has been refused too often to be worth a packet

MaxStartups' random early drop and PerSourceMaxStartups are sshd's (sshd.c, srclimit.c), and so are the penalties
(penalties.py), which come first. Memory is bounded: the connections by ``full`` and ``max_connections``, the
refused sources by a table size.
"""

from __future__ import annotations

import enum
import ipaddress
import random
from collections import Counter, OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh.config.daemon_penalties import PenaltyRules, penalty_rules
from qsh.server.penalties import Penalties

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.penalties import Penalty

__all__ = ["Admission", "Decision", "Limits", "limits_of", "source_block"]

REFUSALS_BEFORE_SILENCE: Final = 20
"""Refused attempts of one source within the window after which it gets no answer."""
REFUSAL_WINDOW_S: Final = 10.0
PENALISED: Final = "penalised"
"""In ``counts``: refused because of a penalty, however that was answered."""
MAX_REFUSED_SOURCES: Final = 4096
"""Sources whose refusals are counted; the longest unseen one is forgotten first."""


class Decision(enum.Enum):
    """What to do with a connection attempt."""

    ACCEPT = "accept"
    RETRY = "retry"
    REFUSE = "refuse"
    IGNORE = "ignore"


@dataclass(frozen=True, slots=True)
class Limits:
    """MaxStartups start:rate:full, PerSourceMaxStartups, PerSourceNetBlockSize."""

    start: int = 10
    rate: int = 30
    """Per cent of attempts dropped from ``start`` on, rising to all at ``full``."""
    full: int = 100
    per_source: int | None = None
    v4_bits: int = 32
    v6_bits: int = 64
    retry_above: int = 5
    """Unauthenticated connections from which on an address must be proven by a Retry."""
    max_connections: int = 4096
    """All connections, authenticated ones included; 0: no limit."""
    penalties: PenaltyRules = field(default_factory=PenaltyRules)
    exempt: str = "none"
    """PerSourcePenaltyExemptList."""


def limits_of(options: DaemonOptions) -> Limits:
    """Those that a configuration sets."""
    start, rate, full = options.max_startups
    v4_bits, v6_bits = options.per_source_net_block_size
    return Limits(
        start=start,
        rate=rate,
        full=full,
        per_source=options.per_source_max_startups,
        v4_bits=v4_bits,
        v6_bits=v6_bits,
        retry_above=options.qsh_retry_threshold,
        max_connections=options.qsh_max_connections,
        penalties=penalty_rules(options.per_source_penalties),
        exempt=options.per_source_penalty_exempt_list,
    )


def source_block(address: str, v4_bits: int, v6_bits: int) -> str:
    """The network that an address is counted with; what is no address counts as itself."""
    try:
        parsed = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is None:
            return str(ipaddress.ip_network((parsed, v6_bits), strict=False))
        parsed = parsed.ipv4_mapped
    return str(ipaddress.ip_network((parsed, v4_bits), strict=False))


class Admission:
    """The tables. Times are monotonic seconds; ``draw`` returns 0 to 99 at random.

    Between ``decide`` and ``begin`` the caller must not decide on another attempt, or a burst gets
    in whole.
    """

    def __init__(self, limits: Limits, draw: Callable[[], int] | None = None) -> None:
        self._limits = limits
        self.penalties = Penalties(limits.penalties, limits.exempt, self._source)
        self._draw = draw or (lambda: random.SystemRandom().randrange(100))
        self._waiting: dict[int, str] = {}
        self._per_source: Counter[str] = Counter()
        self._authenticated: set[int] = set()
        self._refused: OrderedDict[str, tuple[int, float]] = OrderedDict()
        self.counts = {each.value: 0 for each in Decision} | {PENALISED: 0}
        """Attempts so far, by what was done with them."""

    @property
    def limits(self) -> Limits:
        """Those that hold now; a penalty that was imposed stays when they change."""
        return self._limits

    @limits.setter
    def limits(self, limits: Limits) -> None:
        self._limits = limits
        self.penalties.rules, self.penalties.exempt = limits.penalties, limits.exempt

    @property
    def unauthenticated(self) -> int:
        """Connections that have begun and not authenticated."""
        return len(self._waiting)

    @property
    def connections(self) -> int:
        """All connections."""
        return len(self._waiting) + len(self._authenticated)

    def decide(self, now: float, address: str, validated: bool) -> Decision:
        """The answer to an attempt from ``address``, which is proven if ``validated``."""
        if self.is_penalised(now, address):
            self.counts[PENALISED] += 1
            return self._refuse(now, self._source(address))
        decision = self._decide(now, address, validated)
        self.counts[decision.value] += 1
        return decision

    def is_penalised(self, now: float, address: str) -> bool:
        """Whether nothing is to be had from here now."""
        return self.penalties.refused_until(now, address) is not None

    def penalise(self, now: float, address: str, cause: str) -> Penalty | None:
        """A connection from ``address``, which is proven, ended without a login."""
        return self.penalties.penalise(now, address, cause)

    def _decide(self, now: float, address: str, validated: bool) -> Decision:
        if not validated and len(self._waiting) >= self.limits.retry_above:
            return Decision.RETRY
        source = self._source(address)
        if not self._full(source):
            return Decision.ACCEPT
        return self._refuse(now, source)

    def begin(self, number: int, address: str) -> None:
        """An accepted attempt becomes connection ``number``."""
        self.end(number)
        source = self._waiting[number] = self._source(address)
        self._per_source[source] += 1

    def authenticated(self, number: int) -> None:
        """The connection has logged in: it counts only among all connections from now on."""
        if self._release(number):
            self._authenticated.add(number)

    def end(self, number: int) -> None:
        """The connection is gone. Harmless if it is not known."""
        self._release(number)
        self._authenticated.discard(number)

    def _source(self, address: str) -> str:
        return source_block(address, self._limits.v4_bits, self._limits.v6_bits)

    def _release(self, number: int) -> bool:
        source = self._waiting.pop(number, None)
        if source is None:
            return False
        self._per_source[source] -= 1
        if not self._per_source[source]:
            del self._per_source[source]
        return True

    def _full(self, source: str) -> bool:
        limits = self.limits
        if limits.max_connections and self.connections >= limits.max_connections:
            return True
        if limits.per_source is not None and self._per_source[source] >= limits.per_source:
            return True
        return self._dropped(len(self._waiting))

    def _dropped(self, startups: int) -> bool:
        """Random early drop, with sshd's whole-number arithmetic."""
        limits = self.limits
        if startups < limits.start:
            return False
        if startups >= limits.full or limits.rate == 100:
            return True
        share = (100 - limits.rate) * (startups - limits.start) // (limits.full - limits.start)
        return self._draw() < share + limits.rate

    def _refuse(self, now: float, source: str) -> Decision:
        count, since = self._refused.pop(source, (0, now))
        if now - since > REFUSAL_WINDOW_S:
            count, since = 0, now
        self._refused[source] = (count + 1, since)
        if len(self._refused) > MAX_REFUSED_SOURCES:
            self._refused.popitem(last=False)
        return Decision.IGNORE if count >= REFUSALS_BEFORE_SILENCE else Decision.REFUSE
