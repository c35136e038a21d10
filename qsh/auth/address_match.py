"""Pattern lists of host names and addresses (OpenSSH match.c, addrmatch.c; ssh_config(5) PATTERNS).

Used by known_hosts, by ``from=`` in authorized_keys and by ``Match Address``. A list is separated
by commas; ``!`` in front of an entry refuses what the entry matches, whatever else matches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from qsh.errors import KeyFormatError
from qsh.patterns import lower_ascii, match_list, match_pattern

if TYPE_CHECKING:
    from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

__all__ = [
    "match_address_list",
    "match_cidr_list",
    "match_host_and_address",
    "match_hostname",
]

CIDR_LIMIT = 46 + 3
"""Characters of an address with its mask (INET6_ADDRSTRLEN and ``/128``)."""


def match_hostname(host: str, patterns: str) -> int:
    """As :func:`qsh.patterns.match_list`, blind to case."""
    return match_list(lower_ascii(host), patterns, lower=True)


def match_address_list(address: str | None, patterns: str) -> int:
    """1, 0, -1 as above for addresses: CIDR blocks first, else wildcards on the text (addrmatch.c).

    KeyFormatError: an entry is empty or its mask does not fit. ``address`` None only checks the
    list.
    """
    wanted = _parse_address(address) if address is not None else None
    if address is not None and wanted is None:
        return 0
    found = 0
    for entry in patterns.split(","):
        negated = entry.startswith("!")
        pattern = entry[negated:]
        if not pattern:
            raise KeyFormatError(f'empty entry in the list "{patterns[:100]}"')
        network = _parse_network(pattern)
        if network is not None:
            hit = wanted is not None and wanted in network
        else:
            hit = address is not None and match_pattern(address, pattern)
        if hit and negated:
            return -1
        found = found or int(hit)
    return found


def match_cidr_list(address: str | None, blocks: str) -> bool:
    """Whether the address lies in one of the blocks: no wildcards and no ``!`` (a certificate's
    source-address)."""
    wanted = _parse_address(address) if address is not None else None
    found = False
    for entry in blocks.split(","):
        if len(entry) > CIDR_LIMIT or not entry or set(entry) - set("0123456789abcdefABCDEF.:/"):
            raise KeyFormatError(f'invalid network "{entry[:100]}"')
        network = _parse_network(entry)
        if network is None:
            raise KeyFormatError(f'invalid network "{entry[:100]}"')
        found = found or (wanted is not None and wanted in network)
    return found


def match_host_and_address(host: str, address: str, patterns: str) -> bool:
    """Whether either the name or the address matches and neither is refused (match.c,
    match_host_and_ip)."""
    by_address = match_address_list(address, patterns)
    if by_address < 0:
        return False
    by_name = match_hostname(host, patterns)
    return by_name > 0 or (by_name == 0 and by_address > 0)


def _parse_address(text: str) -> IPv4Address | IPv6Address | None:
    """An address, its IPv6 zone dropped (a zone is a matter of this machine, not of the list)."""
    from ipaddress import ip_address

    try:
        return ip_address(text.partition("%")[0])
    except ValueError:
        return None


def _parse_network(text: str) -> IPv4Network | IPv6Network | None:
    """A block, or None for what is no address at all (a name or a wildcard)."""
    from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_address

    base, slash, mask = text.partition("/")
    try:
        address = ip_address(base)
    except ValueError:
        return None
    if slash and not (mask.isascii() and mask.isdigit() and int(mask) <= 128):
        return None
    bits = int(mask) if slash else address.max_prefixlen
    make = IPv4Network if isinstance(address, IPv4Address) else IPv6Network
    try:
        return make((int(address), bits))
    except ValueError:
        raise KeyFormatError(f'the mask of "{text[:100]}" does not fit its address') from None
