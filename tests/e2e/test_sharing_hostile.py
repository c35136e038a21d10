"""What a client of a shared connection may do wrong, or be: its master serves the others all the while."""

from __future__ import annotations

import array
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsh.client.control_socket import ControlSocket
from qsh.wire import framing
from qsh.wire.messages import Attach, Open, Pty, Target
from qsh.wire.sharing import (
    Ask,
    Attend,
    Exited,
    FromMaster,
    HangUp,
    Refused,
    SessionOpened,
    SessionRequest,
    StdioRequest,
    Welcome,
)
from qsh.wire.terminal import Attached, HostFrame, TerminalDecoder
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.sharing import Shared, gone
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.wire.messages import Message


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(
        tmp_path_factory.mktemp("qshd"), f"{PLAIN_SHELL}\nMaxSessions 300\nDetachedMax 600"
    )
    yield server
    server.stop()


@pytest.fixture
def shared(server: LiveServer, tmp_path: Path) -> Iterator[Shared]:
    shared = Shared(server, tmp_path)
    shared.run("true")
    yield shared
    assert shared.run("echo on").stdout == b"on\n"  # whatever was done to it
    assert shared.logins <= shared.allowed_logins
    shared.end()


class Client:
    """Speaks with a master without any manners."""

    def __init__(self, shared: Shared) -> None:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(20)
        sock.connect(str(shared.socket))
        self.control = ControlSocket(sock, FromMaster)
        self.kept: list[socket.socket] = []
        assert isinstance(self.control.read(), Welcome)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.control.close()
        for sock in self.kept:
            sock.close()

    def say(self, message: Message, *descriptors: int) -> None:
        self.control.send(message, descriptors)

    def hear(self) -> Message | None:
        return self.control.read()

    def is_put_out(self) -> bool:
        with contextlib.suppress(ConnectionError):
            while self.control.sock.recv(65536):
                pass
        return True


def descriptors_of(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/fd"))


@pytest.mark.parametrize(
    "data",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"\0\0\0\x04\0\0\0\x01\0\0\0\x04",  # how ssh's clients greet
        b"\xff" * 64,
        (400 * 1024).to_bytes(4, "big"),
        framing.encode(Ask("check"))[:-1] + b"\xc1",
        framing.encode(Attend()) + framing.encode(Attend()),
    ],
)
def test_garbage_ends_its_client(shared: Shared, data: bytes) -> None:
    with Client(shared) as client:
        client.control.sock.sendall(data)
        assert client.is_put_out()


def test_half_a_request_and_many_that_say_nothing(shared: Shared) -> None:
    before = descriptors_of(shared.master)
    clients = [Client(shared) for _ in range(150)]
    for number, client in enumerate(clients):
        client.control.sock.sendall(
            framing.encode(SessionRequest(Open("exec", b"true")))[: number % 20]
        )
    assert shared.run("echo on").stdout == b"on\n"
    for client in clients:
        client.control.close()
    pid = shared.master
    wait_until(lambda: descriptors_of(pid) <= before + 1, "the master to forget them")


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_few_descriptors(shared: Shared, count: int) -> None:
    with Client(shared) as client, open(os.devnull, "rb") as null:
        client.say(SessionRequest(Open("exec", b"true")), *[null.fileno()] * count)
        answer = client.hear()
        assert isinstance(answer, Refused)
        assert answer.reason == "did not receive file descriptors"
        assert client.is_put_out()


def test_too_many_descriptors(shared: Shared) -> None:
    pid = shared.master
    before = descriptors_of(pid)
    with open(os.devnull, "rb") as null:
        for _ in range(20):
            with Client(shared) as client:
                with contextlib.suppress(OSError):
                    for _ in range(3):
                        rights = array.array("i", [null.fileno()] * 3)
                        control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                        client.control.sock.sendmsg([b"\0"], control)
                assert client.is_put_out()
    wait_until(lambda: descriptors_of(pid) <= before, "the master to close them")


