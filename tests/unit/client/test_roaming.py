"""What a connection does when the way to its host begins elsewhere, or when nothing is answered."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from qsh.client import roaming as module
from qsh.client.addresses import Address, Target, route_source, udp_socket
from qsh.client.path_history import PathHistory
from qsh.client.roaming import PAD_BYTES, Roaming

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

TARGET = Target("host", 22, 22)


class FakeConnection:
    def __init__(self) -> None:
        self.endpoint = self
        self.carried: tuple[str, str] | None = None
        self.minded = False
        self.local_address = ("0.0.0.0", 4000)
        self.remote_address = ("127.0.0.1", 22)
        self.max_datagram_size = 1162
        self.sent = self.received = 10
        self.ports: list[int] = []
        self.pads: list[bytes] = []

    def stats(self) -> dict[str, int]:
        return {
            "sent_packets": self.sent,
            "received_packets": self.received,
            "lost_packets": 0,
            "rtt_us": 20_000,
        }

    def rebind(self, sock: socket.socket) -> None:
        self.ports.append(sock.getsockname()[1])
        self.local_address = ("0.0.0.0", self.local_address[1] + 1)

    def probe_path(self, data: bytes) -> None:
        self.pads.append(data)


class Stage:
    """The network of the test, and what came of it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.source: str | None = "192.0.2.1"
        self.changed: Callable[[], None] = lambda: None
        self.closed = False
        self.stranded = 0
        stage = self

        class Watch:
            def __init__(self, changed: Callable[[], None]) -> None:
                stage.changed = changed

            def close(self) -> None:
                stage.closed = True

        monkeypatch.setattr(module, "NetworkWatch", Watch)
        monkeypatch.setattr(module, "route_source", lambda *_: self.source)
        self.connection = FakeConnection()
        connection: Any = self.connection
        self.history = PathHistory()
        self.roaming = Roaming(connection, self.history, TARGET, "192.0.2.1", [], self.strand)

    def strand(self) -> None:
        self.stranded += 1

    def look(self) -> None:
        """Its timer runs out."""
        self.roaming._look_timer.cancel()
        self.roaming._look()

    def becomes(self, source: str | None) -> None:
        self.source = source
        self.changed()


@pytest.fixture
def monkey() -> Any:
    with pytest.MonkeyPatch.context() as monkeypatch:
        yield monkeypatch


