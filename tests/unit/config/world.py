"""A small machine in memory for the configuration to be read on."""

from __future__ import annotations

from qsh.config.environment import ConfigFile, Environment
from qsh.patterns import match_pattern


class World(Environment):
    """Files, variables and commands are dictionaries; commands that were run are remembered."""

    user, uid, home = "alice", 1000, "/home/alice"

    def __init__(self, files: dict[str, str] | None = None, **variables: str) -> None:
        self.files = {
            path: ConfigFile(text, uid=self.uid if path.startswith("/home") else 0, mode=0o100644)
            for path, text in (files or {}).items()
        }
        self.variables = variables
        self.statuses: dict[str, int] = {}
        self.ran: list[str] = []
        self.addresses: list[str] = []
        self.names: dict[str, str] = {}

    def hostname(self) -> str:
        return "box.example.org"

    def variable(self, name: str) -> str | None:
        return self.variables.get(name)

    def read_file(self, path: str) -> ConfigFile:
        if path not in self.files:
            return super().read_file(path)
        return self.files[path]

    def exists(self, path: str) -> str:
        return "" if path in self.files else super().exists(path)

    def glob(self, pattern: str) -> list[str]:
        pattern = pattern.replace("~", self.home, 1) if pattern.startswith("~/") else pattern
        return sorted(path for path in self.files if match_pattern(path, pattern))

    def home_of(self, user: str) -> str | None:
        return {"bob": "/home/bob"}.get(user)

    def run(self, command: str) -> int:
        self.ran.append(command)
        return self.statuses.get(command, 1)

    def local_addresses(self) -> list[str]:
        return self.addresses

    def lookup(self, name: str) -> str | None:
        return self.names.get(name)
