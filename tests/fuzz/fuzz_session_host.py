"""Invariant: whatever a client sends on a terminal's stream or in its datagrams, the worst is a named error for this client:
another one goes on, and what is typed is what the terminal gets.
"""

from __future__ import annotations

from qsh.errors import RemoteProtocolError
from qsh.server.attachment import Attachment
from qsh.server.terminal_model import TerminalModel
from qsh.session.input_log import InputLog
from qsh.wire import terminal
from qsh.wire.messages import Attach

__all__ = ["fuzz_one"]

SIZE = (24, 80, 0, 0)
OUTPUT = b"some output\r\n" * 40
NAMES = ("input-gap", "bad-offset", "bad-message", "message-too-large", "too-many-fetches")
SEEDS = (
    terminal.encode(terminal.Input(0, b"ls\r", 0)) + terminal.encode(terminal.Report(13, 100)),
    terminal.encode(terminal.Resized(0, 24, 80)) + terminal.encode(terminal.FetchHistory(1, 0, 9)),
    terminal.encode(terminal.Resized(1 << 40, 65535, 65535)) + terminal.encode(terminal.Repaint()),
    terminal.encode(terminal.Input(5, b"gap", 0)),
    terminal.encode(terminal.Report(1 << 50, 1)),
    terminal.encode(terminal.Detach()) + terminal.encode(terminal.EndedAck()),
    terminal.encode(terminal.SendBreak())
    + terminal.encode(terminal.FetchHistory(1, 9, 1 << 62)) * 9,
    terminal.encode_datagram(terminal.Input(0, b"abc", 0)),
    terminal.encode_datagram(terminal.Input(2, b"cde", 7)),
    terminal.encode_datagram(terminal.Report(9, 1 << 40)),
)


class _Terminal:
    """What attachments ask of their terminal."""

    def __init__(self) -> None:
        self.written = bytearray()
        self.breaks = 0

    def typed(self, attachment: Attachment, data: bytes) -> None:
        self.written += data
        attachment.input.wrote(len(data), len(self.written))

    def resized(self) -> None:
        """The size is the terminal's business."""

    def send_break(self) -> None:
        self.breaks += 1

    def end_delivered(self) -> None:
        raise AssertionError("nothing has ended")


def _attached(
    owner: _Terminal, model: TerminalModel, inputs: InputLog, client: bytes
) -> Attachment:
    typed = inputs.enter(client)
    attachment = Attachment(0.0, owner, model, typed, Attach(client), SIZE)
    attachment.start_new(terminal.Attached("1", bytes(16), 0, 0, 24, 80, []))
    return attachment


def fuzz_one(data: bytes) -> None:
    """One input: the first byte says how it is cut, and which pieces are datagrams too."""
    step = (data[0] if data else 0) % 64 + 1
    owner, model, inputs = _Terminal(), TerminalModel(24, 80), InputLog()
    mad = _attached(owner, model, inputs, b"m" * 16)
    other = _attached(owner, model, inputs, b"o" * 16)
    now = 1.0
    for number, at in enumerate(range(1, len(data), step)):
        now += 0.1
        events = model.feed(now, OUTPUT)
        for each in (mad, other):
            each.output(now, len(OUTPUT), events)
        mad.receive_datagram(now, data[at:])
        if not mad.over:
            try:
                mad.receive_stream(now, data[at : at + step])
            except RemoteProtocolError as error:
                if error.code not in NAMES:
                    raise AssertionError(error.code) from error
                mad.put_out(error.code)
        for each in (mad, other):
            each.update(now)
            each.deadline(now)
            each.stream.clear()
            each.datagrams.clear()
        assert mad.input.settled <= mad.input.applied <= mad.input.received
        if number % 8 == 0:
            other.flow_acknowledge(now, other.flow.sent)
    owner.written.clear()
    other.receive_stream(now, terminal.encode(terminal.Input(0, b"alive", other.flow.sent)))
    assert owner.written == b"alive"
    assert not other.over
