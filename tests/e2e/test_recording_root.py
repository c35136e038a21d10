"""Sessions that are recorded: whose, where, and what a full disk or a dead recorder means."""

from __future__ import annotations

import json
import os
import re
import signal
import stat
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.terminal import OnTerminal, wait_until
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.root

EXTRA = f"""{PLAIN_SHELL}
LogLevel VERBOSE
Match User {{user}}
DetachedMax 1h
QshRecord {{policy}}
QshRecordPath {{where}}/%u/%t.cast
QshRecordInput {{typed}}
"""


class Recorded(LiveServer):
    """A qshd that records one user; root is not recorded."""

    def __init__(self, home: Path, user: User, policy: str, typed: str = "no") -> None:
        self.recorded, self.policy, self.where = user, policy, home / "recordings"
        super().__init__(
            home, EXTRA.format(user=user.name, policy=policy, where=self.where, typed=typed)
        )

    @contextmanager
    def terminal(self, *words: str) -> Iterator[OnTerminal]:
        """One of the user's."""
        self.user = self.recorded.name
        argv = self.command(*words, options=("-t",))
        with OnTerminal(argv, {**self.env, "TERM": "xterm-256color"}) as terminal:
            yield terminal

    def recorder(self) -> int:
        """The one that there is, or will be."""
        wait_until(self.recorders, "a recorder")
        (found,) = self.recorders()
        return found

    def files(self) -> list[Path]:
        return sorted(self.where.glob("*/*.cast"))

    def recorders(self) -> list[int]:
        found = []
        for entry in Path("/proc").iterdir():
            try:
                comm = (entry / "comm").read_text().strip()
                arguments = (entry / "cmdline").read_bytes()
            except OSError:
                continue
            if comm == "qshd-recorder" and f"{self.home}/qshd_config".encode() in arguments:
                found.append(int(entry.name))
        return found

    def told(self, pattern: str) -> list[str]:
        return [line for line in self.log if re.search(pattern, line)]


