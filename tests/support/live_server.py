"""A real qshd on loopback with throw-away keys, and what a client needs to reach it."""

from __future__ import annotations

import contextlib
import getpass
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

from qsh.auth.private import generate_ed25519

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from qsh.auth.keys import PublicKey

__all__ = ["PLAIN_SHELL", "LiveServer", "free_port"]

_LISTENING = re.compile(r"Server listening on \S+ port (\d+)")

_SERVER = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PermitRootLogin prohibit-password
StrictModes no
PrintMotd no
AcceptEnv LANG LC_*
SessionDirectory {home}/sessions
PerSourcePenalties no
{pid_file}{pam}{extra}
DetachedMax 0
"""
"""The first value counts: ``extra`` may say that sessions outlive their clients. A penalty's own word (``authfail:9``) there
switches penalties on. What PAM of this machine's would do is no test's business that does not say so."""
_CLIENT = """\
Host *
  IdentityFile {home}/id
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {home}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  QshFallback no
  SendEnv LANG LC_*
"""

PLAIN_SHELL = "SetEnv SHLVL=9"
"""For ``extra``: keeps Debian's bash from reading ~/.bashrc for a command, and whatever takes time there."""


def write_private(path: Path, text: str) -> None:
    """A key file with 0600."""
    path.touch(mode=0o600)
    path.write_text(text)


def free_port() -> int:
    """A UDP port that nobody uses now."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class LiveServer:
    """Runs until :meth:`stop`. ``home`` holds all keys and files of both sides."""

    prefix: tuple[str, ...] = ()
    """A program that runs qshd with other rights."""
    pass_fds: tuple[int, ...] = ()
    variables: Mapping[str, str] = {}
    """For its environment."""

    def __init__(self, home: Path, extra: str = "") -> None:
        self.home = home
        self.user = getpass.getuser()
        self.host_key = self._key("host_key")
        self.user_key = self._key("id")
        (home / "authorized_keys").write_text(self.user_key.line() + "\n")
        (home / "known_hosts").write_text(f"* {self.host_key.line()}\n")
        (home / "config").write_text(_CLIENT.format(home=home))
        self.port = free_port()
        self.extra = extra
        self.log: list[str] = []
        self.start()

    def _key(self, name: str) -> PublicKey:
        text, public = generate_ed25519(name)
        write_private(self.home / name, text)
        (self.home / f"{name}.pub").write_text(public.line() + "\n")
        return public

    def start(self) -> None:
        """Start, or start again on the same port."""
        pid_file = "" if self.extra.startswith("PidFile") else "PidFile none\n"
        pam = (
            "" if "UsePAM" in self.extra else "UsePAM no\n"
        )  # not behind what may end in a Match block
        text = _SERVER.format(
            home=self.home, port=self.port, extra=self.extra, pid_file=pid_file, pam=pam
        )
        (self.home / "qshd_config").write_text(text)
        self.process = subprocess.Popen(
            [
                *self.prefix,
                sys.executable,
                "-m",
                "qsh.cli.daemon",
                "-D",
                "-e",
                "-f",
                f"{self.home}/qshd_config",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            process_group=0,
            pass_fds=self.pass_fds,
            env={**os.environ, **self.variables},
        )
        stderr = self.process.stderr
        assert stderr is not None
        for line in stderr:
            self.log.append(line)
            if found := _LISTENING.search(line):
                self.port = int(found[1])
                self._reader = threading.Thread(target=self.log.extend, args=(stderr,))
                self._reader.start()
                return
        stderr.close()
        self.process.wait()
        raise AssertionError("qshd did not start:\n" + "".join(self.log))

    def stop(self) -> None:
        """End it, and everything that it started."""
        self.process.terminate()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.kill()
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)  # detached sessions
        self._close()

    def _close(self) -> None:
        self._reader.join(5)
        assert self.process.stderr is not None
        self.process.stderr.close()

    def forget(self) -> None:
        """It has ended, but for the sessions, which still hold its standard error; :meth:`start` may follow."""
        stderr, reader = self.process.stderr, self._reader
        assert stderr is not None

        def close() -> None:
            reader.join()
            stderr.close()

        threading.Thread(target=close, daemon=True).start()

    def kill(self) -> None:
        """As if the machine had lost power: nobody says goodbye."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self._close()

    def pause(self) -> None:
        """The network is dead: nothing answers any more."""
        os.killpg(self.process.pid, signal.SIGSTOP)

    def resume(self) -> None:
        """The network is back."""
        os.killpg(self.process.pid, signal.SIGCONT)

    @property
    def target(self) -> str:
        """``user@host``."""
        return f"{self.user}@127.0.0.1"

    def command(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        """qsh's argument list."""
        return [
            *(sys.executable, "-m", "qsh.cli.client", "-F", f"{self.home}/config"),
            *("-p", str(self.port), *options, self.target, *words),
        ]

    @property
    def env(self) -> dict[str, str]:
        """The client's environment: its state goes to ``home``."""
        env = {**os.environ, "XDG_STATE_HOME": f"{self.home}/state", "QSH_TRACEBACK": "1"}
        for name in ("SSH_AUTH_SOCK", "DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"):
            env.pop(name, None)
        return env

    def run(
        self,
        *words: str,
        options: tuple[str, ...] = (),
        stdin: bytes = b"",
        limit_s: float = 20.0,
        env: dict[str, str] | None = None,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run qsh to its end."""
        return subprocess.run(
            self.command(*words, options=options),
            input=stdin,
            capture_output=True,
            timeout=limit_s,
            env={**self.env, **(env or {})},
            check=False,
            start_new_session=True,
        )
