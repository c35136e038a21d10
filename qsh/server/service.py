"""What qshd and systemd tell each other: sockets that outlive qshd, readiness, signs of life (sd_notify(3), sd_listen_fds(3)).

Without systemd nothing is told and nothing inherited. Messages are datagrams of ``NAME=VALUE`` lines to NOTIFY_SOCKET;
descriptors go with them. A library would do no more.
"""

from __future__ import annotations

import contextlib
import os
import socket
from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.clock import monotonic_s

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping, Sequence

__all__ = ["Inherited", "Service"]

FIRST: Final = 3
"""SD_LISTEN_FDS_START."""
MAX_INHERITED: Final = 128
STORED: Final = "qshd"
"""The name of sockets that qshd has bound, and left with systemd for the qshd after it."""
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC")


class Inherited(NamedTuple):
    """Sockets that were there before qshd was."""

    given: list[socket.socket]
    """By a socket unit: that says where qshd listens, and Port and ListenAddress do not."""
    stored: list[socket.socket]
    """Bound by the qshd before, with what clients have sent since."""


class Service:
    """One for each qshd. Nothing here raises: who does not listen is not told."""

    def __init__(
        self, address: str = "", watchdog_s: float = 0.0, inherited: Inherited | None = None
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._pause_s = watchdog_s / 2
        self._next_s = monotonic_s() + self._pause_s if watchdog_s else None
        self.inherited = inherited or Inherited([], [])
        self._ours: list[socket.socket] = []
        """Bound by this qshd or the one before."""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Service:
        """Takes its variables out of ``environment``: they are for this process alone."""
        found = {name: environment.pop(name, "") for name in _VARIABLES}
        for_us = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog_us = found["WATCHDOG_USEC"]
        watchdog_s = int(watchdog_us) / 1e6 if for_us and watchdog_us.isdecimal() else 0.0
        inherited = Inherited([], [])
        if found["LISTEN_PID"] == str(os.getpid()) and found["LISTEN_FDS"].isdecimal():
            inherited = _inherit(int(found["LISTEN_FDS"]), found["LISTEN_FDNAMES"].split(":"))
        return cls(found["NOTIFY_SOCKET"], watchdog_s, inherited)

    def ready(self) -> None:
        """Clients are served."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """The configuration is read again; :meth:`ready` says that it is done (systemd.service(5), notify-reload)."""
        self._tell(f"RELOADING=1\nMONOTONIC_USEC={int(monotonic_s() * 1e6)}")

    def stopping(self) -> None:
        """Nobody is let in any more."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """One line for systemctl status."""
        self._tell(f"STATUS={text}")

    @property
    def deadline_s(self) -> float | None:
        """When :meth:`alive` is to be called next."""
        return self._next_s

    def alive(self, now_s: float) -> None:
        """A sign of life, if one is due."""
        if self._next_s is not None and now_s >= self._next_s:
            self._next_s = now_s + self._pause_s
            self._tell("WATCHDOG=1")

    def listen(
        self,
        kind: int,
        wanted: Sequence[tuple[str, int]],
        bind: Callable[[str, int], socket.socket],
    ) -> tuple[list[socket.socket], list[tuple[str, int, OSError]]]:
        """Sockets of ``kind`` (SOCK_DGRAM, SOCK_STREAM) for the addresses: given ones, else stored ones, else new ones, which are
        stored; and those that could not be had, each with why.
        """
        if given := [sock for sock in self.inherited.given if sock.type == kind]:
            return given, []
        found, failures = [], []
        for host, port in wanted:
            sock = self._take_stored(kind, host, port)
            if sock is None:
                try:
                    sock = bind(host, port)
                except OSError as error:
                    failures.append((host, port, error))
                    continue
                self._store(sock)
            self._ours.append(sock)
            found.append(sock)
        return found, failures

    def close_unused(self) -> None:
        """Stored sockets that nobody has taken are of an older configuration: they are closed, and systemd forgets them."""
        if not self.inherited.stored:
            return
        for sock in self.inherited.stored:
            sock.close()
        self.inherited.stored.clear()
        self._tell(f"FDSTOREREMOVE=1\nFDNAME={STORED}")  # all of that name
        for sock in self._ours:
            self._store(sock)

    def _store(self, sock: socket.socket) -> None:
        """Leave it with systemd: it comes back as ``inherited.stored``."""
        self._tell(f"FDSTORE=1\nFDNAME={STORED}", [sock.fileno()])

    def _take_stored(self, kind: int, host: str, port: int) -> socket.socket | None:
        for sock in self.inherited.stored:
            if sock.type == kind and port and _is_at(sock, host, port):
                self.inherited.stored.remove(sock)
                return sock
        return None

    def _tell(self, text: str, descriptors: Sequence[int] = ()) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.connect(self._address)
            socket.send_fds(sock, [text.encode()], list(descriptors))


def _inherit(count: int, names: Sequence[str]) -> Inherited:
    inherited = Inherited([], [])
    for number in range(min(count, MAX_INHERITED)):
        try:
            os.set_inheritable(FIRST + number, False)
            sock = socket.socket(fileno=FIRST + number)
        except OSError:  # a file, or nothing at all
            continue
        stored = number < len(names) and names[number] == STORED
        (inherited.stored if stored else inherited.given).append(sock)
    return inherited


def _is_at(sock: socket.socket, host: str, port: int) -> bool:
    """Whether it is bound where ``host`` ("" or "*": everywhere) and ``port`` say."""
    bound = sock.getsockname()
    everywhere = ("::", "0.0.0.0")  # noqa: S104 - compared, not bound
    same = bound[0] == host or (host == "" and bound[0] in everywhere)
    return same and bound[1] == port
