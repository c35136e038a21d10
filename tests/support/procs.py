"""Real daemons with throw-away keys, users and configuration files, on loopback or in a namespace.

    with LoginUser() as user, Files(user.name) as files:
        with Daemon.sshd(files) as sshd:
            subprocess.run(files.ssh("127.0.0.1", sshd.port, "true"), check=True)

``files`` are the same for OpenSSH and qsh: one host key, one user key, one known_hosts. Unprivileged tests of qsh
use :mod:`tests.support.live_server`, which needs none of this.
"""

from __future__ import annotations

import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from tests.support.netns import Side

__all__ = ["Daemon", "Files", "LoginUser", "tree"]

PROMPT = "ready> "
"""Of a :class:`LoginUser`'s shell."""
START_S = 15.0
END_S = 5.0
SSHD = "/usr/sbin/sshd"
LISTENING = re.compile(r"Server listening on \S+ port (\d+)")
BIN = Path(sys.executable).parent

_SERVER = """\
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PermitRootLogin {root_login}
PasswordAuthentication no
StrictModes no
PidFile none
PrintMotd no
AcceptEnv LANG LC_*
"""
_SSHD_ONLY = """\
UsePAM no
PrintLastLog no
KbdInteractiveAuthentication no
"""
_CLIENT = """\
Host *
  User {user}
  IdentityFile {home}/id
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {home}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  BatchMode yes
"""


def tree(pid: int) -> list[int]:
    """``pid`` and all that descend from it now."""
    children: dict[int, list[int]] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            try:
                stat = Path("/proc", entry, "stat").read_text()
            except OSError:
                continue
            children.setdefault(int(stat.rsplit(")", 1)[1].split()[1]), []).append(int(entry))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, ()))
    return found


class LoginUser:
    """A user of the machine with a known prompt, removed at the end with all its processes. Needs root."""

    def __init__(self, shell: str = "/bin/bash") -> None:
        self.name = "qsh" + secrets.token_hex(4)
        subprocess.run(["useradd", "-m", "-p", "*", "-s", shell, self.name], check=True)
        record = pwd.getpwnam(self.name)
        self.uid, self.gid, self.home = record.pw_uid, record.pw_gid, Path(record.pw_dir)
        for name in (".bashrc", ".profile"):
            (self.home / name).write_text(f"PS1='{PROMPT}'\nunset PROMPT_COMMAND\n")

    def __enter__(self) -> LoginUser:
        return self

    def __exit__(self, *_: object) -> None:
        deadline = time.monotonic() + END_S
        while (pids := self.pids()) and time.monotonic() < deadline:
            for pid in pids:
                try:
                    os.kill(pid, signal.SIGKILL)
                except ProcessLookupError:
                    continue
            time.sleep(0.02)
        subprocess.run(["userdel", "-r", self.name], check=True, capture_output=True)

    def pids(self) -> list[int]:
        """Of all his processes."""
        found = []
        for entry in os.listdir("/proc"):
            try:
                if entry.isdigit() and os.stat(f"/proc/{entry}").st_uid == self.uid:
                    found.append(int(entry))
            except OSError:
                continue
        return found


class Files:
    """A folder with keys and the configuration of both sides. ``hosts`` are the addresses that known_hosts knows."""

    def __init__(self, user: str, *, server: str = "", client: str = "") -> None:
        self.user = user
        self.home = Path(tempfile.mkdtemp(prefix="qsh-test-"))
        self.home.chmod(0o755)
        for name in ("host_key", "id"):
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", self.home / name],
                check=True,
            )
        host_key = " ".join((self.home / "host_key.pub").read_text().split()[:2])
        (self.home / "known_hosts").write_text(f"* {host_key}\n")
        shutil.copy(self.home / "id.pub", self.home / "authorized_keys")
        root_login = "prohibit-password" if user == "root" else "no"
        common = _SERVER.format(home=self.home, root_login=root_login) + server
        (self.home / "sshd_config").write_text(common + _SSHD_ONLY)
        (self.home / "qshd_config").write_text("PerSourcePenalties no\n" + common)
        config = _CLIENT.format(home=self.home, user=user) + client
        (self.home / "ssh_config").write_text(config)
        (self.home / "qsh_config").write_text(config + "  QshFallback no\n")

    def __enter__(self) -> Files:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.home)

    def ssh(self, host: str, port: int, *command: str, options: Sequence[str] = ()) -> list[str]:
        """The words of an ssh client."""
        return ["ssh", *self._client("ssh_config", port), *options, host, *command]

    def qsh(self, host: str, port: int, *command: str, options: Sequence[str] = ()) -> list[str]:
        """The words of a qsh client."""
        return [str(BIN / "qsh"), *self._client("qsh_config", port), *options, host, *command]

    def _client(self, config: str, port: int) -> list[str]:
        return ["-F", str(self.home / config), "-p", str(port)]

    @property
    def env(self) -> dict[str, str]:
        """The clients' environment: no agent, state in the folder."""
        env = {**os.environ, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "TERM": "xterm-256color"}
        env["XDG_STATE_HOME"] = str(self.home / "state")
        for name in ("SSH_AUTH_SOCK", "DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"):
            env.pop(name, None)
        return env


def free_port(kind: socket.SocketKind) -> int:
    """A port on which nobody listens now."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class Daemon:
    """A server in the foreground that is ready when it says where it listens."""

    def __init__(
        self,
        argv: Sequence[str],
        port: int,
        *,
        side: Side | None = None,
        wrap: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.port = port
        command = [*wrap, *argv]
        self.process = subprocess.Popen(
            command if side is None else side.argv(command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
            env=env,
            start_new_session=True,
        )
        self.log: list[str] = []
        self._ready, self._listening = threading.Event(), False
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        if not self._ready.wait(START_S) or not self._listening:
            self.stop()
            raise AssertionError(f"{argv[0]} did not start:\n{''.join(self.log)}")

    @classmethod
    def sshd(
        cls,
        files: Files,
        *,
        side: Side | None = None,
        wrap: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> Daemon:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        port = free_port(socket.SOCK_STREAM)
        argv = [SSHD, "-D", "-e", "-f", str(files.home / "sshd_config"), "-p", str(port), *options]
        return cls(argv, port, side=side, wrap=wrap)

    @classmethod
    def qshd(
        cls,
        files: Files,
        *,
        side: Side | None = None,
        wrap: Sequence[str] = (),
        options: Sequence[str] = (),
    ) -> Daemon:
        port = free_port(socket.SOCK_DGRAM)
        argv = [
            str(BIN / "qshd"),
            "-D",
            "-e",
            "-f",
            str(files.home / "qshd_config"),
            "-p",
            str(port),
            *options,
        ]
        return cls(argv, port, side=side, wrap=wrap)

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.log.append(line)
            if LISTENING.search(line):
                self._listening = True
                self._ready.set()
        self._ready.set()

    def stop(self) -> None:
        """End it and everything that still descends from it. Idempotent."""
        family = tree(self.process.pid) if self.process.poll() is None else []
        self.process.terminate()
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        deadline = time.monotonic() + END_S
        for pid in family[1:]:
            while Path(f"/proc/{pid}").exists() and not _is_zombie(pid):
                if time.monotonic() > deadline - END_S / 2:
                    try:
                        os.kill(pid, signal.SIGKILL)
                    except ProcessLookupError:
                        break
                time.sleep(0.01)
        self._reader.join(END_S)
        if self.process.stderr is not None and not self._reader.is_alive():
            self.process.stderr.close()

    def __enter__(self) -> Daemon:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
