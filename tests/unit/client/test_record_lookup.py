"""Records looked up beside addresses: which names, what has come, what comes later."""

from __future__ import annotations

import errno
import socket
from itertools import repeat
from typing import TYPE_CHECKING

import pytest

from qsh.client import record_lookup
from qsh.client.addresses import Address, Target
from qsh.client.record_lookup import Lookup, full_name, name_servers
from qsh.wire.dns_query import SRV, SVCB
from tests.support.dns import Record, name, reply, srv, svcb

if TYPE_CHECKING:
    from collections.abc import Iterator

CONF = b"# nameserver 1.1.1.1\nsearch first.test second.test\nnameserver 127.0.0.1\nnameserver fe80::1%eth0\n"
PLAIN = [Address(socket.AF_INET, "192.0.2.9")]
A, AAAA = 1, 28


def test_name_servers() -> None:
    assert name_servers(CONF) == ["127.0.0.1", "fe80::1%eth0"]
    assert name_servers(b"nameserver\nnameserver a\nnameserver b\nnameserver c\nnameserver d") == [
        *"abc"
    ]
    assert name_servers(b"") == []


@pytest.mark.parametrize(
    ("host", "asked"),
    [
        ("Host.Example.org", "host.example.org"),
        ("host.example.org.", "host.example.org"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("host", "host.first.test"),
        ("host.", "host"),
        ("", ""),
        ("192.0.2.1", ""),
        ("0x7f.1", ""),
        ("::1", ""),
        ("fe80::1%eth0", ""),
        ("localhost", ""),
        ("a.localhost", ""),
        ("printer.local", ""),
    ],
)
def test_names_that_are_asked_for(host: str, asked: str) -> None:
    assert full_name(host, CONF) == asked


def test_a_name_without_a_search_domain() -> None:
    assert full_name("host", b"nameserver 127.0.0.1") == ""


class Resolver:
    """Answers when it is told to."""

    def __init__(self) -> None:
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sock.bind(("127.0.0.1", 0))
        self.sock.settimeout(10)
        self.asked: dict[int, tuple[bytes, object]] = {}

    def hear(self, questions: int = 2) -> None:
        for _ in range(questions):
            data, peer = self.sock.recvfrom(4096)
            kind = int.from_bytes(data[-15:-11][:2], "big")
            self.asked[kind] = (data, peer)

    def say(self, kind: int, *answers: Record, additional: tuple[Record, ...] = ()) -> None:
        data, peer = self.asked[kind]
        self.sock.sendto(reply(data, answers, additional), peer)  # type: ignore[arg-type]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Resolver]:
    found = Resolver()
    monkeypatch.setattr(record_lookup, "_DNS_PORT", found.sock.getsockname()[1])
    yield found
    found.sock.close()


def lookup(resolver: Resolver, family: str = "any") -> Lookup:
    made = Lookup(Target("host.test", 22, 22, family), "host.test", ["127.0.0.1"])
    resolver.hear()
    return made


def test_without_records_nothing_changes(resolver: Resolver) -> None:
    found = lookup(resolver)
    resolver.say(SRV)
    resolver.say(SVCB)
    assert found.now(PLAIN) == PLAIN
    assert found.over


def test_without_an_answer_nothing_waits(resolver: Resolver) -> None:
    found = lookup(resolver)
    assert found.now(PLAIN) == PLAIN
    assert not found.over
    assert found.later(0.05) == []
    assert found.over


def test_what_has_come_is_used_at_once(resolver: Resolver) -> None:
    found = lookup(resolver)
    there = (name("a.test"), A, bytes((192, 0, 2, 1)))
    resolver.say(SRV, srv("a.test", 4422), srv("host.test", 4423, 1), additional=(there,))
    resolver.say(SVCB)
    first = Address(socket.AF_INET, "192.0.2.1", 4422)
    assert found.now(PLAIN) == [first, PLAIN[0]._replace(port=4423), *PLAIN]
    assert found.over


def test_svcb_comes_first_and_its_hints_are_addresses(resolver: Resolver) -> None:
    hints = [(3, b"\x11\x46"), (4, bytes((192, 0, 2, 1))), (6, bytes(15) + b"\1")]
    for family, wanted in (("any", ["192.0.2.1", "::1"]), ("inet6", ["::1"])):
        found = lookup(resolver, family)
        resolver.say(SVCB, svcb(1, "a.test", hints))
        resolver.say(SRV, srv("host.test", 4423))
        assert found.now([]) == [Address.of(each)._replace(port=4422) for each in wanted]


def test_later_when_it_comes_later(resolver: Resolver) -> None:
    found = lookup(resolver)
    assert found.now(PLAIN) == PLAIN
    resolver.say(SVCB)
    resolver.say(SRV, srv("host.test", 4422))
    assert found.later() == [PLAIN[0]._replace(port=4422)]


def test_an_alias_is_followed_and_a_ring_is_left(resolver: Resolver) -> None:
    found = lookup(resolver)
    resolver.say(SRV)
    resolver.say(SVCB, svcb(0, "ring.test"))
    assert found.now(PLAIN) == PLAIN
    assert not found.over
    from threading import Thread

    def answer() -> None:
        for _ in range(4):
            resolver.hear(1)
            resolver.say(SVCB, svcb(0, "ring.test"))

    thread = Thread(target=answer)
    thread.start()
    assert found.later() == []
    thread.join()


def test_an_alias_of_a_name_without_records_is_an_address(resolver: Resolver) -> None:
    found = lookup(resolver)
    resolver.say(SRV)
    resolver.say(SVCB, svcb(0, "localhost"))
    from threading import Thread

    def answer() -> None:
        resolver.hear(1)
        resolver.say(SVCB)

    assert found.now(PLAIN) == PLAIN
    thread = Thread(target=answer)
    thread.start()
    assert Address(socket.AF_INET, "127.0.0.1", 22) in found.later()
    thread.join()


def test_forged_answers_are_not_taken(resolver: Resolver) -> None:
    found = lookup(resolver)
    data, peer = resolver.asked[SRV]
    wrong = bytes((data[0] ^ 1,)) + data[1:]
    resolver.sock.sendto(reply(wrong, [srv("host.test", 1)]), peer)  # type: ignore[arg-type]
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(reply(data, [srv("host.test", 1)]), peer)  # type: ignore[arg-type]
    assert found.now(PLAIN) == PLAIN
    assert not found.over
    found.close()


class Deaf:
    """A socket that nothing good comes from."""

    def __init__(self, *heard: bytes | OSError) -> None:
        self.heard = iter(heard) if heard else repeat(b"noise")
        self.read = 0

    def settimeout(self, _value: float) -> None: ...

    def close(self) -> None: ...

    def recv(self, _size: int) -> bytes:
        self.read += 1
        assert self.read < 10_000, "it never ends"
        heard = next(self.heard)
        if isinstance(heard, OSError):
            raise heard
        return heard


@pytest.mark.parametrize("code", [errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EPROTO])
def test_a_firewall_that_refuses_questions_ends_no_start(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    found = lookup(resolver)
    found._sock.close()
    monkeypatch.setattr(found, "_sock", Deaf(OSError(code, "refused")))
    assert found.now(PLAIN) == PLAIN
    assert not found.over


def test_noise_without_end_holds_up_nothing(
    resolver: Resolver, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = lookup(resolver)
    found._sock.close()
    monkeypatch.setattr(found, "_sock", Deaf())
    assert found.now(PLAIN) == PLAIN
