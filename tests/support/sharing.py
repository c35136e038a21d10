"""A shared connection: its ControlPath, and what is done over it."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.support.live_server import LiveServer

    Done = subprocess.CompletedProcess[bytes]

__all__ = ["Shared", "gone"]


class Shared:
    """A ControlPath of one test, and what is done over it."""

    def __init__(self, server: LiveServer, folder: Path) -> None:
        self.server, self.path = server, folder / "cp"
        self.socket = Path(f"{self.path}.qsh")
        self._logins = self._accepted()
        self.allowed_logins = 1
        self.started: list[subprocess.Popen[bytes]] = []

    def options(self, *more: str, master: str = "auto", persist: str = "yes") -> tuple[str, ...]:
        words = (f"ControlMaster={master}", f"ControlPersist={persist}", f"ControlPath={self.path}")
        return (*(part for word in words for part in ("-o", word)), *more)

    def run(
        self,
        *words: str,
        more: tuple[str, ...] = (),
        stdin: bytes = b"",
        master: str = "auto",
        persist: str = "yes",
        env: dict[str, str] | None = None,
    ) -> Done:
        options = self.options(*more, master=master, persist=persist)
        return self.server.run(*words, options=options, stdin=stdin, env=env)

    def ask(self, what: str, *more: str) -> Done:
        return self.server.run(options=("-S", str(self.path), "-O", what, *more))

    def start(self, *words: str, more: tuple[str, ...] = (), **how: str) -> subprocess.Popen[bytes]:
        command = self.server.command(*words, options=self.options(*more, **how))
        started = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self.server.env,
            start_new_session=True,
        )
        self.started.append(started)
        return started

    @property
    def master(self) -> int:
        """Its process id, as ``-O check`` says it."""
        found = re.fullmatch(rb"Master running \(pid=(\d+)\)\r\n", self.ask("check").stderr)
        assert found is not None
        return int(found[1])

    def _accepted(self) -> int:
        return sum("Accepted " in line for line in self.server.log)

    @property
    def logins(self) -> int:
        """At the server, of this test. A login is logged before its first answer."""
        return self._accepted() - self._logins

    def end(self) -> None:
        if self.socket.exists():
            self.ask("exit")
        for process in self.started:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout, process.stderr):
                assert pipe is not None
                pipe.close()


def gone(pid: int) -> bool:
    """The process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
