"""What each process of a running qshd may open, signal and connect to (docs/security.md 2): the kernel is asked, not the code."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
import signal
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.terminal import OnTerminal, wait_until
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

ROLES = (
    "qshd",
    "qshd-spawner",
    "qshd-sign",
    "qshd-front",
    "qshd-session",
    "qshd-keeper",
    "qshd-recorder",
)
CONFINED = ("qshd-sign", "qshd-front")


PAM = """\
auth required pam_deny.so
account required pam_permit.so
session required pam_permit.so
password required pam_deny.so
"""


class Served(LiveServer):
    """One qshd, a terminal of each of two users, with PAM and recorded."""

    def __init__(self, home: Path, service: str) -> None:
        self.sockets = home / "sessions"
        self.metrics = home / "metrics" / "socket"
        self.recordings = home / "recordings"
        self.recordings.mkdir(mode=0o700)
        super().__init__(
            home,
            f"MaxStartups 200\nSessionDirectory {self.sockets}\nQshMetricsSocket {self.metrics}\n"
            f"UsePAM yes\nPAMServiceName {service}\n"
            f"QshRecord open\nQshRecordPath {self.recordings}/%u/%t.cast",
        )

    def pids(self, role: str) -> list[int]:
        if role == "qshd":
            return [self.process.pid]
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError):
                if (
                    entry.name.isdigit()
                    and (entry / "comm").read_text().strip() == role
                    and f"{self.home}/qshd_config".encode() in (entry / "cmdline").read_bytes()
                ):
                    found.append(int(entry.name))
        return found


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def soft_limit(pid: int, name: str) -> str:
    lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
    return next(line.removeprefix(name).split()[0] for line in lines if line.startswith(name))


@pytest.fixture(scope="module")
def homes() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def users(homes: Path) -> Iterator[tuple[User, User]]:
    with temporary_user(homes) as first, temporary_user(homes) as second:
        yield first, second


@pytest.fixture(scope="module")
def server(users: tuple[User, User]) -> Iterator[Served]:
    with tempfile.TemporaryDirectory() as path, contextlib.ExitStack() as stack:
        os.chmod(path, 0o755)
        rules = Path("/etc/pam.d", f"qsht{secrets.token_hex(4)}")
        rules.write_text(PAM)
        stack.callback(rules.unlink)
        server = Served(Path(path), rules.name)
        stack.callback(server.stop)
        for user in users:
            server.user = user.name
            terminal = OnTerminal(server.command("sh", options=("-t",)), server.env)
            stack.enter_context(terminal)
            terminal.type(b"echo $((6*7))up\r")
            terminal.expect(b"42up")
        wait_until(lambda: len(server.pids("qshd-session")) == 2)
        yield server


def as_user(user: User, action: str) -> str:
    """What became of ``action`` in a process with all that this user has: done, or the number of the error."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setresgid(user.gid, user.gid, user.gid)
            os.setresuid(user.uid, user.uid, user.uid)
            exec(action, {"os": os, "socket": socket})
            os.write(writer, b"done")
        except OSError as error:
            os.write(writer, str(error.errno).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with open(reader) as file:
        answer = file.read()
    os.waitpid(child, 0)
    assert answer, "it did not come to that"
    return answer


def session_of(server: Served, user: User) -> int:
    (found,) = (
        pid for pid in server.pids("qshd-session") if status(pid)["Uid"].split()[0] == str(user.uid)
    )
    return found


# -- what they are ------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
def test_they_have_names(server: Served, role: str) -> None:
    assert server.pids(role)


@pytest.mark.parametrize("role", CONFINED)
def test_the_confined_have_nothing(server: Served, role: str) -> None:
    (pid,) = server.pids(role)
    found = status(pid)
    assert "0" not in found["Uid"].split() + found["Gid"].split()
    assert found["Groups"] == ""
    for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(found[kind], 16) == 0, kind
    assert found["NoNewPrivs"] == "1"
    assert found["Seccomp"] == "2"
    assert found["Umask"] == "0077"
    assert os.listdir(f"/proc/{pid}/root") == []
    assert soft_limit(pid, "Max core file size") == "0"
    for task in Path(f"/proc/{pid}/task").iterdir():
        assert "Seccomp:\t2" in (task / "status").read_text(), "every thread"


CAP_KILL, CAP_NET_ADMIN = 5, 12


def test_the_monitor_has_few_of_roots_rights(server: Served) -> None:
    """It ends processes of others; its sockets' buffers are larger than the system's limit. It starts no program."""
    (pid,) = server.pids("qshd")
    found = status(pid)
    few = 1 << CAP_KILL | 1 << CAP_NET_ADMIN
    assert int(found["CapEff"], 16) & ~few == 0
    assert int(found["CapPrm"], 16) & ~few == 0
    assert int(found["CapInh"], 16) == int(found["CapBnd"], 16) == 0
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_a_keeper_and_a_recorder_are_root_and_that_is_all(server: Served) -> None:
    """PAM's modules end what they began; recordings are written to files that root has made."""
    for pid in server.pids("qshd-keeper"):
        assert (status(pid)["Uid"].split()[0], status(pid)["Seccomp"]) == ("0", "2")
    for pid in server.pids("qshd-recorder"):
        found = status(pid)
        for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb"):
            assert int(found[kind], 16) == 0, kind
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def test_a_recorder_holds_its_own_recording_alone(server: Served) -> None:
    held = []
    for pid in server.pids("qshd-recorder"):
        files = [fd for fd in os.listdir(f"/proc/{pid}/fd") if kind_of(pid, fd) == "file"]
        (path,) = (Path(os.readlink(f"/proc/{pid}/fd/{fd}")) for fd in files)
        assert path.is_relative_to(server.recordings)
        held.append(path)
    assert len(set(held)) == len(held) == 2


def test_a_user_reads_no_recording(server: Served, users: tuple[User, User]) -> None:
    (first, *_) = server.recordings.rglob("*.cast")
    assert as_user(users[0], f"open({str(first)!r})") == str(errno.EACCES)


@pytest.mark.parametrize("role", ["qshd-spawner", "qshd-session"])
def test_sessions_may_do_what_their_user_may(server: Served, role: str) -> None:
    """Sudo, a debugger: nothing was given up that a shell would miss, in what it comes from either."""
    for pid in server.pids(role):
        found = status(pid)
        assert (found["NoNewPrivs"], found["Seccomp"]) == ("0", "0")
        assert found["CapBnd"] == status(os.getpid())["CapBnd"]


def test_front_and_signer_are_not_one_user(server: Served) -> None:
    """Processes of one user may send each other signals."""
    uids = {status(server.pids(role)[0])["Uid"] for role in CONFINED}
    assert len(uids) == 2


def test_sessions_are_their_users(server: Served, users: tuple[User, User]) -> None:
    for user in users:
        found = status(session_of(server, user))
        assert found["Uid"].split() == [str(user.uid)] * 4
        assert found["Gid"].split() == [str(user.gid)] * 4
        assert found["Groups"].split() == [str(user.gid)]
        assert [int(found[kind], 16) for kind in ("CapInh", "CapPrm", "CapEff", "CapAmb")] == [
            0
        ] * 4


# -- what they hold open ------------------------------------------------------------------------

MAY_HOLD = {
    "qshd": {"socket", "anon", "pipe", "file", "device", "memory"},
    "qshd-spawner": {"socket", "anon", "pipe", "file", "device", "memory"},
    "qshd-sign": {"socket", "pipe", "device", "file"},
    "qshd-front": {"socket", "anon", "pipe", "file", "device"},
    "qshd-session": {
        "socket",
        "anon",
        "pipe",
        "device",
        "terminal",
        "directory",
        "memory",
        "itself",
    },
    "qshd-keeper": {"socket", "pipe", "device", "memory"},
    "qshd-recorder": {"socket", "pipe", "device", "file"},
}


def kind_of(pid: int, fd: str) -> str:
    link = os.readlink(f"/proc/{pid}/fd/{fd}")
    if link.startswith("/memfd:"):
        return "memory"
    if link.startswith(("/dev/ptmx", "/dev/pts")):
        return "terminal"
    if link.startswith(f"/proc/{pid}/"):
        return "itself"
    for prefix, kind in (("socket:", "socket"), ("anon_inode:", "anon"), ("pipe:", "pipe")):
        if link.startswith(prefix):
            return kind
    mode = os.stat(f"/proc/{pid}/fd/{fd}").st_mode
    if stat.S_ISCHR(mode):
        return "device"
    return "directory" if stat.S_ISDIR(mode) else "file"


@pytest.mark.parametrize("role", ROLES)
def test_descriptors(server: Served, role: str) -> None:
    for pid in server.pids(role):
        held = {fd: kind_of(pid, fd) for fd in os.listdir(f"/proc/{pid}/fd")}
        links = {fd: os.readlink(f"/proc/{pid}/fd/{fd}") for fd in held}
        odd = {links[fd] for fd, kind in held.items() if kind not in MAY_HOLD[role]}
        assert not odd, role
        assert not [link for link in links.values() if "host_key" in link or "shadow" in link]


@pytest.mark.parametrize("role", [role for role in ROLES if role != "qshd-front"])
def test_only_the_front_has_the_network(server: Served, role: str) -> None:
    (front,) = server.pids("qshd-front")

    def inodes(pid: int) -> set[str]:
        names = os.listdir(f"/proc/{pid}/fd")
        links = (os.readlink(f"/proc/{pid}/fd/{name}") for name in names)
        return {link[8:-1] for link in links if link.startswith("socket:")}

    network = set()
    for table in ("udp", "udp6", "tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            network.add(line.split()[9])
    assert inodes(front) & network, "positive control"
    ours = network & inodes(front)
    for pid in server.pids(role):
        held = inodes(pid) & network
        # The listening sockets survive the front in those that start the next one and never read from them.
        assert held <= (ours if role in {"qshd", "qshd-spawner"} else set()), role


# -- what a user can do to them -----------------------------------------------------------------


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGSTOP, signal.SIGKILL])
def test_a_user_signals_nobody_else(
    server: Served, users: tuple[User, User], role: str, number: signal.Signals
) -> None:
    mine, other = users
    pid = session_of(server, other) if role == "qshd-session" else server.pids(role)[0]
    assert as_user(mine, f"os.kill({pid}, {int(number)})") == str(errno.EPERM)


