"""The monitor's side of the signer (signer.py): has it started, gives it the front's socket, hears what it has signed.

A signer that ends is started again with the same socket to the front: connections do not notice.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
from typing import TYPE_CHECKING, Final, Protocol

from qsh.clock import monotonic_s
from qsh.errors import RemoteProtocolError
from qsh.server.packets import PacketSocket, packet_pair
from qsh.server.requests import (
    HeldKeys,
    Proofs,
    ProveKeys,
    Serve,
    Signed,
    SignerReport,
    StartSigner,
)

if TYPE_CHECKING:
    from qsh.server.log import Log
    from qsh.server.requests import SpawnerReport

__all__ = ["SignerLink", "SignerOwner"]

RESTART_S: Final = 1.0
"""A signer that had its keys is started again no sooner."""


class SignerOwner(Protocol):
    """Who wants things signed."""

    def keys_held(self, before: HeldKeys | None, held: HeldKeys) -> None:
        """There is a signer, with these keys."""

    def signed(self, report: Signed) -> None:
        """It has signed this session id."""

    def proved(self, proofs: Proofs) -> None:
        """What was asked for by :meth:`SignerLink.prove`; without signatures when nobody can make them any more."""


class SignerLink:
    """One signer at a time."""

    def __init__(
        self,
        spawner: PacketSocket[SpawnerReport],
        selector: selectors.BaseSelector,
        log: Log,
        owner: SignerOwner,
    ) -> None:
        self._spawner, self._selector, self._log, self._owner = spawner, selector, log, owner
        self.link: PacketSocket[SignerReport] | None = None
        self.pid = 0
        self.due_s: float | None = None
        """When to start the next one."""
        self.held: HeldKeys | None = None
        self._front: socket.socket | None = None
        """The signer's end of its socket with the front: a signer that is started again goes on with what waits there."""
        self._proving: set[bytes] = set()
        self._renewing = False

    def start(self) -> None:
        """Or try again later."""
        self.due_s = None
        self._renewing = False
        try:
            ours, theirs = packet_pair()
            self._spawner.send(StartSigner(), [theirs.detach()])
        except OSError as error:
            self._retry(f": {error.strerror}")
            return
        self.link = PacketSocket(ours, SignerReport)
        self._selector.register(self.link, selectors.EVENT_READ, self.read)
        self._give_front()

    def renew(self) -> None:
        """The keys are to be read again: another signer, at once. Who asks meanwhile waits."""
        if self.link is None and not self.pid:
            self.start()
            return
        self._renewing = True
        if self.link is not None:
            with contextlib.suppress(OSError):
                # it sees that, and goes; what it has signed until then may still ask for a login
                self.link.sock.shutdown(socket.SHUT_WR)

    def expire(self, now: float) -> None:
        """Start it, if that is due."""
        if self.due_s is not None and now >= self.due_s:
            self.start()

    def not_started(self) -> None:
        """The spawner could not."""
        self.close()
        self._retry()

    def _retry(self, reason: str = "") -> None:
        self._log.error(f"cannot start the signer{reason}; trying again in {RESTART_S:g} s")
        self.due_s = monotonic_s() + RESTART_S

    def serve(self, front: socket.socket) -> None:
        """A new front's socket, the signer's end: given to the signer, and kept for the next one."""
        self._front = front
        self._give_front()

    def _give_front(self) -> None:
        if self.link is not None and self._front is not None:
            with contextlib.suppress(OSError):  # its end is seen by the reader
                self.link.send(Serve(), [os.dup(self._front.fileno())])

    def drop_front(self) -> None:
        """The front ended."""
        if self._front is not None:
            self._front.close()
            self._front = None

    def close(self) -> None:
        """What it was asked for is answered without it."""
        if self.link is None:
            return
        self._selector.unregister(self.link)
        self.link.close()
        self.link = None
        for session_id in self._proving:
            self._owner.proved(Proofs(session_id))
        self._proving.clear()

    def ended(self, *, stopping: bool = False) -> bool:
        """Its process is gone; False: it never had keys, nor will the next one. What it was asked waits in its socket."""
        self.pid = 0
        self.close()
        if stopping:
            return True
        if self.held is None:
            return False
        if self._renewing:
            self.start()
        else:
            self._retry()
        return True

    def read(self) -> None:
        """All that it has said."""
        try:
            while self.link is not None:
                received = self.link.receive()
                if received is None:
                    return
                report, descriptors = received
                for descriptor in descriptors:
                    os.close(descriptor)
                if isinstance(report, HeldKeys):
                    before, self.held = self.held, report
                    self._owner.keys_held(before, report)
                elif isinstance(report, Signed):
                    self._owner.signed(report)
                else:
                    self._proving.discard(report.session_id)
                    self._owner.proved(report)
        except EOFError:
            self.close()
        except RemoteProtocolError as error:
            self._log.error(f"the signer broke the rules: {error}")
            self.close()
        if self.link is None and self.pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)  # its end is reported by the spawner

    def prove(self, session_id: bytes, used: int) -> None:
        """Signatures of the host keys but number ``used``, for the owner's ``proved``; none if it is not one of these."""
        if self.link is None or used < 0:
            self._owner.proved(Proofs(session_id))
            return
        try:
            self.link.send(ProveKeys(session_id, used))
        except OSError:  # its end is seen by the reader
            self._owner.proved(Proofs(session_id))
        else:
            self._proving.add(session_id)
