"""A machine with a real sshd on which a qshd may be started through it: all its files are in one folder.

with SshHost() as host:
    host.qsh("echo hello", options=("-oQshBootstrap=yes",))
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from typing import TYPE_CHECKING

from qsh.server.instance import InstanceDirectory
from tests.support.procs import BIN, Daemon, Files

if TYPE_CHECKING:
    from tests.support.netns import Network

__all__ = ["SshHost"]

END_S = 10.0


class SshHost:
    """root's sshd and root's instances. Needs root. With ``net`` both ends are in its namespaces."""

    def __init__(self, net: Network | None = None) -> None:
        self.net = net
        self.files = Files("root")
        home = self.files.home
        with open(home / "sshd_config", "a") as file:
            file.write(f"SetEnv XDG_STATE_HOME={home}/remote\n")
        self.set("")
        self.address = "127.0.0.1" if net is None else net.server.ip4
        self.sshd = Daemon.sshd(self.files, side=None if net is None else net.server)
        self.directory = InstanceDirectory(str(home / "remote/qsh/instance"))

    def set(self, text: str) -> None:
        """More of qshd_config, for instances that start from now on."""
        home = self.files.home
        base = f"HostKey {home}/host_key\nStrictModes no\nPrintMotd no\nPermitRootLogin yes\n"
        keys = f"AuthorizedKeysFile {home}/authorized_keys\nSessionDirectory {home}/sessions\n"
        (home / "qshd_config").write_text(base + keys + text)

    @property
    def command(self) -> str:
        """For QshBootstrapCommand."""
        return f"{BIN}/qshd -f {self.files.home}/qshd_config"

    @property
    def env(self) -> dict[str, str]:
        """The client's."""
        env = {**os.environ, "XDG_STATE_HOME": f"{self.files.home}/state", "QSH_TRACEBACK": "1"}
        for name in ("SSH_AUTH_SOCK", "DISPLAY", "SSH_ASKPASS", "SSH_ASKPASS_REQUIRE"):
            env.pop(name, None)
        return env

    def words(self, *command: str, options: tuple[str, ...] = (), port: int = 0) -> list[str]:
        """qsh's command line."""
        known = (
            ()
            if any("BootstrapCommand" in option for option in options)
            else (f"-oQshBootstrapCommand={self.command}",)
        )
        words = self.files.qsh(
            self.address, port or self.sshd.port, *command, options=(*known, *options)
        )
        return words if self.net is None else self.net.client.argv(words)

    def qsh(
        self, *command: str, options: tuple[str, ...] = (), port: int = 0, **env: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it to its end."""
        return subprocess.run(
            self.words(*command, options=options, port=port),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=50,
            env={**self.env, **env},
            check=False,
            start_new_session=True,
        )

    def instance(self) -> int:
        """The process id of the instance that runs; 0: none."""
        running = self.directory.running()
        return 0 if running is None else running.pid

    def wait_for_end(self) -> None:
        """Until no instance runs."""
        deadline_s = time.monotonic() + END_S
        while self.instance():
            assert time.monotonic() < deadline_s, "the instance goes on"
            time.sleep(0.05)

    def __enter__(self) -> SshHost:
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(ProcessLookupError):
            if pid := self.instance():
                os.killpg(pid, signal.SIGKILL)
        self.sshd.stop()
        self.files.__exit__()
