"""Invariant: whatever a peer sends before authentication, on any stream, ends in messages, a wait, or RemoteProtocolError.

Nothing else is raised, no more than BYTES_BEFORE_AUTH is held, and a message that was taken encodes again.
"""

from __future__ import annotations

from qsh.errors import RemoteProtocolError
from qsh.server import host_keys
from qsh.wire import framing
from qsh.wire.channel import AnswerReader, HeaderReader, OpenReader
from qsh.wire.control import ClientControl, ServerControl

__all__ = ["fuzz_one"]

SEEDS = (
    ClientControl().send_hello("seed"),
    ServerControl().send_hello("seed"),
    framing.encode(
        __import__("qsh.wire.messages", fromlist=["Open"]).Open(kind="exec", command=b"true")
    ),
)


def fuzz_one(data: bytes) -> None:
    """One input, in two pieces: the first byte says where it is cut."""
    cut = data[0] % (len(data) + 1) if data else 0
    pieces = [data[1:cut], data[cut:]]
    _server(pieces)
    _client(pieces)
    for reader in (OpenReader(), AnswerReader(), HeaderReader()):
        try:
            for piece in pieces:
                reader.receive(piece)
        except RemoteProtocolError:
            pass
    try:
        host_keys.parse_signing_request(data)
    except RemoteProtocolError:
        pass


def _server(pieces: list[bytes]) -> None:
    server = ServerControl()
    try:
        for piece in pieces:
            server.receive(piece)
            while (message := server.next_message()) is not None:
                framing.encode(message)
    except RemoteProtocolError:
        pass


def _client(pieces: list[bytes]) -> None:
    client = ClientControl()
    client.send_hello("fuzz")
    try:
        for piece in pieces:
            client.receive(piece)
    except RemoteProtocolError:
        pass
