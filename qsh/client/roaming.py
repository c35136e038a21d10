"""A connection goes on from another address or port (docs/protocol.md 16): when the way to the host leaves this machine elsewhere
than before, and when nothing is answered any more.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.client.addresses import Address, route_source, udp_socket
from qsh.client.leaving_udp import Leavings, LeavingUdp
from qsh.client.log import log
from qsh.client.network_watch import NetworkWatch, interfaces_everywhere
from qsh.client.path_choice import Moves, Way
from qsh.client.uplinks import Uplinks, WaysFrom
from qsh.errors import ConnectError
from qsh.session.rebinding import Rebinding

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from qsh.client.addresses import Target
    from qsh.client.leaving_udp import Streams
    from qsh.client.mover import Dialed
    from qsh.client.path_history import PathHistory
    from qsh.quic import Connection

__all__ = ["Roaming"]

PAD_BYTES: Final = 1150
"""Fits into the packets that every path takes."""
PAD_FLOW: Final = b"\xff" * 8
"""The highest flow number there can be, which nobody has: its datagrams are dropped."""
AT_ONCE: Final = 2
"""One of them may get lost."""
PADS: Final = ((5.0, 0.05), (60.0, 0.25), (600.0, 1.0))
"""Seconds after the move, and between the pads until something is heard."""
ACCOMPANY_S: Final = 5.0
TYPED: Final = ((60.0, 0.1), (float("inf"), 0.25))
"""The same between those that go with keys, after the first seconds: 12 kB/s, then 5 kB/s."""
MOST_WAYS: Final = 4
"""That are compared."""
AGAIN_S: Final = 0.1
"""Between pads for news of the network that changed nothing, while nothing is heard."""


class Elsewhere(NamedTuple):
    """What there is besides moving the connection."""

    seek: Callable[[Address], None] | None = None
    """A second connection to this address, to which the terminal goes."""
    forwards: Callable[[], list[str]] = list
    """What would stay behind."""
    streams: Streams | None = None
    """What carries packets where UDP does not."""
    choosy: bool = False
    """A person waits for answers: a way that is merely better is taken, too."""


class Roaming:
    """From the login to the connection's end, or :meth:`close`."""

    def __init__(
        self,
        connection: Connection,
        history: PathHistory,
        target: Target,
        source: str | None,
        others: Sequence[Address],
        stranded: Callable[[], None],
        elsewhere: Elsewhere = Elsewhere(),  # noqa: B008 - it is immutable
    ) -> None:
        """``source``: the address that the connection was made from. ``stranded``: no way leads to its host any more, or
        meanwhile those to ``others``, all of the host's addresses, have changed.
        """
        self._connection, self._target, self._stranded = connection, target, stranded
        self._history = history
        self._others, self._elsewhere = others, elsewhere
        self._ways: list[str | None] | None = None
        """To the other addresses; None: this one has a way."""
        self._loop = asyncio.get_running_loop()
        host, self._port = connection.remote_address
        self._address = Address.of(host)
        self._source = source
        """Of the way that the system knows now, if any."""
        self._goes = self._went = self._mark(source)
        """From where the connection goes on, and from where it was heard last."""
        self._rebinding = Rebinding(self._loop.time())
        self._interface: str | None = None
        """It is bound to that one, not to the system's choice."""
        self._moved_s: float | None = None
        """When the connection moved; None: it has been heard since."""
        self._heard = 0
        """Packets received when it moved."""
        self._padded_s = self._accompanied_s = 0.0
        self._pads: asyncio.TimerHandle | None = None
        self._moves = history.moves = history.moves or Moves()
        here = WaysFrom(self._ways_now, self._home, self._go)
        self._uplinks = Uplinks(
            connection, target, self._moves, here, only_silence=not elsewhere.choosy
        )
        self._leaving = self._leaving_udp()
        self._watch = NetworkWatch(self._changed)
        self._look_timer = self._loop.call_soon(self._look)
        self._changed()

    def close(self) -> None:
        """Stay where it is from now on. Idempotent."""
        self._watch.close()
        self._uplinks.close()
        if self._leaving is not None:
            self._leaving.close()
        self._look_timer.cancel()
        if self._pads is not None:
            self._pads.cancel()
            self._pads = None

    @property
    def unanswered_s(self) -> float:
        """How long an answer has been waited for; 0: nothing was asked that is not answered."""
        received = self._connection.stats()["received_packets"]
        return self._rebinding.unanswered_s(self._loop.time(), received)

    # -- the network changes

    def _changed(self) -> None:
        if self._is_carried:  # whoever carries it knows what to do
            return
        source = route_source(self._target, self._address, self._port)
        if source is None:
            self._source = None
            self._look_for_others()
            return
        self._ways = None
        if self._interface is not None and self._leads_nowhere(self._interface):
            log.debug(f"{self._interface} leads nowhere any more: going on from {source}")
            self._source = source
            self._move_and_tell()
            return
        if source == self._source:
            if not self._rebinding.silent:
                return
            if self._loop.time() - self._padded_s >= AGAIN_S:  # the same network, which may be back
                self._pad()
            return
        self._source = source
        log.debug(f"the way to {self._address.host} begins at {source} now")
        self._move_and_tell()

    def _leads_nowhere(self, interface: str) -> bool:
        """Others do, and it does not."""
        leading = interfaces_everywhere(self._address.family)
        return bool(leading) and interface not in leading

    def _look_for_others(self) -> None:
        ways = [route_source(self._target, each, self._port) for each in self._others]
        if ways != self._ways:
            log.debug(f"no way to {self._address.host} any more")
            self._ways = ways
            self._stranded()

    def _look(self) -> None:
        now = self._loop.time()
        stats = self._connection.stats()
        others = self._other_interfaces() if self._rebinding.silent else []
        due = self._rebinding.look(
            now, stats["sent_packets"], stats["received_packets"], other_way=bool(others)
        )
        if self._is_carried:
            pass  # SSH would not take packets from a fresh port, for one
        elif due and others and self._interface is None:
            log.debug(f"no answer: going on by {others[0]}")
            self._move_and_tell(others[0])
        elif due and self._source is not None:
            log.debug("no answer: going on from a fresh port")
            self._move_and_tell()
        else:
            self._uplinks.look(silent=self._rebinding.silent)
        if self._leaving is not None:
            self._leaving.look()
        self._look_timer = self._loop.call_later(self._rebinding.next_s(now), self._look)

    def _other_interfaces(self) -> list[str]:
        """Those that lead everywhere and are not used, the best first."""
        return [each for each in self._interfaces()[1:] if each not in self._moves.refused]

    # -- better ways

    def _ways_now(self, silent: bool) -> list[Way]:
        """The one in use first. ``silent``: it carries nothing."""
        found = [Way(self._address, self._interface)]
        if (home := self._home()) is not None:
            found.append(home)
        mine = {self._source_by(way.interface) for way in found}
        for interface in self._interfaces():
            source = self._source_by(interface)
            if interface not in self._moves.refused and source is not None and source not in mine:
                mine.add(source)
                found.append(Way(self._address, interface))
        if self._elsewhere.seek is not None and (silent or not self._elsewhere.forwards()):
            found += self._other_families()
        return found[:MOST_WAYS]

    def _home(self) -> Way | None:
        if self._interface is None or self._source_by(None) is None:
            return None
        return Way(self._address)

    def _interfaces(self) -> list[str]:
        """All that lead everywhere, unless the user has said which."""
        if self._target.bind_address or self._target.bind_interface:
            return []
        return interfaces_everywhere(self._address.family)

    def _other_families(self) -> list[Way]:
        """The first address of each that has a way."""
        found: dict[int, Way] = {}
        for each in self._others:
            known = each.family == self._address.family or each.family in found
            if not known and route_source(self._target, each, self._target.port_of(each)):
                found[each.family] = Way(each)
        return list(found.values())

    def _source_by(self, interface: str | None) -> str | None:
        target = self._target
        if interface is not None:
            target = target._replace(bind_interface=interface)
        return route_source(target, self._address, self._port)

    def _go(self, way: Way) -> bool:
        if way.address == self._address:
            return self._move(way.interface)
        if self._elsewhere.seek is not None:
            self._elsewhere.seek(way.address)
        return False

    # -- to move

    def _move(self, interface: str | None = None) -> bool:
        target = self._target
        if interface is not None:
            target = target._replace(bind_interface=interface)
        try:
            with udp_socket(target, self._address.family) as sock:
                self._connection.endpoint.rebind(sock)
        except (ConnectError, OSError) as error:
            log.debug(f"another socket: {error}")
            return False
        self._interface = interface
        self._begin_move(self._mark(route_source(target, self._address, self._port)))
        return True

    def _begin_move(self, goes: str) -> None:
        """It goes on from there."""
        self._moved_s, self._goes = self._loop.time(), goes
        self._heard = self._connection.stats()["received_packets"]
        for _ in range(AT_ONCE):
            self._pad()
        self._pad_later()

    def _move_and_tell(self, interface: str | None = None) -> None:
        """Whatever was being compared."""
        self._move(interface)
        self._uplinks.moved()

    def refused_here(self) -> None:
        """The host does not take this login from where it has moved to. What was our choice is undone, and not made again."""
        if self._leaving is not None and self._leaving.refused():
            self._move_and_tell()
            return
        if self._interface is None or self._home() is None:
            return
        log.debug(f"the server's rules forbid the way by {self._interface}: going back")
        self._moves.refused.add(self._interface)
        self._move_and_tell()

    # -- where UDP carries nothing

    @property
    def _is_carried(self) -> bool:
        """By something else than UDP, or somebody tries whether UDP will do."""
        endpoint = self._connection.endpoint
        return endpoint.carried is not None or endpoint.minded

    def _leaving_udp(self) -> LeavingUdp | None:
        streams = self._elsewhere.streams
        if streams is None:
            return None
        leavings = self._history.leavings = self._history.leavings or Leavings()
        return LeavingUdp(
            self._connection,
            self._target,
            streams,
            leavings,
            ask=lambda: self._connection.probe_path(PAD_FLOW),
            left=self._left_udp,
            back=self._back_on_udp,
            forsake=self._move_and_tell,
        )

    def _left_udp(self, dialed: Dialed) -> None:
        self._interface = None
        self._uplinks.moved()
        self._begin_move(" ".join(dialed.carried))

    def _back_on_udp(self) -> None:
        """Told to the history already."""
        self._moved_s = None
        self._goes = self._went = self._mark(self._source)
        self._uplinks.moved()
        self._changed()

    # -- what leaves

    def sent_datagram(self, *, typed: bool = False) -> None:
        """Something small has left that wants a quick answer: from an address that it does not know, the host answers with three
        times as much as it has got.
        """
        if not self._is_carried:
            self._uplinks.asked()
            if self._leaving is not None:
                self._leaving.asked()
        if self._moved_s is None or self._is_heard():
            return
        now = self._loop.time()
        age_s = now - self._moved_s
        if age_s < ACCOMPANY_S:
            self._pad()
        elif (
            typed
            and now - self._accompanied_s
            >= next(pause_s for until_s, pause_s in TYPED if age_s < until_s)
        ):  # a person waits, however long it was; but a key that repeats must not fill a line that is dead
            self._accompanied_s = now
            self._pad()

    def _pad(self) -> None:
        self._padded_s = self._loop.time()
        size = min(PAD_BYTES, self._connection.max_datagram_size or 0)
        if size > len(PAD_FLOW):
            self._connection.probe_path(PAD_FLOW.ljust(size, b"\0"))

    def _pad_later(self) -> None:
        if self._pads is not None:
            self._pads.cancel()
            self._pads = None
        if self._moved_s is None:
            return
        age_s = self._loop.time() - self._moved_s
        for until_s, pause_s in PADS:
            if age_s < until_s:
                self._pads = self._loop.call_later(pause_s, self._pad_again)
                return

    def _pad_again(self) -> None:
        if not self._is_heard():
            self._pad()
            self._pad_later()

    def _is_heard(self) -> bool:
        if self._moved_s is None:
            return True
        if self._connection.stats()["received_packets"] == self._heard:
            return False
        self._moved_s = None
        self._history.migrated(self._went, self._goes)
        self._went = self._goes
        return True

    def _mark(self, source: str | None) -> str:
        port = self._connection.endpoint.local_address[1]
        return f"[{source}]:{port}" if source and ":" in source else f"{source or '*'}:{port}"
