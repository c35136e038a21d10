"""One terminal's edge on fake connections: what is sent, shown, kept, and sent again."""

from __future__ import annotations

import asyncio
import os
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from qsh.client.link import ABANDONED
from qsh.client.session import Ended as UserEnded
from qsh.client.session import Plan
from qsh.client.terminal.remote import RemoteTerminal
from qsh.errors import ChannelError, ConnectionLost, RemoteProtocolError
from qsh.session.frame_parts import cut
from qsh.wire import flow
from qsh.wire.messages import Open, Pty
from qsh.wire.terminal import (
    Attached,
    ClientFrame,
    Detach,
    Detached,
    Ended,
    EndedAck,
    FetchHistory,
    Frame,
    HistoryLines,
    Input,
    Note,
    Output,
    Report,
    TerminalDecoder,
    decode_datagram,
    encode,
    encode_datagram,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

TICKET = bytes(16)
LIMIT_S = 10.0


class FakeConnection:
    def __init__(self) -> None:
        self.datagrams: list[Any] = []
        self.packets = 0

    def stats(self) -> dict[str, int]:
        return {
            "received_packets": self.packets,
            "rtt_us": 1000,
            "sent_packets": 0,
            "lost_packets": 0,
        }

    def send_datagram(self, data: bytes) -> None:
        found = flow.split(data)
        assert found is not None
        assert found[0] == 4
        self.datagrams.append(decode_datagram(found[1], ClientFrame))


class FakeLink:
    """A connection with one channel; plays the host's part too."""

    id = 4
    roaming = None

    def stranded(self) -> None: ...

    def __init__(self) -> None:
        self.connection = FakeConnection()
        self.lost: asyncio.Future[ConnectionLost] = asyncio.get_running_loop().create_future()
        self.send = self.recv = self
        self.sent: list[Any] = []
        self.closed = self.is_over = False
        self.close_code: int | None = None
        self.finished = self.heard_of = False
        self._decoder: TerminalDecoder[Any] = TerminalDecoder(ClientFrame)
        self._incoming: asyncio.Queue[bytes] = asyncio.Queue()
        self._take: Callable[[bytes], None] = lambda data: None
        self._news = asyncio.Event()

    # the link's and the channel's side

    def open_flow(self, number: int, take: Callable[[bytes], None]) -> None:
        assert number == self.id
        self._take = take

    async def close(self, code: int = 0) -> None:
        self.closed, self.close_code = True, code

    def ended(self) -> None:
        self.is_over = True

    def finish(self) -> None:
        self.finished = True

    async def acknowledged(self) -> None:
        assert any(isinstance(message, EndedAck) for message in self.sent)
        self.heard_of = True

    def put(self, data: bytes) -> None:
        self.sent += self._decoder.receive(data)
        self._news.set()

    async def read(self) -> bytes:
        return await self._incoming.get()

    # the host's side

    def give(self, *messages: Any) -> None:
        self._incoming.put_nowait(b"".join(encode(message) for message in messages))

    def give_datagram(self, message: Any) -> None:
        self._take(encode_datagram(message))

    def lose(self, kind: str = "timeout", text: str = "lost", code: int = 0) -> None:
        self.lost.set_result(ConnectionLost(text, kind=kind, code=code))

    async def wait_for(self, what: Callable[[], object]) -> None:
        while not what():
            self._news.clear()
            await self._news.wait()

    @property
    def typed(self) -> bytes:
        """Input on the stream."""
        return b"".join(message.data for message in self.sent if isinstance(message, Input))


async def until(condition: Callable[[], object]) -> None:
    """Nothing tells when what was typed into a pipe has arrived."""
    while not condition():  # noqa: ASYNC110 - as said
        await asyncio.sleep(0.001)


class Setup:
    def __init__(self, **plan: Any) -> None:
        loop = asyncio.get_running_loop()
        self.stdin, self.keys = os.pipe()
        self.shown_fd, self.stdout = os.pipe()
        os.set_blocking(self.shown_fd, False)
        self.end: asyncio.Future[int] = loop.create_future()
        self.links: list[FakeLink] = []
        self.opened: list[Open] = []
        self.next: asyncio.Queue[FakeLink | Exception] = asyncio.Queue()
        self.acts: list[Any] = []
        settings = {"pty": True, "kind": "shell", "output": self.stdout, "escape": ord("~"), **plan}
        self.remote = RemoteTerminal(
            Plan("host", **settings),
            bytes(16),
            None,  # type: ignore[arg-type]
            end=self.end,
            stdin=self.stdin,
            act=self.acts.append,
            pty=lambda: Pty("xterm", 24, 80),
            reopen=self._reopen,  # type: ignore[arg-type]
        )

    async def _reopen(self, message: Callable[[], Open]) -> tuple[FakeLink, FakeLink]:
        self.opened.append(message())
        link = await self.next.get()
        if isinstance(link, Exception):
            raise link
        return link, link

    def start(self) -> tuple[FakeLink, asyncio.Future[int]]:
        link = FakeLink()
        link.give(Attached("one", TICKET, 0, 0, 24, 80))
        return link, asyncio.ensure_future(self.remote.run(link, link))  # type: ignore[arg-type]

    def shown(self) -> bytes:
        try:
            return os.read(self.shown_fd, 1 << 20)
        except BlockingIOError:
            return b""

    async def wait_shown(self, text: bytes) -> bytes:
        seen = b""
        while text not in seen:
            seen += self.shown()
            await asyncio.sleep(0.001)
        return seen

    def close(self) -> None:
        for fd in (self.stdin, self.keys, self.shown_fd, self.stdout):
            os.close(fd)


def run(test: Callable[[Setup], Awaitable[None]], **plan: Any) -> None:
    async def main() -> None:
        setup = Setup(**plan)
        try:
            await asyncio.wait_for(test(setup), LIMIT_S)
        finally:
            setup.close()

    asyncio.run(main())


def test_a_painting_in_datagrams_overtakes_the_stream_s_frames() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        await until(lambda: setup.remote.name == "one")
        for part in reversed(cut(b"\x18painting", 0, 30, 1)):
            link.give_datagram(part)
        assert setup.shown() == b"\x18painting"
        link.give(Output(0, b"raw"), Frame(3, 20, b"\x18older"), Frame(20, 30, b" same"))
        link.give(Frame(30, 31, b" newer"), Ended(31, status=0))
        assert await running == 0
        assert setup.shown() == b" newer"

    run(test)


def test_a_client_that_waits_for_an_answer_probes() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        await until(lambda: setup.remote.name == "one")
        os.write(setup.keys, b"k" * 100)  # too much for a probe
        await until(lambda: any(isinstance(each, Input) for each in link.connection.datagrams))
        await until(lambda: any(isinstance(each, Report) for each in link.connection.datagrams))
        setup.end.set_exception(UserEnded())
        with pytest.raises(UserEnded):
            await running

    run(test)


def test_output_by_both_ways_is_shown_once_and_the_status_is_told() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        await until(lambda: setup.remote.name == "one")
        link.give_datagram(Output(0, b"hello "))
        link.give_datagram(Output(11, b"!"))
        link.give(Output(0, b"hello "), Output(6, b"world"))
        link.give(Ended(11, status=7))
        assert await running == 7
        assert setup.shown() == b"hello world"
        assert any(isinstance(message, EndedAck) for message in link.sent)
        assert link.is_over

    run(test)


def test_keys_go_at_once_by_both_ways() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        os.write(setup.keys, b"ls\r")
        await link.wait_for(lambda: link.typed == b"ls\r")
        inputs = [item for item in link.connection.datagrams if isinstance(item, Input)]
        assert inputs[0] == Input(0, b"ls\r")
        link.give(Note(0, 3, 3))
        os.write(setup.keys, b"x")
        await link.wait_for(lambda: link.typed == b"ls\rx")
        link.give(Ended(0, status=0))
        await running
        last = [item for item in link.connection.datagrams if isinstance(item, Input)][-1]
        assert last in (Input(3, b"x"), Input(0, b"ls\rx"))  # the note may come after the key

    run(test)


def test_unacknowledged_keys_are_repeated_in_datagrams() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        os.write(setup.keys, b"k")
        await until(lambda: len(link.connection.datagrams) >= 3)
        assert set(link.connection.datagrams[:3]) == {Input(0, b"k")}
        link.give(Note(0, 1, 1), Ended(0, status=0))
        await running
        assert link.typed == b"k"

    run(test)


def test_a_lost_connection_goes_on_with_another() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"before "))
        await setup.wait_shown(b"before ")
        os.write(setup.keys, b"abc")
        await link.wait_for(lambda: link.typed == b"abc")
        link.lose()
        os.write(setup.keys, b"def")
        await until(lambda: setup.remote._typed.log.end >= 6)
        second = FakeLink()
        second.give(Attached("one", TICKET, 7, 2, 24, 80), Output(7, b"after", applied=6))
        setup.next.put_nowait(second)
        await second.wait_for(lambda: second.typed == b"cdef")
        second.give(Ended(12, status=0))
        assert await running == 0
        assert setup.shown() == b"after"
        opened = setup.opened[0]
        assert (opened.kind, opened.command) == ("attach", b"one")
        assert opened.terminal is not None
        assert (opened.terminal.ticket, opened.terminal.consumed) == (TICKET, 7)
        assert link.is_over
        assert setup.remote.link is second  # type: ignore[comparison-overlap]

    run(test)


