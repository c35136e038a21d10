"""ChrootDirectory: what a session sees, what it cannot reach, and which directories nobody is put into."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsh.server import chroot
from tests.support import live_server
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

PROGRAMS = ("/bin/sh", "/bin/cat", "/bin/ls", "/usr/bin/id", "/bin/pwd")
LIMIT_S = 20.0


@pytest.fixture(scope="module")
def jail() -> Iterator[Path]:
    """A root with a few programs and what they need."""
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        root = Path(path)
        needed = (
            {"/lib64/ld-linux-x86-64.so.2"}
            if Path("/lib64/ld-linux-x86-64.so.2").exists()
            else set()
        )
        for program in PROGRAMS:
            text = subprocess.run(
                ["ldd", program], capture_output=True, text=True, check=False
            ).stdout
            needed |= {program, *re.findall(r"(/\S+) \(0x", text)}
        for file in needed:
            target = root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        (root / "inside").write_text("inside\n")
        yield root


@pytest.fixture(scope="module")
def anna(jail: Path) -> Iterator[User]:
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        with temporary_user(Path(path), shell="/bin/sh") as user:
            yield user


@pytest.fixture(scope="module")
def server(
    jail: Path, anna: User, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveServer]:
    text = f"{PLAIN_SHELL}\nChrootDirectory {jail}\nExposeAuthInfo no"
    template = live_server._SERVER
    live_server._SERVER = template.replace("AuthorizedKeysFile {home}/authorized_keys\n", "")
    try:
        running = LiveServer(tmp_path_factory.mktemp("qshd"), text)
    finally:
        live_server._SERVER = template
    running.user = anna.name
    anna.authorize(running.user_key.line())
    yield running
    running.stop()


def test_a_session_sees_its_root_only(server: LiveServer, jail: Path, anna: User) -> None:
    done = server.run("cat /inside; pwd; id -u; ls /; ls /home; echo end")
    lines = done.stdout.decode().splitlines()
    assert lines[:3] == ["inside", "/", str(anna.uid)], done.stderr
    assert set(lines[3:-1]) == set(os.listdir(jail))
    assert lines[-1] == "end"


def test_its_host_is_inside_too(server: LiveServer, jail: Path, anna: User) -> None:
    """All of it: root, working directory, descriptors. The server's own processes are not."""
    with subprocess.Popen(
        server.command("cat"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=server.env,
        bufsize=0,
    ) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        client.stdin.write(b"x\n")
        assert client.stdout.read(2) == b"x\n"
        hosts = [
            entry
            for entry in Path("/proc").iterdir()
            if entry.name.isdigit() and entry.stat().st_uid in (0, anna.uid) and is_host(entry)
        ]
        assert hosts
        for host in hosts:
            assert os.readlink(host / "root") == str(jail)
            assert os.readlink(host / "cwd") == str(jail)
            for descriptor in (host / "fd").iterdir():
                assert not descriptor.is_dir(), os.readlink(descriptor)
        client.stdin.close()
        assert client.wait(LIMIT_S) == 0
    assert os.readlink(f"/proc/{server.process.pid}/root") == "/"


def is_host(entry: Path) -> bool:
    try:
        return (
            (entry / "comm").read_text() == "qshd-session\n"
            and str(os.getpid()) != entry.name
            and ("ChrootDirectory" in Path(command_file(entry)).read_text())
        )
    except OSError:
        return False


def command_file(entry: Path) -> str:
    return (entry / "cmdline").read_bytes().rstrip(b"\0").rpartition(b"\0")[2].decode()


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda path: path.chmod(0o775), "bad ownership or modes for chroot directory"),
        (lambda path: os.chown(path, 65534, -1), "bad ownership or modes for chroot directory"),
        (
            lambda path: path.parent.chmod(0o777),
            "bad ownership or modes for chroot directory component",
        ),
        (lambda path: (path.rmdir(), path.write_text("")), "is not a directory"),
        (lambda path: path.rmdir(), "No such file"),
    ],
)
def test_where_nobody_is_put(tmp_path_factory: pytest.TempPathFactory, make, reason: str) -> None:  # type: ignore[no-untyped-def]
    with tempfile.TemporaryDirectory(dir="/home") as top:
        os.chmod(top, 0o755)
        path = Path(top) / "a" / "root"
        path.mkdir(parents=True)
        assert chroot.refusal(str(path)) is None
        make(path)
        assert reason in str(chroot.refusal(str(path)))
    assert chroot.refusal("relative") == "chroot path does not begin at root"


def test_a_session_that_cannot_be_put_there_does_not_begin(server: LiveServer, jail: Path) -> None:
    jail.chmod(0o777)
    try:
        done = server.run("echo no")
        assert (done.returncode, done.stdout) == (255, b"")
    finally:
        jail.chmod(0o755)
    end = time.monotonic() + LIMIT_S
    reason = f'error: ChrootDirectory {jail}: bad ownership or modes for chroot directory "{jail}"'
    while reason not in "".join(server.log):
        assert time.monotonic() < end, "".join(server.log)
        time.sleep(0.01)
    assert server.run("echo yes").stdout == b"yes\n"
