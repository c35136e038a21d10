"""qshd's command line: what it refuses to start with, and how it says so; the mode without root."""

from __future__ import annotations

import os
import pwd
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer, free_port
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from pathlib import Path

QSHD = (sys.executable, "-m", "qsh.cli.daemon")


def qshd(*arguments: str, limit_s: float = 20.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*QSHD, *arguments], capture_output=True, text=True, timeout=limit_s, check=False
    )


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "host_key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", path], check=True)
    return path


def config(folder: Path, text: str) -> str:
    path = folder / "qshd_config"
    path.write_text(text)
    path.chmod(0o600)
    return str(path)


def test_a_good_configuration_passes(tmp_path: Path, key: Path) -> None:
    done = qshd("-t", "-f", config(tmp_path, f"HostKey {key}\nPort 2222\n"))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize(("more", "code"), [("ListenAddress 127.0.0.1\n", 0), ("", 255)])
def test_an_address_that_there_is_not(tmp_path: Path, key: Path, more: str, code: int) -> None:
    """A start would listen on the others, if there are any."""
    text = f"HostKey {key}\n{more}ListenAddress no.such.host.invalid\n"
    done = qshd("-t", "-f", config(tmp_path, text))
    assert done.returncode == code
    assert "ListenAddress no.such.host.invalid: " in done.stderr


def test_dump(tmp_path: Path) -> None:
    text = "Port 2022\nMatch User root\n  PermitTTY no\n"
    path = config(tmp_path, text)
    assert "port 2022\n" in qshd("-T", "-f", path).stdout
    assert "permittty yes\n" in qshd("-T", "-f", path).stdout
    assert "permittty no\n" in qshd("-T", "-f", path, "-C", "user=root").stdout


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Prot 22\n", "line 1: Bad configuration option: Prot"),
        ("\nPort twenty\n", "line 2"),
        ("MaxStartups 1:2\n", "line 1"),
        ("Match Colour red\n", "line 1"),
        ('AcceptEnv "LANG\n', "line 1"),
    ],
)
def test_bad_lines_are_named(tmp_path: Path, text: str, message: str) -> None:
    path = config(tmp_path, text)
    done = qshd("-D", "-f", path)
    assert done.returncode == 255
    assert path in done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("-Z",), "usage: qshd"),
        (("-p",), "usage: qshd"),
        (("extra",), "usage: qshd"),
        (("-f", "/no/such/file"), "/no/such/file: No such file or directory"),
        (("-t", "-o", "Nonsense=1"), "Bad configuration option: Nonsense"),
        (("-t", "-h", "/no/such/key"), "/no/such/key"),
    ],
)
def test_bad_command_lines(arguments: tuple[str, ...], message: str) -> None:
    done = qshd(*arguments)
    assert done.returncode == 255
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("mode", [0o660, 0o606, 0o640])
def test_key_files_that_others_reach(tmp_path: Path, key: Path, mode: int) -> None:
    key.chmod(mode)
    path = config(
        tmp_path, f"HostKey {key}\nListenAddress 127.0.0.1\nPort {free_port()}\nPidFile none\n"
    )
    done = qshd("-D", "-e", "-f", path)
    assert done.returncode == 255
    assert "UNPROTECTED PRIVATE KEY FILE" in done.stderr
    assert str(key) in done.stderr


@pytest.mark.parametrize("mode", [0o620, 0o602])
def test_configurations_that_others_write(tmp_path: Path, key: Path, mode: int) -> None:
    path = config(tmp_path, f"HostKey {key}\n")
    os.chmod(path, mode)
    for flags in (("-D", "-e"), ("-t",)):
        done = qshd(*flags, "-f", path)
        assert done.returncode == 255
        assert f"chmod go-w {path}" in done.stderr


@pytest.mark.parametrize("mode", [0o620, 0o602])
@pytest.mark.parametrize("depth", [1, 2])
def test_included_files_that_others_write(tmp_path: Path, key: Path, mode: int, depth: int) -> None:
    last = tmp_path / "last"
    last.write_text("PermitRootLogin yes\n")
    (tmp_path / "first").write_text(f"Include {last}\n")
    name = "last" if depth == 1 else "first"
    path = config(tmp_path, f"HostKey {key}\nInclude {tmp_path}/{name}\n")
    assert qshd("-t", "-f", path).returncode == 0
    last.chmod(mode)
    for flags in (("-D", "-e"), ("-t",), ("-T",)):
        done = qshd(*flags, "-f", path)
        assert done.returncode == 255
        assert (
            f'include "{last}" failed: it is writable by its group or by others (mode {mode:04o})'
            in done.stderr
        )


def test_a_directory_to_which_others_add_files(tmp_path: Path, key: Path) -> None:
    """Whom a wildcard believes: also what is to be there only at the next SIGHUP."""
    folder = tmp_path / "qshd_config.d"
    folder.mkdir()
    path = config(tmp_path, f"HostKey {key}\nInclude {folder}/*.conf\n")
    assert qshd("-t", "-f", path).returncode == 0
    folder.chmod(0o1777)
    done = qshd("-t", "-f", path)
    assert done.returncode == 255
    assert f'include "{folder}" failed: it is writable by' in done.stderr


