"""A TCP connection that is begun before it is needed."""

from __future__ import annotations

import socket

from qsh.client.addresses import Address
from qsh.client.early_tcp import EarlyTcp

HERE = [Address(socket.AF_INET, "127.0.0.1")]


def test_it_is_the_takers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        early = EarlyTcp(HERE, listener.getsockname()[1], 5.0)
        peer, _ = listener.accept()
        sock = early.take()
        early.close()
        assert sock is not None
        with peer, sock:
            assert sock.gettimeout() == 0.0
            sock.send(b"mine")
            assert peer.recv(4) == b"mine"
        assert early.take() is None


def test_one_that_nobody_takes_is_closed() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        early = EarlyTcp(HERE, listener.getsockname()[1], 5.0)
        peer, _ = listener.accept()
        early.close()
        with peer:
            peer.settimeout(5)
            assert peer.recv(1) == b""


def test_a_closed_port_and_no_address_are_nothing() -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    assert EarlyTcp(HERE, port, 5.0).take() is None
    assert EarlyTcp([], port, 5.0).take() is None