def test_a_connection_that_is_given_up_ends_no_program() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"x"))
        await setup.wait_shown(b"x")
        link.lose()
        second = FakeLink()
        second.give(Attached("one", TICKET, 1, 0, 24, 80), Ended(1, status=0))
        setup.next.put_nowait(second)
        assert await running == 0
        assert link.close_code == ABANDONED

    run(test)


def test_who_was_put_out_by_his_own_second_connection_comes_back() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"x"))
        await setup.wait_shown(b"x")
        setup.remote._reattaching.start()  # the link is silent, and then is not
        await until(lambda: setup.opened)
        link.give(Output(1, b"y"))
        await setup.wait_shown(b"y")
        link.give(Detached("taken"))
        second = FakeLink()
        second.give(Attached("one", TICKET, 2, 0, 24, 80), Ended(2, status=7))
        setup.next.put_nowait(second)
        assert await running == 7

    run(test)


def test_attempts_go_on_until_one_succeeds() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"x"))
        await setup.wait_shown(b"x")
        setup.next.put_nowait(OSError(101, "Network is unreachable"))
        link.lose("closed-by-peer", "server-stopped")
        second = FakeLink()
        second.give(Attached("one", TICKET, 1, 0, 24, 80), Ended(1, status=3))
        setup.next.put_nowait(second)
        assert await running == 3
        assert len(setup.opened) == 2
        assert second.heard_of, (
            "the host knows that the status has arrived before the connection is closed"
        )

    run(test)


