"""SRV and SVCB records of a host's name, looked up beside its addresses (docs/protocol.md 17.10).

Nothing waits for them. The questions go out before getaddrinfo is called; what has been answered when it returns is used at once,
the rest by a thread that the login does not wait for. Without records the cost is two packets; what parses an answer is loaded
when there is one. Records choose places: who is there must prove to be the host that was named.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket

from qsh.client.addresses import Address, in_order, resolve
from qsh.client.log import log
from qsh.errors import ConnectError
from qsh.wire.dns_query import SRV, SVCB, has_records, is_reply, query

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Final

    from qsh.client.addresses import Target
    from qsh.client.service_records import Service

__all__ = ["LIMIT_S", "Lookup", "begin", "find", "full_name", "joined", "name_servers"]

LIMIT_S: Final = 2.0
"""What comes later is not used any more."""
_AGAIN_LIMIT_S: Final = 0.5
"""For a later connection, whose addresses wait for it."""
_AGAIN_S: Final = 0.5
"""Until a question is asked once more, of the next server."""
_FILE_MAX: Final = 256 * 1024
"""Bytes of /etc/hosts that are looked at."""
_SERVERS_MAX: Final = 3
_ALIASES_MAX: Final = 4
_ADDRESSES_MAX: Final = 16
_RESOLV_CONF: Final = "/etc/resolv.conf"
_HOSTS: Final = "/etc/hosts"
_DNS_PORT: Final = 53
_PACKETS_MAX: Final = 64
"""Read at once: whoever sends what is no answer faster than it is read holds up no login."""


def begin(target: Target) -> Lookup | None:
    """Ask; not for an address, nor a name that is in /etc/hosts."""
    conf = _read(_RESOLV_CONF)
    servers = name_servers(conf)
    name = full_name(target.host, conf) if servers else ""
    if not name or _is_in_hosts(target.host):
        return None
    try:
        return Lookup(target, name, servers)
    except (OSError, ValueError):  # no way there; no name for DNS
        return None


def find(target: Target, best: str) -> list[Address]:
    """Everything, for a later connection; it blocks. Raises ConnectError."""
    lookup = begin(target) if target.by_records else None
    try:
        found = in_order(resolve(target), target.udp_port, best)
        if lookup is None:
            return found
        found = lookup.now(found)
        return found if lookup.over else joined(lookup.later(_AGAIN_LIMIT_S), found)
    finally:
        if lookup is not None:
            lookup.close()


def name_servers(conf: bytes) -> list[str]:
    """Of a resolv.conf."""
    lines = (line.split() for line in conf.decode("utf-8", "replace").splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"][
        :_SERVERS_MAX
    ]


def full_name(host: str, conf: bytes) -> str:
    """What is asked for; "" where DNS has nothing to say: an address, this machine, its link.

    A name without a dot is one of the first search domain: further ones would have to be those where the address was found.
    """
    host = host.lower()
    if not host.isascii():
        try:
            host = host.encode("idna").decode("ascii")
        except UnicodeError:
            return ""
    name = host.removesuffix(".")
    last = name.rpartition(".")[2]
    if not name or ":" in name or last.isdecimal() or last in ("localhost", "local"):
        return ""
    if "." in name or host != name:
        return name
    lines = (line.split() for line in conf.decode("utf-8", "replace").splitlines())
    found = [words[1] for words in lines if len(words) > 1 and words[0] in ("search", "domain")]
    domain = found[-1].strip(".").lower() if found else ""
    return f"{name}.{domain}" if domain else ""


def _read(path: str) -> bytes:
    try:
        with open(path, "rb", buffering=0) as file:
            return file.read(_FILE_MAX)
    except OSError:
        return b""


def _is_in_hosts(host: str) -> bool:
    """The user's word, or the administrator's: it comes before DNS."""
    name, text = host.lower().encode("utf-8", "replace"), _read(_HOSTS).lower()
    if name not in text:
        return False
    return any(name in line.partition(b"#")[0].split()[1:] for line in text.splitlines())


def _chance(most: int) -> int:
    return int.from_bytes(os.urandom(4), "big") % (most + 1)


class Lookup:
    """Both questions, under way."""

    def __init__(self, target: Target, name: str, servers: Sequence[str]) -> None:
        """Raises OSError, ValueError."""
        self._target, self.name, self._servers = target, name, list(servers)
        self._plain: Sequence[Address] = ()
        self._asked: dict[int, bytes] = {}
        self._replies: dict[int, bytes] = {}
        self._sock: socket.socket
        self.over = False
        """Nothing more is to come."""
        self._connect()
        try:
            self._ask(SRV, f"_qsh._udp.{name}")
            self._ask(SVCB, f"_qsh.{name}")
        except BaseException:
            self._sock.close()
            raise

    def close(self) -> None:
        """Give up; what is under way elsewhere ends by itself."""
        self.over = True
        self._sock.close()

    def now(self, plain: Sequence[Address]) -> list[Address]:
        """Of ``plain``, the addresses of the name, and the records that have come: whom to try, in order."""
        self._plain = plain
        self._receive(0.0)
        if not any(map(has_records, self._replies.values())):
            if self._has_all:
                self.close()
            return list(plain)
        try:
            found = self._places(may_wait=False)
        except BlockingIOError:
            return list(plain)
        self.close()
        return joined(found, plain)

    def later(self, limit_s: float = LIMIT_S) -> list[Address]:
        """The places of the records, waited for. In a thread of its own: it blocks."""
        from time import monotonic

        end, again = monotonic() + limit_s, _AGAIN_S
        start = monotonic()
        try:
            while (now := monotonic()) < end:
                if self._has_all and not any(map(has_records, self._replies.values())):
                    return []
                with contextlib.suppress(BlockingIOError):
                    return self._places(may_wait=True)
                if now - start > again:
                    again *= 2
                    self._ask_again()
                self._receive(min(end, start + again) - now)
            return []
        except (OSError, ValueError) as error:
            log.debug(f"records of {self.name}: {error}", 2)
            return []
        finally:
            self.close()

    @property
    def _has_all(self) -> bool:
        return len(self._replies) == len(self._asked)

    def _connect(self) -> None:
        server = self._servers[0]
        self._sock = socket.socket(
            socket.AF_INET6 if ":" in server else socket.AF_INET, socket.SOCK_DGRAM
        )
        try:
            self._sock.connect((server, _DNS_PORT))
        except BaseException:
            self._sock.close()
            raise

    def _ask(self, kind: int, name: str) -> None:
        asked = query(int.from_bytes(os.urandom(2), "big"), name, kind)
        self._asked[kind] = asked
        self._replies.pop(kind, None)
        self._sock.settimeout(0.0)
        self._sock.send(asked)

    def _ask_again(self) -> None:
        self._servers.append(self._servers.pop(0))
        self._sock.close()
        self._connect()
        for kind, asked in self._asked.items():
            if kind not in self._replies:
                self._sock.send(asked)

    def _receive(self, wait_s: float) -> None:
        """What has come; ``wait_s`` for the first."""
        for _ in range(_PACKETS_MAX):
            if self._has_all:
                return
            self._sock.settimeout(max(wait_s, 0.0))
            wait_s = 0.0
            try:
                data = self._sock.recv(4096)
            except (BlockingIOError, TimeoutError):
                return
            except OSError as error:
                if error.errno == errno.EBADF:  # given up meanwhile
                    raise
                return  # no resolver there, or a firewall that says so: the next one is asked
            for kind, asked in self._asked.items():
                if kind not in self._replies and is_reply(data, asked):
                    self._replies[kind] = data

    def _places(self, *, may_wait: bool) -> list[Address]:
        """Raises BlockingIOError: that cannot be said yet."""
        from qsh.client import service_records as order
        from qsh.wire.dns import parse

        owner, aliases = f"_qsh.{self.name}", 0
        known: list[tuple[str, bytes]] = []
        while True:
            if SVCB not in self._replies:
                raise BlockingIOError
            reply = parse(self._replies[SVCB])
            known += reply.addresses
            alias = order.alias_of(reply.records)
            if not alias or aliases == _ALIASES_MAX:
                break
            if not may_wait:
                raise BlockingIOError
            owner, aliases = alias, aliases + 1
            log.debug(f"SVCB of {self.name}: an alias of {alias}", 2)
            self._ask(SVCB, alias)
            self._receive(_AGAIN_S)
            if SVCB not in self._replies:
                return []
        services = order.of_svcb(reply.records, owner, self._target.udp_port, _chance)
        if not services and aliases and not alias:
            services = [order.Service(owner, self._target.udp_port)]
        if not services:
            if SRV not in self._replies:
                raise BlockingIOError
            reply = parse(self._replies[SRV])
            known += reply.addresses
            services = order.of_srv(reply.records, _chance)
        found: dict[Address, None] = {}
        for each in services:
            log.debug(f"record of {self.name}: {each.target} port {each.port}")
            found.update(dict.fromkeys(self._addresses(each, known, may_wait=may_wait)))
        return list(found)[:_ADDRESSES_MAX]

    def _addresses(
        self, service: Service, known: Sequence[tuple[str, bytes]], *, may_wait: bool
    ) -> list[Address]:
        """Those of one place: what the name has already, what came along, or what the system says."""
        if service.target == self.name and self._plain:
            found = list(self._plain)
        else:
            along = [packed for name, packed in known if name == service.target]
            found = self._of_family(service.hints or along)
            if not found:
                if not may_wait:
                    raise BlockingIOError
                try:
                    found = resolve(self._target._replace(host=service.target))
                except ConnectError as error:
                    log.debug(str(error))
        return [each._replace(port=service.port) for each in found]

    def _of_family(self, packed: Sequence[bytes]) -> list[Address]:
        wanted = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(self._target.family)
        families = {4: socket.AF_INET, 16: socket.AF_INET6}
        found = [(families[len(each)], each) for each in packed]
        return [
            Address(family, socket.inet_ntop(family, each))
            for family, each in found
            if wanted in (None, family)
        ]


def joined(found: Sequence[Address], plain: Sequence[Address]) -> list[Address]:
    """The name's own addresses stay, last: a record may be wrong, and ssh knows only those."""
    return [*found, *(each for each in plain if each not in found)]
