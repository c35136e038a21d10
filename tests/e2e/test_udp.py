"""UDP forwards against a real qshd: what goes through, how it ends, and what goes wrong."""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING

import pytest

from tests.support.datagrams import UdpTarget, echoed, exchange, udp_peer
from tests.support.forwarding import Forwarding
from tests.support.live_server import LiveServer, free_port
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


def local(port: int, target: UdpTarget | int, host: str = "127.0.0.1") -> tuple[str, str]:
    to = target if isinstance(target, int) else target.port
    return "-L", f"udp/{port}:{host}:{to}"


# -- what goes through ---------------------------------------------------------------------------


def test_the_first_datagram_is_answered(server: LiveServer) -> None:
    """It must not get lost while the flow is made: a resolver would wait for seconds."""
    port = free_port()
    with UdpTarget(bytes.upper) as target, Forwarding(server, *local(port, target)):
        with udp_peer(port) as sock:
            sock.send(b"question")
            assert sock.recv(100) == b"QUESTION"
            for size in (0, 1, 200, 1100):
                assert exchange(sock, b"x" * size) == b"X" * size
        assert len(target.peers) == 1


def test_each_peer_has_a_flow_of_its_own(server: LiveServer) -> None:
    port = free_port()
    with UdpTarget() as target, Forwarding(server, *local(port, target)) as client:
        with udp_peer(port) as one, udp_peer(port) as two:
            assert exchange(one, b"1") == b"1"
            assert exchange(two, b"2") == b"2"
            assert exchange(one, b"3") == b"3"
        assert len(target.peers) == 2
        assert len([line for line in client.log if "direct-udp" in line]) == 2


@pytest.mark.parametrize("size", [1200, 1472, 9000, 65507])
def test_large_datagrams(server: LiveServer, size: int) -> None:
    port, data = free_port(), os.urandom(size)
    with UdpTarget() as target, Forwarding(server, *local(port, target)), udp_peer(port) as sock:
        assert exchange(sock, data) == data


def test_a_remote_forward(server: LiveServer) -> None:
    port = free_port()
    with UdpTarget() as target:
        options = ("-R", f"udp/{port}:127.0.0.1:{target.port}")
        with Forwarding(server, *options) as client:
            client.expect("remote forward success for: listen udp port")
            with udp_peer(port) as one, udp_peer(port) as two:
                one.send(b"first")
                assert one.recv(10) == b"first"
                data = os.urandom(60000)
                assert exchange(two, data) == data
            assert len(target.peers) == 2
            client.expect("forwarded-udp: listen udp port")


def test_a_remote_forward_to_a_port_that_is_free(server: LiveServer) -> None:
    with (
        UdpTarget() as target,
        Forwarding(server, "-R", f"udp/0:127.0.0.1:{target.port}") as client,
    ):
        line = client.expect("Allocated port ")
        assert echoed(int(line.split()[2]))


def test_names_and_keywords(server: LiveServer) -> None:
    """``localhost`` is ::1, too, where nobody listens."""
    port = free_port()
    with UdpTarget() as target:
        option = f"LocalForward=udp/127.0.0.1:{port} localhost:{target.port}"
        with Forwarding(server, "-o", option):
            assert echoed(port)


def test_ipv6(server: LiveServer) -> None:
    port = free_port()
    with (
        UdpTarget(host="::1") as target,
        Forwarding(server, "-L", f"udp/[::1]:{port}:[::1]:{target.port}"),
    ):
        with udp_peer(port, "::1") as sock:
            assert exchange(sock, b"six") == b"six"


def test_many_exchanges(server: LiveServer) -> None:
    port = free_port()
    with UdpTarget() as target, Forwarding(server, *local(port, target)), udp_peer(port) as sock:
        for number in range(2000):
            data = number.to_bytes(4, "big") * 50
            assert exchange(sock, data) == data


# -- how it ends ---------------------------------------------------------------------------------