def test_a_session_that_is_gone_is_an_error() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"x"))
        await setup.wait_shown(b"x")
        setup.next.put_nowait(ChannelError("no such session", code="no-session"))
        link.lose()
        with pytest.raises(ChannelError, match="no such session"):
            await running

    run(test)


def test_a_session_that_ended_meanwhile_is_named() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        await until(lambda: setup.remote.name == "one")
        setup.next.put_nowait(ChannelError("there is no session 'one'", code="session-lost"))
        link.lose()
        assert await running == 255
        text = "[session one on host has ended; its exit status is not known]"
        assert setup.remote.farewell == text

    run(test)


@pytest.mark.parametrize(
    ("kind", "code"), [("protocol", 0), ("closed-by-peer", 2), ("closed-by-peer", 4)]
)
def test_an_error_of_the_protocol_or_the_login_is_final(kind: str, code: int) -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"x"))
        await setup.wait_shown(b"x")
        link.lose(kind, "bad-message", code)
        with pytest.raises(ConnectionLost):
            await running
        assert setup.opened == []

    run(test)


def test_the_user_may_end_while_there_is_no_connection() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"x"))
        await setup.wait_shown(b"x")
        link.lose()
        await until(lambda: setup.opened)
        os.write(setup.keys, b"~.")
        await until(lambda: setup.acts)
        setup.end.set_exception(UserEnded())
        with pytest.raises(UserEnded):
            await running

    run(test)


