"""Sockets for what a channel's client offers to its programs, as far as the login may have it (docs/protocol.md 13)."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qsh.server.client_calls import ClientCalls

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.server.event_loop import EventLoop
    from qsh.server.requests import OpenChannel
    from qsh.server.session_directory import SessionDirectory
    from qsh.server.session_rules import SessionRules

__all__ = ["offer_calls"]


def offer_calls(
    loop: EventLoop,
    directory: SessionDirectory,
    rules: SessionRules,
    request: OpenChannel,
    report: Callable[[str], None],
    notices: list[str],
) -> ClientCalls | None:
    """What goes wrong is for the log; that there is no display is for the user, too."""
    kinds, options = rules.calls(request), rules.options
    if request.x11 is not None and "x11" in kinds and not _is_program(options.xauth_location):
        report("No xauth program; cannot forward X11.")
        kinds -= {"x11"}
    calls = ClientCalls(loop, directory, report) if kinds else None
    if calls is not None and "agent" in kinds:
        try:
            calls.offer_agent()
        except OSError as error:
            report(f"agent forwarding: {error}")
    if calls is not None and "x11" in kinds and request.x11 is not None:
        try:
            offset, localhost = options.x11_display_offset, bool(options.x11_use_localhost)
            calls.offer_display(request.x11, offset, localhost=localhost)
        except OSError as error:
            report(f"X11 forwarding: {error}")
    if request.x11 is not None and (calls is None or calls.xauth is None):
        notices.append("X11 forwarding request failed on channel 0")
    return calls


def _is_program(path: str) -> bool:
    return path not in ("", "none") and os.access(path, os.X_OK)
