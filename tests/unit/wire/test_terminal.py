"""docs/protocol.md 10: frames and datagrams of terminal channels."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RemoteProtocolError
from qsh.wire.messages import Attach
from qsh.wire.terminal import (
    MAX_DATA,
    MAX_DATAGRAM,
    MAX_FRAME,
    MAX_PARTS,
    PART_DATA,
    Attached,
    ClientFrame,
    Detach,
    Detached,
    Ended,
    EndedAck,
    Event,
    FetchHistory,
    Frame,
    FramePart,
    HistoryLines,
    HostDatagram,
    HostFrame,
    Input,
    Note,
    Output,
    Repaint,
    Report,
    Resized,
    SendBreak,
    TerminalDecoder,
    TtyState,
    decode_datagram,
    encode,
    encode_datagram,
)

TTY = TtyState(3, 3, 127, 21, 23, 4, 22, 18, 3, 28, 26, 1, "bash")
FROM_CLIENT = (
    Input(7, b"ls\r", 2**40),
    Report(5, 100_000),
    Resized(7, 24, 80, 640, 480),
    Detach(),
    FetchHistory(1, 0, 10),
    EndedAck(),
    Repaint(),
    SendBreak(),
)
FROM_HOST = (
    Output(0, b"\x1b[1m\xff", 3, 2, TTY),
    Note(9, 3, 3, None),
    Frame(9, 99, b"\x18", 3, 3, TTY, 5, 7, final=True),
    Ended(99, status=3),
    Ended(99, signal="HUP", core_dumped=True),
    HistoryLines(1, 0, [(b"a", True), (b"b", False)], 0, 2),
    Attached("1", bytes(16), 0, 0, 24, 80, ["2 waits"]),
    Detached("taken"),
    Event(b"\x07"),
)


@given(st.data(), st.sampled_from([(FROM_CLIENT, ClientFrame), (FROM_HOST, HostFrame)]))
def test_frames_survive_any_cut(
    data: st.DataObject, side: tuple[tuple[object, ...], object]
) -> None:
    messages, kind = side
    wire = b"".join(encode(message) for message in messages)  # type: ignore[arg-type]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=8)))
    decoder: TerminalDecoder[object] = TerminalDecoder(kind)
    found = []
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        found += decoder.receive(wire[start:end])
    assert found == list(messages)


def test_a_key_and_its_echo_are_small() -> None:
    assert len(encode_datagram(Input(100_000, b"a", 5_000_000))) <= 16
    assert len(encode_datagram(Output(5_000_000, b"a", 100_000, 100_000, TTY))) <= 48


@pytest.mark.parametrize("message", [*FROM_CLIENT, *FROM_HOST])
def test_the_other_side_s_messages_are_refused(message: object) -> None:
    kind = HostFrame if message in FROM_CLIENT else ClientFrame
    with pytest.raises(RemoteProtocolError, match="bad-message"):
        TerminalDecoder(kind).receive(encode(message))  # type: ignore[arg-type]
    assert decode_datagram(encode_datagram(message), kind) is None  # type: ignore[arg-type]


def test_limits() -> None:
    decoder: TerminalDecoder[object] = TerminalDecoder(ClientFrame)
    with pytest.raises(RemoteProtocolError, match="message-too-large"):
        decoder.receive((MAX_FRAME + 1).to_bytes(4, "big"))
    for bad in (
        Input(0, bytes(MAX_DATA + 1)),
        Input(2**63, b""),
        Resized(0, 70_000, 1),
        Report(-1),
    ):
        with pytest.raises(RemoteProtocolError, match="bad-message"):
            TerminalDecoder(ClientFrame).receive(encode(bad))
    full = Frame(2**62, 2**62, bytes(MAX_FRAME - 256), 2**62, 2**62, TTY, 2**62, 2**62)
    assert TerminalDecoder(HostFrame).receive(encode(full)) == [full]


def test_the_largest_part_of_a_painting_fits_a_datagram() -> None:
    last = MAX_PARTS - 1
    part = FramePart(2**62, 2**62, 2**32, last, MAX_PARTS, bytes(PART_DATA), 2**62, 2**62)
    wire = encode_datagram(part)
    assert len(wire) <= MAX_DATAGRAM
    assert decode_datagram(wire, HostDatagram) == part


def test_a_part_of_a_painting_is_for_datagrams_alone_and_within_its_count() -> None:
    with pytest.raises(RemoteProtocolError, match="bad-message"):
        TerminalDecoder(HostFrame).receive(encode(FramePart(0, 1, 1, 0, 1, b"")))
    for bad in (
        FramePart(0, 1, 1, MAX_PARTS, MAX_PARTS, b""),
        FramePart(0, 1, 1, 0, MAX_PARTS + 1, b""),
        FramePart(0, 1, 1, 0, 0, b""),
        FramePart(0, 1, 1, 0, 1, bytes(MAX_DATAGRAM + 1)),
    ):
        assert decode_datagram(encode_datagram(bad), HostDatagram) is None


def test_what_does_not_decode_in_a_datagram_is_nothing() -> None:
    for bad in (b"", b"\xc1", b"\x93\x01", b"\x92\x01\xa1a", b"\x91\x63", b"\x01" * MAX_DATAGRAM):
        assert decode_datagram(bad, ClientFrame) is None


def test_fields_of_a_later_version_are_ignored() -> None:
    later = msgspec.msgpack.encode([2, 5, 100, "something new"])
    assert decode_datagram(later, ClientFrame) == Report(5, 100)


def test_attach_wants_its_random_name() -> None:
    good = msgspec.msgpack.encode(Attach(bytes(16)))
    assert msgspec.msgpack.decode(good, type=Attach) == Attach(bytes(16))
    with pytest.raises(msgspec.ValidationError):
        msgspec.msgpack.decode(msgspec.msgpack.encode({"client": b"short"}), type=Attach)
