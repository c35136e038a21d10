"""known_hosts: who is known by which key (sshd(8) SSH_KNOWN_HOSTS FILE FORMAT; OpenSSH hostfile.c).

A file may hold thousands of lines and is read on every start, so a line's key is decoded only when
its names match. Names are looked up in this order, and only the first under which a plain key
stands can say "changed":

1. HostKeyAlias as it is, else the host as typed with the port that was dialled (``[host]:port``
unless 22);
2. the same with ``fallback_port``: sshd's own port, when qshd listens on another;
3. the bare host, as ssh does ("checking without port identifier").

Keys under 2 and 3 can only help to trust: they are in ``HostRecord.fallback``.
"""

from __future__ import annotations

import binascii
import os
from typing import TYPE_CHECKING, NamedTuple

from qsh.auth.address_match import match_hostname
from qsh.auth.keys import PublicKey
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

__all__ = [
    "HostRecord",
    "KnownHosts",
    "KnownKey",
    "Line",
    "format_line",
    "hash_host",
    "host_and_port",
]

HASH_MAGIC = "|1|"
"""A name hidden as HMAC-SHA1 under a salt."""
SALT_BYTES = 20
DEFAULT_PORT = 22
CERT_AUTHORITY, REVOKED = "@cert-authority", "@revoked"
SPACE = " \t"


class Line(NamedTuple):
    """One line that is no comment, its key not yet decoded."""

    file: str
    number: int
    marker: str
    names: str
    rest: str
    """The key and the comment."""

    def matches(self, name: str) -> bool:
        """Whether the line is about this name, which is in lower case."""
        if self.names.startswith("|"):
            return _hash_matches(name, self.names)
        return match_hostname(name, self.names) > 0

    def key(self) -> PublicKey:
        """The key; KeyFormatError when there is none."""
        return PublicKey.from_line(self.rest)


class KnownKey(NamedTuple):
    """A key and where it stands."""

    key: PublicKey
    file: str
    line: int


class HostRecord(NamedTuple):
    """What the files say about one host."""

    name: str
    """The name to write and to show: ``host`` or ``[host]:port``."""
    known: tuple[KnownKey, ...] = ()
    authorities: tuple[KnownKey, ...] = ()
    revoked: tuple[KnownKey, ...] = ()
    fallback: tuple[KnownKey, ...] = ()
    """Plain keys under the names that may only help to trust."""
    warnings: tuple[str, ...] = ()


def host_and_port(host: str, port: int = DEFAULT_PORT) -> str:
    """The name of a host at a port (misc.c, put_host_port), in lower case."""
    host = host.lower()
    return host if port in (0, DEFAULT_PORT) else f"[{host}]:{port}"


def hash_host(name: str, salt: bytes | None = None) -> str:
    """The name as HashKnownHosts writes it (hostfile.c, host_hash)."""
    from hashlib import sha1
    from hmac import digest as hmac_digest

    salt = os.urandom(SALT_BYTES) if salt is None else salt
    digest = hmac_digest(salt, name.encode("utf-8", "surrogateescape"), sha1)
    return f"{HASH_MAGIC}{_base64(salt)}|{_base64(digest)}"


def _base64(data: bytes) -> str:
    return binascii.b2a_base64(data, newline=False).decode()


def _hash_matches(name: str, hashed: str) -> bool:
    if not hashed.startswith(HASH_MAGIC):
        return False
    try:
        salt = binascii.a2b_base64(hashed[len(HASH_MAGIC) :].partition("|")[0].encode("ascii"))
    except (binascii.Error, UnicodeEncodeError):
        return False
    return len(salt) == SALT_BYTES and hash_host(name, salt) == hashed


def format_line(names: Sequence[str], key: PublicKey, hashed: bool = False) -> str:
    """The text to append, with line ends: one line, or one per name when hashed (hostfile.c,
    write_host_entry)."""
    tail = f" {key.type} {key.base64()}\n"
    lower = [name.lower() for name in names]
    return "".join(hash_host(n) + tail for n in lower) if hashed else ",".join(lower) + tail