@pytest.mark.parametrize("role", ROLES)
@pytest.mark.parametrize("file", ["mem", "fd", "environ", "maps", "cwd"])
def test_a_user_sees_into_nobody_else(
    server: Served, users: tuple[User, User], role: str, file: str
) -> None:
    mine, other = users
    pid = session_of(server, other) if role == "qshd-session" else server.pids(role)[0]
    look = {"fd": "os.listdir", "cwd": "os.readlink"}.get(file, "open")
    assert as_user(mine, f"{look}('/proc/{pid}/{file}')") == str(errno.EACCES)


def test_a_user_sees_not_even_into_his_own_host(server: Served, users: tuple[User, User]) -> None:
    """What it inherits of qshd, and the keys that resume his sessions, is not for his other programs."""
    pid = session_of(server, users[0])
    assert as_user(users[0], f"open('/proc/{pid}/mem')") == str(errno.EACCES)


def unix_sockets(server: Served) -> list[Path]:
    found = [path for path in server.home.rglob("*") if path.is_socket()]
    assert len(found) >= 3, "two terminals and the metrics"
    return found


def test_every_socket_is_in_a_directory_of_its_owner_alone(server: Served) -> None:
    for path in unix_sockets(server):
        directory = path.parent.stat()
        assert stat.S_IMODE(directory.st_mode) == 0o700, path
        assert directory.st_uid == path.stat().st_uid, path


