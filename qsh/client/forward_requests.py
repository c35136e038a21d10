"""Forwards on the socket of a shared connection, and in OpenSSH's words."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qsh.client.text import visible
from qsh.config.forwards import Forward
from qsh.wire.sharing import ForwardRequest

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.config.options import ClientOptions

__all__ = ["all_forwards", "described", "forward_of", "request_of"]

PATH_PORT = -2
"""Stands for a path in OpenSSH's messages (PORT_STREAMLOCAL)."""


def all_forwards(options: ClientOptions) -> Iterator[tuple[str, Forward]]:
    """Those of the options, with their kinds."""
    for forward in (*options.local_forward, *options.dynamic_forward):
        yield "dynamic" if forward.dynamic else "local", forward
    for forward in options.remote_forward:
        yield "remote", forward


def request_of(kind: str, forward: Forward, *, cancel: bool = False) -> ForwardRequest:
    """What a client says."""
    return ForwardRequest(
        kind,  # type: ignore[arg-type]
        cancel,
        forward.listen_host,
        forward.listen_port,
        None if forward.listen_path is None else os.fsencode(forward.listen_path),
        forward.connect_host,
        forward.connect_port,
        None if forward.connect_path is None else os.fsencode(forward.connect_path),
        forward.udp,
    )


def forward_of(request: ForwardRequest) -> Forward | None:
    """What a master hears; None if it makes no sense."""
    forward = Forward(
        request.listen_host,
        request.listen_port,
        request.connect_host,
        request.connect_port,
        listen_path=None if request.listen_path is None else os.fsdecode(request.listen_path),
        connect_path=None if request.connect_path is None else os.fsdecode(request.connect_path),
        udp=request.udp,
    )
    return forward if _makes_sense(request.kind, forward) else None


def _makes_sense(kind: str, forward: Forward) -> bool:
    if forward.dynamic != (kind == "dynamic") and kind != "remote":
        return False
    for text in (
        forward.listen_path,
        forward.connect_path,
        forward.listen_host,
        forward.connect_host,
    ):
        if text is not None and "\0" in text:
            return False
    paths = (forward.listen_path, forward.connect_path)
    if "" in paths or (forward.udp and (forward.dynamic or paths != (None, None))):
        return False
    if forward.listen_path is None and forward.listen_port < 0:
        return False
    if forward.dynamic:
        return forward.listen_path is None or kind == "remote"
    return forward.connect_path is not None or bool(
        forward.connect_host and forward.connect_port > 0
    )


def described(kind: str, forward: Forward, *, gateway: bool) -> str:
    """As OpenSSH's format_forward has it."""
    anywhere = "*" if gateway and kind != "remote" else "LOCALHOST"
    listen = visible(forward.listen_path or forward.listen_host or anywhere)
    port = PATH_PORT if forward.listen_path is not None else forward.listen_port
    if kind == "dynamic":
        return f"dynamic forward {listen}:{port} -> *"
    connect = visible(forward.connect_path or forward.connect_host or "")
    to = PATH_PORT if forward.connect_path is not None else forward.connect_port
    return f"{kind} {'udp ' * forward.udp}forward {listen}:{port} -> {connect}:{to}"
