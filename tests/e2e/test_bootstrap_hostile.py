"""What answers by SSH is not what it should be: that is told, and nothing it says drives the terminal or asks for secrets."""

from __future__ import annotations

import asyncio
import subprocess
import threading
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.ssh_host import SshHost

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytestmark = [pytest.mark.root, pytest.mark.tool("sshd")]

BOOTSTRAP = ("-oQshBootstrap=yes",)
ESCAPES = "\x1b]0;owned\x07\x9b31m"
KEY = "ssh-ed25519 " + "A" * 68


@pytest.fixture
def host() -> Iterator[SshHost]:
    with SshHost() as host:
        yield host


class HostileSsh:
    """An sshd that says whatever it likes; it wants a password, or nothing."""

    def __init__(
        self, key: str, say: Callable[[Any], Any], *, banner: str = "", password: bool = False
    ) -> None:
        self._key, self._say, self._banner, self._password = key, say, banner, password
        self._loop = asyncio.new_event_loop()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> HostileSsh:
        self._thread.start()
        assert self._ready.wait(10)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(10)

    def _run(self) -> None:
        import asyncssh

        banner, password = self._banner, self._password

        class Server(asyncssh.SSHServer):
            def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
                self._conn = conn

            def begin_auth(self, username: str) -> bool:
                if banner:
                    self._conn.send_auth_banner(banner)
                return password

            def password_auth_supported(self) -> bool:
                return True

            def kbdint_auth_supported(self) -> bool:
                return False

            def validate_password(self, username: str, given: str) -> bool:
                return True

        async def listen() -> None:
            listener = await asyncssh.listen(
                "127.0.0.1",
                0,
                server_factory=Server,
                server_host_keys=[self._key],
                process_factory=self._say,
                encoding=None,
            )
            self.port = listener.get_port()
            self._end = asyncio.Event()
            self._ready.set()
            await self._end.wait()
            listener.close()

        self._loop.run_until_complete(listen())
        self._loop.run_until_complete(asyncio.sleep(0))
        self._loop.close()


def says(text: str, errors: str = "", status: int = 1) -> Callable[[Any], Any]:
    async def say(process: Any) -> None:
        process.stderr.write(errors.encode())
        process.stdout.write(text.encode())
        process.exit(status)

    return say


@pytest.mark.parametrize(
    ("text", "errors", "banner"),
    [
        (f"qsh-instance 1 {ESCAPES} 9 {KEY}\n", "", ""),
        (f"{ESCAPES}\n" * 10, f"{ESCAPES}\n{ESCAPES}", ""),
        ("", "", f"Welcome {ESCAPES}\n"),
        (f"qsh-instance 1 0.1.0 9 {ESCAPES} {KEY}\n", ESCAPES * 1000, ""),
    ],
)
def test_no_escape_comes_through(host: SshHost, text: str, errors: str, banner: str) -> None:
    key = str(host.files.home / "host_key")
    with HostileSsh(key, says(text, errors), banner=banner) as server:
        options = (*BOOTSTRAP, "-vvv", "-oLogLevel=DEBUG3")
        done = host.qsh("true", options=options, port=server.port)
    assert done.returncode == 255
    assert "debug1" in done.stderr
    assert not {"\x1b", "\x07", "\x9b"} & set(done.stderr)


def test_a_host_that_says_nothing_is_waited_for_as_long_as_for_a_connection(host: SshHost) -> None:
    async def say(process: Any) -> None:
        await process.stdin.read()

    with HostileSsh(str(host.files.home / "host_key"), say) as server:
        options = (*BOOTSTRAP, "-oConnectTimeout=2")
        done = host.qsh("true", options=options, port=server.port)
    assert done.returncode == 255
    assert "did not start: no answer in time" in done.stderr


def test_a_line_without_end_is_no_answer(host: SshHost) -> None:
    async def say(process: Any) -> None:
        try:
            while True:
                process.stdout.write(bytes(1 << 16))
                await process.stdout.drain()
        except OSError:
            pass

    with HostileSsh(str(host.files.home / "host_key"), say) as server:
        done = host.qsh("true", options=BOOTSTRAP, port=server.port)
    assert done.returncode == 255
    assert "did not start" in done.stderr


def test_a_key_that_is_revoked_or_of_another_host_is_told_no_password(
    host: SshHost, tmp_path: Path
) -> None:
    for name in ("ca", "stolen"):
        words = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(tmp_path / name)]
        subprocess.run(words, check=True)
    signing = ["ssh-keygen", "-q", "-s", str(tmp_path / "ca"), "-h", "-I", "x"]
    subprocess.run([*signing, "-n", "127.0.0.1", str(tmp_path / "stolen.pub")], check=True)
    asked, askpass = tmp_path / "asked", tmp_path / "askpass"
    askpass.write_text(f'#!/bin/sh\necho "$1" >> {asked}\necho secret\n')
    askpass.chmod(0o755)
    env = {"SSH_ASKPASS": str(askpass), "SSH_ASKPASS_REQUIRE": "force"}
    (host.files.home / "authorized_keys").write_text("")
    known = tmp_path / "known"
    lines = (
        f"@cert-authority * {(tmp_path / 'ca.pub').read_text()}",
        f"@revoked * {(tmp_path / 'stolen.pub').read_text()}",
    )
    known.write_text("".join(lines))
    options = (f"-oUserKnownHostsFile={known}", "-oBatchMode=no", *BOOTSTRAP)
    with HostileSsh(str(tmp_path / "stolen"), says(""), password=True) as server:
        known.write_text(lines[0])
        host.qsh("true", options=options, port=server.port, **env)
        assert asked.exists()
        asked.unlink()
        known.write_text("".join(lines))
        done = host.qsh("true", options=options, port=server.port, **env)
        assert done.returncode == 255
        assert "revoked" in done.stderr
        assert not asked.exists()
        known.write_text(lines[0].replace("*", "192.0.2.1"))
        done = host.qsh("true", options=options, port=server.port, **env)
        assert done.returncode == 255
        assert not asked.exists()
    subprocess.run([*signing, "-n", "192.0.2.1", str(tmp_path / "stolen.pub")], check=True)
    known.write_text(lines[0])
    with HostileSsh(str(tmp_path / "stolen"), says(""), password=True) as server:
        done = host.qsh("true", options=options, port=server.port, **env)
    assert done.returncode == 255
    assert not asked.exists()
