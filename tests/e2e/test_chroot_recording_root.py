"""Sessions under ChrootDirectory that are recorded: the recorder stays outside, and so do its files."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.e2e.test_recording_root import Recorded, text
from tests.support.terminal import wait_until
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

PROGRAMS = ("/bin/sh", "/bin/cat", "/bin/ls", "/bin/seq")


@pytest.fixture(scope="module")
def jail() -> Iterator[Path]:
    """A root with a few programs, what they need, and terminals."""
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        root = Path(path)
        needed = {path for path in ("/lib64/ld-linux-x86-64.so.2",) if Path(path).exists()}
        for program in PROGRAMS:
            listed = subprocess.run(["ldd", program], capture_output=True, text=True, check=True)
            needed |= {program, *re.findall(r"(/\S+) \(0x", listed.stdout)}
        for file in needed:
            target = root / file.lstrip("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        terminals = root / "dev/pts"
        terminals.mkdir(parents=True)
        (root / "dev/ptmx").symlink_to("pts/ptmx")
        mounted = ["-t", "devpts", "-o", "newinstance,ptmxmode=0666,mode=620", "devpts"]
        subprocess.run(["mount", *mounted, terminals], check=True)
        try:
            yield root
        finally:
            subprocess.run(["umount", "-l", terminals], check=True)


@pytest.fixture
def place() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture
def user(place: Path) -> Iterator[User]:
    with temporary_user(place, shell="/bin/sh") as user:
        yield user


@pytest.fixture
def server(
    place: Path, user: User, jail: Path, request: pytest.FixtureRequest
) -> Iterator[Recorded]:
    running = Jailed(place, user, jail, request.param)
    yield running
    running.stop()


class Jailed(Recorded):
    """A qshd that records one user and has him in a root of his own."""

    def __init__(self, home: Path, user: User, jail: Path, policy: str) -> None:
        self.jail = jail
        super().__init__(home, user, policy)

    def start(self) -> None:
        if "ChrootDirectory" not in self.extra:
            self.extra += f"ChrootDirectory {self.jail}\n"
        super().start()


def inside(jail: Path) -> set[Path]:
    return {path for path in jail.rglob("*") if path.parent != jail / "dev/pts"}


@pytest.mark.parametrize("server", ["open", "closed"], indirect=True)
def test_the_recording_is_outside(server: Jailed, jail: Path) -> None:
    before = inside(jail)
    with server.terminal() as terminal:
        terminal.type(b"echo in $((6*7)); ls /\n")
        terminal.expect(b"in 42")
        recorder = server.recorder()
        assert os.readlink(f"/proc/{recorder}/root") == "/"
        terminal.type(b"exit\n")
        assert terminal.wait() == 0
    (path,) = server.files()
    wait_until(lambda: server.told("Recording of .* ended"), "the end in the log")
    assert "in 42\r\n" in text(path)
    assert inside(jail) == before, "nothing was written inside"


@pytest.mark.parametrize("server", ["open", "closed"], indirect=True)
def test_the_host_inside_holds_nothing_of_the_recorders(server: Jailed, user: User) -> None:
    """A socket is all that they share: no descriptor of a file or directory outside."""
    with server.terminal("cat") as terminal:
        terminal.type(b"x\n")
        terminal.expect(b"x\r\nx")
        argv = ["pgrep", "-u", str(user.uid), "-x", "qshd-session"]
        hosts = subprocess.run(argv, capture_output=True, check=True, text=True).stdout.split()
        for host in hosts:
            links = [os.readlink(each) for each in Path(f"/proc/{host}/fd").iterdir()]
            assert not [link for link in links if str(server.where) in link]
            assert os.readlink(f"/proc/{host}/root") == str(server.jail)


@pytest.mark.parametrize("server", ["open"], indirect=True)
def test_a_killed_recorder_open(server: Jailed) -> None:
    with server.terminal("cat") as terminal:
        terminal.type(b"before\n")
        terminal.expect(b"before\r\nbefore")
        os.kill(server.recorder(), signal.SIGKILL)
        wait_until(lambda: server.told("recorder has ended; sessions go on"))
        terminal.type(b"after\n")
        terminal.expect(b"after\r\nafter")
        terminal.type(b"\x04")
        assert terminal.wait() == 0


@pytest.mark.parametrize("server", ["closed"], indirect=True)
def test_a_killed_recorder_closed(server: Jailed) -> None:
    with server.terminal("cat") as terminal:
        terminal.type(b"before\n")
        terminal.expect(b"before\r\nbefore")
        os.kill(server.recorder(), signal.SIGKILL)
        terminal.expect(b"cannot be recorded")
        assert terminal.wait() == 255
    wait_until(lambda: server.told("it cannot be recorded any more"))


@pytest.mark.parametrize(
    ("server", "starts"), [("open", True), ("closed", False)], indirect=["server"]
)
def test_no_place_for_recordings(server: Jailed, user: User, *, starts: bool) -> None:
    """The directory is a user's: ``open`` goes on without, ``closed`` starts nothing."""
    server.where.mkdir()
    os.chown(server.where, user.uid, user.gid)
    with server.terminal("echo started") as terminal:
        status = terminal.wait()
        assert (b"started" in terminal.output, status == 0) == (starts, starts)
    wait_until(lambda: server.told("failed: .*others can change"))
    assert server.files() == []


@pytest.mark.parametrize(
    ("server", "goes_on"), [("open", True), ("closed", False)], indirect=["server"]
)
def test_a_full_disk(server: Jailed, *, goes_on: bool) -> None:
    server.where.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(server.where)]
    subprocess.run(["mount", *options], check=True)
    try:
        with server.terminal("seq 9000; echo flo''oded; cat") as terminal:
            if goes_on:
                terminal.expect(b"flooded")
                terminal.type(b"still here\n")
                terminal.expect(b"still here\r\nstill here")
            else:
                assert terminal.wait() == 255
                assert b"cannot be recorded" in terminal.output
        wait_until(lambda: server.told("Recording of .* failed: .*No space left"))
    finally:
        subprocess.run(["umount", "-l", str(server.where)], check=True)
