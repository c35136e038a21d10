"""A qshd that is started again whenever it ends: as packaging/systemd/qshd.service has it, or without a store for its sockets."""

from __future__ import annotations

import os
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

from tests.support.procs import BIN, free_port, tree
from tests.support.service_manager import launch
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from tests.support.procs import Files
    from tests.support.service_manager import ServiceManager

__all__ = ["Respawned"]

RESTART_S = 0.1
"""RestartSec of the unit."""
LIMIT_S = 30.0


class Respawned:
    """Runs until :meth:`stop`. What it says is in ``files.home/log``: sessions that outlive it have that open, too."""

    def __init__(self, files: Files, manager: ServiceManager | None = None) -> None:
        """``manager``: keeps its sockets."""
        self.files, self.manager = files, manager
        self.home, self.env = files.home, files.env
        self.port = free_port(socket.SOCK_DGRAM)
        self.pid_file = self.home / "pid"
        self.starts = 0
        self._log = (self.home / "log").open("a")
        self._end = threading.Event()
        self.process = self._start()
        self._keeper = threading.Thread(target=self._keep, daemon=True)
        self._keeper.start()
        wait_until(lambda: "Server listening" in self.log(), "a qshd that listens")

    def _start(self) -> subprocess.Popen[bytes]:
        argv = [str(BIN / "qshd"), "-D", "-e", "-f", f"{self.home}/qshd_config"]
        argv += ["-p", str(self.port), "-o", f"PidFile={self.pid_file}"]
        env, held = dict(os.environ), ()
        if self.manager is not None:
            self.manager.hear()
            argv, env, held = launch(self.manager, argv)
        self.starts += 1
        return subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=self._log,
            env=env,
            pass_fds=held,
            start_new_session=True,
        )

    def _keep(self) -> None:
        while True:
            self.process.wait()
            if self._end.wait(RESTART_S):
                return
            self.process = self._start()

    def log(self) -> str:
        """All that it said."""
        return (self.home / "log").read_text(errors="replace")

    def roles(self) -> dict[str, list[int]]:
        """Its processes that are no session hosts, by their names. A main process that is only starting has none of them yet."""
        found: dict[str, list[int]] = {}
        main = self.process.pid
        for pid in tree(main):
            try:
                name = Path(f"/proc/{pid}/comm").read_text().strip()
            except OSError:
                continue
            if pid == main or (name.startswith("qshd-") and name != "qshd-session"):
                found.setdefault("main" if pid == main else name, []).append(pid)
        return found

    def command(self, *words: str, options: tuple[str, ...] = ()) -> list[str]:
        """qsh's argument list."""
        return self.files.qsh("127.0.0.1", self.port, *words, options=options)

    def stop(self) -> None:
        """For good."""
        self._end.set()
        while self._keeper.is_alive():
            self.process.terminate()
            self._keeper.join(LIMIT_S)
        self._log.close()
