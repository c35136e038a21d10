"""QUIC for asyncio: a thin layer over the native engine (``qsh._native``), which nothing else imports.

The names below are loaded when they are asked for: a client begins its first connection (early.py) before it loads asyncio.
"""

from __future__ import annotations

from importlib import import_module

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qsh.quic.connection import Closed, Connection
    from qsh.quic.early import Early
    from qsh.quic.endpoint import (
        Endpoint,
        Incoming,
        Signer,
        client_endpoint,
        server_endpoint,
        stream_endpoint,
    )
    from qsh.quic.runtime import (
        Driver,
        ed25519_public,
        ed25519_sign,
        engine_version,
        warm_up,
    )
    from qsh.quic.sockets import client_socket, server_socket, suit_packets, tcp_listener
    from qsh.quic.stream import RecvStream, SendStream, Stream
    from qsh.quic.udp import FlowEnd, Peer, UdpListener, flow_end, splice_udp

__all__ = [
    "Closed",
    "Connection",
    "Driver",
    "Early",
    "Endpoint",
    "FlowEnd",
    "Incoming",
    "Peer",
    "RecvStream",
    "SendStream",
    "Signer",
    "Stream",
    "UdpListener",
    "client_endpoint",
    "client_socket",
    "ed25519_public",
    "ed25519_sign",
    "engine_version",
    "flow_end",
    "server_endpoint",
    "server_socket",
    "splice_udp",
    "stream_endpoint",
    "suit_packets",
    "tcp_listener",
    "warm_up",
]

_MODULES = {
    "Closed": "connection",
    "Connection": "connection",
    "Early": "early",
    "client_socket": "sockets",
    "server_socket": "sockets",
    "suit_packets": "sockets",
    "tcp_listener": "sockets",
    "Driver": "runtime",
    "ed25519_public": "runtime",
    "ed25519_sign": "runtime",
    "engine_version": "runtime",
    "warm_up": "runtime",
    "RecvStream": "stream",
    "SendStream": "stream",
    "Stream": "stream",
    "FlowEnd": "udp",
    "Peer": "udp",
    "UdpListener": "udp",
    "flow_end": "udp",
    "splice_udp": "udp",
}
"""Where a name lives; all others in ``endpoint``."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_MODULES.get(name, 'endpoint')}"), name)
    globals()[name] = value
    return value
