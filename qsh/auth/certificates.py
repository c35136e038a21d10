"""Certificates of OpenSSH (PROTOCOL.certkeys; sshkey.c cert_parse, sshkey_cert_check_authority).

A Certificate object exists only when its authority's signature is good; whether that authority is
trusted, and for whom, is for known_hosts, authorized_keys and TrustedUserCAKeys to say. A principal
is compared as one whole string, so that a comma in it means nothing (CVE-2026-35414). One rule is
newer than OpenSSH 9.2: a certificate without principals matches nobody (10.3), where 9.2 lets it
match any host.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from qsh.auth.address_match import match_cidr_list
from qsh.auth.keys import PublicKey, read_parts
from qsh.auth.signatures import verify, verify_sk
from qsh.auth.sshwire import Reader
from qsh.errors import KeyFormatError
from qsh.patterns import match_pattern

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["HOST", "USER", "Certificate", "check_host", "check_user"]

USER, HOST = 1, 2
"""SSH2_CERT_TYPE_USER and SSH2_CERT_TYPE_HOST."""

PRINCIPALS_LIMIT = 256
"""Names in one certificate, as OpenSSH's SSHKEY_CERT_MAX_PRINCIPALS."""

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Certificate:
    """A certificate whose signature has been verified."""

    key: PublicKey
    """The whole certificate; ``key.plain`` is the key that it is about."""
    kind: int
    serial: int
    key_id: str
    principals: tuple[str, ...]
    valid_after: int
    valid_before: int
    critical: tuple[tuple[str, bytes], ...]
    extensions: tuple[tuple[str, bytes], ...]
    authority: PublicKey
    signature_type: str

    @classmethod
    def parse(cls, key: PublicKey) -> Certificate:
        """Read a certificate and verify its authority's signature; KeyFormatError when either
        fails."""
        if not key.is_certificate:
            raise KeyFormatError("not a certificate")
        reader = Reader(key.blob)
        reader.string()
        reader.string()  # the nonce
        read_parts(reader, key.plain_type)
        serial, kind, key_id = reader.uint64(), reader.uint32(), reader.text()
        principals = _list(reader.string(), Reader.text)
        valid_after, valid_before = reader.uint64(), reader.uint64()
        critical, extensions = _list(reader.string(), _option), _list(reader.string(), _option)
        reader.string()  # reserved
        authority = PublicKey.from_blob(reader.string())
        signed = key.blob[: reader.offset]
        signature = reader.string()
        reader.end()
        if kind not in (USER, HOST):
            raise KeyFormatError(f"a certificate of unknown kind {kind}")
        if len(principals) > PRINCIPALS_LIMIT:
            raise KeyFormatError(f"a certificate with {len(principals)} principals")
        if authority.is_certificate:
            raise KeyFormatError("a certificate signed by a certificate")
        if not _signed_by(authority, signature, signed):
            raise KeyFormatError("the signature of the certificate is wrong")
        return cls(
            key=key,
            kind=kind,
            serial=serial,
            key_id=key_id,
            principals=principals,
            valid_after=valid_after,
            valid_before=valid_before,
            critical=critical,
            extensions=extensions,
            authority=authority,
            signature_type=Reader(signature).text(),
        )

    @classmethod
    def from_blob(cls, blob: bytes) -> Certificate:
        """As :meth:`parse`, from the wire."""
        return cls.parse(PublicKey.from_blob(blob))


def _signed_by(authority: PublicKey, signature: bytes, signed: bytes) -> bool:
    if authority.is_security_key:  # a touch is not asked of an authority (sshkey.c, cert_parse)
        return verify_sk(authority, signature, signed) is not None
    return verify(authority, signature, signed)


def _list(blob: bytes, read: Callable[[Reader], T]) -> tuple[T, ...]:
    reader, values = Reader(blob), []
    while reader.remaining:
        values.append(read(reader))
    return tuple(values)


def _option(reader: Reader) -> tuple[str, bytes]:
    return reader.text(), reader.string()


def option_text(name: str, data: bytes) -> str:
    """The value of an option that holds one text."""
    reader = Reader(data)
    value = reader.text()
    try:
        reader.end()
    except KeyFormatError:
        raise KeyFormatError(f'Certificate option "{name}" corrupt (extra data)') from None
    return value


def check_validity(certificate: Certificate, kind: int, now: float) -> str | None:
    """The kind and the dates: why not, in OpenSSH's words, or None."""
    if certificate.kind != kind:
        return f"Certificate invalid: not a {'host' if kind == HOST else 'user'} certificate"
    if now < certificate.valid_after:
        return "Certificate invalid: not yet valid"
    if now >= certificate.valid_before:
        return "Certificate invalid: expired"
    if not certificate.principals:
        return "Certificate lacks principal list"
    return None


def check_host(
    certificate: Certificate, hostname: str, now: float, *, wildcards: bool = False
) -> str | None:
    """Why this certificate does not stand for this host, or None.

    OpenSSH 9.2 compares principals exactly; ``wildcards`` lets ``*.example.org`` match, as 10.x
    does.
    """
    if reason := check_validity(certificate, HOST, now):
        return reason
    name = hostname.lower()
    if not any(name == p or (wildcards and match_pattern(name, p)) for p in certificate.principals):
        return "Certificate invalid: name is not a listed principal"
    if certificate.critical:
        return "Certificate contains unsupported critical options"
    return None


def check_user(
    certificate: Certificate, principal: str | None, source: str, now: float
) -> str | None:
    """Why this certificate does not let ``principal`` in from the address ``source``, or None.

    ``principal`` None: the name has been matched elsewhere (``principals=``,
    AuthorizedPrincipalsFile).
    """
    if reason := check_validity(certificate, USER, now):
        return reason
    if principal is not None and principal not in certificate.principals:
        return "Certificate invalid: name is not a listed principal"
    for name, data in certificate.critical:
        try:
            if reason := _check_critical(name, data, source):
                return reason
        except KeyFormatError:
            return "Invalid certificate options"
    return None


def _check_critical(name: str, data: bytes, source: str) -> str | None:
    if name == "source-address":
        if not match_cidr_list(source, option_text(name, data)):
            return f"Your address '{source}' is not permitted to use this certificate for login."
    elif name == "force-command":
        option_text(name, data)
    elif name == "verify-required":
        Reader(data).end()
    else:
        return f'Certificate critical option "{name}" is not supported'
    return None
