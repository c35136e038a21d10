"""The session host's side of recordings, with a recorder that is slow, dead or silent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from qsh.clock import monotonic_s
from qsh.server.event_loop import EventLoop
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.record_link import (
    BACKLOG,
    BEGIN_S,
    STUCK_S,
    Begin,
    Begun,
    Failed,
    Finish,
    LeftOut,
    RecorderEnd,
    Recording,
    RecordLink,
    RecordRequest,
    Sized,
    Wrote,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

CHUNK = bytes(64 * 1024)


class Host:
    """A session host's loop and link; the recorder's end is the test's."""

    def __init__(self, *, closed: bool, typed: bool = False) -> None:
        self.loop = EventLoop()
        ours, theirs = packet_pair()
        self.lines: list[str] = []
        self.link = RecordLink(self.loop, RecorderEnd(ours, closed, typed, self.lines.append))
        self.recorder: PacketSocket[Any] = PacketSocket(theirs, RecordRequest)
        self.started: list[Recording | None] = []
        self.refused = 0
        self.happened: list[str] = []

    def begin(self) -> Recording:
        self.ask()
        self.turn()
        assert isinstance(self.hear(), Begin)
        if self.link.closed:
            assert self.started == [], "not before the file is there"
            self.recorder.send(Begun(1))
            self.turn()
        (recording,) = self.started
        assert recording is not None
        recording.failed = lambda: self.happened.append("failed")
        recording.room = lambda: self.happened.append("room")
        return recording

    def ask(self) -> None:
        def refuse() -> None:
            self.refused += 1

        self.link.begin((24, 80), "xterm", b"", self.started.append, refuse)

    def turn(self) -> None:
        self.loop.wait(0)
        deadline, now = self.link.deadline, monotonic_s()
        if deadline is not None and now >= deadline:
            self.link.expire(now)

    def hear(self) -> Any:
        received = self.recorder.receive()
        return None if received is None else received[0]

    def drain(self) -> list[Any]:
        found = []
        while True:
            while (message := self.hear()) is not None:
                found.append(message)
            self.turn()
            message = self.hear()
            if message is None:
                return found
            found.append(message)

    def close(self) -> None:
        self.link.close()
        self.recorder.close()
        self.loop.close()


@pytest.fixture(params=[False, True], ids=["open", "closed"])
def host(request: pytest.FixtureRequest) -> Iterator[Host]:
    host = Host(closed=request.param)
    yield host
    host.close()


@pytest.fixture
def opened() -> Iterator[Host]:
    host = Host(closed=False)
    yield host
    host.close()


@pytest.fixture
def closed() -> Iterator[Host]:
    host = Host(closed=True)
    yield host
    host.close()


def test_what_is_told(host: Host) -> None:
    recording = host.begin()
    recording.output(1.0, b"hi")
    recording.typed(1.0, b"secret")
    recording.resized(2.0, 24, 80)
    recording.resized(2.0, 30, 90)
    recording.end()
    recording.end()
    recording.output(3.0, b"late")
    told = host.drain()
    assert told[:2] == [Wrote(1, 1.0, b"hi"), Sized(1, 2.0, 30, 90)]
    assert isinstance(told[2], Finish)
    assert len(told) == 3


def test_keys_are_recorded_where_that_is_wanted() -> None:
    host = Host(closed=False, typed=True)
    host.begin().typed(1.0, b"secret")
    assert host.drain() == [Wrote(1, 1.0, b"secret", typed=True)]
    host.close()


def flood(host: Host, recording: Recording) -> int:
    count = 0
    while not host.link.is_full:
        recording.output(1.0, CHUNK)
        count += 1
        assert count < 100
    return count


def test_a_slow_recorder_open(opened: Host) -> None:
    """Output is left out, and the recording says where; memory is bounded."""
    recording = opened.begin()
    count = flood(opened, recording)
    assert count * len(CHUNK) >= BACKLOG
    assert not recording.holds
    for _ in range(1000):
        recording.output(2.0, CHUNK)
    assert len(opened.lines) == 1
    told = opened.drain()
    assert len(told) == count
    recording.output(3.0, b"again")
    assert opened.drain() == [LeftOut(1, 3.0, 1000 * len(CHUNK)), Wrote(1, 3.0, b"again")]


def test_a_slow_recorder_closed(closed: Host) -> None:
    """Nothing is lost: the terminal is to be read no further, and again when there is room."""
    recording = closed.begin()
    count = flood(closed, recording)
    assert recording.holds
    recording.output(2.0, b"was read already")
    assert closed.happened == []
    assert len(closed.drain()) == count + 1
    assert closed.happened == ["room"]
    assert not recording.holds


def test_a_recorder_that_takes_nothing_closed(closed: Host) -> None:
    recording = closed.begin()
    flood(closed, recording)
    deadline = closed.link.deadline
    assert deadline is not None
    assert 0 < deadline - monotonic_s() <= STUCK_S
    closed.link.expire(deadline - 0.1)
    assert closed.happened == []
    closed.link.expire(deadline)
    assert (closed.happened, closed.link.deadline) == (["failed"], None)
    assert recording.over


def test_a_dead_recorder(host: Host) -> None:
    recording = host.begin()
    host.recorder.close()
    recording.output(1.0, b"x")
    assert host.happened == [], "who writes is in the middle of something"
    host.turn()
    assert host.happened == (["failed"] if host.link.closed else ["room"])
    assert len(host.lines) == 1
    assert not recording.holds
    host.started.clear()
    host.ask()
    assert (host.started, host.refused) == (([], 1) if host.link.closed else ([None], 0))


def test_one_recording_that_fails(host: Host) -> None:
    recording = host.begin()
    host.recorder.send(Failed(1))
    host.turn()
    assert recording.over
    assert host.happened == (["failed"] if host.link.closed else ["room"])
    assert host.lines == [], "the recorder has told"
    host.recorder.send(Failed(1))
    host.turn()


def test_a_file_that_cannot_be_had_closed(closed: Host) -> None:
    closed.ask()
    closed.recorder.send(Failed(1))
    closed.turn()
    assert (closed.started, closed.refused) == ([], 1)


def test_a_recorder_that_dies_or_is_silent_at_the_beginning_closed(closed: Host) -> None:
    closed.ask()
    deadline = closed.link.deadline
    assert deadline is not None
    assert deadline - monotonic_s() <= BEGIN_S
    closed.link.expire(deadline)
    assert closed.refused == 1
    closed.recorder.send(Begun(1))
    closed.turn()
    assert closed.started == []
    closed.ask()
    closed.recorder.close()
    closed.turn()
    assert (closed.started, closed.refused) == ([], 2)


def test_a_recorder_that_is_mad(host: Host) -> None:
    host.begin()
    host.recorder.sock.send(b"rubbish")
    host.turn()
    assert host.happened == (["failed"] if host.link.closed else ["room"])
