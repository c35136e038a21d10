"""Who proves to have been attached before."""

from __future__ import annotations

from qsh.server.attach_tickets import TICKETS_MAX, AttachTickets
from qsh.wire.messages import Attach


def attach(client: int, ticket: bytes = b"", *, read_only: bool = False) -> Attach:
    return Attach(client=bytes([client]) * 16, ticket=ticket, read_only=read_only)


def test_a_ticket_proves_its_client_only() -> None:
    tickets = AttachTickets()
    ticket, _ = tickets.answer(attach(1))
    assert tickets.proves(attach(1).client, ticket)
    assert not tickets.proves(attach(2).client, ticket)
    assert not tickets.proves(attach(1).client, ticket[:-1] + bytes([ticket[-1] ^ 1]))


def test_who_resumes_keeps_its_ticket() -> None:
    tickets = AttachTickets()
    ticket, _ = tickets.answer(attach(1))
    assert tickets.answer(attach(1, ticket)) == (ticket, False)


def test_another_ticket_replaces_the_one_that_was_not_shown() -> None:
    tickets = AttachTickets()
    lost, _ = tickets.answer(attach(1))
    fresh, _ = tickets.answer(attach(1))
    assert fresh != lost
    assert not tickets.proves(attach(1).client, lost)


def test_who_might_only_look_may_not_type_when_it_resumes() -> None:
    tickets = AttachTickets()
    ticket, read_only = tickets.answer(attach(1, read_only=True))
    assert read_only
    assert tickets.answer(attach(1, ticket)) == (ticket, True)
    assert (
        tickets.answer(attach(1))[1] is False
    )  # a fresh attachment, with whatever rights its login has


def test_the_oldest_are_forgotten() -> None:
    tickets = AttachTickets()
    first, _ = tickets.answer(attach(0))
    for client in range(1, TICKETS_MAX):
        tickets.answer(attach(client))
    assert tickets.proves(attach(0).client, first)
    tickets.answer(attach(TICKETS_MAX))
    assert not tickets.proves(attach(0).client, first)
