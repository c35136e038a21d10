"""A qshd of one's own through a real sshd: started, found again, replaced (docs/protocol.md 15.6, 15.7)."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from qsh.auth.private import generate_ed25519
from qsh.client import host_state
from tests.support.netns import Network
from tests.support.procs import BIN
from tests.support.ssh_host import SshHost
from tests.support.terminal import OnTerminal, wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = [pytest.mark.root, pytest.mark.slow]

BOOTSTRAP = ("-oQshBootstrap=yes",)
BY_SSH = ("-oQshTransport=ssh",)
QUIETLY = ("-oQshFallback=exec",)
BLOCK_UDP = """\
add table inet t
add chain inet t c { type filter hook input priority 0; }
add rule inet t c meta l4proto udp iif wan0 drop
"""
HELLO = ("echo hello; exit 7",)


@pytest.fixture
def host() -> Iterator[SshHost]:
    with SshHost() as host:
        yield host


def has_answered(host: SshHost) -> None:
    """The client knows that there is a qshd."""
    state = host_state.HostState(rtt_ms=10.0, answered=True)
    old = os.environ.get("XDG_STATE_HOME")
    os.environ["XDG_STATE_HOME"] = host.env["XDG_STATE_HOME"]
    try:
        host_state.save("root", host.address, host.sshd.port, state)
    finally:
        os.environ.pop("XDG_STATE_HOME")
        if old is not None:
            os.environ["XDG_STATE_HOME"] = old


def check(done: subprocess.CompletedProcess[str]) -> None:
    assert (done.returncode, done.stdout) == (7, "hello\n"), done.stderr


def test_an_instance_is_started_and_dialled_at_once_next_time(host: SshHost) -> None:
    check(host.qsh(*HELLO, options=BOOTSTRAP))
    first = host.instance()
    assert first
    host.sshd.stop()
    check(host.qsh(*HELLO, options=BOOTSTRAP))
    check(host.qsh(*HELLO))  # auto: the one of last time
    assert host.instance() == first
    assert host.qsh(*HELLO, options=("-oQshBootstrap=no",)).returncode == 255


def test_packets_through_ssh(host: SshHost) -> None:
    check(host.qsh(*HELLO, options=BY_SSH))
    assert host.instance()
    done = subprocess.run(
        host.words("cat", options=BY_SSH),
        input=os.urandom(1 << 20) + b"end",
        capture_output=True,
        timeout=50,
        env=host.env,
        check=False,
    )
    assert (done.returncode, len(done.stdout), done.stdout[-3:]) == (0, (1 << 20) + 3, b"end")


def test_a_killed_instance_is_replaced(host: SshHost) -> None:
    check(host.qsh(*HELLO, options=BOOTSTRAP))
    os.kill(first := host.instance(), signal.SIGKILL)
    host.wait_for_end()
    check(host.qsh(*HELLO, options=BOOTSTRAP))
    assert host.instance() not in (0, first)


def test_two_at_once_start_one(host: SshHost) -> None:
    words = host.words(*HELLO, options=BOOTSTRAP)
    running = [
        subprocess.Popen(words, stdout=subprocess.PIPE, text=True, env=host.env) for _ in range(2)
    ]
    for process in running:
        out, _ = process.communicate(timeout=50)
        assert (process.returncode, out) == (7, "hello\n")
    titles = [
        entry
        for entry in Path("/proc").glob("[0-9]*/cmdline")
        if _is_monitor(entry, str(host.files.home))
    ]
    assert len(titles) == 1


def _is_monitor(entry: Path, home: str) -> bool:
    """The leader of a session whose command line is that of ``qshd -I`` of this test."""
    try:
        words = entry.read_bytes().decode(errors="replace")
        return f"{home}/qshd_config" in words and os.getsid(int(entry.parent.name)) == int(
            entry.parent.name
        )
    except OSError:
        return False


def test_an_instance_ends_by_itself(host: SshHost) -> None:
    host.set("QshInstanceIdle 1\n")
    check(host.qsh(*HELLO, options=BOOTSTRAP))
    host.wait_for_end()


def test_ports_are_those_that_the_configuration_names(host: SshHost) -> None:
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as taken:
        taken.bind(("::", 0))
        port = taken.getsockname()[1]
        host.set(f"QshInstancePorts {port}\n")
        done = host.qsh(*HELLO, options=BOOTSTRAP)
        assert done.returncode == 255
        assert f"no UDP port of {port} to {port} can be had" in done.stderr
    check(host.qsh(*HELLO, options=BOOTSTRAP))
    running = host.directory.running()
    assert running is not None
    assert running.port == port


def test_a_wrong_host_key_of_sshd_starts_nothing(host: SshHost) -> None:
    _, other = generate_ed25519("")
    (host.files.home / "known_hosts").write_text(f"* {other.line()}\n")
    for options in (BOOTSTRAP, BY_SSH):
        done = host.qsh(*HELLO, options=options)
        assert done.returncode == 255
        assert "REMOTE HOST IDENTIFICATION HAS CHANGED" in done.stderr
        assert "Host key verification failed." in done.stderr
    assert not host.instance()


def test_an_unknown_host_key_of_sshd_is_learned_as_configured(host: SshHost) -> None:
    known = host.files.home / "known_hosts"
    known.write_text("")
    accept = (*BOOTSTRAP, "-oStrictHostKeyChecking=accept-new")
    check(host.qsh(*HELLO, options=accept))
    assert known.read_text().startswith(f"[127.0.0.1]:{host.sshd.port} ssh-ed25519 ")
    assert known.read_text().count("\n") == 1  # the instance's is in no file


def test_no_qshd_on_the_host(host: SshHost, tmp_path: Path) -> None:
    missing = "-oQshBootstrapCommand=/nowhere/qshd"
    done = host.qsh(*HELLO, options=(*BOOTSTRAP, missing))
    assert done.returncode == 255
    assert "there is no qshd on 127.0.0.1" in done.stderr
    assert "QshBootstrapCommand" in done.stderr
    ssh = tmp_path / "ssh"
    ssh.write_text('#!/bin/sh\nprintf "<%s>" "$@"\nexit 42\n')
    ssh.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = host.qsh(
        *HELLO,
        options=(
            *BY_SSH,
            "-oQshFallback=exec",
            missing,
            "-F/dev/null",
            f"-i{host.files.home}/id",
            "-oStrictHostKeyChecking=no",
            "-oUserKnownHostsFile=/dev/null",
            "-lroot",
        ),
        PATH=path,
    )
    assert (done.returncode, done.stdout[-len("<echo hello; exit 7>") :]) == (
        42,
        "<echo hello; exit 7>",
    ), done.stderr


def test_what_does_not_speak_ssh_is_told(host: SshHost) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    peer, _ = listener.accept()
                    with peer, contextlib.suppress(OSError):
                        peer.sendall(
                            b"HTTP/1.1 400 Bad Request\r\n\r\n<html>Log in here</html>\r\n"
                        )

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        done = host.qsh(*HELLO, options=BY_SSH, port=port)
        assert done.returncode == 255
        assert "does not speak SSH" in done.stderr
        listener.shutdown(socket.SHUT_RDWR)
    thread.join(5)
    done = host.qsh(*HELLO, options=BY_SSH, port=port)
    assert done.returncode == 255
    assert "Connection refused" in done.stderr


def test_through_a_jump_host(host: SshHost) -> None:
    config = host.files.home / "qsh_config"
    jump = f"Host jump\n  HostName 127.0.0.1\n  Port {host.sshd.port}\n"
    config.write_text(jump + config.read_text())
    check(host.qsh(*HELLO, options=(*BY_SSH, "-Jjump")))
    check(host.qsh(*HELLO, options=(*BOOTSTRAP, "-Jjump")))


def test_through_a_proxy_command(host: SshHost) -> None:
    command = " ".join(host.files.ssh("127.0.0.1", host.sshd.port, options=("-W", "%h:%p")))
    check(host.qsh(*HELLO, options=(*BY_SSH, f"-oProxyCommand={command}")))


def test_udp_is_blocked() -> None:
    with Network.link(delay_ms=5) as net, SshHost(net) as host:
        net.server.run(["nft", BLOCK_UDP], check=True)
        check(host.qsh(*HELLO, options=BOOTSTRAP))  # an instance, whose packets go through SSH
        check(host.qsh(*HELLO, options=BY_SSH))


@pytest.mark.parametrize("options", [BOOTSTRAP, QUIETLY], ids=["bootstrap", "auto"])
def test_a_terminal_leaves_ssh_when_udp_works_again(options: tuple[str, ...]) -> None:
    """Nothing typed is lost or doubled, and then SSH is needed no more: TCP is blocked instead."""
    with Network.link(delay_ms=5) as net, SshHost(net) as host:
        has_answered(host)
        net.server.run(["nft", BLOCK_UDP], check=True)
        words = host.words("env PS1='ready$ ' sh -i", options=(*options, "-t"))
        with OnTerminal(words, {**host.env, "TERM": "xterm-256color"}) as terminal:
            terminal.expect(b"ready$ ")

            def goes_by(way: bytes) -> bool:
                terminal.type(b"\r~s")
                return b"  %b " % way in terminal.expect(b"migrations")

            assert goes_by(b"ssh")
            typed = host.files.home / "typed"
            terminal.type(b"echo one >> %b\r" % os.fsencode(typed))
            wait_until(lambda: typed.exists() and typed.read_text() == "one\n", "one line")
            net.server.run(["nft", "delete table inet t"], check=True)

            wait_until(lambda: goes_by(b"udp"), "a connection by UDP", 40.0)
            net.server.run(["nft", BLOCK_UDP.replace("udp", "tcp")], check=True)
            terminal.type(b"echo two >> %b\r" % os.fsencode(typed))
            wait_until(lambda: typed.read_text() == "one\ntwo\n", "both lines, once")
            terminal.type(b"exit 5\r")
            assert terminal.wait() == 5


def test_a_host_with_a_qshd_is_reached_by_ssh_without_asking_where_udp_is_blocked() -> None:
    """``auto``: its qshd has answered before; UDP is dropped from now on."""
    with Network.link(delay_ms=5) as net, SshHost(net) as host:
        has_answered(host)
        net.server.run(["nft", BLOCK_UDP], check=True)
        check(host.qsh(*HELLO, options=QUIETLY, PATH="/usr/bin:/bin"))
        assert host.instance()


def test_qshctl_brings_an_instance_up(host: SshHost) -> None:
    words = host.words(options=())
    for _ in range(2):  # the second time by QUIC only, which takes few turns of the loop
        done = subprocess.run(
            [str(BIN / "qshctl"), "bootstrap", *words[1:]],
            capture_output=True,
            text=True,
            env=host.env,
            timeout=50,
            check=False,
        )
        running = host.directory.running()
        assert running is not None
        told = f"qshd of root on 127.0.0.1 answers on UDP port {running.port}\n"
        assert (done.returncode, done.stdout) == (0, told), done.stderr
        assert "Traceback" not in done.stderr
    host.sshd.stop()
    check(host.qsh(*HELLO))


class PasswordServer:
    """sshd of somebody who has a password only."""

    def __init__(self, host: SshHost, password: str) -> None:
        self._host, self._password = host, password
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        assert self._ready.wait(10)

    def _run(self) -> None:
        import asyncssh

        password = self._password

        class Server(asyncssh.SSHServer):
            def begin_auth(self, username: str) -> bool:
                return True

            def password_auth_supported(self) -> bool:
                return True

            def kbdint_auth_supported(self) -> bool:
                return False

            def validate_password(self, username: str, given: str) -> bool:
                return given == password

        home = self._host.files.home

        async def serve(process: asyncssh.SSHServerProcess[bytes]) -> None:
            child = await asyncio.create_subprocess_shell(
                process.command or "true",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, "XDG_STATE_HOME": f"{home}/remote"},
            )
            assert child.stdin is not None
            assert child.stdout is not None
            ways = asyncio.gather(
                pump(process.stdin, child.stdin), pump(child.stdout, process.stdout)
            )
            status = await child.wait()
            ways.cancel()
            process.exit(status)

        async def pump(source: Any, sink: Any) -> None:
            while data := await source.read(1 << 16):
                sink.write(data)

        async def listen() -> None:
            listener = await asyncssh.listen(
                "127.0.0.1",
                0,
                server_factory=Server,
                server_host_keys=[str(home / "host_key")],
                process_factory=serve,
                encoding=None,
            )
            self.port = listener.get_port()
            self._end = asyncio.Event()
            self._ready.set()
            await self._end.wait()
            listener.close()
            await listener.wait_closed()
            await asyncio.sleep(0)

        self._loop.run_until_complete(listen())
        self._loop.close()

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)


def test_a_password_is_asked_for_once_and_never_in_a_batch(host: SshHost, tmp_path: Path) -> None:
    (host.files.home / "authorized_keys").write_text("")
    asked = tmp_path / "asked"
    askpass = tmp_path / "askpass"
    askpass.write_text(f'#!/bin/sh\necho "$1" >> {asked}\necho secret\n')
    askpass.chmod(0o755)
    env = {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    server = PasswordServer(host, "secret")
    try:
        done = host.qsh(*HELLO, options=BOOTSTRAP, port=server.port, **env)
        assert done.returncode == 255
        assert "Permission denied" in done.stderr
        assert not asked.exists()
        people = ("-oBatchMode=no", *BOOTSTRAP)
        check(host.qsh(*HELLO, options=people, port=server.port, **env))
        assert asked.read_text() == "root@127.0.0.1's password: \n"
    finally:
        server.close()
