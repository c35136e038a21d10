"""Terminals that are recorded, by a recorder that the test plays."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, Any

import pytest

from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.record_link import Begun, Finish, Joined, RecorderEnd, RecordRequest, Wrote
from qsh.server.requests import (
    Adopt,
    ChannelFailed,
    ChannelOpened,
    HangUp,
    HostAnswer,
    OpenChannel,
)
from qsh.wire.messages import Attach, Pty
from tests.unit.server.played_host import LIMIT_S, OPEN, Client, Played, close_clients, end_all

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(autouse=True)
def _clients_are_closed() -> Iterator[None]:
    yield
    close_clients()


@contextlib.contextmanager
def recorded(
    tmp_path: Path, *, closed: bool = True, detached_max: int = 0
) -> Iterator[tuple[Played, PacketSocket[Any], list[str]]]:
    """A host, its recorder's end, and complaints."""
    ours, theirs = packet_pair()
    complaints: list[str] = []
    end = RecorderEnd(ours, closed, False, complaints.append)
    host = Played(tmp_path, recorder=end, detached_max=detached_max)
    recorder: PacketSocket[Any] = PacketSocket(theirs, RecordRequest)
    recorder.sock.settimeout(LIMIT_S)
    try:
        yield host, recorder, complaints
    finally:
        while OPEN:
            OPEN.pop().close()
        host.close()
        theirs.close()


def test_a_terminal_whose_bytes_would_pass_by_is_refused_where_it_must_be_recorded(
    tmp_path: Path,
) -> None:
    with recorded(tmp_path, closed=False) as (host, _, _):
        answer, _ = host.ask(OpenChannel(4, "exec", b"true", Pty("xterm", 24, 80)))
        assert isinstance(answer, ChannelFailed)
        assert answer.code == "not-recorded"


def test_nothing_starts_before_its_recording(tmp_path: Path) -> None:
    started = tmp_path / "started"
    command = b"touch %s; printf 'to the end'" % os.fsencode(started)
    with recorded(tmp_path) as (host, recorder, _):
        client = Client()
        host.front.send(
            OpenChannel(4, "exec", command, Pty("xterm", 24, 80), terminal=Attach(client.name))
        )
        received = recorder.receive()
        assert received is not None
        begin = received[0]
        assert (begin.rows, begin.cols, begin.term, begin.command) == (24, 80, "xterm", command)
        assert not started.exists()
        recorder.send(Begun(begin.number))
        answer, descriptors = host.hear()
        assert isinstance(answer, ChannelOpened)
        client.take(descriptors)
        assert isinstance((recorder.receive() or [None])[0], Joined)
        output = b""
        while (received := recorder.receive()) is not None and isinstance(received[0], Wrote):
            output += received[0].data
        assert output == b"to the end"
        assert received is not None
        assert isinstance(received[0], Finish)


def test_it_is_told_who_comes_when_the_host_goes_on_for_another_connection(tmp_path: Path) -> None:
    """A recorder lives as long as its host, and was begun for the first client."""
    with recorded(tmp_path, closed=False, detached_max=60) as (host, recorder, _):

        def heard(kind: type) -> Any:
            while (received := recorder.receive()) is not None:
                if isinstance(received[0], kind):
                    return received[0]
            raise AssertionError("the host has ended")

        client = host.open(b"read x")
        assert client.attached is not None
        joined = heard(Joined)
        assert (joined.number, joined.address) == (1, "::1")
        host.front.close()
        front, theirs = packet_pair()
        host.front = PacketSocket(front, HostAnswer)
        PacketSocket(host.monitor, Adopt).send(
            Adopt(("192.0.2.9", 4711), ("192.0.2.1", 22)), [theirs.detach()]
        )
        again = Client()
        host.attach(client.attached.name, again, ticket=client.attached.ticket)
        joined = heard(Joined)
        assert (joined.number, joined.address) == (1, "192.0.2.9")
        end_all(host, tmp_path)
        heard(Finish)


def test_a_client_that_does_not_wait_for_the_recording(tmp_path: Path) -> None:
    with recorded(tmp_path) as (host, recorder, _):
        attach = Attach(b"m" * 16)
        host.front.send(OpenChannel(4, "exec", b"true", Pty("xterm", 24, 80), terminal=attach))
        assert recorder.receive() is not None
        host.front.send(HangUp(4))
        host.front.send(OpenChannel(8, "exec", b"true"))
        answer, descriptors = host.hear()
        assert isinstance(answer, ChannelOpened)
        for descriptor in descriptors:
            os.close(descriptor)
        recorder.send(Begun(1))
        received = recorder.receive()
        assert received is not None
        assert isinstance(received[0], Finish)
