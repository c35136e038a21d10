"""Keys that let nobody in any more: RevokedKeys, as a KRL or as a list of public keys (OpenSSH PROTOCOL.krl; krl.c,
ssh_krl_check_key; authfile.c, sshkey_check_revoked).

A file that cannot be read to its end raises, and then every key counts as revoked: what stands behind the bad place might be the
key that is looked at. Signed KRLs are such files: ssh-keygen has never made one, and OpenSSH 9.4 took them out.
"""

from __future__ import annotations

import binascii
import hashlib
import struct
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from qsh.auth.keys import PublicKey, plain_type
from qsh.auth.sshwire import Reader
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from qsh.auth.certificates import Certificate

__all__ = ["RevokedKeys"]

MAGIC: Final = b"SSHKRL\n\0"
VERSION: Final = 1
CERTIFICATES, EXPLICIT, SHA1, SIGNATURE, SHA256, EXTENSION = 1, 2, 3, 4, 5, 255
SERIAL_LIST, SERIAL_RANGE, SERIAL_BITMAP, KEY_ID, CERT_EXTENSION = 0x20, 0x21, 0x22, 0x23, 0x39
HIGHEST_SERIAL: Final = 2**64 - 1


@dataclass(slots=True)
class _OfAuthority:
    """Certificates of one authority that are revoked, or of any."""

    key_ids: set[str] = field(default_factory=set)
    serials: set[int] = field(default_factory=set)
    ranges: list[tuple[int, int]] = field(default_factory=list)
    bitmaps: list[tuple[int, int]] = field(default_factory=list)
    """The serial of bit 0, and the bits."""

    def has(self, certificate: Certificate) -> bool:
        """Serial 0 is what certificates have that were given none: it is never looked up."""
        serial = certificate.serial
        if certificate.key_id in self.key_ids:
            return True
        if serial == 0:
            return False
        return (
            serial in self.serials
            or any(low <= serial <= high for low, high in self.ranges)
            or any(serial >= first and bits >> (serial - first) & 1 for first, bits in self.bitmaps)
        )


@dataclass(slots=True)
class RevokedKeys:
    """What one file revokes."""

    blobs: set[bytes] = field(default_factory=set)
    """Of plain keys."""
    sha1: set[bytes] = field(default_factory=set)
    sha256: set[bytes] = field(default_factory=set)
    certificates: dict[bytes, _OfAuthority] = field(default_factory=dict)
    """By the authority's key; ``b""`` is any authority."""
    version: int = 0
    comment: str = ""

    @classmethod
    def parse(cls, data: bytes) -> RevokedKeys:
        """Read either kind of file. Raises KeyFormatError for one that is not understood to its end."""
        found = cls()
        if data.startswith(MAGIC):
            found._read_krl(Reader(data))
        else:
            found._read_list(data)
        return found

    def has(self, key: PublicKey, certificate: Certificate | None = None) -> bool:
        """Whether this key, its certificate or the certificate's authority is revoked. ``certificate`` is ``key``, read."""
        if self._has_plain(key):
            return True
        if certificate is None:
            return False
        authority = certificate.authority
        listed = (self.certificates.get(blob) for blob in (authority.blob, b""))
        return self._has_plain(authority) or any(one.has(certificate) for one in listed if one)

    def _has_plain(self, key: PublicKey) -> bool:
        blob = key.plain.blob
        return (
            blob in self.blobs
            or hashlib.sha256(blob).digest() in self.sha256
            or (bool(self.sha1) and hashlib.sha1(blob, usedforsecurity=False).digest() in self.sha1)
        )

    # -- lists of keys ---------------------------------------------------------------------------

    def _read_list(self, data: bytes) -> None:
        """A line is a key (of a certificate its key counts), a comment or empty."""
        for number, raw in enumerate(data.decode("utf-8", "surrogateescape").split("\n"), 1):
            line = raw.strip(" \t\r")
            if not line or line.startswith("#"):
                continue
            try:
                if (key := _listed(line)) is not None:
                    self.blobs.add(key.plain.blob)
            except KeyFormatError as error:
                raise KeyFormatError(f"line {number}: {error}") from None

    # -- KRL -------------------------------------------------------------------------------------

    def _read_krl(self, reader: Reader) -> None:
        reader.take(len(MAGIC))
        if (version := reader.uint32()) != VERSION:
            raise KeyFormatError(f"a KRL of unknown version {version}")
        self.version = reader.uint64()
        reader.uint64()  # when it was made
        reader.uint64()  # flags: none are known
        reader.string()  # reserved
        self.comment = reader.string().decode("utf-8", "replace")
        while reader.remaining:
            kind, section = reader.byte(), Reader(reader.string())
            if kind == CERTIFICATES:
                self._read_certificates(section)
            elif kind == EXPLICIT:
                self.blobs.update(_strings(section))
            elif kind == SHA1:
                self.sha1.update(_strings(section, 20))
            elif kind == SHA256:
                self.sha256.update(_strings(section, 32))
            elif kind == EXTENSION:
                _skip_extension(section)
            elif kind == SIGNATURE:
                raise KeyFormatError("a signed KRL")
            else:
                raise KeyFormatError(f"unsupported KRL section {kind}")

    def _read_certificates(self, reader: Reader) -> None:
        authority = reader.string()
        reader.string()  # reserved
        if authority:
            authority = _authority(authority)
        listed = self.certificates.setdefault(authority, _OfAuthority())
        while reader.remaining:
            kind, section = reader.byte(), Reader(reader.string())
            if kind == SERIAL_LIST:
                data = section.rest()
                if len(data) % 8:
                    raise KeyFormatError("a KRL with part of a serial")
                listed.serials.update(
                    _valid(serial) for (serial,) in struct.iter_unpack(">Q", data)
                )
            elif kind == SERIAL_RANGE:
                low, high = _valid(section.uint64()), section.uint64()
                if low > high:
                    raise KeyFormatError("a KRL with a range of serials that ends before it begins")
                listed.ranges.append((low, high))
            elif kind == SERIAL_BITMAP:
                listed.bitmaps.append(_bitmap(section))
            elif kind == KEY_ID:
                listed.key_ids.update(_texts(section))
            elif kind == CERT_EXTENSION:
                _skip_extension(section)
            else:
                raise KeyFormatError(f"unsupported KRL certificate section {kind}")
            section.end()


