"""Where a forward listens: OpenSSH's rules for bind addresses, and its words for what goes wrong."""

from __future__ import annotations

import os
import socket
from typing import TYPE_CHECKING

import pytest

from qsh.forward.listening import ListenError, bind_address, listen_tcp, listen_unix

if TYPE_CHECKING:
    from pathlib import Path

EVERYWHERE, LOOPBACK = (None, True), (None, False)


@pytest.mark.parametrize(
    ("host", "gateway", "client", "server_no", "server_yes", "server_chosen"),
    [
        (None, "no", LOOPBACK, LOOPBACK, EVERYWHERE, EVERYWHERE),
        (None, "yes", EVERYWHERE, LOOPBACK, EVERYWHERE, EVERYWHERE),
        ("", "no", EVERYWHERE, LOOPBACK, EVERYWHERE, EVERYWHERE),
        ("*", "no", EVERYWHERE, LOOPBACK, EVERYWHERE, EVERYWHERE),
        ("localhost", "yes", LOOPBACK, LOOPBACK, EVERYWHERE, LOOPBACK),
        ("127.0.0.1", "yes", *[("127.0.0.1", False)] * 2, EVERYWHERE, ("127.0.0.1", False)),
        ("::1", "no", *[("::1", False)] * 2, EVERYWHERE, ("::1", False)),
        ("10.0.0.1", "no", ("10.0.0.1", False), LOOPBACK, EVERYWHERE, ("10.0.0.1", False)),
        ("name", "no", ("name", False), LOOPBACK, EVERYWHERE, ("name", False)),
    ],
)
def test_bind_addresses(
    host: str | None,
    gateway: str,
    client: object,
    server_no: object,
    server_yes: object,
    server_chosen: object,
) -> None:
    assert bind_address(host, gateway, is_client=True) == client
    for setting, expected in (
        ("no", server_no),
        ("yes", server_yes),
        ("clientspecified", server_chosen),
    ):
        assert bind_address(host, setting, is_client=False) == expected


def test_a_free_port_is_the_same_for_both_families() -> None:
    bound = listen_tcp(None, False, 0)
    assert bound.port
    assert {sock.getsockname()[1] for sock in bound.sockets} == {bound.port}
    assert {sock.getsockname()[0] for sock in bound.sockets} <= {"127.0.0.1", "::1"}
    for sock in bound.sockets:
        assert not sock.get_inheritable()
        sock.close()


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ListenError) as error:
            listen_tcp("127.0.0.1", False, port)
    assert str(error.value).split("\n") == [
        f"bind [127.0.0.1]:{port}: Address already in use",
        f"channel_setup_fwd_listener_tcpip: cannot listen to port: {port}",
    ]


@pytest.mark.parametrize("host", ["nonesuch.invalid", "a\0b", "." * 300])
def test_a_name_that_is_none(host: str) -> None:
    with pytest.raises(ListenError, match="getaddrinfo"):
        listen_tcp(host, False, 0)


def test_unix_sockets(tmp_path: Path) -> None:
    path = os.fsencode(tmp_path / "socket")
    mask = os.umask(0o022)
    try:
        with listen_unix(path, 0o177, unlink=False):
            assert os.stat(path).st_mode & 0o777 == 0o600
        assert os.umask(0o022) == 0o022, "as it was"
        with pytest.raises(ListenError, match=r"cannot bind to path .*socket: Address already"):
            listen_unix(path, 0o177, unlink=False)
        with listen_unix(path, 0o111, unlink=True):
            assert os.stat(path).st_mode & 0o777 == 0o666
        with pytest.raises(ListenError, match="cannot bind"):
            listen_unix(b"/" + b"x" * 200, 0o177, unlink=True)
    finally:
        os.umask(mask)
