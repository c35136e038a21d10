"""``qsh host command`` against a real qshd: output, input, status, and what goes wrong."""

from __future__ import annotations

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from tests.support.live_server import LiveServer
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveServer]:
    server = LiveServer(tmp_path_factory.mktemp("qshd"))
    yield server
    server.stop()


def test_output_error_and_status(server: LiveServer) -> None:
    done = server.run("echo out; echo err >&2; exit 3")
    assert (done.stdout, done.stderr, done.returncode) == (b"out\n", b"err\n", 3)


def test_words_are_joined(server: LiveServer) -> None:
    assert server.run("echo", "a  b", "'c  d'").stdout == b"a b c  d\n"


def test_standard_input_ends(server: LiveServer) -> None:
    assert server.run("cat; echo end", stdin=b"hello\n").stdout == b"hello\nend\n"


def test_bulk_both_ways(server: LiveServer) -> None:
    source, copy = server.home / "source", server.home / "copy"
    source.write_bytes(os.urandom(1 << 20) * 20)
    command = f"{shlex.join(server.command('cat'))} | cat > {copy}"
    done = subprocess.run(
        ["/bin/sh", "-c", f"cat {source} | {command}"], env=server.env, timeout=20, check=False
    )
    assert done.returncode == 0
    assert (
        hashlib.sha256(copy.read_bytes()).digest() == hashlib.sha256(source.read_bytes()).digest()
    )


def test_the_tail_is_never_lost(server: LiveServer) -> None:
    for _ in range(5):
        done = server.run("head -c 3000000 /dev/zero; head -c 100000 /dev/zero >&2; exit 7")
        assert (len(done.stdout), len(done.stderr), done.returncode) == (3_000_000, 100_000, 7)


def test_killed_command(server: LiveServer) -> None:
    assert server.run("kill -TERM $$").returncode == 255


def test_no_input_with_n(server: LiveServer) -> None:
    assert server.run("cat; echo end", options=("-n",), stdin=b"hello").stdout == b"end\n"


def test_shell_without_terminal(server: LiveServer) -> None:
    done = server.run(stdin=b"echo in $((1+1)); exit 4\n")
    assert done.stdout == b"in 2\n"
    assert done.returncode == 4


def test_terminal_is_not_allocated(server: LiveServer) -> None:
    done = server.run("tty", options=("-t",))
    assert b"Pseudo-terminal will not be allocated because stdin is not a terminal." in done.stderr
    assert done.stdout == b"not a tty\n"


def test_forced_terminal(server: LiveServer) -> None:
    done = server.run("tty; exit 6", options=("-tt",))
    assert done.stdout.startswith(b"/dev/pts/")
    assert done.returncode == 6


def test_unknown_subsystem(server: LiveServer) -> None:
    done = server.run("nonesuch", options=("-s",))
    assert done.returncode == 255
    assert b"subsystem request failed" in done.stderr


def test_environment(server: LiveServer) -> None:
    done = server.run("echo $LC_TEST $OTHER", env={"LC_TEST": "höher", "OTHER": "no"})
    assert done.stdout.decode() == "höher\n"
    done = server.run("echo $LC_X", options=("-o", "SetEnv=LC_X=set"))
    assert done.stdout == b"set\n"


