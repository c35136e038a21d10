"""A connection leaves UDP when that carries nothing any more, as where a network begins to block it in mid-session: all that is
on it goes on through a byte stream (docs/protocol.md 15.20), and comes back by itself (mover.py).

Silence alone is no reason: the whole network may be gone. A stream is taken when somebody who takes packets has greeted there,
and UDP has answered nothing meanwhile, neither the connection nor probes from a fresh port.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from qsh.client.addresses import Address
from qsh.client.log import log, log_failure
from qsh.client.mover import Mover, Patience
from qsh.client.path_choice import Way
from qsh.client.way_probe import WayProbe
from qsh.errors import ConnectError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from qsh.client.addresses import Target
    from qsh.client.mover import Dialed
    from qsh.quic import Connection

    Dial = Callable[[], Awaitable[Dialed]]
    Streams = Callable[[Connection], Sequence[tuple[str, Dial]]]
    """What may carry a connection's packets instead, the best first, with their names."""

__all__ = ["LeavingUdp", "Leavings"]

DOUBT_S: Final = 1.4
"""Since when nothing of ours has been acknowledged that was sent: other ways by UDP have had their turn (uplinks.py)."""
ASK_S: Final = 0.6
ASK_RTTS: Final = 2.5
"""How long the answer to a question may take then, whichever is longer."""
LOOK_S: Final = 0.5
RESENT: Final = 2
"""Packets in that time: what wants an answer is repeated, and acknowledgements alone want none."""
PROBE_S: Final = 0.6
EVERY_S: Final = 0.1
"""UDP is asked for so long at least, and so often: some of these come back where half of all packets get lost."""
PROOF_S: Final = 5.0
"""Within this something must have arrived by the stream, or UDP is waited for as if there were none."""
PAUSE_S: Final = (5.0, 60.0)
"""After an attempt that led nowhere: at first, twice that after each further one, and at most."""
FORGET_S: Final = 300.0


class Leavings:
    """When a client may leave UDP, and when it looks back; outlives its connections. No I/O."""

    def __init__(self) -> None:
        self.patience = Patience()
        self.refused: set[str] = set()
        """Streams by which the server does not take this login."""
        self._vain = 0
        self._tried_s = float("-inf")

    def due_s(self, now: float) -> float:
        """When to try."""
        first_s, most_s = PAUSE_S
        pause_s = 0.0 if not self._vain else min(most_s, first_s * 2.0 ** (self._vain - 1))
        return max(now, self._tried_s + pause_s)

    def tried(self, now: float, *, left: bool) -> None:
        """An attempt is over; ``left``: the connection goes by a stream."""
        if now - self._tried_s > FORGET_S:
            self._vain = 0
        self._tried_s = now
        self._vain = 0 if left else min(self._vain + 1, 10)


class Arrival:
    """Whether what we send arrives: what comes says nothing of that, where only one direction is blocked. No I/O."""

    def __init__(self) -> None:
        self._since: float | None = None
        """Something has waited since then."""
        self._delivered = self._sent = 0
        """Bytes that had been acknowledged, packets that had been sent."""
        self._asked_s: float | None = None

    def asked(self, now: float, sent: int, delivered: int) -> None:
        """What leaves now wants an answer."""
        if self._since is None:
            self._wait(now, sent, delivered)

    def figures(self, now: float, sent: int, delivered: int, in_flight: int) -> None:
        """The engine's, as they are now; in flight may be acknowledgements, for which nobody waits."""
        if self._since is None:
            if in_flight and sent != self._sent:
                self._wait(now, sent, delivered)
        elif delivered != self._delivered:
            self._wait(now, sent, delivered)
            if not in_flight:
                self._since = None
        elif now - self._since >= DOUBT_S and sent - self._sent < RESENT:
            self._since, self._sent = None, sent

    def _wait(self, now: float, sent: int, delivered: int) -> None:
        self._since, self._asked_s = now, None
        self._sent, self._delivered = sent, delivered

    def due_s(self, rtt_s: float) -> float | None:
        """When to ask, or, if that is done, to take it that nothing arrives; None: nothing is waited for."""
        if self._since is None:
            return None
        if self._asked_s is None:
            return self._since + DOUBT_S
        return self._asked_s + max(ASK_S, ASK_RTTS * rtt_s)

    def ask(self, now: float) -> bool:
        """Whether to ask first."""
        if self._asked_s is None:
            self._asked_s = now
            return True
        return False


