"""A clean Debian root, and what runs in it: mount, process and network namespaces of its own."""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

__all__ = ["DebianRoot"]

_BASE = (
    "python3",
    "openssh-server",
    "openssh-client",
    "iproute2",
    "procps",
    "netbase",
    "libpam-modules",
)
_ENV = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
    "DEBIAN_FRONTEND": "noninteractive",
    "TERM": "xterm-256color",
}


_HASTY = "force-unsafe-io"
"""dpkg waits for the disk after each file; the root is thrown away."""


class DebianRoot:
    """Runs until :meth:`close`. The release is that of this machine."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.said = ""
        release = platform.freedesktop_os_release()["VERSION_CODENAME"]
        command = ["mmdebstrap", "--quiet", "--variant=minbase", f"--include={','.join(_BASE)}"]
        command += [f"--dpkgopt={_HASTY}"]
        subprocess.run([*command, release, str(path)], check=True, stdin=subprocess.DEVNULL)
        # Its first process: what is started inside ends with it.
        self._init = subprocess.Popen(
            [
                *(
                    "unshare",
                    "--mount",
                    "--pid",
                    "--net",
                    "--uts",
                    "--ipc",
                    "--fork",
                    "--kill-child",
                ),
                *("chroot", str(path), "sh", "-c"),
                "mount -t proc proc /proc && mount -t devpts -o newinstance,ptmxmode=0666 devpts /dev/pts"
                " && ln -sf pts/ptmx /dev/ptmx && mount -t tmpfs tmpfs /run && mkdir -p /run/sshd /run/lock"
                " && echo up && exec sleep infinity",
            ],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert self._init.stdout is not None
        assert self._init.stdout.readline() == b"up\n"
        pid = self._init.pid
        (child,) = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        self._enter = [
            *("nsenter", "--target", child, "--mount", "--pid", "--net", "--uts", "--ipc"),
            *("--root", "--wd"),
        ]
        self.run("ip", "link", "set", "lo", "up", check=False)

    def argv(self, *words: str) -> list[str]:
        """What runs ``words`` inside."""
        return [*self._enter, *words]

    def run(
        self, *words: str, check: bool = True, limit_s: float = 60.0, **options: Any
    ) -> subprocess.CompletedProcess[str]:
        """Run to the end; what it says is in the error if it fails."""
        done = subprocess.run(
            self.argv(*words),
            env={**_ENV, **options.pop("env", {})},
            capture_output=True,
            text=True,
            errors="replace",
            timeout=limit_s,
            check=False,
            stdin=options.pop("stdin", subprocess.DEVNULL),
            **options,
        )
        if check and done.returncode:
            said = f"{done.stdout}{done.stderr}"
            raise AssertionError(f"{words}: status {done.returncode}\n{said}")
        return done

    def shell(self, script: str, **options: Any) -> str:
        """A script's standard output."""
        return self.run("sh", "-ec", script, **options).stdout

    @property
    def env(self) -> dict[str, str]:
        """The environment of what runs inside."""
        return dict(_ENV)

    def install(self, *packages: Path) -> str:
        """With dpkg, as an administrator would; returns what it said, which :attr:`said` keeps, too."""
        names = []
        for package in packages:
            shutil.copy(package, self.path / "var" / "cache" / package.name)
            names.append(f"/var/cache/{package.name}")
        done = self.run("dpkg", "--install", *names, limit_s=120.0)
        self.said = done.stdout + done.stderr
        return self.said

    def close(self) -> None:
        """End all that runs there."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._init.pid, signal.SIGKILL)
        self._init.wait()
        assert self._init.stdout is not None
        self._init.stdout.close()
