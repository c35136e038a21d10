"""How a connection does, for ``~s``, ``~I`` and ``-O conninfo``: OpenSSH's connection_info_message with what QUIC has instead."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from qsh.auth.keys import PublicKey

if TYPE_CHECKING:
    from collections.abc import Mapping

    from qsh.quic import Connection

__all__ = ["connection_info", "duration", "path_lines"]


def connection_info(connection: Connection, since_s: float) -> str:
    """Lines that end with CR LF."""
    ip, port = connection.remote_address
    mine = connection.endpoint.local_address[1]
    key = PublicKey.from_spki(connection.peer_key)
    lines = (
        f"Connection information for {os.uname().nodename} pid {os.getpid()}",
        f"  udp {connection.local_ip or '*'}:{mine} -> {ip}:{port}",
        f"  duration {duration(since_s)}",
        f"  hostkeyalgorithm {key.type}",
        *path_lines(connection.stats()),
    )
    return "".join(f"{line}\r\n" for line in lines)


def path_lines(stats: Mapping[str, int]) -> list[str]:
    """Round trip, loss, what may be under way, traffic."""
    sent, lost = stats["sent_packets"], stats["lost_packets"]
    share = 100 * lost / sent if sent else 0.0
    return [
        f"  round trip {stats['rtt_us'] / 1000:.1f} ms, lost {lost} of {sent} packets ({share:.1f} %)",
        f"  path mtu {stats['mtu']} bytes, congestion window {stats['cwnd']} bytes",
        f"  traffic {_traffic(stats, 'received')} in, {_traffic(stats, 'sent')} out",
    ]


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