def test_no_socket_has_an_abstract_name(server: Served) -> None:
    """No directory guards those."""
    own = set()
    for role in ROLES:
        for pid in server.pids(role):
            for fd in os.listdir(f"/proc/{pid}/fd"):
                own.add(os.readlink(f"/proc/{pid}/fd/{fd}"))
    lines = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()[1:]]
    named = {f"socket:[{words[6]}]": words[7] for words in lines if len(words) > 7}
    assert not [named[link] for link in own if named.get(link, "").startswith("@")]


def test_a_user_connects_to_no_socket_of_others(server: Served, users: tuple[User, User]) -> None:
    mine = users[0]
    for path in unix_sockets(server):
        if path.stat().st_uid == mine.uid:
            continue
        kind = "SOCK_STREAM" if "metrics" in path.parts else "SOCK_SEQPACKET"
        action = f"socket.socket(socket.AF_UNIX, socket.{kind}).connect({str(path)!r})"
        assert as_user(mine, action) == str(errno.EACCES), path


def test_whoever_gets_to_a_terminals_socket_must_be_its_user(
    server: Served, users: tuple[User, User]
) -> None:
    """Even root, whom no directory stops, is not answered: the peer's credentials are asked for."""
    (path,) = (
        path
        for path in unix_sockets(server)
        if path.stat().st_uid == users[0].uid and "metrics" not in path.parts
    )
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(10)
        with contextlib.suppress(ConnectionResetError):
            sock.connect(str(path))
            assert sock.recv(100) == b""


@pytest.mark.parametrize("name", ["host_key", "qshd_config"])
def test_a_user_changes_no_file_of_the_server(
    server: Served, users: tuple[User, User], name: str
) -> None:
    path = server.home / name
    assert as_user(users[0], f"open({str(path)!r}, 'r+')") == str(errno.EACCES)


def test_the_host_key_is_roots(server: Served, users: tuple[User, User]) -> None:
    path = server.home / "host_key"
    assert as_user(users[0], f"open({str(path)!r})") == str(errno.EACCES)


def test_links_in_the_place_of_a_session_directory_lead_nowhere(
    server: Served, homes: Path, users: tuple[User, User]
) -> None:
    """A user's directory is made by root in one that only root writes to: nobody can put a link there first."""
    parent = server.sockets.stat()
    assert parent.st_uid == 0
    assert not parent.st_mode & (stat.S_IWGRP | stat.S_IWOTH)
    link = server.sockets / "123456"
    assert as_user(users[0], f"os.symlink('/etc', {str(link)!r})") == str(errno.EACCES)
