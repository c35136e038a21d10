"""What the configuration may ask of the machine it is read on.

This package does no I/O. The caller passes an ``Environment``; qsh/cli/environment.py has the
real one, tests pass small fakes. The base class is an empty machine: no files, no variables.
A plain class and not a typing.Protocol: importing typing costs more than reading ssh_config.
"""

from __future__ import annotations

__all__ = ["ConfigFile", "Environment"]


class ConfigFile:
    """A file's text and what the permission check needs."""

    __slots__ = ("mode", "text", "uid")

    def __init__(self, text: str, *, uid: int = 0, mode: int = 0o644) -> None:
        self.text, self.uid, self.mode = text, uid, mode


class Environment:
    """An empty machine. Every method may be overridden on its own."""

    user = "root"
    uid = 0
    home = "/root"
    program = "qsh"
    """argv[0]: the program that ProxyJump starts."""

    def hostname(self) -> str:
        """gethostname(2)."""
        return "localhost"

    def variable(self, name: str) -> str | None:
        """An environment variable."""
        return None

    def read_file(self, path: str) -> ConfigFile:
        """The file at ``path``. Raises OSError."""
        raise FileNotFoundError(2, "No such file or directory", path)

    def exists(self, path: str) -> str:
        """Empty if stat(2) works on ``path``, else the reason."""
        return "No such file or directory"

    def glob(self, pattern: str) -> list[str]:
        """The sorted paths that match a shell pattern."""
        return []

    def home_of(self, user: str) -> str | None:
        """Another user's home directory."""
        return None

    def run(self, command: str) -> int:
        """The exit status of a shell command with no input or output; -1 if it died otherwise."""
        return 127

    def local_addresses(self) -> list[str]:
        """The addresses of this machine's interfaces."""
        return []

    def service_port(self, name: str) -> int | None:
        """getservbyname(3) for TCP."""
        return None

    def numeric_address(self, text: str) -> str | None:
        """The usual spelling of a numeric address such as ``127.1``; None if it is not one."""
        return None

    def lookup(self, name: str) -> str | None:
        """The canonical name that the resolver gives for ``name``, None if there is none."""
        return None
