"""The monitor's side of the front (front.py): has it started, reads what it asks, sends what it is answered.

(none) ─ start ─► started ─ Spawned ─► runs ─ its end, or it broke the rules ─► (none)
                     └─ there is no process to be had ─► due, and again
"""

from __future__ import annotations

import contextlib
import os
import select
import selectors
import socket
from typing import TYPE_CHECKING, Final, Protocol

from qsh.clock import monotonic_s
from qsh.errors import RemoteProtocolError
from qsh.server.kept_penalties import KeptPenalties
from qsh.server.login_children import kill
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import FrontRequest, Identity, LeftClients, StartFront

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.server.log import Log
    from qsh.server.requests import HeldKeys, LeftClient, Local, SpawnerReport
    from qsh.server.signer_link import SignerLink

__all__ = ["FrontLink", "FrontOwner"]

RESTART_S: Final = 1.0
"""A front that died younger than this and has never said anything is not started again: something is wrong that will not mend
itself. One that served is, but so much later; as is one for which there was no process to be had."""
LEFT_EACH: Final = 200
"""Clients in one packet."""
STOP_S: Final = 2.0
"""How long qshd waits at its end for the front to say goodbye to its clients."""


class FrontOwner(Protocol):
    """Who answers it."""

    def asked(self, request: FrontRequest) -> None:
        """Raises RemoteProtocolError for a request out of turn, which ends the front."""

    def front_gone(self) -> None:
        """Nobody waits for what it has asked."""


class FrontLink:
    """One front at a time."""

    def __init__(
        self,
        spawner: PacketSocket[SpawnerReport],
        selector: selectors.BaseSelector,
        signer: SignerLink,
        log: Log,
        owner: FrontOwner,
    ) -> None:
        self._spawner, self._selector, self._signer = spawner, selector, signer
        self._log, self._owner = log, owner
        self.link: PacketSocket[FrontRequest] | None = None
        self.pid = 0
        self.since_s = 0.0
        self._served = False
        """It has said something, which it does as soon as it listens."""
        self.left: list[LeftClient] = []
        """Clients of fronts that have ended, for the next one."""
        self.penalties = KeptPenalties()
        self.due_s: float | None = None
        """When to try again to start one."""

    def start(self) -> None:
        """Not without keys: the signer's first words start it then."""
        self.due_s = None
        if self._signer.held is None:
            return
        try:
            self._try(self._signer.held)
        except OSError as error:
            self._retry(f": {error.strerror}")

    def expire(self, now: float) -> None:
        """Start it, if that is due."""
        if self.due_s is not None and now >= self.due_s:
            self.start()

    def _retry(self, reason: str = "") -> None:
        self._log.error(f"cannot start the front{reason}; trying again in {RESTART_S:g} s")
        self.due_s = monotonic_s() + RESTART_S

    def _try(self, held: HeldKeys) -> None:
        ours, theirs = packet_pair()
        sign_signer, sign_front = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        front: PacketSocket[FrontRequest] = PacketSocket(ours, FrontRequest)
        for start in range(0, len(self.left), LEFT_EACH):
            front.send(LeftClients(self.left[start : start + LEFT_EACH]))
        self.left.clear()
        for message in self.penalties.messages(monotonic_s()):
            front.send(message)
        front.send(Identity(held.keys, held.certificates))
        self._spawner.send(StartFront(), [theirs.detach(), sign_front.detach()])
        self.link = front
        self._signer.serve(sign_signer)
        self.since_s, self._served = monotonic_s(), False
        self._selector.register(front, selectors.EVENT_READ, self.read)

    def identify(self, held: HeldKeys) -> None:
        """Other keys, for connections to come, and a way of their own to the signer: the numbers of keys mean others now."""
        if self.link is None:
            return
        sign_signer, sign_front = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._signer.drop_front()
        self._signer.serve(sign_signer)
        self.send(Identity(held.keys, held.certificates), [sign_front.detach()])

    def not_started(self) -> None:
        """The spawner could not. It must be had."""
        self.close()
        self._retry()

    def drop(self) -> None:
        """A front that ended or broke the rules: it may keep nothing that it has."""
        self.close()
        if self.pid:
            kill(self.pid)

    def close(self) -> None:
        """It sees its links end, tells its clients and goes."""
        if self.link is None:
            return
        self._selector.unregister(self.link)
        self.link.close()
        self.link = None
        self._signer.drop_front()
        self._owner.front_gone()

    def wait(self) -> None:
        """For its end after :meth:`close`; if it does not go, it is killed."""
        if self.pid and not _ends_within(self.pid, STOP_S):
            kill(self.pid)

    def ended(self, *, stopping: bool = False) -> bool:
        """Its process is gone; False: before it could serve, so that the next one would be, too."""
        self.pid = 0
        self.drop()
        if stopping:
            return True
        now = monotonic_s()
        is_young = now - self.since_s < RESTART_S
        if is_young and not self._served:
            return False
        self._log.error("the front ended; starting another")
        if is_young:
            self.due_s = now + RESTART_S
        else:
            self.start()
        return True

    def read(self) -> None:
        """One request."""
        if self.link is None:
            return
        try:
            received = self.link.receive()
            if received is None:
                return
            request, descriptors = received
            self._served = True
            for descriptor in descriptors:
                os.close(descriptor)
            self._owner.asked(request)
        except EOFError:
            self.drop()  # its end is reported by the spawner
        except RemoteProtocolError as error:
            self._log.error(f"the front broke the rules: {error}")
            self.drop()

    def send(self, message: Local, descriptors: Sequence[int] = ()) -> None:
        """If there is one; its end is seen by the reader."""
        if self.link is None:
            for descriptor in descriptors:
                os.close(descriptor)
            return
        with contextlib.suppress(OSError):
            self.link.send(message, list(descriptors))


def _ends_within(pid: int, seconds: float) -> bool:
    """Wait for the end of a process that is somebody else's child."""
    try:
        descriptor = os.pidfd_open(pid)
    except OSError:
        return True
    try:
        return bool(select.select([descriptor], [], [], seconds)[0])
    finally:
        os.close(descriptor)
