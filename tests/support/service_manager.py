"""What systemd does for a Type=notify service with a FileDescriptorStore, and no more (sd_notify(3), sd_listen_fds(3))."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
from typing import TYPE_CHECKING

from tests.support.live_server import LiveServer
from tests.support.terminal import wait_until

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

__all__ = ["ServiceManager", "SupervisedServer", "launch"]

_LAUNCH = """\
import os, sys
count = int(sys.argv[1])
held = [os.dup(int(number)) for number in sys.argv[2 : 2 + count]]
for number in sys.argv[2 : 2 + count]:
    os.close(int(number))
for number, descriptor in enumerate(held):
    os.dup2(descriptor, 3 + number)
    os.set_inheritable(3 + number, True)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.argv[2 + count], sys.argv[2 + count :])
"""
"""Moves descriptors to 3 and up, and says whom they are for."""


class ServiceManager:
    """Keeps what it is told, and descriptors by name."""

    def __init__(self, folder: Path) -> None:
        self.address = f"{folder}/notify"
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._sock.bind(self.address)
        self._sock.setblocking(False)
        self.told: list[str] = []
        self.store: list[tuple[str, int]] = []

    def hear(self) -> list[str]:
        """All that has been told so far."""
        with contextlib.suppress(BlockingIOError):
            while True:
                data, descriptors, _, _ = socket.recv_fds(self._sock, 4096, 8)
                self._take(data.decode(), descriptors)
        return self.told

    def _take(self, text: str, descriptors: list[int]) -> None:
        self.told.append(text)
        values = dict(line.split("=", 1) for line in text.split("\n"))
        if "FDSTOREREMOVE" in values:
            for _, descriptor in (each for each in self.store if each[0] == values["FDNAME"]):
                os.close(descriptor)
            self.store = [each for each in self.store if each[0] != values["FDNAME"]]
        if "FDSTORE" in values:
            self.store += [(values["FDNAME"], descriptor) for descriptor in descriptors]

    def expect(self, text: str) -> None:
        """Wait until that has been told."""
        wait_until(lambda: text in self.hear(), f"{text!r} told")

    def close(self) -> None:
        """Let go of everything."""
        self._sock.close()
        for _, descriptor in self.store:
            os.close(descriptor)


def launch(
    manager: ServiceManager, argv: Sequence[str]
) -> tuple[list[str], dict[str, str], tuple[int, ...]]:
    """The words that start a service with what is stored, its environment, and the descriptors to be passed on."""
    held = tuple(descriptor for _, descriptor in manager.store)
    env = {
        **os.environ,
        "NOTIFY_SOCKET": manager.address,
        "LISTEN_FDS": str(len(held)),
        "LISTEN_FDNAMES": ":".join(name for name, _ in manager.store),
    }
    return [sys.executable, "-c", _LAUNCH, str(len(held)), *map(str, held), *argv], env, held


class SupervisedServer(LiveServer):
    """A qshd that is started by a service manager, with what that keeps for it."""

    def __init__(self, home: Path, manager: ServiceManager, extra: str = "") -> None:
        self.manager = manager
        self.watchdog_us = 0
        super().__init__(home, extra)

    def start(self) -> None:
        self.manager.hear()
        self.manager.told.clear()
        prefix, env, self.pass_fds = launch(self.manager, ())
        watched = {"WATCHDOG_USEC": str(self.watchdog_us)} if self.watchdog_us else {}
        self.prefix, self.variables = tuple(prefix), env | watched
        super().start()
