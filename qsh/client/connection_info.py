"""How a connection does: lines for ``~s``, ``~I`` and ``-O conninfo`` (OpenSSH's connection_info_message with what QUIC has
instead), and figures for ``qshctl status``.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any, Final

from qsh.auth.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsh.client.path_history import PathHistory
    from qsh.quic import Connection

__all__ = ["SILENCE_S", "connection_info", "duration", "figures", "path_lines", "rate"]

SILENCE_S: Final = 2.0
"""Less is a round trip, or a packet that got lost."""


def connection_info(
    connection: Connection, history: PathHistory, since_s: float, unanswered_s: float = 0.0
) -> str:
    """Lines that end with CR LF. ``since_s``: how long the connection has been there; ``unanswered_s``: how long an answer has
    been waited for.
    """
    transport, mine, theirs = _path(connection)
    key = PublicKey.from_spki(connection.peer_key)
    stats = connection.stats()
    received, sent = (stats[f"{way}_bytes"] / max(since_s, 1.0) for way in ("received", "sent"))
    lines = (
        f"Connection information for {os.uname().nodename} pid {os.getpid()}",
        f"  {transport} {mine} -> {theirs}",
        *([f"  no answer for {unanswered_s:.0f} s"] if unanswered_s >= SILENCE_S else []),
        f"  duration {duration(since_s)}",
        f"  hostkeyalgorithm {key.type}",
        *path_lines(stats),
        f"  on average {rate(received)} in, {rate(sent)} out",
        f"  {_past(history)}",
    )
    return "".join(f"{line}\r\n" for line in lines)


def figures(
    connection: Connection, history: PathHistory, since_s: float, unanswered_s: float = 0.0
) -> dict[str, Any]:
    """The same for programs: what ``qshctl status --json`` prints, but for rates."""
    transport, mine, theirs = _path(connection)
    stats = connection.stats()
    return {
        "transport": transport,
        "local": mine,
        "remote": theirs,
        "duration_s": round(since_s),
        "unanswered_s": round(unanswered_s),
        "rtt_ms": stats["rtt_us"] / 1000,
        "shortest_rtt_ms": stats["shortest_rtt_us"] / 1000,
        "queue_ms": _queue_us(stats) / 1000,
        "lost_packets": stats["lost_packets"],
        "sent_packets": stats["sent_packets"],
        "sent_bytes": stats["sent_bytes"],
        "delivered_bytes": stats["delivered_bytes"],
        "in_flight_bytes": stats["in_flight"],
        "received_packets": stats["received_packets"],
        "received_bytes": stats["received_bytes"],
        "mtu": stats["mtu"],
        "window": stats["cwnd"],
        "migrations": history.migrations,
        "last_migration": history.last_move,
        "resumes": history.resumes,
    }


def path_lines(stats: Mapping[str, int]) -> list[str]:
    """Round trip, loss, what may be under way, traffic."""
    sent, lost = stats["sent_packets"], stats["lost_packets"]
    share = 100 * lost / sent if sent else 0.0
    queue = ""
    if "shortest_rtt_us" in stats:
        queue = f" ({_queue_us(stats) / 1000:.1f} ms of it in queues)"
    delivered = ""
    if "delivered_bytes" in stats:
        delivered = f" ({stats['delivered_bytes']} arrived, {stats['in_flight']} under way)"
    return [
        f"  round trip {stats['rtt_us'] / 1000:.1f} ms{queue}, lost {lost} of {sent} packets ({share:.1f} %)",
        f"  path mtu {stats['mtu']} bytes, congestion window {stats['cwnd']} bytes",
        f"  traffic {_traffic(stats, 'received')} in, {_traffic(stats, 'sent')} out{delivered}",
    ]


def _queue_us(stats: Mapping[str, int]) -> int:
    """What a packet waits on the way: the shortest round trip had the least of it."""
    return max(0, stats["rtt_us"] - stats["shortest_rtt_us"])


def _path(connection: Connection) -> tuple[str, str, str]:
    """What carries the packets, from where, to where."""
    endpoint = connection.endpoint
    if endpoint.carried is not None:
        return endpoint.carried[0], "*", endpoint.carried[1]
    ip, port = connection.remote_address
    mine = endpoint.local_address[1]
    return "udp", f"{connection.local_ip or '*'}:{mine}", f"{ip}:{port}"


def _past(history: PathHistory) -> str:
    last = ""
    if history.last_move is not None:
        last = " (last {} -> {})".format(*history.last_move)
    return f"migrations {history.migrations}{last}, resumes {history.resumes}"


def rate(bytes_per_s: float) -> str:
    """For people."""
    for unit, size in (("MB", 1e6), ("kB", 1e3)):
        if bytes_per_s >= size:
            return f"{bytes_per_s / size:.1f} {unit}/s"
    return f"{bytes_per_s:.0f} B/s"


def _traffic(stats: Mapping[str, int], way: str) -> str:
    return f"{stats[f'{way}_packets']} packets {stats[f'{way}_bytes']} bytes"


def duration(seconds: float) -> str:
    """As OpenSSH's fmt_timeframe: 1d02h03m, 02:03:04."""
    whole = int(max(0.0, seconds))
    days, rest = divmod(whole, 86400)
    hours, rest = divmod(rest, 3600)
    minutes, left = divmod(rest, 60)
    weeks, days = divmod(days, 7)
    if weeks:
        return f"{weeks:02}w{days}d{hours:02}h"
    if days:
        return f"{days}d{hours:02}h{minutes:02}m"
    return f"{hours:02}:{minutes:02}:{left:02}"
