"""What a connection is made with, whoever makes it (run.py the first, connect.py the others)."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from qsh.client.host_key import KnownHost

__all__ = ["Tuning"]

SERVER_NAME = "qsh"
"""Sent in clear, so that it says nothing."""
TERMINAL_WINDOW = 128 * 1024
"""Bytes of output that may be under way to a terminal: what Ctrl-C has to wait for. About OpenSSH's window."""


class Tuning:
    """Times of the transport, and the files that may log it."""

    def __init__(
        self,
        *,
        initial_rtt_ms: float,
        keep_alive_s: float = 0.0,
        idle_s: float = 900.0,
        terminal: bool = False,
        congestion: str = "own",
        key_log: str | None = None,
        qlog: str | None = None,
    ) -> None:
        self.initial_rtt_ms = initial_rtt_ms
        self.keep_alive_s, self.idle_s = keep_alive_s, idle_s
        self.terminal = terminal
        self.congestion = congestion
        self.key_log, self.qlog = key_log, qlog

    def endpoint(self) -> dict[str, Any]:
        """For qsh.quic's Endpoint."""
        windows = {"stream_window": TERMINAL_WINDOW} if self.terminal else {}
        return {
            "initial_rtt_ms": self.initial_rtt_ms,
            "keep_alive_s": self.keep_alive_s,
            "idle_s": self.idle_s,
            "congestion": self.congestion,
            **windows,
        }

    def handshake(self, known: KnownHost) -> dict[str, Any]:
        """For Endpoint.connect."""
        return {
            "server_name": SERVER_NAME,
            "schemes": known.schemes,
            "trusted": known.trusted,
            "revoked": known.revoked,
            "key_log": self.key_log,
            "qlog": self.qlog,
        }
