"""Terminals of a host that runs since an older version of qshd (tests/support/older_host.py): all that can be done with one."""

from __future__ import annotations

import ast
import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from msgspec import msgpack

from tests.e2e.test_resume_key import kill_front, logged, restart
from tests.e2e.test_terminal_sessions import argv, control, listed, on_terminal
from tests.support import older_host
from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.support.terminal import OnTerminal

PROGRAM = Path(older_host.__file__)
NAME = "7"


class Older:
    """Its process."""

    def __init__(self, server: LiveServer, mode: str = "") -> None:
        directory = server.home / "sessions" / str(os.getuid())
        directory.parent.mkdir(exist_ok=True)
        directory.mkdir(mode=0o700, exist_ok=True)
        self.journal = server.home / "journal"
        words = [sys.executable, str(PROGRAM), str(directory), NAME, str(self.journal), mode]
        self.process = subprocess.Popen([word for word in words if word], process_group=0)
        wait_until((directory / NAME).exists, "its socket")

    def heard(self, kind: str | int) -> list[Any]:
        found = [json.loads(line) for line in self.journal.read_text().splitlines()]
        of = [each["t"] if isinstance(each, dict) else each and each[0] for each in found]
        return [each for each, name in zip(found, of, strict=True) if name == kind]

    def typed(self) -> str:
        """By frames, each byte once."""
        text = ""
        for _, offset, data, *_ in self.heard(older_host.INPUT):
            text = text[:offset] + data
        return text


@pytest.fixture
def server(tmp_path: Path) -> Iterator[LiveServer]:
    folder = tmp_path / "qshd"
    folder.mkdir()
    server = LiveServer(folder, f"DetachedMax 1h\n{PLAIN_SHELL}")
    groups = [server.process.pid]
    yield server
    groups.append(server.process.pid)
    server.stop()
    for group in groups:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(group, signal.SIGKILL)


@pytest.fixture
def older(server: LiveServer, request: pytest.FixtureRequest) -> Iterator[Older]:
    found = Older(server, getattr(request, "param", ""))
    yield found
    found.process.kill()
    found.process.wait()


def attach(server: LiveServer) -> OnTerminal:
    terminal = on_terminal(server, argv(server, "attach", NAME))
    terminal.expect(b"ready$")
    return terminal


def test_it_is_listed_and_read(server: LiveServer, older: Older) -> None:
    (row,) = listed(server)
    assert (row["name"], row["command"], row["attached"]) == (NAME, "older", 0)
    assert control(server, "history", NAME).stdout == "ready$ \n"
    assert older.process.poll() is None


def test_a_client_attaches_types_and_hears_the_end(server: LiveServer, older: Older) -> None:
    with attach(server) as terminal:
        terminal.type(b"one\r")
        terminal.expect(b"got one")
        terminal.type(b"exit 9\r")
        assert terminal.wait() == 9
    assert older.process.wait(20) == 0
    (question,) = older.heard("attach")
    assert question["address"] == "127.0.0.1"
    assert older.typed() == "one\rexit 9\r"


def test_a_client_leaves_and_comes_again(server: LiveServer, older: Older) -> None:
    with attach(server) as terminal:
        terminal.type(b"one\r")
        terminal.expect(b"got one")
        terminal.type(b"~d")
        assert terminal.wait() == 0
    assert older.heard(older_host.DETACH)
    with attach(server) as terminal:
        terminal.type(b"two\r")
        terminal.expect(b"got two")
        assert control(server, "detach", NAME).returncode == 0
        assert terminal.wait() == 0
    assert older.process.poll() is None


def test_it_is_killed(server: LiveServer, older: Older) -> None:
    with attach(server) as terminal:
        assert control(server, "kill", NAME).returncode == 0
        terminal.wait()
    assert older.process.wait(20) == 0


@pytest.mark.parametrize("lose", [kill_front, restart])
def test_a_client_that_has_lost_its_connection_resumes_it(
    server: LiveServer, older: Older, lose: Callable[[LiveServer], None]
) -> None:
    """By a key in memory, for which the host is asked; nothing that was typed is lost or there twice."""
    with attach(server) as terminal:
        terminal.type(b"one\r")
        terminal.expect(b"got one")
        lose(server)
        terminal.type(b"two\r")
        terminal.expect(b"got two")
        wait_until(lambda: logged(server, "Accepted resume for") == 1, "Accepted resume")
        terminal.type(b"exit 3\r")
        assert terminal.wait() == 3
    assert older.process.wait(20) == 0
    assert len(older.heard("holds")) == 1
    assert [bool(each["request"].get("ticket")) for each in older.heard("attach")] == [False, True]


@pytest.mark.parametrize("older", ["ancient"], indirect=True)
def test_one_that_is_too_old_is_named_and_left_alone(server: LiveServer, older: Older) -> None:
    (row,) = listed(server)
    assert (row["name"], row["answers"]) == (NAME, False)
    for verb in ("attach", "history", "detach", "kill"):
        done = control(server, verb, NAME)
        assert done.returncode != 0
        assert "the session is of a version of qshd that this one does not know" in done.stderr
    done = server.run("echo fine")
    assert (done.returncode, done.stdout) == (0, b"fine\n")
    assert older.process.poll() is None, "whoever knows it can still have it"
    for name in ("attach", "history", "detach", "kill"):
        assert older.heard(name)


KEPT: dict[str, str] = json.loads(
    (Path(__file__).parents[1] / "data" / "session-host-0.1.0.json").read_text()
)


def shape(value: Any) -> Any:
    """Keys and kinds, whatever the values."""
    if isinstance(value, dict):
        return {key: shape(each) for key, each in value.items()}
    return type(value)


def test_it_says_what_is_kept_of_its_version(server: LiveServer, older: Older) -> None:
    """The control: it shares nothing with what is sent today."""
    modules = {
        name
        for node in ast.walk(ast.parse(PROGRAM.read_text()))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (
            [node.module]
            if isinstance(node, ast.ImportFrom)
            else [each.name for each in node.names]
        )
    }
    assert modules <= {"__future__", "typing", "msgspec", *sys.stdlib_module_names}
    path = server.home / "sessions" / str(os.getuid()) / NAME
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        for question, answer in (
            ("describe", "described"),
            ("holds", "refused"),
            ("history", "lines"),
            ("attach", "opened"),
        ):
            sock.send(bytes.fromhex(KEPT[question]))
            said, descriptors, _, _ = socket.recv_fds(sock, 1 << 16, 2)
            assert shape(msgpack.decode(said)) == shape(msgpack.decode(bytes.fromhex(KEPT[answer])))
        with socket.socket(fileno=descriptors[0]) as stream, stream.makefile("rb") as frames:
            os.close(descriptors[1])
            for kind in ("attached", "frame"):
                frame = msgpack.decode(frames.read(int.from_bytes(frames.read(4), "big")))
                kept = msgpack.decode(bytes.fromhex(KEPT[kind]))
                assert [type(each) for each in frame] == [type(each) for each in kept][: len(frame)]
                assert frame[0] == kept[0]
