"""``qshctl demo``: a throw-away qshd on loopback with temporary keys, and a shell through it.

Nothing is left behind: the files are in one temporary directory, and whatever ends this process ends the daemon and
removes them, even SIGKILL (a shell that waits for us to go: :class:`_Guard`).
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Final, NoReturn

from qsh.auth.private import generate_ed25519

if TYPE_CHECKING:
    from collections.abc import Sequence
    from types import FrameType

__all__ = ["run"]

FAILED: Final = 255
START_S: Final = 15.0
END_S: Final = 5.0
LISTENING: Final = re.compile(r"Server listening on \S+ port (\d+)")
ENDS: Final = (signal.SIGTERM, signal.SIGHUP)

SERVER: Final = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {home}/host_key
AuthorizedKeysFile {home}/authorized_keys
PermitRootLogin prohibit-password
StrictModes no
PidFile none
PrintMotd no
AcceptEnv LANG LC_*
SessionDirectory {home}/sessions
DetachedMax 0
"""
CLIENT: Final = """\
Host *
  IdentityFile {home}/id
  IdentitiesOnly yes
  IdentityAgent none
  UserKnownHostsFile {home}/known_hosts
  GlobalKnownHostsFile none
  StrictHostKeyChecking yes
  SendEnv LANG LC_*
  QshFallback no
"""

_GUARD: Final = (
    "trap '' INT QUIT TERM HUP; read -r pid && read -r word && exit 0; "
    '[ -n "$pid" ] && kill -TERM "$pid" && n=0 && '
    'while kill -0 "$pid" && [ $n -lt 50 ]; do sleep 0.1; n=$((n + 1)); done; '
    '[ -n "$pid" ] && kill -KILL "-$pid"; rm -rf "$1"'
)


def run(command: Sequence[str]) -> int:
    """Open the shell, or run the command; the exit status is theirs, 255 if the demo itself fails."""
    for number in ENDS:
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="qsh-demo-") as home:
        guard = _Guard(home)
        _write_files(Path(home), _free_port())
        daemon = subprocess.Popen(
            [*_program("daemon"), "-D", "-e", "-f", f"{home}/qshd_config"],
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            process_group=0,
        )
        guard.tell(f"{daemon.pid}")
        try:
            return _use(daemon, Path(home), command)
        finally:
            with contextlib.suppress(KeyboardInterrupt):
                _stop(daemon)
            guard.dismiss()


def _program(name: str) -> list[str]:
    """One of qsh.cli, with the path that this process has: of an installed package python3 alone finds no module."""
    start = f"import sys; sys.path[:] = {sys.path!r}; from qsh.cli.{name} import main; main()"
    return [sys.executable, "-IS", "-c", start]


def _end(number: int, _frame: FrameType | None) -> NoReturn:
    """A signal ends the demo by the way that everything is cleaned up on."""
    raise SystemExit(128 + number)


class _Guard:
    """A shell that cleans up when this process is gone without having done so."""

    def __init__(self, home: str) -> None:
        self._shell = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "qsh-demo-guard", home],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            process_group=0,
            cwd="/",
        )

    def tell(self, word: str) -> None:
        """First the daemon's process id, then that all is done."""
        if self._shell.stdin is not None:
            with contextlib.suppress(OSError):
                os.write(self._shell.stdin.fileno(), f"{word}\n".encode())

    def dismiss(self) -> None:
        """All is done."""
        self.tell("done")
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._shell.wait(END_S)


def _stop(child: subprocess.Popen[str] | subprocess.Popen[bytes]) -> None:
    """End a child; a daemon that does not go is killed with all its processes."""
    child.terminate()
    try:
        child.wait(END_S)
    except subprocess.TimeoutExpired:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if os.getpgid(child.pid) == child.pid:
                os.killpg(child.pid, signal.SIGKILL)
        child.kill()
        child.wait()


def _free_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _write_files(home: Path, port: int) -> None:
    host_text, host_public = generate_ed25519("qsh demo host")
    user_text, user_public = generate_ed25519("qsh demo user")
    for name, text in (
        ("host_key", host_text),
        ("id", user_text),
        ("id.pub", user_public.line() + "\n"),
        ("authorized_keys", user_public.line() + "\n"),
        ("qshd_config", SERVER.format(home=home, port=port)),
        ("qsh_config", CLIENT.format(home=home)),
    ):
        path = home / name
        path.touch(mode=0o600)
        path.write_text(text)
    (home / "known_hosts").write_text(f"* {host_public.line()}\n")


def _use(daemon: subprocess.Popen[str], home: Path, command: Sequence[str]) -> int:
    lines: list[str] = []
    port = _wait_for_port(daemon, lines)
    if port is None:
        sys.stderr.write("qshctl: the demo's qshd did not start:\n" + "".join(lines))
        return FAILED
    user = pwd.getpwuid(os.getuid()).pw_name
    if not command:
        print(f"qshd runs on 127.0.0.1 port {port} (UDP) with throw-away keys.")
        print(
            f"Opening a shell: qsh -p {port} {user}@127.0.0.1    (`exit` ends it, `~?` lists escapes)"
        )
        sys.stdout.flush()
    argv = [*_program("client"), "-F", f"{home}/qsh_config", "-p", str(port)]
    # Ctrl-C is for the client. A handler, not SIG_IGN: that it would inherit.
    previous = signal.signal(signal.SIGINT, lambda *_: None)
    client = subprocess.Popen(
        [*argv, f"{user}@127.0.0.1", *command], env={**os.environ, "XDG_STATE_HOME": str(home)}
    )
    try:
        status = client.wait()
    finally:
        if client.poll() is None:
            _stop(client)
        signal.signal(signal.SIGINT, previous)
    return status if status >= 0 else 128 - status


def _wait_for_port(daemon: subprocess.Popen[str], lines: list[str]) -> int | None:
    """The port that qshd says it listens on; its further lines are read and dropped."""
    stream = daemon.stderr
    if stream is None:
        return None
    timer = threading.Timer(START_S, daemon.kill)
    timer.daemon = True
    timer.start()
    try:
        for line in stream:
            lines.append(line)
            if found := LISTENING.search(line):
                threading.Thread(target=stream.read, daemon=True).start()
                return int(found[1])
    finally:
        timer.cancel()
    return None
