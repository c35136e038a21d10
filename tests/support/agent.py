"""A real ssh-agent, and what is in it."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING

from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["SshAgent"]


class SshAgent:
    """Runs until the end of the ``with`` block, with a new key of this name."""

    def __init__(self, folder: Path, name: str = "key") -> None:
        self.path, self.key, self.name = folder / f"{name}.agent", folder / f"{name}.key", name
        self.process = subprocess.Popen(
            ["ssh-agent", "-D", "-a", str(self.path)], stdout=subprocess.DEVNULL
        )
        wait_until(self.path.exists, "ssh-agent")
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", name, "-f", str(self.key)]
        subprocess.run(argv, check=True)
        self.add(str(self.key))

    def add(self, *words: str) -> None:
        """``ssh-add``."""
        self.ssh_add(*words).check_returncode()

    def ssh_add(self, *words: str) -> subprocess.CompletedProcess[bytes]:
        """``ssh-add``, as it ends."""
        return subprocess.run(
            ["ssh-add", *words], env={**os.environ, **self.env}, capture_output=True, check=False
        )

    @property
    def env(self) -> dict[str, str]:
        """For its clients."""
        return {"SSH_AUTH_SOCK": str(self.path)}

    @property
    def public(self) -> str:
        """The line of its key."""
        return self.key.with_suffix(".key.pub").read_text().strip()

    def __enter__(self) -> SshAgent:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()
