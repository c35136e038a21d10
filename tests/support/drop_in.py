"""A folder in PATH with ``qsh`` as other programs would find it: it knows the way to one :class:`LiveServer`.

    drop_in = DropIn(server)
    drop_in.run("scp", "-S", "qsh", "file", "box:copy")
    drop_in.calls  # how scp called qsh

``box`` is the server; everything that a program passes reaches qsh unchanged, after ``-F``.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.live_server import LiveServer

__all__ = ["HOST", "DropIn"]

HOST = "box"
BIN = Path(sys.executable).parent
_CONFIG = """\
Host {host}
  HostName 127.0.0.1
  Port {port}
"""
_WRAPPER = """\
#!/bin/sh
printf '%s\\0' "$@" >> {log}
printf '\\n' >> {log}
exec {program} -F {config} "$@"
"""


class DropIn:
    """Programs that run here find ``qsh``, ``qscp`` and ``qsftp`` first in PATH."""

    def __init__(self, server: LiveServer) -> None:
        self.server, self.home = server, server.home
        self.folder = self.home / "bin"
        self.folder.mkdir()
        self._log = self.home / "calls"
        config = self.home / "drop_in_config"
        common = (self.home / "config").read_text()
        config.write_text(_CONFIG.format(host=HOST, port=server.port) + common)
        program = self.folder / "qsh"
        words = {"log": self._log, "program": BIN / "qsh", "config": config}
        program.write_text(
            _WRAPPER.format(**{name: shlex.quote(str(word)) for name, word in words.items()})
        )
        program.chmod(0o755)
        for name in ("qscp", "qsftp"):
            (self.folder / name).symlink_to(BIN / name)

    @property
    def env(self) -> dict[str, str]:
        """No configuration of git and of the like, no agent, no display."""
        env = {**self.server.env, "HOME": str(self.home), "LC_ALL": "C.UTF-8"}
        env["PATH"] = f"{self.folder}:{os.environ['PATH']}:/usr/sbin:/sbin"
        env.update(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null")
        return env

    def run(
        self,
        *words: str | Path,
        stdin: bytes | None = None,
        limit_s: float = 30.0,
        env: dict[str, str] | None = None,
        status: int | None = 0,
    ) -> subprocess.CompletedProcess[bytes]:
        """Run a program to its end, which must be ``status``; without ``stdin`` it reads nothing."""
        done = subprocess.run(
            words,
            input=b"" if stdin is None else stdin,
            capture_output=True,
            timeout=limit_s,
            env={**self.env, **(env or {})},
            cwd=self.home,
            check=False,
            start_new_session=True,
        )
        told = f"{words}\n{done.stdout!r}\n{done.stderr!r}\n{self.calls}"
        assert status is None or done.returncode == status, told
        return done

    @property
    def calls(self) -> list[list[str]]:
        """The words of every call of qsh so far."""
        lines = self._log.read_text().split("\0\n") if self._log.exists() else []
        return [line.split("\0") for line in lines if line]

    def forget(self) -> None:
        """No calls so far."""
        self._log.unlink(missing_ok=True)
