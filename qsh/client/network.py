"""The network that this machine is in: how it is told from others, and what is remembered of it."""

from __future__ import annotations

import contextlib
import socket
from typing import Final

from qsh.client import host_state
from qsh.client.keep_alive import Learned

__all__ = ["load", "mark", "save"]

_PREFIX: Final[dict[int, int]] = {socket.AF_INET: 3, socket.AF_INET6: 8}
"""Bytes of an address that its neighbours share."""
_ROUTES: Final = "/proc/net/route"
_NEIGHBOURS: Final = "/proc/net/arp"


def mark(family: int, host: str) -> bytes:
    """Of the network by which ``host`` is reached: our prefix there, and the router's hardware address where the system tells.

    Many networks are 192.168.1.0, so that the prefix alone would not do. Empty without a route.
    """
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as sock:
            sock.connect((host, 9))  # nothing is sent
            ours = str(sock.getsockname()[0])
        prefix = socket.inet_pton(family, ours.partition("%")[0])[: _PREFIX.get(family, 0)]
    except (OSError, UnicodeError):
        return b""
    return prefix + _router().encode()


def _router() -> str:
    """The hardware address of the default router of IPv4, which most networks have."""
    with contextlib.suppress(OSError, ValueError, IndexError):
        with open(_ROUTES, encoding="ascii") as file:
            routes = [line.split() for line in file][1:]
        gateways = [words[2] for words in routes if words[1] == "00000000"]
        address = socket.inet_ntoa(bytes.fromhex(gateways[0])[::-1])
        with open(_NEIGHBOURS, encoding="ascii") as file:
            for line in file:
                words = line.split()
                if words[0] == address:
                    return words[3]
    return ""


def load(network: bytes) -> Learned:
    """What is remembered; nothing of an unknown one."""
    values = {"survived_s": 0.0, "lost_s": 0.0}
    for name, value in host_state.read(host_state.place("networks", network)) if network else ():
        if name in values:
            with contextlib.suppress(ValueError):
                values[name] = float(value)
    learned = Learned()
    for name, survived in (("lost_s", False), ("survived_s", True)):
        if 0 < values[name] < float("inf"):
            learned = learned.after(values[name], survived=survived)
    return learned


def save(network: bytes, learned: Learned) -> None:
    """Replace what was remembered."""
    if network:
        lines = [f"survived_s {learned.survived_s:.1f}", f"lost_s {learned.lost_s:.1f}"]
        host_state.replace(host_state.place("networks", network), lines)
