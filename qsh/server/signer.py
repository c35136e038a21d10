"""The signer: the one process that has host keys. It signs handshakes for the front, and nothing that the front could choose.

No PAM, no names, no files, no loop that anybody can hold up: a monitor that is stuck delays no handshake. It says what it has
signed to the monitor first and to the front afterwards, so the monitor's table knows every session id before anybody can log in
on it. It has no rights: an empty root, a uid of its own, no system calls but those of talking (confinement.py).
"""

from __future__ import annotations

import contextlib
import os
import select
import socket
from typing import TYPE_CHECKING, Final, NoReturn

from qsh.auth.algorithms import tls_schemes
from qsh.errors import KeyFormatError, RemoteProtocolError, StartupError
from qsh.server import confinement, front_secrets, host_keys, imports, resume_records
from qsh.server.packets import PacketSocket
from qsh.server.process import close_others, set_title
from qsh.server.requests import (
    HeldKeys,
    Proofs,
    ProveKeys,
    Signed,
    SignerRequest,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.host_keys import HostKeys
    from qsh.server.log import Log

__all__ = ["SigningService", "run"]

SIGNER_USER: Final = "qsh-sign"
SPARE_UID: Final = 61788
"""Not the front's: processes of one user may send each other signals."""
PRIORITY: Final = -10
"""Its answers are short, and somebody's handshake waits for each."""
REFUSED: Final = b"\0\0"


class SigningService:
    """Answers on both sockets, one request at a time."""

    def __init__(self, monitor: PacketSocket[SignerRequest], keys: HostKeys, log: Log) -> None:
        self._monitor, self._keys, self._log = monitor, keys, log
        self._front: socket.socket | None = None
        self._held = HeldKeys(
            [key.blob for key in keys.public],
            list(keys.certificates),
            keys.derive(resume_records.LABEL),
            [keys.derive(label) for label in front_secrets.labels()],
        )

    def begin(self) -> None:
        """Tell the monitor that there are keys. Raises OSError."""
        self._monitor.send(self._held)

    def turn(self, timeout_s: float | None) -> None:
        """Wait for requests and answer them. Raises EOFError when the monitor is gone."""
        reading: list[PacketSocket[SignerRequest] | socket.socket] = [self._monitor]
        if self._front is not None:
            reading.insert(0, self._front)
        writing = [self._monitor] if self._monitor.waiting else []
        readable, writable, _ = select.select(reading, writing, [], timeout_s)
        if writable:
            with contextlib.suppress(OSError):
                self._monitor.flush()
        if self._front in readable:
            self._read_front()
        if self._monitor in readable:
            self._read_monitor()

    def _read_monitor(self) -> None:
        received = self._monitor.receive()
        if received is None:
            return
        request, descriptors = received
        if isinstance(request, ProveKeys):
            self._prove(request)
        elif descriptors:
            self._drop_front()
            self._front = socket.socket(fileno=descriptors.pop())
            self._front.setblocking(False)
        for descriptor in descriptors:
            os.close(descriptor)

    def _drop_front(self) -> None:
        if self._front is not None:
            self._front.close()
            self._front = None

    def _read_front(self) -> None:
        if self._front is None:
            return
        try:
            packet = self._front.recv(2 * host_keys.MAX_REQUEST)
        except BlockingIOError:
            return
        except OSError:
            packet = b""
        if not packet:
            self._drop_front()  # the monitor sends the next one's socket
            return
        with contextlib.suppress(OSError):
            self._front.send(packet[:4] + self._signatures(packet[4:]))

    def _signatures(self, body: bytes) -> bytes:
        """Two length-prefixed signatures, or a zero length that refuses (docs/protocol.md 8)."""
        try:
            request = host_keys.parse_signing_request(body)
            if self._monitor.waiting:  # what it does not know must not be used
                raise RemoteProtocolError("sign", "the monitor does not read")
            tls, ssh = self._keys.sign(request)
            self._monitor.send(Signed(host_keys.session_id_of(request.message), request.key))
            if self._monitor.waiting:
                raise RemoteProtocolError("sign", "the monitor does not read")
        except (RemoteProtocolError, KeyFormatError) as error:
            self._log.error(f"signing refused: {error}")
            return REFUSED
        except OSError:  # its end is seen by the reader
            return REFUSED
        return len(tls).to_bytes(2, "big") + tls + len(ssh).to_bytes(2, "big") + ssh

    def _prove(self, request: ProveKeys) -> None:
        try:
            signatures = self._keys.prove(request.session_id, request.used)
        except KeyFormatError as error:
            self._log.error(f"host keys are not proved: {error}")
            signatures = []
        with contextlib.suppress(OSError):
            self._monitor.send(Proofs(request.session_id, signatures))


def run(link: socket.socket, load: Callable[[], HostKeys], log: Log) -> NoReturn:
    """Be the signer; ends the process. ``load`` reads the keys, which is the last thing that it does with rights."""
    set_title("qshd-sign")
    log.role = "qshd-sign"
    close_others({link.fileno()} | log.descriptors)
    try:
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, 0, PRIORITY)
        keys = load()
        _rehearse(keys)
        service = SigningService(PacketSocket(link, SignerRequest), keys, log)
        if os.geteuid() == 0:
            confinement.drop_to(SIGNER_USER, SPARE_UID, log)
        imports.forbid()
        confinement.confine("signer", log)
        service.begin()
        while True:
            service.turn(None)
    except EOFError:
        os._exit(0)
    except (StartupError, OSError) as error:
        log.fatal(f"signer: {error}")
    os._exit(1)


def _rehearse(keys: HostKeys) -> None:
    """The first signature of a kind may load something; no byte of this one leaves the process."""
    with contextlib.suppress(KeyFormatError):
        keys.prove(bytes(46), -1)
    for number, key in enumerate(keys.public):
        for scheme in tls_schemes(key.type):
            message = host_keys.CERTIFICATE_VERIFY + bytes(32)
            with contextlib.suppress(KeyFormatError):
                keys.sign(host_keys.SigningRequest(number, scheme, message))
