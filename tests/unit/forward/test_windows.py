"""What a connection may receive: it grows with forwards, and with the streams that were opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from qsh.forward.windows import (
    BASE_BYTES,
    FIRST_STREAMS,
    MAX_EXTRA,
    MAX_STREAMS,
    STREAM_BYTES,
    ReceiveWindow,
)

if TYPE_CHECKING:
    from qsh.quic import Connection


class FakeConnection:
    """Notes the limits that it is given."""

    def __init__(self) -> None:
        self.limits: list[tuple[int, int, int]] = []

    def set_limits(self, *, bidi_streams: int, uni_streams: int, connection_window: int) -> None:
        self.limits.append((bidi_streams, uni_streams, connection_window))


def window(bidi: int) -> tuple[ReceiveWindow, FakeConnection]:
    connection = FakeConnection()
    made = ReceiveWindow(cast("Connection", connection), bidi_streams=bidi, uni_streams=16)
    return made, connection


def test_the_limits_hold_when_it_begins() -> None:
    receives, connection = window(FIRST_STREAMS)
    assert not connection.limits
    receives.begin()
    assert connection.limits == [(FIRST_STREAMS, 16, BASE_BYTES)]


def test_more_streams_are_permitted_when_half_of_them_were_opened() -> None:
    receives, connection = window(FIRST_STREAMS)
    receives.begin()
    permitted = []
    for _ in range(5000):
        receives.accepted()
        permitted.append(connection.limits[-1][0])
    assert permitted[14:16] == [32, 128]
    assert permitted[62:64] == [128, 512]
    assert permitted[254:256] == [512, MAX_STREAMS]
    assert permitted[-1] == MAX_STREAMS
    assert len(connection.limits) == 4


def test_who_may_open_all_from_the_beginning_gets_no_more() -> None:
    receives, connection = window(MAX_STREAMS)
    for _ in range(5000):
        receives.accepted()
    assert not connection.limits


def test_room_for_forwards_keeps_the_number_of_streams() -> None:
    receives, connection = window(FIRST_STREAMS)
    for _ in range(16):
        receives.accepted()
    with receives.forward():
        assert connection.limits[-1] == (128, 16, BASE_BYTES + STREAM_BYTES)
    assert connection.limits[-1] == (128, 16, BASE_BYTES)


def test_room_is_made_for_so_many_forwards() -> None:
    receives, connection = window(FIRST_STREAMS)
    held = [receives.forward() for _ in range(MAX_EXTRA + 4)]
    for each in held:
        each.__enter__()
    assert connection.limits[-1][2] == BASE_BYTES + MAX_EXTRA * STREAM_BYTES
    for each in held:
        each.__exit__(None, None, None)
    assert connection.limits[-1][2] == BASE_BYTES
