"""UseDNS: the name of an address, if the name leads back to it (auth.c: remote_hostname). Blocks as long as the resolver does."""

from __future__ import annotations

import ipaddress
import socket
from typing import NamedTuple

from qsh.patterns import lower_ascii

__all__ = ["RemoteName", "look_up"]


class RemoteName(NamedTuple):
    """The name, or the address again and ``reason``, for the log, if there is something wrong with its name."""

    name: str
    reason: str = ""


def look_up(address: str) -> RemoteName:
    """Never raises for anything that a name server can say."""
    try:
        name, _ = socket.getnameinfo((address, 0), socket.NI_NAMEREQD)
    except (OSError, UnicodeError):
        return RemoteName(address)
    if _is_number(name):
        return RemoteName(address, f'Nasty PTR record "{name}" is set up for {address}, ignoring')
    name = lower_ascii(name)
    try:
        found = {_plain(str(entry[4][0])) for entry in socket.getaddrinfo(name, None)}
    except (OSError, UnicodeError):
        return RemoteName(
            address, f"reverse mapping checking getaddrinfo for {name} [{address}] failed."
        )
    if _plain(address) not in found:
        return RemoteName(
            address, f"Address {address} maps to {name}, but this does not map back to the address."
        )
    return RemoteName(name)


def _is_number(name: str) -> bool:
    try:
        socket.getaddrinfo(name, None, flags=socket.AI_NUMERICHOST)
    except (OSError, UnicodeError):
        return False
    return True


def _plain(address: str) -> str:
    try:
        return str(ipaddress.ip_address(address))
    except ValueError:
        return address
