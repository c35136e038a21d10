"""After an outage datagrams overtake the stream (docs/protocol.md 10.13): host, client, and a network that tests play."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qsh.server.attachment import Attachment
from qsh.server.terminal_model import TerminalModel
from qsh.session.frame_parts import FrameParts
from qsh.session.input_log import ClientInput
from qsh.terminal.display import Display
from qsh.terminal.screen import Screen
from qsh.wire.messages import Attach
from qsh.wire.terminal import (
    Attached,
    Frame,
    FramePart,
    HostDatagram,
    HostFrame,
    Note,
    Output,
    Report,
    TerminalDecoder,
    decode_datagram,
    encode_datagram,
)

ROWS, COLS = 8, 40
SIZE = (ROWS, COLS, 0, 0)
PICTURE = b"\x1b[?1049h\x1b[2J" + b"".join(
    b"\x1b[%d;1H\x1b[3%dm%s" % (row % ROWS + 1, row % 8, bytes([97 + row % 26]) * COLS)
    for row in range(120)
)
LINES = b"".join(b"line %d of some output\r\n" % number for number in range(250))
TOKENS = [
    *(b"a", "é世".encode(), b"word \r\n", b"\x1b[2;3H", b"\x1b[K", b"\x1b[7m", b"\x1b[m", b"\x1b[2"),
    *(b"J", b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[2;4r", b"\x1b[r", b"\x1b(0", b"\x1b(B", PICTURE, LINES),
]  # fmt: skip


class Owner:
    def typed(self, attachment: Attachment, data: bytes) -> None: ...
    def resized(self) -> None: ...
    def send_break(self) -> None: ...
    def end_delivered(self) -> None: ...


class Client:
    """What the real one does with messages, on a terminal of its own."""

    def __init__(self) -> None:
        self.display = Display(Screen(ROWS, COLS))
        self.terminal = Screen(ROWS, COLS)
        self.parts = FrameParts()

    def take(self, message: Any) -> None:
        display, shown = self.display, b""
        before = display.position
        if isinstance(message, Output):
            shown = display.output(message.offset, message.data, 0.0)
        elif isinstance(message, Frame):
            assert message.start <= display.position
            shown = display.frame(message.offset, message.data, 0.0)
        elif isinstance(message, FramePart):
            painting = self.parts.receive(message)
            if painting is not None and message.start <= display.position:
                shown = display.painted(message.offset, painting, 0.0)
        self.terminal.feed(shown)
        assert display.position >= before


def look(screen: Screen) -> object:
    return [screen.row_cells(row) for row in range(ROWS)], screen.cursor, screen.modes


class World:
    def __init__(self) -> None:
        self.now = 100.0
        self.model = TerminalModel(ROWS, COLS)
        request = Attach(bytes(16))
        self.host = Attachment(self.now, Owner(), self.model, ClientInput(), request, SIZE)
        self.host.start_new(Attached("one", bytes(16), 0, 0, ROWS, COLS))
        self.host.path(self.now, 0.1, 0)
        self.decoder: TerminalDecoder[Any] = TerminalDecoder(HostFrame)
        self.stream: list[Any] = []
        self.datagrams: list[Any] = []
        self.client, self.patient = Client(), Client()
        """The other one gets the stream alone."""
        self._collect()

    def _collect(self) -> None:
        self.stream += self.decoder.receive(b"".join(self.host.stream))
        self.host.stream.clear()
        self.datagrams += [decode_datagram(data, HostDatagram) for data in self.host.datagrams]
        self.host.datagrams.clear()

    def put_out(self, data: bytes) -> None:
        events = self.model.feed(self.now, data)
        self.host.output(self.now, len(data), events)
        self.host.update(self.now)
        self._collect()

    def wait(self, seconds: float) -> None:
        end = self.now + seconds
        for _ in range(100):
            due = self.host.deadline(self.now)
            if due is None or due > end:
                break
            self.now = max(due, self.now + 0.001)
            self.host.update(self.now)
        self.now = max(end, self.now)
        self.host.update(self.now)
        self._collect()

    def bring_stream(self, count: int) -> None:
        for message in self.stream[:count]:
            self.client.take(message)
            self.patient.take(message)
        del self.stream[:count]

    def report(self) -> None:
        report = encode_datagram(Report(self.client.display.position))
        self.host.receive_datagram(self.now, report)
        self.host.update(self.now)
        self._collect()

    def finish(self) -> None:
        for _ in range(12):
            self.bring_stream(len(self.stream))
            self.report()
            self.wait(0.4)
        self.bring_stream(len(self.stream))


STEPS = st.one_of(
    st.tuples(st.just("put_out"), st.sampled_from(TOKENS)),
    st.tuples(st.just("wait"), st.sampled_from([0.01, 0.1, 0.6, 1.3])),
    st.tuples(st.just("stream"), st.integers(1, 3)),
    st.tuples(st.just("datagram"), st.integers(0, 200)),
    st.tuples(st.just("report"), st.none()),
    st.tuples(st.just("outage"), st.sampled_from(TOKENS)),
)


@settings(max_examples=150, deadline=None)
@given(st.lists(STEPS, max_size=40))
def test_any_order_loss_and_copies_end_in_the_screen_of_the_stream_alone(
    steps: list[tuple[str, Any]],
) -> None:
    world = World()
    for what, value in steps:
        if what == "put_out":
            world.put_out(value)
        elif what == "wait":
            world.wait(value)
        elif what == "stream":
            world.bring_stream(value)
        elif what == "datagram" and world.datagrams:
            world.client.take(world.datagrams[-1 - value % len(world.datagrams)])
        elif what == "report":
            world.report()
        elif what == "outage":
            world.put_out(value)
            world.put_out(PICTURE)
            world.wait(1.3)
            world.report()
    world.finish()
    expected = look(world.model.screen)
    assert world.client.display.position == world.model.end
    assert look(world.client.terminal) == expected
    assert look(world.patient.terminal) == expected


def test_a_picture_painted_in_an_outage_is_there_with_the_first_datagrams() -> None:
    world = World()
    world.put_out(PICTURE)
    world.wait(2.0)
    world.put_out(PICTURE + b"\x1b[1;1Hthe last")
    world.wait(5.0)
    assert not any(isinstance(message, FramePart) for message in world.datagrams)
    del world.datagrams[:]
    world.report()
    for message in world.datagrams:
        world.client.take(message)
    assert look(world.client.terminal) == look(world.model.screen)
    assert world.client.display.position == world.model.end
    world.put_out(b"\x1b[5;5Hand after it")
    world.finish()
    assert look(world.client.terminal) == look(world.model.screen) == look(world.patient.terminal)


def test_a_screen_that_did_not_change_since_its_frame_is_brought_too() -> None:
    world = World()
    world.put_out(PICTURE)
    world.wait(3.0)
    assert any(isinstance(message, Frame) for message in world.stream)
    del world.datagrams[:]
    world.report()
    for message in world.datagrams:
        world.client.take(message)
    assert look(world.client.terminal) == look(world.model.screen)


def test_lines_that_scrolled_away_are_not_given_up_when_all_can_be_sent() -> None:
    world = World()
    world.put_out(b"one")
    world.wait(2.0)
    world.report()
    world.put_out(LINES[:6000])
    del world.datagrams[:]
    world.report()
    kinds = {type(message) for message in world.datagrams}
    for message in world.datagrams:
        world.client.take(message)
    assert FramePart not in kinds
    world.put_out(LINES[6000:])
    world.finish()
    assert look(world.client.terminal) == look(world.model.screen)


@pytest.mark.parametrize("idle_s", [0.5, 30.0])
def test_who_was_only_silent_gets_nothing_twice(idle_s: float) -> None:
    world = World()
    world.wait(idle_s)
    world.put_out(PICTURE)
    world.wait(0.1)
    world.bring_stream(len(world.stream))
    del world.datagrams[:]
    world.report()
    assert all(isinstance(message, Note) for message in world.datagrams)


def test_a_painting_that_was_asked_for_comes_after_all_output() -> None:
    """What scrolls away meanwhile is passed, or it would be in nobody's scrollback."""
    world = World()
    world.put_out(LINES[:500])
    world.model.feed(world.now, LINES[500:1500])
    world.host.repaint(world.now)
    world.wait(0.0)
    outputs = [message for message in world.stream if isinstance(message, Output)]
    assert outputs[-1].offset + len(outputs[-1].data) == 1500
    world.finish()
    assert world.client.display.position == 1500
