"""A client host whose ways to a server host change, and a program that tells what was lost or doubled."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tests.support import counter
from tests.support.netns import named
from tests.support.pty_screen import Screen
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from tests.support.netns import Network, Side
    from tests.support.procs import Daemon, Files, LoginUser

__all__ = ["LIMIT_S", "NAME", "Uplink", "Work"]

LIMIT_S = 60.0
NAME = "uplink.test"
NEW_IP4, NEW_IP6 = "10.77.9.9", "fd77:9::9"


class Uplink:
    """A client host whose addresses change, a server host with qshd."""

    def __init__(self, network: Network, files: Files, daemon: Daemon, user: LoginUser) -> None:
        self.network, self.files, self.daemon, self.user = network, files, daemon, user
        self.port = daemon.port
        """The one that clients name."""

    def words(self, host: str, *command: str, options: tuple[str, ...] = ()) -> list[str]:
        """A client's; it knows the host by its name, too."""
        words = self.files.qsh(host, self.port, *command, options=options)
        hosts = self.files.home / "hosts"
        server = self.network.server
        hosts.write_text(f"{server.ip4} {NAME}\n{server.ip6} {NAME}\n")
        return named(str(hosts), words)

    @staticmethod
    def becomes(side: Side, before: str, after: str) -> None:
        """This side has addresses of other families: 4, 6, or 46."""
        for family in set(before) - set(after):
            side.drop_address(f"ip{family}")
        for family in set(after) - set(before):
            side.add_address(f"ip{family}")

    def move(self, family: str) -> None:
        """Another address of this family instead of the client's."""
        client = self.network.client
        if family == "ip4":
            client.change_address(NEW_IP4)
        else:
            client.change_address6(NEW_IP6)

    def await_move(self, family: str) -> None:
        """Until qshd has told of the one move that there was."""
        wait_until(lambda: self.moves() == [getattr(self.network.client, family)], "a line of qshd")

    def moves(self) -> list[str]:
        """Where qshd saw clients go."""
        return [
            line.split(" to ")[1].split()[0] for line in self.daemon.log if " moved from " in line
        ]


class Work:
    """A program that counts aloud behind qsh, on a terminal emulator; what was typed to it."""

    def __init__(self, uplink: Uplink, host: str, *options: str, pause_s: float = 0.004) -> None:
        """``pause_s``: between its lines."""
        folder = self.folder = uplink.user.home / "work"
        folder.mkdir()
        folder.chmod(0o777)
        program = folder / "counter.py"
        program.write_text(Path(counter.__file__).read_text())
        command = f"/usr/bin/python3 -S {program} {folder} {pause_s}"
        words = uplink.words(host, command, options=("-t", "-o", "QshSkip=exact", *options))
        env = {**uplink.files.env, "LC_ALL": "C.UTF-8"}
        self.screen = Screen(uplink.network.client.argv(words), env=env)
        self.typed = b""
        self.screen.wait_for("said ")

    def type(self, text: str) -> None:
        self.screen.type(text)
        self.typed += text.encode()

    def hears(self, word: str) -> None:
        """Wait until it has told of this; it may have left the screen by then."""
        told = f"heard {word}"
        wait_until(lambda: any(told in line for line in self.screen.lines()), told, limit_s=LIMIT_S)

    def end(self) -> None:
        self.type("\x04")
        assert self.screen.wait_end(LIMIT_S) == counter.STATUS
        assert (self.folder / "heard").read_bytes() == self.typed
        said = (self.folder / "said").read_text().splitlines()
        lines = [line.rstrip() for line in self.screen.lines()]
        assert [line for line in lines if line in set(said)] == said
