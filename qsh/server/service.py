"""What qshd and systemd tell each other: sockets that outlive qshd, readiness, signs of life (sd_notify(3), sd_listen_fds(3)).

Without systemd nothing is told and nothing inherited. Messages are datagrams of ``NAME=VALUE`` lines to NOTIFY_SOCKET;
descriptors go with them. A library would do no more.
"""

from __future__ import annotations

import contextlib
import os
import socket
from itertools import count
from typing import TYPE_CHECKING, Final, NamedTuple

from qsh.clock import monotonic_s
from qsh.server.reloading import address_of

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, MutableMapping, Sequence

    from qsh.server.requests import Address

__all__ = ["Inherited", "Service"]

FIRST: Final = 3
"""SD_LISTEN_FDS_START."""
MAX_INHERITED: Final = 128
STORED: Final = "qshd-"
"""Names of sockets that qshd has bound, and left with systemd for the qshd after it, begin so; a number follows."""
WAIT_S: Final = 1.0
"""Who is to be told may be busy, and its queue full; the monitor, which tells, has clients that wait."""
_VARIABLES: Final = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES", "NOTIFY_SOCKET", "WATCHDOG_USEC")


class Inherited(NamedTuple):
    """Sockets that were there before qshd was."""

    given: list[socket.socket]
    """By a socket unit: that says where qshd listens, and Port and ListenAddress do not."""
    stored: dict[str, socket.socket]
    """Bound by the qshd before, with what clients have sent since; by name."""


class Service:
    """One for each qshd. Nothing here raises: who does not listen is not told."""

    def __init__(
        self, address: str = "", watchdog_s: float = 0.0, inherited: Inherited | None = None
    ) -> None:
        self._address = "\0" + address[1:] if address.startswith("@") else address
        self._pause_s = watchdog_s / 2
        self._next_s = monotonic_s() + self._pause_s if watchdog_s else None
        self.inherited = inherited or Inherited([], {})
        self._names = {address_of(sock): name for name, sock in self.inherited.stored.items()}
        """What systemd has of ours."""

    @classmethod
    def of(cls, environment: MutableMapping[str, str]) -> Service:
        """Takes its variables out of ``environment``: they are for this process alone."""
        found = {name: environment.pop(name, "") for name in _VARIABLES}
        for_us = environment.pop("WATCHDOG_PID", "") in ("", str(os.getpid()))
        watchdog_us = found["WATCHDOG_USEC"]
        watchdog_s = int(watchdog_us) / 1e6 if for_us and watchdog_us.isdecimal() else 0.0
        inherited = Inherited([], {})
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
        self._tell(f"STATUS={text}", wait_s=0.0)

    @property
    def deadline_s(self) -> float | None:
        """When :meth:`alive` is to be called next."""
        return self._next_s

    def alive(self, now_s: float) -> None:
        """A sign of life, if one is due."""
        if self._next_s is not None and now_s >= self._next_s:
            self._next_s = now_s + self._pause_s
            self._tell("WATCHDOG=1", wait_s=0.0)

    def listen(
        self,
        kind: int,
        wanted: Sequence[tuple[str, int]],
        bind: Callable[[str, int], socket.socket],
    ) -> tuple[dict[tuple[str, int], socket.socket], list[tuple[str, int, OSError]]]:
        """Sockets of ``kind`` (SOCK_DGRAM, SOCK_STREAM) by address: given, else stored, else new ones, which are stored;
        and those that could not be had, each with why.
        """
        if given := [sock for sock in self.inherited.given if sock.type == kind]:
            return {sock.getsockname()[:2]: sock for sock in given}, []
        found, failures = {}, []
        for host, port in wanted:
            sock = self._take_stored(kind, host, port)
            if sock is None:
                try:
                    sock = bind(host, port)
                except OSError as error:
                    failures.append((host, port, error))
                    continue
                self.store(sock)
            found[host, port] = sock
        return found, failures

    def store(self, sock: socket.socket) -> None:
        """Leave it with systemd: it comes back as ``inherited.stored``."""
        number = next(n for n in count(1) if f"{STORED}{n}" not in self._names.values())
        name = self._names[address_of(sock)] = f"{STORED}{number}"
        self._tell(f"FDSTORE=1\nFDNAME={name}", [sock.fileno()])

    def keep(self, listening: Collection[Address]) -> None:
        """Let systemd forget those that are not listened on any more."""
        for address in [each for each in self._names if each not in listening]:
            self._tell(f"FDSTOREREMOVE=1\nFDNAME={self._names.pop(address)}")

    def close_unused(self) -> None:
        """Stored sockets that nobody has taken are of an older configuration."""
        unused = self.inherited.stored.values()
        self.keep(self._names.keys() - {address_of(sock) for sock in unused})
        for sock in unused:
            sock.close()
        self.inherited.stored.clear()

    def _take_stored(self, kind: int, host: str, port: int) -> socket.socket | None:
        for name, sock in self.inherited.stored.items():
            if sock.type == kind and port and _is_at(sock, host, port):
                return self.inherited.stored.pop(name)
        return None

    def _tell(
        self, text: str, descriptors: Sequence[int] = (), wait_s: float | None = None
    ) -> None:
        if not self._address:
            return
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock,
        ):
            sock.settimeout(WAIT_S if wait_s is None else wait_s)
            sock.connect(self._address)
            socket.send_fds(sock, [text.encode()], list(descriptors))


def _inherit(number_of: int, names: Sequence[str]) -> Inherited:
    inherited = Inherited([], {})
    for number in range(min(number_of, MAX_INHERITED)):
        try:
            os.set_inheritable(FIRST + number, False)
            sock = socket.socket(fileno=FIRST + number)
        except OSError:  # a file, or nothing at all
            continue
        name = names[number] if number < len(names) else ""
        if name.startswith(STORED):
            inherited.stored[name] = sock
        else:
            inherited.given.append(sock)
    return inherited


def _is_at(sock: socket.socket, host: str, port: int) -> bool:
    """Whether it is bound where ``host`` ("" or "*": everywhere) and ``port`` say."""
    bound = sock.getsockname()
    everywhere = ("::", "0.0.0.0")  # noqa: S104 - compared, not bound
    same = bound[0] == host or (host == "" and bound[0] in everywhere)
    return same and bound[1] == port
