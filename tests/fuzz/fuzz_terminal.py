"""Invariant: whatever comes on a terminal channel ends in messages, a wait, or RemoteProtocolError; a datagram never raises.

A message that was taken encodes again, and says the same then.
"""

from __future__ import annotations

from qsh.errors import RemoteProtocolError
from qsh.wire import terminal
from qsh.wire.terminal import ClientFrame, HostFrame, TerminalDecoder, TtyState

__all__ = ["fuzz_one"]

_TTY = TtyState(3, 3, 127, 21, 23, 4, 22, 18, 3, 28, 26, 1, "bash")
SEEDS = (
    terminal.encode(terminal.Input(7, b"ls\r", 5)) + terminal.encode(terminal.Report(5, 100)),
    terminal.encode(terminal.Resized(7, 24, 80)) + terminal.encode(terminal.FetchHistory(1, 0, 9)),
    terminal.encode(terminal.Output(0, b"x", 1, 1, _TTY)),
    terminal.encode(terminal.Frame(0, 9, b"\x18", skipped_end=7)),
    terminal.encode(terminal.HistoryLines(1, 0, [(b"a", True)], 0, 2)),
    terminal.encode(terminal.Attached("1", bytes(16), 0, 0, 24, 80, ["text"])),
)


def fuzz_one(data: bytes) -> None:
    """One input, in two pieces: the first byte says where it is cut."""
    cut = data[0] % (len(data) + 1) if data else 0
    for kind in (ClientFrame, HostFrame):
        decoder: TerminalDecoder[terminal.Base] = TerminalDecoder(kind)
        try:
            for piece in (data[:cut], data[cut:]):
                for message in decoder.receive(piece):
                    again = TerminalDecoder[terminal.Base](kind).receive(terminal.encode(message))
                    assert again == [message]
        except RemoteProtocolError:
            pass
        message = terminal.decode_datagram(data[1:], kind)
        if message is not None:
            assert terminal.decode_datagram(terminal.encode_datagram(message), kind) == message
