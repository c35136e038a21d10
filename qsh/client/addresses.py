"""Names to addresses, and sockets to reach them from."""

from __future__ import annotations

import contextlib
import socket
from typing import Final, NamedTuple

from qsh.errors import ConnectError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from qsh.config.options import ClientOptions

__all__ = [
    "Address",
    "Target",
    "has_route",
    "in_order",
    "resolve",
    "route_source",
    "stream_socket",
    "udp_socket",
]

_BUFFER_BYTES: Final = 7 << 20
"""Socket buffers asked for; the system gives what its limit allows (the default 208 KiB overflows).
"""

_SOME: Final = 2
"""Addresses that have an order."""
_FAMILIES: Final = {"any": 0, "inet": socket.AF_INET, "inet6": socket.AF_INET6}


class Target(NamedTuple):
    """Where to connect to, as the options say."""

    host: str
    udp_port: int
    ssh_port: int
    family: str = "any"
    bind_address: str | None = None
    bind_interface: str | None = None
    by_records: bool = False
    """Records of the name may say where it is: the user did not."""

    @classmethod
    def of(cls, options: ClientOptions) -> Target:
        """As the options say."""
        return cls(
            options.hostname,
            options.qsh_port or options.port,
            options.port,
            options.address_family,
            options.bind_address,
            options.bind_interface,
            by_records=_may_ask(options),
        )

    def port_of(self, address: Address) -> int:
        """The UDP port there."""
        return address.port or self.udp_port


class Address(NamedTuple):
    """One numeric address; an IPv6 scope is in ``host``."""

    family: int
    host: str
    port: int = 0
    """Where a record of the name says so; 0: the target's."""

    @classmethod
    def of(cls, host: str) -> Address:
        """From its text."""
        return cls(socket.AF_INET6 if ":" in host else socket.AF_INET, host)

    @property
    def is_loopback(self) -> bool:
        """127.0.0.0/8 or ::1."""
        return self.host == "::1" or (self.family == socket.AF_INET and self.host[:4] == "127.")


def _may_ask(options: ClientOptions) -> bool:
    """Not beside a port that was given, nor where something is decided by addresses: records are nobody's word."""
    return (
        options.qsh_dns
        and not (options.is_set("Port") or options.is_set("QshPort"))
        and options.qsh_transport in ("auto", "udp")
        and not options.no_host_authentication_for_localhost
    )


def resolve(target: Target) -> list[Address]:
    """The host's addresses in the system's order. Raises ConnectError."""
    try:
        found = socket.getaddrinfo(
            _name(target.host), target.udp_port, _FAMILIES.get(target.family, 0), socket.SOCK_DGRAM
        )
    except socket.gaierror as error:
        raise ConnectError(
            f"Could not resolve hostname {target.host}: {error.strerror}", kind="resolve"
        ) from None
    except (OSError, UnicodeError) as error:
        raise ConnectError(
            f"Could not resolve hostname {target.host}: {error}", kind="resolve"
        ) from None
    addresses = (Address(int(each[0]), str(each[4][0])) for each in found)
    return list(dict.fromkeys(addresses))


def in_order(found: list[Address], port: int, winner: str) -> list[Address]:
    """As they are to be tried: the one that answered last time first, if there is a way to it now, then the families by turns."""
    if len(found) < _SOME:
        return found
    from qsh.forward.dialing import by_turns

    first = [address for address in found if address.host == winner and has_route(address, port)]
    return by_turns([*first, *(address for address in found if address not in first)])


def has_route(address: Address, port: int) -> bool:
    """Whether the system knows a way there. Nothing is sent."""
    try:
        with socket.socket(address.family, socket.SOCK_DGRAM) as sock:
            sock.connect((address.host, port))
    except (OSError, UnicodeError):
        return False
    return True


def _name(host: str) -> str | bytes:
    """For getaddrinfo: as bytes a plain name does not make it load the IDNA codec."""
    return host.encode() if host.isascii() else host


def udp_socket(target: Target, family: int) -> socket.socket:
    """A bound UDP socket for ``family``. Raises ConnectError."""
    return _bound(target, socket.socket(family, socket.SOCK_DGRAM))


def stream_socket(target: Target, family: int) -> socket.socket:
    """A non-blocking TCP socket, bound if the options say where. Raises ConnectError."""
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    return _bound(target, sock) if target.bind_address or target.bind_interface else sock


def _bound(target: Target, sock: socket.socket) -> socket.socket:
    try:
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.SOL_SOCKET, option, _BUFFER_BYTES)
        if target.bind_interface:
            device: int | None = getattr(socket, "SO_BINDTODEVICE", None)
            if device is None:
                raise OSError(0, "BindInterface is not supported on this system")
            sock.setsockopt(socket.SOL_SOCKET, device, target.bind_interface.encode())
        sock.bind(_local(target, sock.family))
    except OSError as error:
        sock.close()
        raise ConnectError(f"bind: {error.strerror or error}", kind="bind") from None
    return sock


def route_source(target: Target, address: Address, port: int) -> str | None:
    """Where the way there leaves this machine: an address of its own; None: there is no way now."""
    try:
        with udp_socket(target, address.family) as sock:
            sock.connect((address.host, port))
            return str(sock.getsockname()[0])
    except (ConnectError, OSError):
        return None


def _local(target: Target, family: int) -> tuple[str, int]:
    anywhere = "::" if family == socket.AF_INET6 else "0.0.0.0"  # noqa: S104 - a client's socket
    if not target.bind_address:
        return anywhere, 0
    try:
        found = socket.getaddrinfo(target.bind_address, 0, family, socket.SOCK_DGRAM)
    except (OSError, UnicodeError) as error:
        raise ConnectError(
            f"getaddrinfo: {target.bind_address}: {getattr(error, 'strerror', error)}", kind="bind"
        ) from None
    return str(found[0][4][0]), 0