def test_descriptors_of_every_kind(shared: Shared, tmp_path: Path) -> None:
    """A directory, an event, a socket that is not connected, a file to read from: errors, and nothing else."""
    (tmp_path / "file").write_bytes(b"text")
    strange = [
        os.open(tmp_path, os.O_RDONLY),
        os.eventfd(0),
        socket.socket(socket.AF_UNIX).detach(),
        os.open(tmp_path / "file", os.O_RDONLY),
        os.open(tmp_path / "file", os.O_PATH),
    ]
    try:
        for descriptor in strange:
            with Client(shared) as client:
                client.say(SessionRequest(Open("exec", b"echo out; cat")), *[descriptor] * 3)
                assert isinstance(client.hear(), SessionOpened)
                client.control.sock.settimeout(2)
                with contextlib.suppress(TimeoutError):
                    assert isinstance(client.hear(), Exited)
    finally:
        for descriptor in strange:
            os.close(descriptor)


def test_descriptors_closed_early(shared: Shared) -> None:
    """Output goes nowhere, input has ended: the program sees a closed pipe and ends."""
    with Client(shared) as client:
        reader, writer = os.pipe()
        os.close(reader)
        null = os.open(os.devnull, os.O_RDONLY)
        client.say(SessionRequest(Open("exec", b"yes")), null, writer, writer)
        os.close(writer)
        os.close(null)
        assert isinstance(client.hear(), SessionOpened)
        assert isinstance(client.hear(), Exited)


def test_clients_that_do_not_read_leave_room_for_others(shared: Shared) -> None:
    """Each holds a stream's window, and no more; the master's memory is bounded."""
    pid, clients, pipes = shared.master, [], []
    before = memory_kib(pid)
    for _ in range(12):
        client, (reader, writer) = Client(shared), os.pipe()
        null = os.open(os.devnull, os.O_RDONLY)
        client.say(SessionRequest(Open("exec", b"yes")), null, writer, writer)
        os.close(null)
        os.close(writer)
        assert isinstance(client.hear(), SessionOpened)
        clients.append(client)
        pipes.append(reader)
    data = os.urandom(1 << 20) * 4
    assert shared.run("cat", stdin=data).stdout == data
    assert memory_kib(pid) - before < 12 * 8 * 1024 + 64 * 1024
    for client, reader in zip(clients, pipes, strict=True):
        client.control.close()
        os.close(reader)


def memory_kib(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))


def test_a_client_that_reads_no_answers(shared: Shared) -> None:
    """Requests one after the other, answers unread: it is put out before much is kept for it."""
    pid = shared.master
    before = memory_kib(pid)
    with Client(shared) as client:
        client.control.sock.settimeout(5)
        with contextlib.suppress(OSError):
            for _ in range(200_000):
                client.control.sock.sendall(framing.encode(Ask("channels")))
        assert memory_kib(pid) - before < 16 * 1024


def test_requests_out_of_turn(shared: Shared) -> None:
    with Client(shared) as client:
        client.say(Attend())
        assert isinstance(client.hear(), SessionOpened)
        client.say(Ask("stop"))
        assert client.is_put_out()
    assert shared.socket.exists()
    with Client(shared) as client:
        client.say(HangUp())
        assert client.is_put_out()


def test_a_target_that_cannot_be(shared: Shared) -> None:
    with Client(shared) as client, open(os.devnull, "rb") as null:
        client.say(StdioRequest(Target("\0", 1)), null.fileno(), null.fileno())
        assert isinstance(client.hear(), Refused | Exited)


