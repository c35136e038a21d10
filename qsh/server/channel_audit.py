"""What is logged of channels and forwards, in sshd's words where it has some (session.c, serverloop.c)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from qsh.errors import ChannelError
    from qsh.server.log import Fields, Log
    from qsh.wire.messages import Open, Target

__all__ = ["audit_channel"]

FORWARDS = ("connect", "udp")


def audit_channel(
    log: Log, fields: Fields, number: int, request: Open, refusal: ChannelError | None
) -> None:
    """A channel was opened or, with ``refusal``, was not. ``fields``: whose."""
    if refusal is None and not log.is_verbose:  # hundreds a second through a SOCKS forward
        return
    found = {**fields, "channel": number, "kind": request.kind}
    whose = f"{fields['user']} from {fields['address']} port {fields['port']} id {number}"
    if request.kind in FORWARDS:
        _audit_forward(log, found, request, refusal)
        return
    if request.command:
        found["command"] = request.command.decode("utf-8", "replace")
    what = _what(request)
    if refusal is None:
        log.verbose(f"Starting session: {what} for {whose}", **found)
    else:
        found |= {"event": "channel-refused", "reason": str(refusal)}
        log.info(f"Refused session: {what} for {whose}: {refusal}", **found)


def _what(request: Open) -> str:
    if request.kind == "subsystem":
        return f"subsystem '{request.command.decode('utf-8', 'replace')}'"
    name = {"exec": "command", "attach": "attached terminal"}.get(request.kind, request.kind)
    return f"{name} on a terminal" if request.pty is not None else name


def _audit_forward(log: Log, fields: Fields, request: Open, refusal: ChannelError | None) -> None:
    origin, target = _place(request.origin), _place(request.target)
    fields |= {"origin": origin, "target": target, "event": "forward"}
    if refusal is None:
        protocol = "UDP" if request.kind == "udp" else "TCP"
        user, address = fields["user"], fields["address"]
        log.verbose(f"Forwarding {protocol} to {target} for {user} from {address}", **fields)
    elif refusal.code == "not-permitted":
        fields |= {"event": "forward-refused", "reason": str(refusal)}
        log.info(
            f"Received request from {fields['address']} port {fields['port']} to connect to {target}, "
            "but the request was denied.",
            **fields,
        )
    else:
        fields |= {"event": "forward-failed", "reason": str(refusal)}
        log.verbose(f"connect to {target}: {refusal}", **fields)


def _place(target: Target | None) -> str:
    if target is None:
        return ""
    if target.path:
        return f"path {target.path.decode('utf-8', 'replace')}"
    return f"host {target.host} port {target.port}"
