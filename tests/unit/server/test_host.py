"""The session host, with the front and the monitor played by the test."""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qsh.auth.key_options import KeyOptions
from qsh.config.daemon_options import DaemonOptions
from qsh.server import program, signals
from qsh.server.account import Account
from qsh.server.host import SessionHost
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    ChannelFailed,
    ChannelOpened,
    Exited,
    Grant,
    HangUp,
    HostAnswer,
    HostReport,
    HostRequest,
    Local,
    OpenChannel,
    Resize,
    SendSignal,
)
from qsh.server.session_rules import Plan, SessionRules
from qsh.wire.messages import Pty

if TYPE_CHECKING:
    from collections.abc import Iterator

LIMIT_S = 10.0
SLEEP = Plan("/bin/sleep", ("sleep", "1000"), {}, "/", str)


class Played:
    """A session host in a thread of its own."""

    def __init__(self, home: Path, **options: Any) -> None:
        front, host_front = packet_pair()
        self.monitor, host_monitor = packet_pair()
        self.front: PacketSocket[Any] = PacketSocket(front, HostAnswer)
        account = Account("me", os.getuid(), os.getgid(), (), str(home), "/bin/sh")
        grant = Grant(account, DaemonOptions(**options), KeyOptions(), ("::1", 1), ("::1", 2))
        self._ends = (host_front, host_monitor)
        host = SessionHost(
            PacketSocket(host_front, HostRequest),
            PacketSocket(host_monitor, HostReport),
            SessionRules(grant, DaemonOptions()),
        )
        self.thread = threading.Thread(target=host.run)
        self.thread.start()

    def ask(self, *requests: Local) -> None:
        for request in requests:
            self.front.send(request)

    def hear(self) -> tuple[Any, list[int]]:
        self.front.sock.settimeout(LIMIT_S)
        received = self.front.receive()
        assert received is not None
        return received

    def close(self) -> None:
        self.front.close()
        self.thread.join(LIMIT_S)
        assert not self.thread.is_alive()
        for end in (self.monitor, *self._ends):
            end.close()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Played]:
    played = Played(tmp_path)
    yield played
    played.close()


def ended(host: Played, command: bytes, **fields: Any) -> Exited:
    host.ask(OpenChannel(4, "exec", command, **fields))
    opened, descriptors = host.hear()
    assert isinstance(opened, ChannelOpened)
    message, _ = host.hear()
    for descriptor in descriptors:
        os.close(descriptor)
    assert isinstance(message, Exited)
    return message


@pytest.mark.parametrize(
    ("command", "end"),
    [
        (b"exit 7", Exited(4, status=7)),
        (b"kill -9 $$", Exited(4, signal="KILL")),
        (b"kill -40 $$", Exited(4, signal="40@qsh")),
    ],
)
def test_ends(host: Played, command: bytes, end: Exited) -> None:
    assert ended(host, command) == end
    assert ended(host, b"true") == Exited(4, status=0), "the host lives on"


def test_a_command_that_cannot_be_run_costs_only_itself(host: Played) -> None:
    assert ended(host, b"a\0b") == Exited(4, status=1)
    assert ended(host, b"x" * 131072) == Exited(4, status=1)
    assert ended(host, b"true") == Exited(4, status=0)


def _is_inherited(descriptor: int) -> bool:
    """By pytest from its caller; of a session host's own there are none (process.py)."""
    try:
        return os.get_inheritable(descriptor)
    except OSError:
        return False


REPORT = """\
import os, signal, sys
for name in set(os.listdir("/proc/self/fd")) - {"0", "1", "2", *sys.argv[1:]}:
    assert not os.path.exists(f"/proc/self/fd/{name}"), f"{name} is a descriptor of ours"
print(os.getsid(0) == os.getpid(), os.getcwd(), signal.getsignal(signal.SIGHUP) == signal.SIG_DFL)
"""