def test_closed_standard_output(server: LiveServer) -> None:
    """The remote program learns that nobody reads; its status is ours."""
    client = subprocess.Popen(
        server.command("trap '' PIPE; yes; exit 9"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=server.env,
    )
    assert client.stdout is not None
    assert client.stdout.read(2) == b"y\n"
    client.stdout.close()
    assert client.wait(20) == 9
    client.communicate()


def test_full_disk(server: LiveServer) -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            server.command("echo x"),
            stdin=subprocess.DEVNULL,
            stdout=full,
            stderr=subprocess.PIPE,
            env=server.env,
            timeout=20,
            check=False,
        )
    assert done.returncode == 255
    assert b"No space left on device" in done.stderr


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_descriptors_closed_at_the_start(server: LiveServer, closed: int) -> None:
    script = f'exec "$@" {closed}{"<" if closed == 0 else ">"}&-'
    done = subprocess.run(
        ["/bin/sh", "-c", script, "sh", *server.command("cat; echo out; exit 5")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=server.env,
        timeout=20,
        check=False,
    )
    assert done.returncode == 5
    assert done.stdout == (b"" if closed == 1 else b"out\n")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signals_end_it_at_once(server: LiveServer, number: int) -> None:
    with subprocess.Popen(
        server.command("echo started; sleep 60"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        env=server.env,
    ) as client:
        assert client.stdout is not None
        assert client.stdout.readline() == b"started\n"
        client.send_signal(number)
        assert client.wait(5) == 255


def test_the_server_dies(server: LiveServer) -> None:
    """A killed server tells nobody; with ServerAliveInterval the client notices."""
    other = LiveServer(_fresh(server.home))
    options = ("-o", "ServerAliveInterval=1", "-o", "ServerAliveCountMax=1")
    with subprocess.Popen(
        other.command("echo started; sleep 60", options=options),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=other.env,
    ) as client:
        assert client.stdout is not None
        assert client.stderr is not None
        assert client.stdout.readline() == b"started\n"
        other.kill()
        assert client.wait(15) == 255
        assert client.stderr.read() == b"Timeout, server 127.0.0.1 not responding.\r\n"


def _fresh(home: Path) -> Path:
    path = home / "other"
    path.mkdir()
    return path


def test_background(server: LiveServer) -> None:
    mark = server.home / "mark"
    done = subprocess.run(
        server.command(f"touch {mark}; sleep 1000 & echo $! > {mark}.pid", options=("-f",)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=server.env,
        timeout=20,
        check=False,
    )
    assert done.returncode == 0
    wait_until(lambda: (server.home / "mark.pid").exists() and mark.exists(), "remote command")
    wait_until((server.home / "mark.pid").read_text, "its pid")
    os.kill(int((server.home / "mark.pid").read_text()), signal.SIGKILL)


def test_background_failure_is_told(server: LiveServer) -> None:
    done = server.run("true", options=("-f", "-o", "PubkeyAuthentication=no"))
    assert done.returncode == 255
    assert b"Permission denied (publickey)." in done.stderr


def test_no_session(server: LiveServer) -> None:
    with subprocess.Popen(
        server.command(options=("-N", "-v")),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=server.env,
    ) as client:
        assert client.stderr is not None
        while b"Authenticated to 127.0.0.1" not in (line := client.stderr.readline()):
            assert line, "no login"
        drain = threading.Thread(target=client.stderr.read)
        drain.start()
        client.terminate()
        assert client.wait(5) == 255
        drain.join(5)


def test_light_imports(server: LiveServer) -> None:
    """`qsh host cmd` imports nothing heavy (the start-up time is a headline)."""
    code = (
        "import os, sys\n"
        "leave = os._exit\n"
        "def report(status):\n"
        "    names = {'typer', 'prompt_toolkit', 'asyncssh', 'click', 'rich'} & set(sys.modules)\n"
        "    os.write(2, ('HEAVY ' + ' '.join(sorted(names)) + '\\n').encode())\n"
        "    leave(status)\n"
        "os._exit = report\n"
        "from qsh.cli.client import main\n"
        "main()\n"
    )
    argv = server.command("true")
    done = subprocess.run(
        [sys.executable, "-c", code, *argv[3:]],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        env=server.env,
        timeout=20,
        check=False,
    )
    assert done.stderr.decode().splitlines()[-1] == "HEAVY "
    assert done.returncode == 0


def test_a_command_that_is_too_long_is_told(server: LiveServer) -> None:
    words = [str(number) for number in range(30_000)]
    done = server.run("true", *words)
    assert done.returncode == 255
    assert b"the command is" in done.stderr
    assert b"bytes long" in done.stderr
    assert server.run("echo", "x" * 100_000).stdout == b"x" * 100_000 + b"\n"


def test_an_environment_that_is_too_large_is_cut(server: LiveServer) -> None:
    env = {f"LC_{number}": "x" * 16_000 for number in range(30)}
    done = server.run("echo here", env=env)
    assert (done.returncode, done.stdout) == (0, b"here\n")
