"""ControlMaster, ControlPath, ControlPersist and ``-O`` against a real qshd: what is shared, how it ends, and what goes wrong."""

from __future__ import annotations

import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import PLAIN_SHELL, LiveServer
from tests.support.sharing import Shared, gone
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), f"{PLAIN_SHELL}\nMaxSessions 300")
    yield server
    server.stop()


@pytest.fixture
def shared(server: LiveServer, tmp_path: Path) -> Iterator[Shared]:
    shared = Shared(server, tmp_path)
    yield shared
    shared.end()


# -- programs ------------------------------------------------------------------------------------


def test_one_login_for_all(shared: Shared) -> None:
    """The first one does not wait for the master's end, though that has inherited what it wrote to."""
    first = shared.run("echo out; echo err >&2; exit 3")
    assert (first.stdout, first.stderr, first.returncode) == (b"out\n", b"err\n", 3)
    second = shared.run("cat; echo err >&2; exit 4", stdin=b"in\n")
    assert (second.stdout, second.stderr, second.returncode) == (b"in\n", b"err\n", 4)
    assert shared.logins == 1
    assert shared.socket.stat().st_mode & 0o777 == 0o600


def test_a_client_without_controlmaster_uses_it_too(shared: Shared) -> None:
    shared.run("true")
    assert shared.run("echo shared", master="no").stdout == b"shared\n"
    assert shared.logins == 1


def test_bulk_both_ways(shared: Shared) -> None:
    data = os.urandom(1 << 20) * 8
    shared.run("true")
    done = shared.run("cat", stdin=data)
    assert done.stdout == data
    assert shared.logins == 1


def test_a_subsystem_and_an_unknown_one(shared: Shared) -> None:
    shared.run("true")
    done = shared.run("nonsense", more=("-s",))
    assert done.returncode == 255
    assert b"Traceback" not in done.stderr
    assert shared.logins == 1


def test_environment_and_a_signal(shared: Shared) -> None:
    shared.run("true")
    options = shared.options("-o", "SetEnv=LC_TEST=here")
    assert shared.server.run("echo $LC_TEST", options=options).stdout == b"here\n"
    assert shared.run("kill -TERM $$").returncode == 255


def test_nothing_is_read_with_n(shared: Shared) -> None:
    shared.run("true")
    assert shared.run("cat", more=("-n",), stdin=b"not this").stdout == b""


def test_two_hundred_at_once(server: LiveServer, shared: Shared) -> None:
    count = 200
    shared.run("true")
    with ThreadPoolExecutor(count) as pool:
        done = list(pool.map(lambda n: shared.run(f"echo {n}; exit {n % 200}"), range(count)))
    assert [(d.stdout, d.returncode) for d in done] == [
        (f"{n}\n".encode(), n % 200) for n in range(count)
    ]
    assert b"".join(d.stderr for d in done) == b""
    assert shared.logins == 1


# -- how it ends ---------------------------------------------------------------------------------


def test_without_persist_the_first_is_the_last(shared: Shared) -> None:
    """ssh's first process is the master: it stays while others are there, and the socket goes with it."""
    first = shared.start("echo there; cat", persist="no")
    assert first.stdout is not None
    assert first.stdout.readline() == b"there\n"
    second = shared.start("echo there; cat; exit 5", persist="no")
    assert second.stdout is not None
    assert second.stdout.readline() == b"there\n"
    assert first.stdin is not None
    first.stdin.close()
    wait_until(
        lambda: shared.ask("channels").stdout.count(b"client-session") == 1, "the first's end"
    )
    assert first.poll() is None
    second.communicate(b"", 20)
    assert second.returncode == 5
    assert first.wait(20) == 0
    assert not shared.socket.exists()
    assert shared.logins == 1


def test_persist_ends_after_its_time(shared: Shared) -> None:
    shared.run("true", persist="1")
    pid = shared.master
    wait_until(lambda: gone(pid), "the master to end")
    assert not shared.socket.exists()


def test_exit_ends_all(shared: Shared) -> None:
    client = shared.start("echo there; sleep 600")
    assert client.stdout is not None
    assert client.stdout.readline() == b"there\n"
    pid = shared.master
    done = shared.ask("exit")
    assert (done.returncode, done.stderr) == (0, b"Exit request sent.\r\n")
    assert client.wait(20) == 255
    wait_until(lambda: gone(pid), "the master to end")
    assert not shared.socket.exists()


