"""Tickets: who was attached to a terminal before, and proves it (docs/protocol.md 10.1)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from qsh.wire.messages import Attach

__all__ = ["AttachTickets"]

TICKET_BYTES: Final = 16
TICKETS_MAX: Final = 32


@dataclass(slots=True)
class _Ticket:
    ticket: bytes
    read_only: bool


class AttachTickets:
    """Of one terminal, the newest of each client."""

    def __init__(self) -> None:
        self._by_client: dict[bytes, _Ticket] = {}

    def proves(self, client: bytes, ticket: bytes) -> bool:
        """The client was attached before."""
        known = self._by_client.get(client)
        return known is not None and secrets.compare_digest(known.ticket, ticket)

    def answer(self, request: Attach) -> tuple[bytes, bool]:
        """The ticket for who attaches now, and whether it may only look: who resumes may not type more than before."""
        known = self._by_client.get(request.client)
        if known is not None and self.proves(request.client, request.ticket):
            # the same again: it may never hear of this attachment, and try another
            return known.ticket, request.read_only or known.read_only
        while len(self._by_client) >= TICKETS_MAX:
            del self._by_client[next(iter(self._by_client))]
        self._by_client.pop(request.client, None)
        fresh = secrets.token_bytes(TICKET_BYTES)
        self._by_client[request.client] = _Ticket(fresh, request.read_only)
        return fresh, request.read_only