@pytest.mark.root
def test_configurations_that_belong_to_others(tmp_path: Path, key: Path) -> None:
    (tmp_path / "more").write_text("UsePAM no\n")
    path = config(tmp_path, f"HostKey {key}\nInclude {tmp_path}/more\n")
    os.chown(tmp_path / "more", 4321, -1)
    done = qshd("-t", "-f", path)
    assert f'include "{tmp_path}/more" failed: it belongs to another user (uid 4321)' in done.stderr
    os.chown(tmp_path / "more", 0, -1)
    os.chown(path, 4321, -1)
    done = qshd("-t", "-f", path)
    assert done.returncode == 255
    assert f"run: chown root {path}" in done.stderr


def test_a_port_in_use(tmp_path: Path, key: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other:
        other.bind(("127.0.0.1", 0))
        port = other.getsockname()[1]
        path = config(tmp_path, f"HostKey {key}\nListenAddress 127.0.0.1\nPort {port}\n")
        done = qshd("-D", "-e", "-f", path)
    assert done.returncode == 255
    assert f"cannot listen on 127.0.0.1 port {port} (UDP): Address already in use" in done.stderr


def test_an_address_of_several_that_cannot_be_had_is_said(tmp_path: Path) -> None:
    server = LiveServer(tmp_path, extra="ListenAddress 192.0.2.1")
    try:
        reason = f"error: cannot listen on 192.0.2.1 port {server.port} (UDP): Cannot assign"
        assert reason in "".join(server.log)
        assert server.run("echo in").stdout == b"in\n"
    finally:
        server.stop()


@pytest.mark.root
def test_a_pid_file_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    file = tmp_path / "no directory"
    file.touch()
    server = LiveServer(tmp_path, extra=f'PidFile "{file}/pid"')
    server.stop()
    assert f"error: PidFile {file}/pid: File exists" in "".join(server.log)


@pytest.mark.root
def test_a_qshd_to_debug_with_leaves_the_pid_file_of_the_one_that_serves(
    tmp_path: Path, key: Path
) -> None:
    file, log = tmp_path / "pid", tmp_path / "log"
    file.write_text("1\n")
    text = f"HostKey {key}\nListenAddress 127.0.0.1\nPort {free_port()}\nPidFile {file}\n"
    path = config(tmp_path, text)
    with log.open("w") as opened, subprocess.Popen([*QSHD, "-d", "-f", path], stderr=opened) as one:
        try:
            wait_until(lambda: "Server listening" in log.read_text(), "a line of the log")
            assert file.read_text() == "1\n"
        finally:
            one.terminate()
    assert file.read_text() == "1\n"


@pytest.mark.root
def test_a_pid_file_that_one_left_who_was_killed_is_taken_over(tmp_path: Path) -> None:
    """Whether its number is nobody's now or another process's; and what is not ours stays."""
    file = tmp_path / "pid"
    server = LiveServer(tmp_path, extra=f'PidFile "{file}"')
    first = server.process.pid
    assert file.read_text() == f"{first}\n"
    server.kill()
    assert file.read_text() == f"{first}\n", "nobody was left to remove it"
    for stale in (f"{first}\n", f"{os.getpid()}\n", "no number\n"):
        file.write_text(stale)
        server.start()
        assert file.read_text() == f"{server.process.pid}\n"
        assert server.run("echo in").stdout == b"in\n"
        server.stop()
        assert not file.exists()
    server.start()
    file.write_text(f"{os.getpid()}\n")
    server.stop()
    assert file.read_text() == f"{os.getpid()}\n"


def test_nothing_goes_to_the_background_with_a_bad_key(tmp_path: Path, key: Path) -> None:
    key.chmod(0o644)
    path = config(
        tmp_path, f"HostKey {key}\nListenAddress 127.0.0.1\nPort {free_port()}\nPidFile none\n"
    )
    done = qshd("-f", path)
    assert done.returncode == 255
    assert "UNPROTECTED PRIVATE KEY FILE" in done.stderr


def test_version() -> None:
    done = qshd("-V")
    assert done.returncode == 0
    assert done.stderr.startswith("qshd_")


# -- without root --------------------------------------------------------------------------------

AS_NOBODY = ("setpriv", "--reuid", "nobody", "--clear-groups", "--inh-caps", "+dac_read_search")
AMBIENT = ("--ambient-caps", "+dac_read_search")  # only so that Python's own files can be read


class OneUserServer(LiveServer):
    """A qshd that runs as nobody."""

    prefix = (*AS_NOBODY, *AMBIENT)


@pytest.mark.root
def test_without_root_one_user_is_served(tmp_path: Path) -> None:
    nobody = pwd.getpwnam("nobody")
    server = OneUserServer(tmp_path)
    try:
        server.stop()
        for path in [tmp_path, *tmp_path.rglob("*")]:
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
        tmp_path.chmod(0o755)
        server.start()
        server.user = "root"
        refused = server.run("id")
        assert refused.returncode == 255
        assert b"Permission denied (publickey)." in refused.stderr
        server.user = "nobody"
        done = server.run("id -un")
        # nobody's shell is nologin: it runs, as nobody, and says so
        assert b"not available" in done.stdout + done.stderr
        assert done.returncode == 1
    finally:
        server.stop()