def test_stop_takes_no_more(shared: Shared) -> None:
    client = shared.start("echo there; cat; exit 6")
    assert client.stdout is not None
    assert client.stdout.readline() == b"there\n"
    pid = shared.master
    done = shared.ask("stop")
    assert (done.returncode, done.stderr) == (0, b"Stop listening request sent.\r\n")
    assert not shared.socket.exists()
    client.communicate(b"", 20)
    assert client.returncode == 6
    wait_until(lambda: gone(pid), "the master to end")


def test_the_end_is_told_with_the_name_that_was_connected_to(shared: Shared) -> None:
    """Not with the alias of the command line."""
    for _ in range(2):
        done = shared.run("true", more=("-tt", "-4", "-oHostName=localhost"))
        assert done.stderr == b"Shared connection to localhost closed.\r\n"


def test_a_killed_master(shared: Shared) -> None:
    client = shared.start("echo there; sleep 600")
    assert client.stdout is not None
    assert client.stderr is not None
    assert client.stdout.readline() == b"there\n"
    os.kill(shared.master, signal.SIGKILL)
    assert client.wait(20) == 255
    assert client.stderr.read() == b"Shared connection to 127.0.0.1 closed.\r\n"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT])
def test_a_killed_client_hangs_its_program_up(shared: Shared, tmp_path: Path, number: int) -> None:
    shared.run("true")
    client = shared.start(f"trap 'echo hup > {tmp_path}/hup; exit' HUP; echo $$; sleep 600 & wait")
    assert client.stdout is not None
    pid = int(client.stdout.readline())
    client.send_signal(number)
    assert client.wait(20) in (255, -number)
    wait_until(lambda: gone(pid), "the program to end")
    assert (tmp_path / "hup").read_text() == "hup\n"
    assert shared.run("echo on").stdout == b"on\n"
    assert shared.logins == 1


def test_it_outlives_the_terminal_of_its_first_user(shared: Shared) -> None:
    command = shared.server.command("echo first; sleep 600", options=shared.options())
    with OnTerminal(command, shared.server.env) as first:
        first.expect(b"first")
        pid = shared.master
    assert not gone(pid)
    assert shared.run("echo on").stdout == b"on\n"
    assert shared.logins == 1


# -- a master that is not there, or not well -----------------------------------------------------


def test_commands_where_there_is_none(shared: Shared) -> None:
    done = shared.ask("check")
    text = f"Control socket connect({shared.socket}): No such file or directory\r\n"
    assert (done.returncode, done.stderr.decode()) == (255, text)


def test_a_stale_socket(shared: Shared) -> None:
    with socket.socket(socket.AF_UNIX) as stale:
        stale.bind(str(shared.socket))
    done = shared.run("echo own", master="no")
    assert done.stdout == b"own\n"
    text = f"Control socket connect({shared.socket}): Connection refused\r\n"
    assert done.stderr.decode() == text
    assert shared.run("echo new").stdout == b"new\n"  # put aside by one that wants to be a master
    assert shared.master


def test_a_path_that_is_too_long(shared: Shared) -> None:
    path = f"/tmp/{'x' * 100}"
    done = shared.server.run("true", options=("-o", "ControlMaster=auto", "-S", path))
    text = f"ControlPath too long ('{path}.qsh' >= 108 bytes)\r\n"
    assert (done.returncode, done.stderr.decode()) == (255, text)


def test_a_directory_that_is_not_there(shared: Shared, tmp_path: Path) -> None:
    """Nothing has been run by then: who repeats the command must not run it twice."""
    path, trace = tmp_path / "no" / "cp", tmp_path / "trace"
    for persist in ("no", "yes"):
        options = ("-o", "ControlMaster=auto", "-o", f"ControlPersist={persist}", "-S", str(path))
        done = shared.server.run(f"touch {trace}", options=options)
        text = f"unix_listener: cannot bind to path {path}.qsh: No such file or directory\r\n"
        assert (done.returncode, done.stderr.decode()) == (255, text)
    assert shared.server.run("true").returncode == 0  # ample time for it
    assert not trace.exists()


def test_a_master_that_does_not_answer(shared: Shared) -> None:
    shared.run("true")
    pid = shared.master
    os.kill(pid, signal.SIGSTOP)
    try:
        done = shared.run("echo own", more=("-o", "ConnectTimeout=1"))
    finally:
        os.kill(pid, signal.SIGCONT)
    assert done.stdout == b"own\n"
    assert done.stderr.decode().split("\r\n")[:2] == [
        "muxclient: master hello exchange failed",
        f"ControlSocket {shared.socket} already exists, disabling multiplexing",
    ]


