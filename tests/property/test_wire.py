"""Whatever bytes arrive, in whatever pieces: a message, a wait, or RemoteProtocolError; pieces change nothing."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from qsh.errors import RemoteProtocolError
from qsh.wire import framing
from qsh.wire.control import ServerControl
from qsh.wire.messages import Auth, ClientMessage, Hello, Offer

messages = st.lists(
    st.one_of(
        st.builds(
            Hello, versions=st.lists(st.integers(1, 9), max_size=4), software=st.text(max_size=20)
        ),
        st.builds(
            Auth,
            user=st.text(max_size=20),
            offers=st.lists(st.builds(Offer, st.binary(max_size=40)), max_size=3),
        ),
    ),
    max_size=5,
)


def drain(frames: framing.FrameDecoder[object]) -> list[object]:
    found = []
    while (message := frames.next()) is not None:
        found.append(message)
    return found


@given(messages, st.lists(st.integers(1, 30), max_size=60))
def test_pieces_change_nothing(sent: list[object], sizes: list[int]) -> None:
    data = b"".join(framing.encode(message) for message in sent)  # type: ignore[arg-type]
    frames: framing.FrameDecoder[object] = framing.FrameDecoder(ClientMessage)
    found, position = [], 0
    for size in [*sizes, len(data) + 1]:
        frames.feed(data[position : position + size])
        position += size
        found += drain(frames)
    assert found == sent


@given(st.lists(st.binary(max_size=200), max_size=10))
def test_garbage_is_refused_or_waited_for(pieces: list[bytes]) -> None:
    server = ServerControl()
    try:
        for piece in pieces:
            server.receive(piece)
            while server.next_message() is not None:
                pass
    except RemoteProtocolError:
        pass
