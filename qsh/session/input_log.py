"""Typed bytes, taken exactly once whichever way they come (docs/protocol.md 10.6)."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from qsh.errors import RemoteProtocolError

__all__ = ["ClientInput", "InputLog"]

REMEMBERED: Final = 64
"""Clients that are remembered after they left: who comes back later begins at 0 again and types nothing twice by itself."""
MAX_MARKS: Final = 256


class ClientInput:
    """What one client has typed: how far it came here (``received``), reached the terminal (``applied``), had its effect
    (``settled``). All three are offsets and never fall; ``settled`` <= ``applied`` <= ``received``.
    """

    def __init__(self) -> None:
        self.received = 0
        self.applied = 0
        self.settled = 0
        self._marks: list[tuple[int, int]] = []
        """(mark of the terminal's writes, offset of ours applied with it), rising."""

    def from_stream(self, offset: int, data: bytes) -> bytes:
        """What of ``data`` is new. Raises RemoteProtocolError ``input-gap`` when bytes before it are missing."""
        if offset > self.received:
            raise RemoteProtocolError("input-gap", f"{offset}, {self.received} expected")
        return self._take(offset, data)

    def from_datagram(self, offset: int, data: bytes) -> bytes:
        """The same; what leaves a gap is dropped, for the stream will bring it."""
        return b"" if offset > self.received else self._take(offset, data)

    def _take(self, offset: int, data: bytes) -> bytes:
        new = data[self.received - offset :]
        self.received += len(new)
        return new

    def wrote(self, count: int, mark: int) -> None:
        """``count`` bytes more are in the terminal; ``mark`` counts the terminal's bytes of all clients."""
        self.applied += count
        if len(self._marks) >= MAX_MARKS:
            self._marks.pop()  # the newer one stands for both
        self._marks.append((mark, self.applied))

    def settle(self, mark: int) -> bool:
        """All writes up to ``mark`` had their effect; whether ``settled`` rose."""
        count = 0
        for at, offset in self._marks:
            if at > mark:
                break
            self.settled = offset
            count += 1
        del self._marks[:count]
        return count > 0


class InputLog:
    """The clients of one terminal by their ids; the last few that left are remembered."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._clients: OrderedDict[bytes, ClientInput] = OrderedDict()
        self._present: dict[bytes, int] = {}

    def enter(self, client: bytes) -> ClientInput:
        """A client comes, or comes back: never forgotten until it leaves as often."""
        self._present[client] = self._present.get(client, 0) + 1
        found = self._clients.get(client)
        if found is None:
            found = self._clients[client] = ClientInput()
        self._clients.move_to_end(client)
        self._forget()
        return found

    def leave(self, client: bytes) -> None:
        """It goes."""
        count = self._present.pop(client, 0)
        if count > 1:
            self._present[client] = count - 1
        self._forget()

    def _forget(self) -> None:
        absent = [client for client in self._clients if client not in self._present]
        for client in absent[: max(0, len(absent) - self._remembered)]:
            del self._clients[client]