@pytest.mark.parametrize("other", ["fork", "posix_spawn"])
def test_a_program_on_pipes_is_the_same_forked_and_not(
    other: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a copy of the host it has its own session, its home, the default signals and no descriptor of ours, too."""
    monkeypatch.setattr(os, other, None)
    theirs = [name for name in os.listdir("/proc/self/fd") if _is_inherited(int(name))]
    plan = Plan(sys.executable, ("python", "-c", REPORT, *theirs), {}, str(tmp_path), str)
    here, before = os.getcwd(), signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        started = program.start(lambda: plan, None)
    finally:
        signal.signal(signal.SIGHUP, before)
    os.close(started.stdin)
    with open(started.stdout) as output, open(started.stderr) as errors:
        assert (output.read(), errors.read()) == (f"True {tmp_path} True\n", "")
    os.waitpid(started.pid, 0)
    os.close(started.pidfd)
    assert os.getcwd() == here


def test_what_is_to_be_done_before_a_program_is_done(tmp_path: Path) -> None:
    done = tmp_path / "done"
    plan = Plan("/bin/true", ("true",), {}, "/", str, lambda env: done.touch())
    started = program.start(lambda: plan, None)
    os.waitpid(started.pid, 0)
    for descriptor in (started.pidfd, started.stdin, started.stdout, started.stderr):
        os.close(descriptor)
    assert done.exists()


def test_a_users_file_that_cannot_be_read_costs_only_the_channel(tmp_path: Path) -> None:
    """~/.ssh/environment is a pipe that somebody holds open."""
    (tmp_path / ".ssh").mkdir()
    os.mkfifo(pipe := tmp_path / ".ssh" / "environment")
    holder = os.open(pipe, os.O_RDWR)
    host = Played(tmp_path, permit_user_environment=True)
    try:
        host.ask(OpenChannel(4, "exec", b"true"))
        answer, descriptors = host.hear()
        assert isinstance(answer, ChannelOpened | ChannelFailed)
        for descriptor in descriptors:
            os.close(descriptor)
    finally:
        host.close()
        os.close(holder)


def test_requests_for_nobody(host: Played) -> None:
    host.ask(Resize(8, 1, 1), SendSignal(8, "KILL"), SendSignal(8, "NOSUCH"), HangUp(8))
    host.ask(OpenChannel(4, "exec", b"cat"), SendSignal(4, "NOSUCH"), SendSignal(4, "BRK"))
    opened, descriptors = host.hear()
    assert isinstance(opened, ChannelOpened)
    host.ask(OpenChannel(4, "exec", b"true"))
    assert host.hear()[0].code == "bad-channel"
    for descriptor in descriptors:
        os.close(descriptor)
    assert host.hear()[0] == Exited(4, status=0)


def test_terminals(host: Played) -> None:
    for pty in (
        Pty("", 0, 0),
        Pty("\x1b[", 65535, 65535, modes=dict.fromkeys(range(160), 2**32 - 1)),
    ):
        host.ask(OpenChannel(4, "exec", b"exit 2", pty))
        opened, descriptors = host.hear()
        assert isinstance(opened, ChannelOpened)
        assert len(descriptors) == 2
        assert host.hear()[0] == Exited(4, status=2)
        for descriptor in descriptors:
            os.close(descriptor)


def test_a_hang_up_that_comes_at_once_reaches_the_program() -> None:
    """Before the child leads its group and before it has the program's signal dispositions."""
    for _ in range(50):
        started = program.start(lambda: SLEEP, None)
        signals.kill_group(started.pid, signal.SIGHUP)
        _, status = os.waitpid(started.pid, 0)
        assert os.WTERMSIG(status) == signal.SIGHUP
        for descriptor in (started.pidfd, started.stdin, started.stdout, started.stderr):
            os.close(descriptor)


def test_no_process_to_be_had(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> int:
        raise OSError(24, "Too many open files")

    before = set(os.listdir("/proc/self/fd"))
    for names in (("posix_spawn", "fork"), ("pidfd_open",)):
        with monkeypatch.context() as patch:
            for name in names:
                patch.setattr(os, name, fails)
            with pytest.raises(OSError, match="Too many"):
                program.start(lambda: SLEEP, None)
    assert "sleep" not in _children()
    assert set(os.listdir("/proc/self/fd")) == before
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == set()


def _children() -> list[str]:
    pids = Path(f"/proc/self/task/{threading.get_native_id()}/children").read_text().split()
    return [Path(f"/proc/{pid}/comm").read_text().strip() for pid in pids]


def test_bad_packets_hang_up(tmp_path: Path) -> None:
    host = Played(tmp_path)
    host.front.sock.send(b"\xc1")
    host.thread.join(LIMIT_S)
    assert not host.thread.is_alive()
    host.close()


def test_descriptors_from_the_front_are_not_kept(host: Played) -> None:
    read, write = os.pipe()
    socket.send_fds(host.front.sock, [b"\x82\xa1t\xa6hangup\xa7channel\x08"], [write])
    os.close(write)
    assert ended(host, b"true") == Exited(4, status=0)
    assert os.read(read, 1) == b""
    os.close(read)