@pytest.mark.parametrize("connected", [True, False])
def test_detaching(connected: bool) -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"x"))
        await setup.wait_shown(b"x")
        if not connected:
            link.lose()
            await until(lambda: setup.opened)
        setup.remote.detach()
        if connected:
            await link.wait_for(lambda: Detach() in link.sent)
            link.give(Detached("requested"))
        assert await running == 0
        assert setup.remote.farewell == (
            "[detached from session one on host; qshctl attach host one]"
        )
        assert link.is_over

    run(test)


def test_the_way_back_to_a_session_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    async def test(setup: Setup) -> None:
        link = FakeLink()
        link.give(Attached("two", TICKET, 0, 0, 24, 80, ["detached session one: left 1 min ago"]))
        running = asyncio.ensure_future(setup.remote.run(link, link))  # type: ignore[arg-type]
        await until(lambda: setup.remote.name == "two")
        link.give(Detached("by-command"))
        assert await running == 0
        assert setup.remote.farewell == (
            "[detached by command from session two on host; qshctl attach -p 2222 you@host two]"
        )

    run(test, as_typed="-p 2222 you@host")
    told = "detached session one: left 1 min ago\nqshctl attach -p 2222 you@host NAME goes on with it\n"
    assert capfd.readouterr().err.replace("\r", "") == told


def test_somebody_else_takes_over() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Detached("taken"))
        assert await running == 0
        assert "by another client" in (setup.remote.farewell or "")

    run(test)


def test_what_the_terminal_took_is_reported() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"y" * 20_000))
        await link.wait_for(
            lambda: any(item.consumed == 20_000 for item in link.sent if isinstance(item, Report))
        )
        link.give(Output(20_000, b"z"))
        await until(lambda: any(item == Report(20_001, 1000) for item in link.connection.datagrams))
        await link.wait_for(  # and, as datagrams get lost, on the stream
            lambda: any(item.consumed == 20_001 for item in link.sent if isinstance(item, Report))
        )
        running.cancel()

    run(test)


def test_a_full_terminal_holds_the_stream() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        for number in range(20):
            link.give(Output(number * 60_000, b"y" * 60_000))
        for _ in range(50):
            await asyncio.sleep(0)
        assert link._incoming.qsize() > 10
        assert setup.remote._view.output.consumed < 200_000
        total = 0
        while total < 1_200_000:
            total += len(setup.shown())
            await asyncio.sleep(0)
        link.give(Ended(1_200_000, status=0))
        assert await running == 0

    run(test)


@pytest.mark.parametrize("message", [Output(5, b"x"), Frame(5, 9, b"x"), Note(0, 9, 9)])
def test_a_host_that_leaves_the_rules(message: Any) -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(message)
        with pytest.raises(RemoteProtocolError):
            await running

    run(test)


def test_output_that_is_missing_at_the_end() -> None:
    async def test(setup: Setup) -> None:
        link, running = setup.start()
        link.give(Output(0, b"abc"), Ended(5, status=0))
        with pytest.raises(ChannelError, match="3 of 5"):
            await running

    run(test)


def test_an_end_while_the_pager_is_shown_gives_the_terminal_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def forever(_text: bytes) -> None:
        await asyncio.Event().wait()

    monkeypatch.setattr("qsh.client.terminal.pager.page", forever)

    async def test(setup: Setup) -> None:
        moves: list[str] = []
        setup.remote._history._local = SimpleNamespace(  # type: ignore[assignment]
            leave=lambda: moves.append("leave"), enter=lambda: moves.append("enter")
        )
        link, running = setup.start()
        await until(lambda: setup.remote.name == "one")
        setup.remote.history()
        await link.wait_for(lambda: any(isinstance(item, FetchHistory) for item in link.sent))
        link.give(HistoryLines(1, 0, [(b"line", False)], 0, 1))
        await until(lambda: moves)
        link.give(Ended(0, status=0))
        assert await running == 0
        assert moves == ["leave", "enter"]
        os.set_blocking(setup.stdin, False)
        os.write(setup.keys, b"for the shell")
        for _ in range(5):
            await asyncio.sleep(0)
        assert os.read(setup.stdin, 100) == b"for the shell"
        assert setup.remote._timer is None

    run(test)