def events(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def text(path: Path, kind: str = "o") -> str:
    return "".join(event[2] for event in events(path)[1:] if event[1] == kind)


@pytest.fixture
def home() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture
def user(home: Path) -> Iterator[User]:
    with temporary_user(home) as user:
        yield user


@pytest.fixture
def server(home: Path, user: User, request: pytest.FixtureRequest) -> Iterator[Recorded]:
    running = Recorded(home, user, *getattr(request, "param", ("closed",)))
    yield running
    running.stop()


def test_a_session(server: Recorded, user: User) -> None:
    with server.terminal() as terminal:
        terminal.type(b"printf 'caf\\303\\251 %s\\n' $((6*7)); id -u\n")
        terminal.expect(str(user.uid).encode())
        terminal.resize(30, 90)
        wait_until(lambda: '"90x30"' in server.files()[0].read_text(), "resized")
        terminal.type(b"exit\n")
        assert terminal.wait() == 0
    (path,) = server.files()
    wait_until(lambda: server.told("Recording of .* ended"), "the end in the log")
    header = events(path)[0]
    assert (header["version"], header["width"], header["height"]) == (2, 80, 24)
    assert header["title"] == f"{user.name}@{os.uname().nodename}"
    assert header["env"] == {"TERM": "xterm-256color", "SHELL": "/bin/bash"}
    assert "café 42\r\n" in text(path)
    assert text(path, "i") == ""
    assert path.parent.name == user.name
    for each, mode in ((path, 0o600), (path.parent, 0o700), (server.where, 0o700)):
        found = each.stat()
        assert (stat.S_IMODE(found.st_mode), found.st_uid) == (mode, 0)
    assert server.told(f"Recording session of {user.name} from 127.0.0.1 .* to {path}")
    assert not server.recorders()


@pytest.mark.parametrize("server", [("open", "yes")], indirect=True)
def test_what_is_typed(server: Recorded) -> None:
    with server.terminal("read -s x; echo got") as terminal:
        wait_until(server.files, "begun")
        terminal.type(b"secret\n")
        terminal.expect(b"got")
        assert terminal.wait() == 0
    (path,) = server.files()
    wait_until(lambda: server.told("Recording of .* ended"))
    assert text(path, "i") == "secret\n"
    assert events(path)[0]["command"] == "read -s x; echo got"


def test_who_is_not_recorded(server: Recorded, user: User) -> None:
    assert server.run("echo", "hi", options=("-tt",)).stdout == b"hi\r\n"
    server.user = user.name
    assert server.run("echo", "hi").stdout == b"hi\n", "a program without a terminal is not"
    assert server.files() == []


def test_two_terminals_at_the_same_second(server: Recorded) -> None:
    with server.terminal("cat") as first, server.terminal("cat") as second:
        for terminal, word in ((first, b"one\n"), (second, b"two\n")):
            terminal.type(word)
            terminal.expect(word.strip())
        wait_until(lambda: len(server.files()) == 2)
        wait_until(lambda: {"one", "two"} == {text(path)[:3] for path in server.files()})


def test_the_user_cannot_reach_recorder_or_file(server: Recorded, user: User) -> None:
    with server.terminal("cat"):
        recorder = server.recorder()
        wait_until(server.files, "a recording")
        (path,) = server.files()
        attempts = [f"cat {path}", f"echo >> {path}", f"rm {path}", f"kill -9 {recorder}"]
        for host in _hosts(user):
            attempts += [f"ls /proc/{host}/fd", f"cat /proc/{host}/mem", f"ls /proc/{recorder}/fd"]
        assert len(attempts) > 4
        for attempt in attempts:
            argv = ["setpriv", f"--reuid={user.uid}", "--clear-groups", "sh", "-c", attempt]
            found = subprocess.run(argv, capture_output=True, check=False)
            assert found.returncode != 0, attempt
        assert server.recorders() == [recorder]


@pytest.mark.parametrize("server", [("no",), ("open",)], indirect=True)
def test_a_terminal_from_before_is_none_where_recordings_are_a_must(server: Recorded) -> None:
    """Not for a client of another login, and not for its own, which comes back."""

    def argv(verb: str, *words: str) -> list[str]:
        program = [sys.executable, "-m", "qsh.cli.control", verb, "-F", f"{server.home}/config"]
        return [*program, "-p", str(server.port), server.target, *words]

    def control(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            argv(*words), env={**server.env, "TERM": "xterm"}, check=False,
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=20,
        )  # fmt: skip

    with server.terminal("cat") as terminal:
        terminal.type(b"before\n")
        terminal.expect(b"before\r\nbefore")
        (row,) = control("sessions").stdout.splitlines()[1:]
        name = row.split()[0]
        config = server.home / "qshd_config"
        config.write_text(
            config.read_text().replace(f"QshRecord {server.policy}", "QshRecord closed")
        )
        server.process.send_signal(signal.SIGHUP)
        wait_until(lambda: server.told("the configuration was read again"))
        assert control("sessions").stderr == "no sessions on 127.0.0.1\n"
        assert "may not use other sessions" in control("history", name).stderr
        with OnTerminal(argv("attach", name), {**server.env, "TERM": "xterm"}) as other:
            assert other.wait() == 255
            assert b"may not use other sessions" in other.output
        server.extra = server.extra.replace(f"QshRecord {server.policy}", "QshRecord closed")
        server.forget()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        server.start()
        assert terminal.wait() == 255
        assert b"may not use other sessions" in terminal.output
    with server.terminal("cat") as terminal:
        terminal.type(b"of now\n")
        terminal.expect(b"of now\r\nof now")
        wait_until(lambda: "of now" in text(server.files()[-1]), "a recording")


def _hosts(user: User) -> list[int]:
    argv = ["pgrep", "-u", str(user.uid), "-x", "qshd-session"]
    found = subprocess.run(argv, capture_output=True, check=True)
    return [int(word) for word in found.stdout.split()]


def test_a_recorder_is_root_without_roots_rights(server: Recorded) -> None:
    with server.terminal("cat"):
        recorder = server.recorder()
        wait_until(server.files, "a recording")
        lines = Path(f"/proc/{recorder}/status").read_text().splitlines()
        found = {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
        for kind in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert int(found[kind], 16) == 0, kind
        assert (found["NoNewPrivs"], found["Seccomp"], found["Umask"]) == ("1", "2", "0077")
        for link in map(os.readlink, Path(f"/proc/{recorder}/fd").iterdir()):
            assert link.startswith(("socket:", "pipe:", "/dev/null", f"{server.where}/")), link


def test_a_killed_qshd(server: Recorded) -> None:
    """Session host and recorder live on; the client comes back."""
    with server.terminal("cat") as terminal:
        recorder = server.recorder()
        terminal.type(b"before\n")
        terminal.expect(b"before\r\nbefore")
        server.forget()
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
        server.start()
        terminal.type(b"after\n")
        terminal.expect(b"after\r\nafter")
        assert recorder in server.recorders()
        terminal.type(b"\x04")
        assert terminal.wait() == 0
    (path,) = server.files()
    wait_until(lambda: text(path).count("after") == 2, "recorded on")
    assert text(path, "m") == 2 * "attached from 127.0.0.1"
    wait_until(lambda: not server.recorders(), "the end")


@pytest.mark.parametrize("server", [("open",)], indirect=True)
def test_a_killed_recorder_open(server: Recorded) -> None:
    with server.terminal("cat") as terminal:
        terminal.type(b"before\n")
        terminal.expect(b"before\r\nbefore")
        os.kill(server.recorder(), signal.SIGKILL)
        wait_until(lambda: server.told("recorder has ended; sessions go on"))
        terminal.type(b"after\n")
        terminal.expect(b"after\r\nafter")
        terminal.type(b"\x04")
        assert terminal.wait() == 0
    assert len(server.told("recorder has ended")) == 1
    assert "after" not in text(server.files()[0])


def test_a_killed_recorder_closed(server: Recorded) -> None:
    with server.terminal("cat") as terminal:
        terminal.type(b"before\n")
        terminal.expect(b"before\r\nbefore")
        os.kill(server.recorder(), signal.SIGKILL)
        terminal.expect(b"cannot be recorded")
        assert terminal.wait() == 255
    wait_until(lambda: server.told("it cannot be recorded any more"))


@pytest.fixture
def small_disk(server: Recorded) -> Iterator[Path]:
    server.where.mkdir(mode=0o700)
    options = ["-t", "tmpfs", "-o", "size=64k,mode=0700", "tmpfs", str(server.where)]
    subprocess.run(["mount", *options], check=True)
    yield server.where
    subprocess.run(["umount", "-l", str(server.where)], check=True)


FLOOD = "for n in $(seq 5000); do echo line number $n; done; echo flo''oded; cat"


@pytest.mark.parametrize("server", [("open",)], indirect=True)
@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_open(server: Recorded) -> None:
    with server.terminal(FLOOD) as terminal:
        terminal.expect(b"flooded")
        terminal.type(b"still here\n")
        terminal.expect(b"still here\r\nstill here")
    (path,) = server.files()
    wait_until(lambda: server.told("Recording of .* failed: .*No space left"))
    assert len(server.told("Recording of .* failed")) == 1
    assert len(events(path)) > 3, "every line is whole"


@pytest.mark.usefixtures("small_disk")
def test_a_full_disk_closed(server: Recorded) -> None:
    with server.terminal(FLOOD) as terminal:
        assert terminal.wait() == 255
        assert b"cannot be recorded" in terminal.output
    wait_until(lambda: server.told("Recording of .* failed: .*No space left"))
    (server.where / "rest").write_bytes(b"")
    with pytest.raises(OSError, match="No space"), (server.where / "rest").open("wb") as rest:
        rest.write(bytes(1 << 17))
    with server.terminal("echo", "started") as terminal:
        assert terminal.wait() != 0
        assert b"are recorded here" in terminal.output
        assert b"started" not in terminal.output


def test_no_place_for_recordings_closed(server: Recorded, user: User) -> None:
    server.where.mkdir()
    os.chown(server.where, user.uid, user.gid)
    with server.terminal("echo", "started") as terminal:
        assert terminal.wait() != 0
        assert b"are recorded here" in terminal.output
        assert b"started" not in terminal.output
    wait_until(lambda: server.told("failed: .*others can change"))
