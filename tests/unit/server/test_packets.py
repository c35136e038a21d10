"""Local packets with descriptors."""

from __future__ import annotations

import os
import socket

import pytest

from qsh.errors import RemoteProtocolError
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    ChannelOpened,
    Forget,
    FrontRequest,
    HostAnswer,
    HostRequest,
    OpenChannel,
    Reaped,
)


def pair(kind: object) -> tuple[PacketSocket[object], PacketSocket[object]]:
    left, right = packet_pair()
    return PacketSocket(left, kind), PacketSocket(right, kind)


def test_descriptors_travel_and_are_closed_here() -> None:
    left, right = pair(HostAnswer)
    read, write = os.pipe()
    left.send(ChannelOpened(4), [write])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(write)
    received = right.receive()
    assert received is not None
    message, (descriptor,) = received
    assert message == ChannelOpened(4)
    os.write(descriptor, b"x")
    assert os.read(read, 1) == b"x"
    for each in (read, descriptor):
        os.close(each)
    left.close()
    right.close()


def test_the_largest_request_fits() -> None:
    left, right = pair(HostRequest)
    request = OpenChannel(
        4, "exec", b"x" * 128 * 1024, env={f"V{n}": "y" * 250 for n in range(256)}
    )
    left.send(request)
    received = right.receive()
    assert received is not None
    assert received[0] == request
    left.close()
    right.close()


def test_end_and_emptiness_differ() -> None:
    left, right = pair(FrontRequest)
    assert right.receive() is None
    left.close()
    with pytest.raises(EOFError):
        right.receive()
    right.close()


def test_another_kind_is_refused_and_its_descriptors_closed() -> None:
    left, right = packet_pair()
    sender: PacketSocket[object] = PacketSocket(left, HostAnswer)
    receiver: PacketSocket[object] = PacketSocket(right, FrontRequest)
    read, write = os.pipe()
    sender.send(Reaped(1, 0), [write])
    with pytest.raises(RemoteProtocolError):
        receiver.receive()
    assert os.read(read, 1) == b"", "the descriptor that came along was leaked"
    os.close(read)
    sender.close()
    receiver.close()


def test_what_does_not_fit_waits_in_order() -> None:
    left, right = packet_pair()
    left.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    sender: PacketSocket[object] = PacketSocket(left, FrontRequest)
    receiver: PacketSocket[object] = PacketSocket(right, FrontRequest)
    sent = [Forget(n.to_bytes(46, "big")) for n in range(500)]
    for message in sent:
        sender.send(message)
    assert sender.waiting
    received: list[object] = []
    while len(received) < len(sent):
        packet = receiver.receive()
        if packet is None:
            sender.flush()
        else:
            received.append(packet[0])
    assert received == sent
    sender.close()
    receiver.close()


def test_a_socket_that_was_closed_meanwhile_has_ended() -> None:
    ours, theirs = packet_pair()
    link: PacketSocket[HostRequest] = PacketSocket(ours, HostRequest)
    link.close()
    with pytest.raises(EOFError):
        link.receive()
    theirs.close()
