"""qshd as root: its processes, its users, what authorized_keys lines permit."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import fcntl
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from qsh.server import login_records
from tests.support import live_server
from tests.support.live_server import LiveServer
from tests.support.raw_client import raw_client
from tests.support.users import User, temporary_user

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.root

LIMIT_S = 10.0


def until(condition: Callable[[], object]) -> None:
    """Wait for a condition that processes outside bring about."""
    end = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.01)


class RootServer(LiveServer):
    """A qshd as root that has AuthorizedKeysFile and StrictModes as they are by default."""

    def run_as(self, user: User, *words: str, **options: object):
        self.user = user.name
        return self.run(*words, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RootServer]:
    extra = "PermitUserEnvironment yes\nLogLevel VERBOSE\nMaxStartups 200"
    text = live_server._SERVER
    live_server._SERVER = text.replace("AuthorizedKeysFile {home}/authorized_keys\n", "").replace(
        "StrictModes no\n", ""
    )
    try:
        running = RootServer(tmp_path_factory.mktemp("qshd"), extra)
    finally:
        live_server._SERVER = text
    yield running
    running.stop()


@pytest.fixture(scope="module")
def homes() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir="/home") as path:
        os.chmod(path, 0o755)
        yield Path(path)


@pytest.fixture(scope="module")
def anna(server: RootServer, homes: Path) -> Iterator[User]:
    with temporary_user(homes) as user:
        yield user


@pytest.fixture(scope="module")
def ben(server: RootServer, homes: Path) -> Iterator[User]:
    with temporary_user(homes) as user:
        user.authorize(server.user_key.line())
        yield user


@pytest.fixture(autouse=True)
def key_of_anna(server: RootServer, anna: User) -> None:
    anna.authorize(server.user_key.line())


def processes(server: RootServer, name: str) -> list[int]:
    """Processes of this qshd by their name."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                arguments = (entry / "cmdline").read_bytes()
                comm = (entry / "comm").read_text().strip()
            except OSError:
                continue
            if comm == name and f"{server.home}/qshd_config".encode() in arguments:
                found.append(int(entry.name))
    return found


def status(pid: int, field: str) -> str:
    text = Path(f"/proc/{pid}/status").read_text()
    return next(
        line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(field)
    )


# -- processes -----------------------------------------------------------------------------------


def test_the_front_has_no_rights(server: RootServer) -> None:
    (front,) = processes(server, "qshd-front")
    assert "0" not in status(front, "Uid").split()
    assert status(front, "Groups") == ""
    assert int(status(front, "CapEff"), 16) == 0
    assert int(status(front, "CapPrm"), 16) == 0
    assert os.listdir(f"/proc/{front}/root") == []
    keys = {os.stat(server.home / "host_key").st_ino}
    opened = {os.stat(f"/proc/{front}/fd/{fd}").st_ino for fd in os.listdir(f"/proc/{front}/fd")}
    assert not keys & opened


def test_the_host_key_is_in_the_signer_alone(server: RootServer, anna: User) -> None:
    text = (server.home / "host_key").read_text()
    raw = base64.b64decode("".join(text.splitlines()[1:-1]))
    public = server.host_key.blob[-32:]
    seed = raw[raw.rindex(public) - 32 : raw.rindex(public)]
    (signer,) = processes(server, "qshd-sign")
    assert _in_memory(signer, seed), "positive control: the signer has it"
    with a_session(server, anna) as session:
        others = [processes(server, name)[0] for name in ("qshd-front", "qshd-spawner")]
        for pid in (server.process.pid, session, *others):
            assert not _in_memory(pid, seed)


