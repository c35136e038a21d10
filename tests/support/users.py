"""Users that a test makes and removes; root only."""

from __future__ import annotations

import contextlib
import os
import pwd
import secrets
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

__all__ = ["User", "temporary_user"]


@dataclass(frozen=True, slots=True)
class User:
    """A user of this machine."""

    name: str
    uid: int
    gid: int
    home: Path

    def authorize(self, *lines: str, mode: int = 0o600) -> None:
        """Write ~/.ssh/authorized_keys."""
        folder = self.home / ".ssh"
        folder.mkdir(mode=0o700, exist_ok=True)
        path = folder / "authorized_keys"
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(mode)
        for each in (folder, path):
            os.chown(each, self.uid, self.gid)


@contextlib.contextmanager
def temporary_user(
    home_root: Path, shell: str = "/bin/bash", password: str = "*"
) -> Iterator[User]:
    """A user with an empty home below ``home_root``, which everybody must be able to enter."""
    name = f"qsht{secrets.token_hex(4)}"
    home = home_root / name
    subprocess.run(
        ["useradd", "-m", "-d", str(home), "-k", "/dev/null", "-s", shell, "-p", password, name],
        check=True,
        capture_output=True,
    )
    entry = pwd.getpwnam(name)
    home.chmod(0o755)
    try:
        yield User(name, entry.pw_uid, entry.pw_gid, home)
    finally:
        subprocess.run(["userdel", "-f", "-r", name], check=False, capture_output=True)