class LeavingUdp:
    """Of one connection, until :meth:`close`."""

    def __init__(
        self,
        connection: Connection,
        target: Target,
        streams: Streams,
        leavings: Leavings,
        *,
        ask: Callable[[], None],
        left: Callable[[Dialed], None],
        back: Callable[[], None],
        forsake: Callable[[], None],
    ) -> None:
        """``ask`` sends what wants an answer. ``left``: it goes on by this stream; ``back``: by UDP again. ``forsake``: the
        stream is of no use.
        """
        self._connection, self._target, self._streams = connection, target, streams
        self._leavings, self._ask = leavings, ask
        self._left, self._back, self._forsake = left, back, forsake
        self._loop = asyncio.get_running_loop()
        host, port = connection.remote_address
        self._way = Way(Address.of(host)._replace(port=port))
        self._arrival = Arrival()
        self._timer: asyncio.TimerHandle | None = None
        self._trying: asyncio.Task[None] | None = None

    def close(self) -> None:
        """Idempotent."""
        self._stop_timer()
        if self._trying is not None:
            self._trying.cancel()

    def asked(self) -> None:
        """Something that wants an answer has left."""
        if self._timer is None and self._trying is None:
            stats = self._connection.stats()
            self._arrival.asked(self._loop.time(), stats["sent_packets"], stats["delivered_bytes"])
            self._look_at(self._loop.time() + LOOK_S)

    def look(self) -> None:
        """Now and then while the connection is used."""
        if self._trying is not None or self._is_elsewhere:
            return
        now, stats, arrival = self._loop.time(), self._connection.stats(), self._arrival
        arrival.figures(now, stats["sent_packets"], stats["delivered_bytes"], stats["in_flight"])
        due_s = arrival.due_s(stats["rtt_us"] / 1e6)
        if due_s is None:
            self._stop_timer()
        elif now < due_s:
            self._look_at(min(due_s, now + LOOK_S))
        elif arrival.ask(now):
            self._ask()
            self._look_at(now + ASK_S)
        elif now < (due_s := self._leavings.due_s(now)):
            self._look_at(min(due_s, now + LOOK_S))
        else:
            self._stop_timer()
            self._trying = asyncio.ensure_future(self._try())
            self._trying.add_done_callback(log_failure)

    def refused(self) -> bool:
        """The host does not take the login by this stream: whether that was left, and will not be taken again."""
        carried = self._connection.endpoint.carried
        if carried is None or self._trying is None:
            return False
        log.debug(f"the server's rules forbid the way through {carried[0]}")
        self._leavings.refused.add(carried[0])
        self._trying.cancel()
        return True

    @property
    def _is_elsewhere(self) -> bool:
        return self._connection.endpoint.carried is not None or self._connection.endpoint.minded

    async def _try(self) -> None:
        try:
            dialed, dial = await self._find() or (None, None)
            left = dialed is not None and dial is not None and await self._go(dialed, dial)
            self._leavings.tried(self._loop.time(), left=left)
        finally:
            self._trying, self._arrival = None, Arrival()
        if not left and self._connection.endpoint.carried is not None:
            self._forsake()

    async def _find(self) -> tuple[Dialed, Dial] | None:
        """A stream that is of use while UDP is not."""
        before = self._delivered()
        answers: list[int] = []
        begun_s = self._loop.time()
        probing = asyncio.ensure_future(self._probe(answers))
        try:
            for name, dial in self._streams(self._connection):
                if name in self._leavings.refused:
                    continue
                try:
                    dialed = await dial()
                except ConnectError as error:
                    log.debug(f"no answer by UDP; {error}")
                    continue
                took_s = self._loop.time() - begun_s  # two round trips at least
                try:
                    await asyncio.sleep(max(0.0, PROBE_S - took_s / 2))
                except BaseException:
                    dialed.sock.close()
                    raise
                if not answers and self._delivered() == before and not self._is_elsewhere:
                    return dialed, dial
                dialed.sock.close()
                log.debug("UDP answers again")
                return None
        finally:
            probing.cancel()
        return None

    async def _probe(self, answers: list[int]) -> None:
        """``answers`` gets the numbers of probes."""
        try:
            probe = WayProbe(self._target, self._way, lambda _, number: answers.append(number))
        except (ConnectError, OSError) as error:
            log.debug(f"a probe by UDP: {error}")
            return
        try:
            number = 0
            while True:
                probe.send(number % 0xFFFF)
                number += 1
                await asyncio.sleep(EVERY_S if number < PROBE_S / EVERY_S else 1.0)
        finally:
            probe.close()

    async def _go(self, dialed: Dialed, dial: Dial) -> bool:
        """By this stream, as long as UDP does not work; False: nothing arrives by it."""
        connection, endpoint = self._connection, self._connection.endpoint
        log.debug(f"no answer by UDP: going on through {' '.join(dialed.carried)}")
        with dialed.sock as sock:
            endpoint.rebind_stream(sock.fileno(), connection.remote_address)
        endpoint.carried = dialed.carried
        ended = endpoint.stream_ended()
        before, patience = self._delivered(), self._leavings.patience
        patience.failed(self._loop.time())
        self._left(dialed)
        mover = Mover(self._target, connection, dial, patience, moves=True)
        keeping = asyncio.ensure_future(mover.run(ended))
        try:
            await asyncio.wait({keeping}, timeout=PROOF_S)
            if not keeping.done() and self._delivered() == before:
                log.debug(f"nothing arrives through {dialed.carried[0]}")
                return False
            await keeping
        finally:
            if not keeping.done():
                keeping.cancel()
        if endpoint.carried is None:
            self._back()
        return True

    def _delivered(self) -> int:
        return self._connection.stats()["delivered_bytes"]

    def _look_at(self, due_s: float) -> None:
        self._stop_timer()
        self._timer = self._loop.call_at(due_s, self.look)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