def test_news_that_change_nothing_change_nothing(monkey: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        stage = Stage(monkey)
        stage.changed()
        assert not stage.connection.ports
        assert not stage.connection.pads
        stage.roaming.close()
        assert stage.closed

    asyncio.run(run())


def test_another_address_is_used_at_once_and_counted_when_it_works(
    monkey: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        stage = Stage(monkey)
        stage.becomes("198.51.100.1")
        assert len(stage.connection.ports) == 1
        assert [len(pad) for pad in stage.connection.pads] == [PAD_BYTES] * 2
        stage.roaming.sent_datagram()
        assert len(stage.connection.pads) == 3
        assert stage.history.migrations == 0
        stage.connection.received += 1
        stage.roaming.sent_datagram()
        stage.roaming.sent_datagram()
        assert len(stage.connection.pads) == 3
        assert stage.history.migrations == 1
        stage.roaming._pad_again()  # its timer had been set before
        assert stage.history.migrations == 1
        assert stage.history.last_move == ("192.0.2.1:4000", "198.51.100.1:4001")
        stage.roaming.close()

    asyncio.run(run())


def test_a_key_is_accompanied_however_long_ago_the_move_was(monkey: pytest.MonkeyPatch) -> None:
    """The host may answer an address that it does not know with three times what came from there: a key alone gets too little."""

    async def run() -> None:
        stage = Stage(monkey)
        stage.becomes("198.51.100.1")
        stage.roaming._moved_s = asyncio.get_running_loop().time() - 40
        before = len(stage.connection.pads)
        stage.roaming.sent_datagram()
        assert len(stage.connection.pads) == before, (
            "a copy or a question can wait for the next pad"
        )
        stage.roaming.sent_datagram(typed=True)
        assert len(stage.connection.pads) == before + 1
        stage.roaming._accompanied_s = asyncio.get_running_loop().time() + 40
        stage.roaming.sent_datagram(typed=True)
        assert len(stage.connection.pads) == before + 1, "a key that repeats fills no dead line"
        stage.connection.received += 1
        stage.roaming.sent_datagram(typed=True)
        assert len(stage.connection.pads) == before + 1
        stage.roaming.close()

    asyncio.run(run())


def test_no_way_is_told_once_and_the_same_way_back_is_another_port(
    monkey: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        stage = Stage(monkey)
        stage.becomes(None)
        stage.changed()
        assert stage.stranded == 1
        assert not stage.connection.ports
        stage.becomes("192.0.2.1")
        assert len(stage.connection.ports) == 1
        stage.connection.received += 1
        stage.roaming.sent_datagram()
        assert stage.history.migrations == 1
        assert stage.history.last_move == ("192.0.2.1:4000", "192.0.2.1:4001")
        stage.roaming.close()

    asyncio.run(run())


def test_silence_leads_to_another_interface_and_back(monkey: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        stage = Stage(monkey)
        monkey.setattr(module, "interfaces_everywhere", lambda _: ["eth9", "lo"])
        bound: list[str | None] = []
        monkey.setattr(
            module,
            "udp_socket",
            lambda target, family: (
                bound.append(target.bind_interface) or udp_socket(TARGET, family)
            ),
        )
        clock = stage.roaming._loop.time()
        monkey.setattr(stage.roaming._loop, "time", lambda: clock)
        for _ in range(30):
            clock += 0.5
            stage.connection.sent += 3
            stage.look()
        assert bound == ["lo", None]
        stage.roaming.close()

    asyncio.run(run())


def test_an_interface_that_is_gone_is_left_at_once(monkey: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        stage = Stage(monkey)
        leading = ["eth9", "lo"]
        monkey.setattr(module, "interfaces_everywhere", lambda _: leading)
        stage.roaming._move("lo")
        stage.connection.received += 1
        stage.roaming.sent_datagram()
        stage.changed()
        assert len(stage.connection.ports) == 1
        leading.remove("lo")
        stage.changed()
        assert len(stage.connection.ports) == 2
        stage.changed()
        assert len(stage.connection.ports) == 2
        stage.roaming.close()

    asyncio.run(run())


def test_what_is_carried_is_left_to_its_carrier(monkey: pytest.MonkeyPatch) -> None:
    async def run() -> None:
        stage = Stage(monkey)
        stage.connection.carried = ("ssh", "host")
        clock = stage.roaming._loop.time()
        monkey.setattr(stage.roaming._loop, "time", lambda: clock)
        for _ in range(30):
            clock += 0.5
            stage.connection.sent += 3
            stage.look()
        assert stage.roaming.unanswered_s > 10
        stage.becomes("198.51.100.1")
        assert not stage.connection.ports
        stage.roaming.close()

    asyncio.run(run())


def test_the_way_of_a_socket_is_known() -> None:
    assert route_source(TARGET, Address.of("127.0.0.1"), 22) == "127.0.0.1"
    nowhere = Target("host", 22, 22, bind_address="192.0.2.77")
    assert route_source(nowhere, Address.of("127.0.0.1"), 22) is None


def test_a_way_of_its_own_choice_that_is_refused_is_left_and_not_taken_again(
    monkey: pytest.MonkeyPatch,
) -> None:
    async def run() -> None:
        stage = Stage(monkey)
        stage.roaming.refused_here()
        assert not stage.connection.ports, "where the system leads is no choice"
        monkey.setattr(module, "interfaces_everywhere", lambda _: ["wan0", "wan1"])
        stage.roaming._interface = "wan1"
        stage.roaming.refused_here()
        assert len(stage.connection.ports) == 1
        assert stage.roaming._interface is None
        assert stage.roaming._other_interfaces() == []
        stage.roaming.close()

    asyncio.run(run())
