"""Clients whose way to the host changes: what runs goes on, and no byte is lost or doubled."""

from __future__ import annotations

import hashlib
import socket
import subprocess
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.netns import Network
from tests.support.procs import Daemon, Files, LoginUser
from tests.support.terminal import wait_until
from tests.support.uplink import LIMIT_S, NAME, Uplink, Work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.root, pytest.mark.tool("tmux")]


GREETER = """
import socket
ears = socket.create_server(("127.0.0.1", 0))
print(ears.getsockname()[1], flush=True)
while True:
    with ears.accept()[0] as sock:
        sock.sendall(b"here")
"""


@pytest.fixture
def uplink() -> Iterator[Uplink]:
    with LoginUser() as user, Files(user.name, server="LogLevel INFO\n") as files:
        with Network.link(delay_ms=10) as network:
            with Daemon.qshd(files, side=network.server) as daemon:
                yield Uplink(network, files, daemon, user)


def host_of(uplink: Uplink, family: str) -> str:
    return str(getattr(uplink.network.server, family))


@pytest.mark.parametrize("family", ["ip4", "ip6"])
def test_a_terminal_moves_within_a_family(uplink: Uplink, family: str) -> None:
    work = Work(uplink, host_of(uplink, family))
    try:
        work.type("before ")
        work.hears("before")
        uplink.move(family)
        work.type("after ")
        work.hears("after")
        uplink.await_move(family)
        work.end()
    finally:
        work.screen.close()


def whole(uplink: Uplink, host: str, data: bytes, change: Callable[[], None]) -> bool:
    """Whether ``data`` comes back as it was from a program on the host, with a change in the middle of it."""
    client = uplink.network.client.popen(
        uplink.words(host, "cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=uplink.files.env,
    )
    assert client.stdin is not None
    assert client.stdout is not None
    with client.stdin as stdin, client.stdout as stdout:
        writer = threading.Thread(target=lambda: (stdin.write(data[:-1]), stdin.flush()))
        writer.start()
        back = stdout.read(len(data) // 4)
        change()
        back += stdout.read(len(data) - 1 - len(back))
        writer.join()
        stdin.write(data[-1:])
        stdin.close()
        back += stdout.read()
    return client.wait(LIMIT_S) == 0 and back == data


@pytest.mark.parametrize("family", ["ip4", "ip6"])
def test_a_transfer_moves_within_a_family(uplink: Uplink, family: str) -> None:
    uplink.network.set(rate_mbit=40)
    data = hashlib.shake_256(b"uplink").digest(8 << 20)
    assert whole(uplink, host_of(uplink, family), data, lambda: uplink.move(family))


@pytest.mark.parametrize(
    ("before", "after"),
    [("4", "6"), ("6", "4"), ("46", "4"), ("46", "6"), ("4", "46"), ("6", "46")],
)
def test_a_terminal_moves_between_families(uplink: Uplink, before: str, after: str) -> None:
    client = uplink.network.client
    uplink.becomes(client, "46", before)
    work = Work(uplink, NAME)
    try:
        work.type("before ")
        work.hears("before")
        uplink.becomes(client, before, after)
        for number in range(20):
            work.type(f"after-{number} ")
        work.hears("after-19")
        work.end()
    finally:
        work.screen.close()


@pytest.mark.parametrize(("before", "after"), [("4", "6"), ("6", "4")])
def test_a_terminal_follows_its_host_to_the_other_family(
    uplink: Uplink, before: str, after: str
) -> None:
    server = uplink.network.server
    uplink.becomes(server, "46", before)
    work = Work(uplink, NAME)
    try:
        work.type("before ")
        work.hears("before")
        uplink.becomes(server, before, after)
        work.type("after ")
        work.hears("after")
        work.end()
    finally:
        work.screen.close()


@pytest.mark.parametrize(("before", "after"), [("4", "46"), ("6", "46")])
def test_a_transfer_does_not_mind_another_family(uplink: Uplink, before: str, after: str) -> None:
    uplink.network.set(rate_mbit=40)
    uplink.becomes(uplink.network.client, "46", before)
    data = hashlib.shake_256(b"uplink").digest(4 << 20)
    assert whole(uplink, NAME, data, lambda: uplink.becomes(uplink.network.client, before, after))


def test_a_transfer_waits_for_its_family_to_come_back(uplink: Uplink) -> None:
    client = uplink.network.client
    uplink.network.set(rate_mbit=40)
    data = hashlib.shake_256(b"uplink").digest(4 << 20)

    def away_and_back() -> None:
        uplink.becomes(client, "46", "6")
        uplink.becomes(client, "6", "46")

    assert whole(uplink, uplink.network.server.ip4, data, away_and_back)


def test_a_terminal_goes_on_by_another_interface_when_the_first_is_dead(uplink: Uplink) -> None:
    uplink.network.second_wire()
    work = Work(uplink, uplink.network.server.ip4)
    try:
        work.type("before ")
        work.hears("before")
        uplink.network.set(cut=True)
        work.type("after ")
        work.hears("after")
        wait_until(lambda: uplink.moves() == ["10.78.1.1"], "a line of qshd")
        work.end()
    finally:
        work.screen.close()


@pytest.mark.parametrize(("before", "after"), [("4", "46"), ("4", "6"), ("6", "4")])
def test_a_terminal_behind_a_jump_host_moves_between_families(
    uplink: Uplink, before: str, after: str
) -> None:
    """The way to the hop is lost with its family: both are logged in to again, and the terminal is attached."""
    client = uplink.network.client
    uplink.becomes(client, "46", before)
    work = Work(uplink, "127.0.0.1", "-J", f"{NAME}:{uplink.daemon.port}")
    try:
        work.type("before ")
        work.hears("before")
        uplink.becomes(client, before, after)
        work.type("after ")
        work.hears("after")
        work.end()
    finally:
        work.screen.close()


def fetched(uplink: Uplink, port: int) -> bytes:
    """What comes through a forwarded port; b"" while nothing does."""

    def ask() -> bytes:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as sock:
                sock.settimeout(5)
                return sock.recv(4)
        except OSError:
            return b""

    return bytes(uplink.network.client.inside(ask))


@pytest.mark.parametrize("change", ["another address", "away and back"])
def test_forwards_without_a_program_stay_with_their_family(uplink: Uplink, change: str) -> None:
    """``-N``: no session, so nothing to come back to over the other family; within its own the connection goes on."""
    client, server = uplink.network.client, uplink.network.server
    greeter = server.popen(
        ["/usr/bin/python3", "-S", "-c", GREETER], stdout=subprocess.PIPE, text=True
    )
    assert greeter.stdout is not None
    target = int(greeter.stdout.readline())
    port = 7070
    words = uplink.words(server.ip4, options=("-N", "-L", f"{port}:127.0.0.1:{target}"))
    forwarding = client.popen(words, env=uplink.files.env)
    try:
        wait_until(lambda: fetched(uplink, port) == b"here", "the forward")
        if change == "another address":
            uplink.move("ip4")
        else:
            uplink.becomes(client, "46", "6")
            assert forwarding.poll() is None
            uplink.becomes(client, "6", "46")
        wait_until(lambda: fetched(uplink, port) == b"here", "the forward, after the change")
        assert forwarding.poll() is None
    finally:
        for process in (forwarding, greeter):
            process.terminate()
            process.wait()
        greeter.stdout.close()