def _listed(line: str) -> PublicKey | None:
    """The key of a line; None for one of a type that nobody could log in with here."""
    name, _, rest = line.replace("\t", " ").partition(" ")
    try:
        plain_type(name)
    except KeyFormatError:
        words = rest.split()
        try:
            inner = Reader(binascii.a2b_base64(words[0] if words else "", strict_mode=True)).text()
        except (binascii.Error, ValueError, KeyFormatError):
            raise KeyFormatError("no key in this line") from None
        if inner != name:
            raise KeyFormatError(f"the line says {name[:64]}, the key is {inner[:64]}") from None
        return None
    return PublicKey.from_line(line)


def _authority(blob: bytes) -> bytes:
    """As sshd it must be a key; one of a type that is not known here signs nothing that counts."""
    try:
        return PublicKey.from_blob(blob).plain.blob
    except KeyFormatError:
        Reader(blob).text()
        return blob


def _valid(serial: int) -> int:
    if serial == 0:
        raise KeyFormatError("a KRL that revokes serial 0")
    return serial


def _bitmap(section: Reader) -> tuple[int, int]:
    first, bits = section.uint64(), section.mpint()
    if first + max(bits.bit_length() - 1, 0) > HIGHEST_SERIAL:
        raise KeyFormatError("a KRL with serials of more than 64 bits")
    if first == 0 and bits & 1:
        raise KeyFormatError("a KRL that revokes serial 0")
    return first, bits


def _strings(section: Reader, size: int | None = None) -> list[bytes]:
    found = []
    while section.remaining:
        found.append(section.string())
        if size is not None and len(found[-1]) != size:
            raise KeyFormatError(f"a KRL with a hash of {len(found[-1])} bytes")
    return found


def _texts(section: Reader) -> list[str]:
    found = []
    while section.remaining:
        found.append(section.text())
    return found


def _skip_extension(section: Reader) -> None:
    """One that is not critical may be left out; none is known."""
    name, critical = section.text(), section.boolean()
    section.string()
    if critical:
        raise KeyFormatError(f'unsupported critical KRL extension "{name[:64]}"')
    section.end()