def test_a_flow_ends_when_it_is_not_used(server: LiveServer) -> None:
    port = free_port()
    with UdpTarget() as target:
        options = (*local(port, target), "-o", "QshUdpTimeout=1")
        with Forwarding(server, *options) as client, udp_peer(port) as sock:
            assert exchange(sock, b"a") == b"a"
            line = client.expect("not used any more")
            assert "1 sent, 1 received, 0 lost" in line
            assert exchange(sock, b"b") == b"b"
            client.expect("direct-udp", 2)
            assert len(target.peers) == 2


def test_a_remote_flow_ends_when_it_is_not_used(server: LiveServer) -> None:
    port = free_port()
    with UdpTarget() as target:
        options = ("-R", f"udp/{port}:127.0.0.1:{target.port}", "-o", "QshUdpTimeout=1")
        with Forwarding(server, *options) as client:
            client.expect("remote forward success")
            assert echoed(port)
            client.expect("ended by the other side")


def test_a_port_where_nobody_listens(server: LiveServer) -> None:
    """ICMP's answer ends the flow, and the next datagram makes another."""
    port, nobody = free_port(), free_port()
    with Forwarding(server, *local(port, nobody)) as client, udp_peer(port) as sock:
        sock.send(b"a")
        client.expect("Connection refused")
        sock.send(b"b")
        client.expect("Connection refused", 2)


def test_the_program_does_not_wait_for_flows(server: LiveServer) -> None:
    port = free_port()
    with UdpTarget() as target:
        ran = server.run("echo done", options=local(port, target))
        assert (ran.returncode, ran.stdout) == (0, b"done\n")


# -- what goes wrong -----------------------------------------------------------------------------


def test_a_name_that_is_none(server: LiveServer) -> None:
    port = free_port()
    with Forwarding(server, *local(port, 53, "nonesuch.invalid")) as client, udp_peer(port) as sock:
        sock.send(b"a")
        client.expect("open failed: connect failed: ")


def asked_again(sock: socket.socket) -> bool:
    """One more datagram: there may be no listener yet, which a sender is told of or not."""
    with contextlib.suppress(ConnectionRefusedError):
        sock.send(b"a")
    return True


@pytest.mark.parametrize(
    "extra", ["AllowTcpForwarding no", "DisableForwarding yes", "PermitOpen none"]
)
def test_forbidden_targets(tmp_path_factory: pytest.TempPathFactory, extra: str) -> None:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), extra)
    try:
        port = free_port()
        with UdpTarget() as target, Forwarding(server, *local(port, target)) as client:
            refused = "open failed: administratively prohibited: open failed"
            with udp_peer(port) as sock:
                wait_until(lambda: asked_again(sock) and any(refused in it for it in client.log))
            assert not target.heard
        if extra != "PermitOpen none":
            ran = server.run(
                "true",
                options=(
                    *("-R", f"udp/{port}:127.0.0.1:53"),
                    *("-o", "ExitOnForwardFailure=yes"),
                ),
            )
            assert ran.returncode == 255
            assert b"remote port forwarding failed for listen udp port" in ran.stderr
    finally:
        server.stop()


def test_a_taken_port(server: LiveServer) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        options = ("-o", "ExitOnForwardFailure=yes", "-o", "AddressFamily=inet")
        ran = server.run("true", options=(*options, "-L", f"udp/127.0.0.1:{port}:127.0.0.1:53"))
        assert ran.returncode == 255
        assert b"cannot listen to udp port" in ran.stderr
        ran = server.run("true", options=(*options, "-R", f"udp/127.0.0.1:{port}:127.0.0.1:53"))
        assert ran.returncode == 255
        assert b"remote port forwarding failed" in ran.stderr


@pytest.mark.parametrize("spec", ["udp/53", "udp/53:x", "udp//a:x:5", "udp/5:/b", "udp/:a:5"])
def test_specifications_that_are_none(server: LiveServer, spec: str) -> None:
    for option in ("-L", "-R"):
        ran = server.run("true", options=(option, spec))
        assert ran.returncode == 255
        assert b"forwarding specification" in ran.stderr