def test_gone_before_its_program_runs(shared: Shared, tmp_path: Path) -> None:
    """Ended between request and answer: what runs then is hung up, and nothing of it stays."""
    pid = shared.master
    before = descriptors_of(pid)
    null = os.open(os.devnull, os.O_RDWR)
    for number in range(20):
        with Client(shared) as client:
            command = f"echo $$ > {tmp_path}/pid{number}; exec sleep 600".encode()
            client.say(SessionRequest(Open("exec", command)), null, null, null)
    os.close(null)
    wait_until(lambda: descriptors_of(pid) <= before, "the master to forget them")

    def all_gone() -> bool:
        started = [path.read_text() for path in tmp_path.glob("pid*")]
        return all(gone(int(text)) for text in started if text.strip())

    wait_until(all_gone, "the programs to end")


@pytest.mark.root
def test_another_user(shared: Shared) -> None:
    """File modes keep others out; where they do not (an old system, a passed socket), credentials do."""
    folder = shared.socket.parent
    program = (
        "import os, socket, sys\n"
        "sock = socket.socket(socket.AF_UNIX)\n"
        "os.chdir(sys.argv[1])\n"
        "os.setresgid(65534, 65534, 65534); os.setresuid(65534, 65534, 65534)\n"
        "sock.connect('cp.qsh')\n"
        "try:\n    print(sock.recv(100))\nexcept ConnectionError:\n    print(b'')\n"
    )
    command = [sys.executable, "-c", program, str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "PermissionError" in done.stderr
    os.chmod(shared.socket, 0o666)
    os.chmod(folder, 0o755)
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout == "b''\n"


def test_a_request_and_its_end_in_one(shared: Shared) -> None:
    """What came with it is closed, though nothing was begun."""
    pid = shared.master
    before = descriptors_of(pid)
    request = framing.encode(SessionRequest(Open("exec", b"sleep 600")))
    with open(os.devnull, "rb") as null:
        rights = array.array("i", [null.fileno()] * 3)
        for last in (HangUp(), Ask("check")):
            for _ in range(10):
                with Client(shared) as client:
                    data = [request + framing.encode(last)]
                    control = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, rights)]
                    client.control.sock.sendmsg(data, control)
                    assert client.is_put_out()
    wait_until(lambda: descriptors_of(pid) <= before, "the master to close them")


def test_a_terminal_asked_for_again_and_again(shared: Shared, tmp_path: Path) -> None:
    """Only the last request counts, and those before it do not hang the terminal up."""
    shared.allowed_logins = 11  # who asks again doubts the connection
    pty, ours = Pty("xterm", 24, 80), Attach(bytes(16))
    with Client(shared) as client:
        command = f"echo $$ > {tmp_path}/pid; exec cat".encode()
        client.say(SessionRequest(Open("exec", command, pty, terminal=ours), 1))
        first = _attached(client, 1)
        again = Attach(bytes(16), ticket=first.ticket, consumed=first.start)
        message = Open("attach", first.name.encode(), pty, terminal=again)
        for number in range(2, 12):
            client.say(SessionRequest(message, number))
        assert _attached(client, 11).name == first.name
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text(), "cat")
        pid = int((tmp_path / "pid").read_text())
        for _ in range(3):
            assert shared.run("true").returncode == 0
        assert not gone(pid)
        client.say(HangUp())
        wait_until(lambda: gone(pid), "the program to end")


def _attached(client: Client, number: int) -> Attached:
    """The host's first word on the terminal that the last request gets."""
    while True:
        message = client.hear()
        assert message is not None
        assert not isinstance(message, Refused | Exited), message
        if not isinstance(message, SessionOpened):
            continue
        taken = client.control.take_descriptors(2)
        assert taken is not None
        stream, datagrams = (socket.socket(fileno=descriptor) for descriptor in taken)
        datagrams.close()
        with stream:
            if message.request != number:
                continue
            stream.settimeout(20)
            decoder: TerminalDecoder[object] = TerminalDecoder(HostFrame)
            client.kept.append(stream.dup())
            while True:
                for found in decoder.receive(stream.recv(65536)):
                    assert isinstance(found, Attached)
                    return found