def test_a_second_master_on_the_same_path(shared: Shared) -> None:
    shared.run("true")
    done = shared.run("echo own", master="yes")
    assert done.stdout == b"own\n"
    assert b"already exists, disabling multiplexing" in done.stderr
    assert shared.logins == 2


def test_no_room_in_the_session(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), f"{PLAIN_SHELL}\nMaxSessions 1")
    shared = Shared(server, tmp_path)
    try:
        first = shared.start("echo there; cat")
        assert first.stdout is not None
        assert first.stdout.readline() == b"there\n"
        done = shared.run("cat", stdin=b"own\n")
        assert done.stdout == b"own\n"
        assert done.stderr.decode().split("\r\n")[0] == (
            "mux_client_request_session: session request failed: Session open refused by peer"
        )
        assert shared.logins == 2
    finally:
        shared.end()
        server.stop()


def test_a_login_that_fails(shared: Shared) -> None:
    options = shared.options("-o", "PubkeyAuthentication=no")
    done = shared.server.run("true", options=options)
    assert done.returncode == 255
    assert b"Permission denied (publickey)." in done.stderr
    assert not shared.socket.exists()


def test_the_host_is_gone(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path) -> None:
    server = LiveServer(tmp_path_factory.mktemp("qshd"), PLAIN_SHELL)
    shared = Shared(server, tmp_path)
    try:
        client = shared.start("echo there; sleep 600")
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == b"there\n"
        pid = shared.master
        server.process.terminate()
        assert client.wait(20) == 255
        assert b"closed" in client.stderr.read()
        wait_until(lambda: gone(pid), "the master to end")
        assert not shared.socket.exists()
    finally:
        shared.end()
        server.stop()


# -- the user is asked ---------------------------------------------------------------------------


@pytest.mark.parametrize("answer", ["yes", "no"])
def test_the_user_is_asked(shared: Shared, tmp_path: Path, answer: str) -> None:
    """ControlMaster autoask: for each client but the first, through SSH_ASKPASS."""
    ask = tmp_path / "ask"
    ask.write_text(f'#!/bin/sh\necho "$1" >> {tmp_path}/asked\necho {answer}\n')
    ask.chmod(0o755)
    env = {"SSH_ASKPASS": str(ask), "DISPLAY": "none"}
    options = shared.options(master="autoask")
    first = shared.server.run("echo first", options=options, env=env)
    assert (first.stdout, first.stderr) == (b"first\n", b"")
    assert not (tmp_path / "asked").exists()
    done = shared.run("echo second", master="no")
    assert done.stdout == b"second\n"
    assert (tmp_path / "asked").read_text() == "Allow shared connection to 127.0.0.1? \n"
    if answer == "yes":
        assert (shared.logins, done.stderr) == (1, b"")
        return
    assert done.stderr == b"Master refused session request: Permission denied\r\n"
    assert shared.logins == 2
    assert shared.ask("stop").returncode == 255
    assert shared.socket.exists()
    os.kill(shared.master, signal.SIGTERM)
    wait_until(lambda: not shared.socket.exists(), "the master to end")


@pytest.mark.root
def test_a_socket_of_another_user(shared: Shared) -> None:
    """Nothing is said to it."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(shared.socket))
        os.chmod(shared.socket, 0o777)
        child = os.fork()
        if not child:
            os.setresuid(65534, 65534, 65534)
            sock.listen(5)  # whose socket it is, is settled now
            sock.accept()[0].recv(1)
            os._exit(0)
        wait_until(lambda: _listens(shared.socket), "the other to listen")
        try:
            done = shared.run("echo own", master="no")
        finally:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    assert done.stdout == b"own\n"
    text = f"Control socket connect({shared.socket}): Operation not permitted\r\n"
    assert done.stderr.decode() == text


def _listens(path: Path) -> bool:
    lines = Path("/proc/net/unix").read_text().splitlines()
    return any(line.endswith(str(path)) and line.split()[3] == "00010000" for line in lines)


def test_what_is_known_of_the_host_is_kept_at_once(shared: Shared, tmp_path: Path) -> None:
    """A master goes on for days; the next login is to know which key works today."""
    state = tmp_path / "state"
    done = shared.server.run("true", options=shared.options(), env={"XDG_STATE_HOME": str(state)})
    assert done.returncode == 0
    assert not gone(shared.master)
    assert [path for path in state.rglob("*") if path.is_file()]
