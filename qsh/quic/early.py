"""A first packet before asyncio is there.

Importing asyncio and what builds on it takes longer than a handshake on a near network. :class:`Early` needs neither:
it starts the engine and the handshake, and :class:`~qsh.quic.Driver` and :class:`~qsh.quic.Endpoint` take both over.
"""

from __future__ import annotations

from qsh import _native

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence
    from typing import Any

__all__ = ["TOKEN", "Early"]

TOKEN = 0
"""The completion of the call begun here; a Driver's own tokens start behind it."""


class Early:
    """An engine with one connection attempt under way. Made after every fork, used once."""

    def __init__(self, udp: socket.socket, *, worker_threads: int = 1, **options: Any) -> None:
        """``udp`` is duplicated; options as in ``_native.Endpoint``."""
        self.runtime = _native.Runtime(worker_threads)
        self.endpoint = _native.Endpoint(self.runtime, udp.fileno(), server=False, **options)

    def connect(
        self,
        host: str,
        port: int,
        *,
        server_name: str,
        schemes: Sequence[int],
        trusted: Sequence[bytes] = (),
        revoked: Sequence[bytes] = (),
        key_log: str | None = None,
        qlog: str | None = None,
    ) -> None:
        """Begin. :meth:`Endpoint.adopt` tells how it went."""
        self.endpoint.connect(
            TOKEN,
            host,
            port,
            server_name=server_name,
            schemes=list(schemes),
            trusted=list(trusted),
            revoked=list(revoked),
            key_log=key_log,
            qlog=qlog,
        )