def test_secrets_of_the_front_never_were_in_a_session(server: RootServer, anna: User) -> None:
    """A user who breaks into his own session's host could end others' connections with them."""
    (spawner,), (front,) = processes(server, "qshd-spawner"), processes(server, "qshd-front")
    files = [Path(f"/proc/{spawner}/fd/{name}") for name in os.listdir(f"/proc/{spawner}/fd")]
    (secrets,) = (file.read_bytes() for file in files if "qshd-secrets" in os.readlink(file))
    with a_session(server, anna) as session:
        for pid, has in ((front, True), (session, False), (spawner, False)):
            assert _in_memory(pid, secrets[:32]) is has, "the front is the positive control"
        links = [
            os.readlink(f"/proc/{session}/fd/{fd}") for fd in os.listdir(f"/proc/{session}/fd")
        ]
    assert not [link for link in links if "qshd-secrets" in link]


def _in_memory(pid: int, needle: bytes) -> bool:
    with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as memory:
        for line in maps:
            span, mode = line.split()[:2]
            if not mode.startswith("rw"):
                continue
            start, end = (int(part, 16) for part in span.split("-"))
            memory.seek(start)
            try:
                if needle in memory.read(end - start):
                    return True
            except OSError:
                continue
    return False


@contextlib.contextmanager
def a_session(server: RootServer, user: User) -> Iterator[int]:
    """The process number of a session host."""
    server.user = user.name
    client = subprocess.Popen(
        server.command("echo up; sleep 60"), env=server.env, stdout=subprocess.PIPE
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    (session,) = processes(server, "qshd-session")
    yield session
    client.kill()
    client.wait()
    client.stdout.close()
    os.kill(session, signal.SIGTERM)  # a killed client is missed only after QshExecMax
    until(lambda: not processes(server, "qshd-session"))


def test_the_session_is_the_users(server: RootServer, anna: User) -> None:
    with a_session(server, anna) as session:
        for field in ("Uid", "Gid"):
            wanted = anna.uid if field == "Uid" else anna.gid
            assert status(session, field).split() == [str(wanted)] * 4
        assert status(session, "Groups").split() == [str(anna.gid)]
        assert int(status(session, "CapPrm"), 16) == 0


def test_a_killed_front_is_replaced(server: RootServer, anna: User) -> None:
    (front,) = processes(server, "qshd-front")
    started = os.stat(f"/proc/{front}").st_ctime
    until(lambda: time.time() - started > 1.5)
    os.kill(front, signal.SIGKILL)
    until(lambda: processes(server, "qshd-front") not in ([], [front]))
    assert server.run_as(anna, "echo again").stdout == b"again\n"


def test_fronts_that_are_killed_while_clients_log_in(server: RootServer, anna: User) -> None:
    """Judgements and the end of the front come in one turn of the monitor; it lives through that."""
    server.user = anna.name
    for delay_s in (0.2, 0.3, 0.4, 0.5):
        (front,) = processes(server, "qshd-front")
        started = os.stat(f"/proc/{front}").st_ctime
        until(lambda: time.time() - started > 1.2)  # noqa: B023 - one that ends younger is not replaced
        clients = [
            subprocess.Popen(
                server.command("true"),
                env=server.env,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for _ in range(12)
        ]
        time.sleep(delay_s)
        os.kill(front, signal.SIGKILL)
        for client in clients:
            client.kill()
            client.wait()
        until(lambda: processes(server, "qshd-front") not in ([], [front]))  # noqa: B023
    assert server.process.poll() is None
    assert server.run_as(anna, "echo alive").stdout == b"alive\n"


def test_two_users_at_once(server: RootServer, anna: User, ben: User) -> None:
    assert server.run_as(anna, "whoami").stdout.decode().strip() == anna.name
    assert server.run_as(ben, "whoami").stdout.decode().strip() == ben.name
    done = server.run_as(ben, f"cat {anna.home}/.ssh/authorized_keys")
    assert done.returncode == 1
    assert b"Permission denied" in done.stderr


def test_environment_of_a_session(server: RootServer, anna: User) -> None:
    env = dict(
        line.split("=", 1)
        for line in server.run_as(anna, "env").stdout.decode().splitlines()
        if "=" in line
    )
    assert (env["USER"], env["LOGNAME"], env["HOME"]) == (anna.name, anna.name, str(anna.home))
    assert env["SHELL"] == "/bin/bash"
    client, client_port, address, port = env["SSH_CONNECTION"].split()
    assert (client, address, port) == ("127.0.0.1", "127.0.0.1", str(server.port))
    assert env["SSH_CLIENT"] == f"127.0.0.1 {client_port} {server.port}"
    assert server.run_as(anna, "umask; pwd").stdout.decode().split() == ["0022", str(anna.home)]


def test_login_shell(server: RootServer, anna: User) -> None:
    done = server.run_as(anna, stdin=b"echo $0; shopt -q login_shell && echo login\n")
    assert done.stdout.decode().split() == ["-bash", "login"]


def test_closed_connections_are_forgotten(server: RootServer) -> None:
    def resident_kb() -> int:
        (front,) = processes(server, "qshd-front")
        return int(status(front, "VmRSS").split()[0])

    async def come_and_go(times: int) -> None:
        for _ in range(times):
            async with raw_client(server.port, server.host_key):
                pass

    asyncio.run(come_and_go(20))
    before = resident_kb()
    asyncio.run(come_and_go(200))
    assert resident_kb() - before < 6000, "60 kB each were kept when the front collected no cycles"


# -- authorized_keys -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "command", "output"),
    [
        ('command="echo forced $SSH_ORIGINAL_COMMAND"', "echo mine", b"forced echo mine\n"),
        ('environment="COLOUR=red"', "echo $COLOUR", b"red\n"),
        ('from="127.0.0.0/8"', "echo in", b"in\n"),
        ('expiry-time="20990101"', "echo in", b"in\n"),
        ("restrict", "echo in", b"in\n"),
        ("cert-authority", "echo in", None),
        ('from="10.0.0.0/8,!127.0.0.1"', "echo in", None),
        ('from="127.*,!127.0.0.1"', "echo in", None),
        ('expiry-time="20200101"', "echo in", None),
        ("no-such-option", "echo in", None),
        ('command="echo unclosed', "echo in", None),
    ],
)
def test_key_options(
    server: RootServer, anna: User, options: str, command: str, output: bytes | None
) -> None:
    anna.authorize(f"{options} {server.user_key.line()}")
    done = server.run_as(anna, command)
    if output is None:
        assert done.returncode == 255
        assert done.stdout == b""
        assert b"Permission denied (publickey)." in done.stderr
    else:
        assert (done.stdout, done.returncode) == (output, 0)


@pytest.mark.parametrize(
    ("options", "terminal"),
    [("", True), ("no-pty", False), ("restrict", False), ("restrict,pty", True)],
)
def test_terminal_by_key(server: RootServer, anna: User, options: str, terminal: bool) -> None:
    anna.authorize(f"{options} {server.user_key.line()}".strip())
    done = server.run_as(anna, "tty -s && echo terminal || echo none", options=("-tt",))
    assert done.stdout.decode().split() == (["terminal"] if terminal else ["none"])


@pytest.mark.parametrize("mode", [0o660, 0o602])
def test_strict_modes(server: RootServer, anna: User, mode: int) -> None:
    anna.authorize(server.user_key.line(), mode=mode)
    assert server.run_as(anna, "true").returncode == 255
    until(lambda: "bad ownership or modes" in "".join(server.log))


def test_a_key_file_that_never_ends_is_no_obstacle(server: RootServer, anna: User) -> None:
    path = anna.home / ".ssh" / "authorized_keys"
    path.unlink()
    os.mkfifo(path)
    try:
        assert server.run_as(anna, "true").returncode == 255
    finally:
        path.unlink()


# -- accounts ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("shell", "password"), [("/no/such/shell", "*"), ("/etc/passwd", "!")])
def test_unusable_accounts(server: RootServer, homes: Path, shell: str, password: str) -> None:
    with temporary_user(homes, shell, password) as user:
        user.authorize(server.user_key.line())
        done = server.run_as(user, "true")
        assert done.returncode == 255
        assert b"Permission denied (publickey)." in done.stderr


def test_unknown_user_and_wrong_key_look_the_same(
    server: RootServer, anna: User, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", other], check=True)
    text = (server.home / "config").read_text()
    (tmp_path / "config").write_text(text.replace(f"{server.home}/id\n", f"{other}\n"))
    texts, times = set(), {}
    for name in (anna.name, "nobody-of-that-name"):
        server.user = name
        spent = []
        for _ in range(5):
            start = time.monotonic()
            done = server.run("true", options=("-F", str(tmp_path / "config")))
            spent.append(time.monotonic() - start)
            texts.add(done.stderr.replace(name.encode(), b"USER"))
            assert done.returncode == 255
        times[name] = min(spent)
    assert len(texts) == 1
    fast, slow = sorted(times.values())
    assert slow - fast < 0.09, "a step is 100 to 125 ms: within one they cannot be told apart"


# -- what is left behind -------------------------------------------------------------------------


def test_a_child_that_ignores_hangup_lives_on_and_holds_nothing_up(
    server: RootServer, anna: User
) -> None:
    mark = anna.home / "pid"
    server.user = anna.name
    command = f"trap '' HUP; echo $$ > {mark}; echo up; exec sleep 50"
    client = subprocess.Popen(server.command(command), env=server.env, stdout=subprocess.PIPE)
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    client.terminate()
    client.wait(5)
    client.stdout.close()
    until(lambda: not processes(server, "qshd-session"))
    child = int(mark.read_text())
    assert Path(f"/proc/{child}").exists()
    os.kill(child, signal.SIGKILL)


def test_a_child_that_does_not_gets_it(server: RootServer, anna: User) -> None:
    mark = anna.home / "hup"
    mark.unlink(missing_ok=True)
    server.user = anna.name
    # bash reports the hung-up sleep on standard error, which is closed by then
    command = f"exec 2>/dev/null; trap 'echo hup > {mark}; exit' HUP; echo up; while :; do sleep 0.05; done"
    client = subprocess.Popen(server.command(command), env=server.env, stdout=subprocess.PIPE)
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    client.terminate()
    client.wait(5)
    client.stdout.close()
    until(mark.exists)


def test_login_records(server: RootServer, anna: User) -> None:
    if not os.path.exists(login_records.DEFAULT.utmp):
        Path(login_records.DEFAULT.utmp).touch()
    command = "for i in 1 2 3 4 5 6 7 8 9; do who | grep ^$USER && break; sleep 0.1; done"
    done = server.run_as(anna, command, options=("-tt",))
    line = done.stdout.decode().split()
    assert line[0] == anna.name
    assert line[1].startswith("pts/")
    until(lambda: anna.name.encode() not in subprocess.check_output(["who"]))


def test_locked_login_records_hold_nobody_up(server: RootServer, anna: User) -> None:
    """A user may lock utmp for ever: logins go on, and the log says what was not written."""
    for path in (login_records.DEFAULT.utmp, login_records.DEFAULT.wtmp):
        Path(path).touch()
    with (
        open(login_records.DEFAULT.utmp, "r+b") as utmp,
        open(login_records.DEFAULT.wtmp, "r+b") as wtmp,
    ):
        for file in (utmp, wtmp):
            fcntl.lockf(file, fcntl.LOCK_EX)
        server.user = anna.name
        clients = [
            subprocess.Popen(
                server.command("echo in", options=("-tt",)),
                env=server.env,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
            )
            for _ in range(6)
        ]
        assert [client.communicate(timeout=20)[0] for client in clients] == [b"in\r\n"] * 6
        start = time.monotonic()
        assert server.run_as(anna, "echo on").stdout == b"on\n"
        assert time.monotonic() - start < 3.0, (
            "six records wait for 0.6 s each: nobody waits with them"
        )
        until(lambda: any(login_records.DEFAULT.utmp in line for line in server.log))
    until(lambda: not processes(server, "qshd-records"))
