"""Addresses against lists of networks and wildcards: sshd's addr_match_list (addrmatch.c)."""

from __future__ import annotations

import ipaddress

from qsh.errors import ConfigError
from qsh.patterns import match_pattern

__all__ = ["check_networks", "match_networks", "plain"]

_Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def plain(address: str) -> str:
    """An address without its scope; an IPv4 address that came in IPv6 clothes as IPv4."""
    bare = address.partition("%")[0]
    try:
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        return bare
    mapped = parsed.ipv4_mapped if isinstance(parsed, ipaddress.IPv6Address) else None
    return str(mapped or parsed)


def check_networks(entries: str) -> None:
    """Raise ConfigError for a mask that is too long or has host bits set beside it."""
    for entry in entries.split(","):
        _network(entry.removeprefix("!"))


def match_networks(address: str, entries: str) -> int:
    """1: ``address`` is in the list; 0: it is not; -1: a negated entry matched.

    An entry is a network, an address, or a wildcard pattern. Raises ConfigError as
    ``check_networks`` does.
    """
    bare = plain(address)
    try:
        parsed = ipaddress.ip_address(bare)
    except ValueError:
        parsed = None
    found = 0
    for entry in entries.split(","):
        negated = entry.startswith("!")
        network = _network(entry[1:] if negated else entry)
        if network is None:
            hit = bool(bare) and match_pattern(bare, entry[1:] if negated else entry)
        else:
            hit = parsed is not None and parsed in network
        if hit and negated:
            return -1
        found |= hit
    return int(found)


def _network(entry: str) -> _Network | None:
    """The network that an entry is; None for a pattern."""
    address, slash, mask = entry.partition("/")
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return None
    if slash and not (mask.isascii() and mask.isdigit()):
        return None
    try:
        return ipaddress.ip_network(entry)
    except ValueError:
        raise ConfigError(f"Inconsistent mask length for network '{entry[:100]}'") from None
