"""The machine that qsh really runs on, as the configuration sees it."""

from __future__ import annotations

import os
import pwd
import sys

from qsh.config.environment import ConfigFile, Environment
from qsh.patterns import match_pattern

__all__ = ["SystemEnvironment"]


class SystemEnvironment(Environment):
    """This process's user, files and variables. What costs is looked up when it is asked for."""

    def __init__(self, program: str = "") -> None:
        entry = pwd.getpwuid(os.getuid())
        self.user, self.uid, self.home = entry.pw_name, entry.pw_uid, entry.pw_dir
        self.program = program or sys.argv[0] or "qsh"

    def hostname(self) -> str:
        return os.uname().nodename

    def variable(self, name: str) -> str | None:
        return os.environ.get(name)

    def read_file(self, path: str) -> ConfigFile:
        try:
            with open(path, "rb", buffering=0) as file:
                status = os.fstat(file.fileno())
                text = file.read().decode("utf-8", "surrogateescape")
        except IsADirectoryError:  # to ssh that is a file without lines
            status, text = os.stat(path), ""
        return ConfigFile(text, uid=status.st_uid, mode=status.st_mode)

    def exists(self, path: str) -> str:
        try:
            os.stat(path)
        except OSError as error:
            return error.strerror or str(error)
        return ""

    def glob(self, pattern: str) -> list[str]:
        if pattern.startswith("~"):
            user, _, rest = pattern[1:].partition("/")
            home = self.home_of(user) if user else self.home
            if home is None:
                return []
            pattern = f"{home}/{rest}"
        if "[" in pattern or "\\" in pattern:
            import glob

            return sorted(glob.glob(pattern))
        return _glob(pattern)

    def home_of(self, user: str) -> str | None:
        try:
            return pwd.getpwnam(user).pw_dir
        except KeyError:
            return None

    def run(self, command: str) -> int:
        import subprocess

        shell = os.environ.get("SHELL") or "/bin/sh"
        quiet = subprocess.DEVNULL
        # not with input: ssh gives the command /dev/null, its error output stays
        finished = subprocess.run([shell, "-c", command], stdin=quiet, stdout=quiet, check=False)
        return finished.returncode if finished.returncode >= 0 else -1

    def local_addresses(self) -> list[str]:
        from qsh.cli.interfaces import local_addresses

        return local_addresses()

    def service_port(self, name: str) -> int | None:
        import socket

        try:
            return socket.getservbyname(name, "tcp")
        except OSError:
            return None

    def numeric_address(self, text: str) -> str | None:
        import _socket as socket  # all of it would cost more than what is asked

        try:
            found = socket.getaddrinfo(
                # bytes: no IDNA codec is loaded for a plain text
                text.encode() if text.isascii() else text,
                None,
                type=socket.SOCK_STREAM,
                flags=socket.AI_NUMERICHOST,
            )
        except (OSError, UnicodeError):
            return None
        if len(found) != 1:
            return None
        return socket.getnameinfo(found[0][4], socket.NI_NUMERICHOST | socket.NI_NUMERICSERV)[0]

    def lookup(self, name: str) -> str | None:
        import socket

        try:
            found = socket.getaddrinfo(
                name, None, type=socket.SOCK_STREAM, flags=socket.AI_CANONNAME
            )
        except (OSError, UnicodeError):
            return None
        return str(found[0][3] or name)


def _glob(pattern: str) -> list[str]:
    """``*`` and ``?``, the usual ``conf.d/*.conf``: importing glob takes longer than the rest."""
    found = [""]
    for part in pattern.split("/")[1:]:
        if "*" not in part and "?" not in part:
            found = [f"{folder}/{part}" for folder in found]
            found = [path for path in found if os.path.lexists(path or "/")]
            continue
        members: list[str] = []
        for folder in found:
            try:
                names = os.listdir(folder or "/")
            except OSError:
                continue
            members += [
                f"{folder}/{name}"
                for name in names
                if match_pattern(name, part) and name.startswith(".") <= part.startswith(".")
            ]
        found = members
    return sorted(found)