def parse_line(file: str, number: int, text: str) -> Line | None:
    """A line's parts, None for a comment; KeyFormatError for a bad marker or a missing key."""
    text = text.strip(SPACE + "\r\n")
    if not text or text.startswith("#"):
        return None
    marker = ""
    if text.startswith("@"):
        marker, text = _word(text)
        if marker not in (CERT_AUTHORITY, REVOKED) or text.startswith("@"):
            raise KeyFormatError("invalid marker")
    names, rest = _word(text)
    if not rest or rest.startswith("#"):
        raise KeyFormatError("no key")
    return Line(file, number, marker, names, rest)


def _word(text: str) -> tuple[str, str]:
    """The first word and what follows the blanks after it."""
    end = next((i for i, c in enumerate(text) if c in SPACE), len(text))
    return text[:end], text[end:].lstrip(SPACE)


class KnownHosts(NamedTuple):
    """All lines of all files, in order."""

    lines: tuple[Line, ...] = ()
    warnings: tuple[str, ...] = ()
    """``FILE:LINE: reason`` of lines that cannot be read whatever host is asked for."""

    @classmethod
    def parse(cls, texts: Iterable[tuple[str, str]]) -> KnownHosts:
        """Read files given as (name, text), the user's before the system's."""
        lines, warnings = [], []
        for file, text in texts:
            for number, raw in enumerate(text.split("\n"), 1):
                try:
                    if line := parse_line(file, number, raw):
                        lines.append(line)
                except KeyFormatError as error:
                    warnings.append(f"{file}:{number}: {error}")
        return cls(tuple(lines), tuple(warnings))

    def lookup(
        self,
        host: str,
        port: int = DEFAULT_PORT,
        *,
        alias: str | None = None,
        address: str | None = None,
        fallback_port: int | None = None,
    ) -> HostRecord:
        """All that is said about a host.

        ``host`` as typed, ``alias`` the HostKeyAlias, ``address`` only for CheckHostIP and for the
        prompt.
        """
        name = alias.lower() if alias else host_and_port(host, port)
        spare = [] if alias else [host_and_port(host, p) for p in (fallback_port or port, 0)]
        warnings: list[str] = []
        found = {n: tuple(self._keys(n, warnings)) for n in dict.fromkeys([name, *spare])}
        by_address: tuple[tuple[Line, KnownKey], ...] = ()
        if address:
            by_address = tuple(self._keys(host_and_port(address, port), warnings))
        plain = {n: _marked(entries, "") for n, entries in found.items()}
        every = [entry for entries in found.values() for entry in entries]
        return HostRecord(
            name=name,
            known=plain[name],
            authorities=_marked(every, CERT_AUTHORITY),
            revoked=_marked([*every, *by_address], REVOKED),
            fallback=tuple(dict.fromkeys(k for n in spare if n != name for k in plain[n])),
            warnings=tuple(dict.fromkeys(warnings)),
        )

    def _keys(self, name: str, warnings: list[str]) -> Iterator[tuple[Line, KnownKey]]:
        for line in self.lines:
            if line.matches(name):
                try:
                    yield line, KnownKey(line.key(), line.file, line.number)
                except KeyFormatError as error:
                    warnings.append(f"{line.file}:{line.number}: {error}")

    def other_names(self, key: PublicKey, name: str, home: str = "") -> tuple[str, ...]:
        """``FILE:LINE: NAMES`` of lines with this key that are not about ``name``
        (sshconnect.c)."""
        wanted, found = key.base64(), []
        for line in self.lines:
            if not line.marker and wanted in line.rest and not line.matches(name):
                try:
                    if line.key() != key:
                        continue
                except KeyFormatError:
                    continue
                names = "[hashed name]" if line.names.startswith(HASH_MAGIC) else line.names
                found.append(f"{tilde(line.file, home)}:{line.number}: {names}")
        return tuple(found)


def _marked(entries: Iterable[tuple[Line, KnownKey]], marker: str) -> tuple[KnownKey, ...]:
    """The keys of the lines with this marker (or without any), each once."""
    return tuple(dict.fromkeys(key for line, key in entries if line.marker == marker))


def tilde(path: str, home: str) -> str:
    """The path with the home directory as ``~`` (sshconnect.c, try_tilde_unexpand)."""
    base = home.rstrip("/") + "/"
    return "~/" + path.removeprefix(base) if home and path.startswith(base) else path
