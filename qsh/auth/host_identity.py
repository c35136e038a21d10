"""Is this server the host that was meant? The decision, without asking or printing (sshconnect.c,
check_host_key).

Order: a revoked key never stands; a key that is known stands; a certificate by an authority that is
trusted for the name stands; else the key is new, or it has changed. The texts for each case are in
host_texts.py.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from qsh.auth.algorithms import tls_schemes
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qsh.auth.certificates import Certificate
    from qsh.auth.keys import PublicKey
    from qsh.auth.known_hosts import HostRecord, KnownKey

__all__ = ["Decision", "Verdict", "decide", "host_key_types", "scheme_order"]

HOST_KEY_TYPES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "ssh-rsa",
)
"""What a server may be known by, the best first: OpenSSH's order without certificates and security
keys."""


class Verdict(enum.Enum):
    """What is known about the server's key."""

    TRUSTED = "trusted"
    NEW = "new"
    NEW_OTHER_TYPE_KNOWN = "new, keys of other types known"
    CHANGED = "changed"
    REVOKED = "revoked"
    BAD_CERTIFICATE = "bad certificate"


class Decision(NamedTuple):
    """The verdict and what led to it."""

    verdict: Verdict
    key: PublicKey
    found: KnownKey | None = None
    """TRUSTED: the line that says so (a key or an authority); CHANGED: the offending line; REVOKED:
    the mark."""
    certificate: Certificate | None = None
    """TRUSTED by this, or refused because of it."""
    reason: str = ""
    """BAD_CERTIFICATE: why, in OpenSSH's words."""
    without: Verdict | None = None
    """BAD_CERTIFICATE: the verdict on the plain key, with which ssh goes on after printing the
    reason."""


def decide(
    record: HostRecord,
    key: PublicKey,
    hostname: str,
    now: float,
    certificates: Iterable[PublicKey] = (),
) -> Decision:
    """Judge the key that the server proved to hold.

    ``certificates`` come from the server and count only when they are about ``key``; ``hostname``
    (or the HostKeyAlias) is what they must name. What cannot be parsed or verified is as good as
    absent.
    """
    if mark := _find(record.revoked, key):
        return Decision(Verdict.REVOKED, key, mark)
    if line := _find(record.known, key) or _find(record.fallback, key):
        return Decision(Verdict.TRUSTED, key, line)
    bad: Decision | None = None
    for certificate in _usable(certificates, key):
        decision = _by_certificate(record, key, certificate, hostname, now)
        if decision is not None and decision.verdict is not Verdict.BAD_CERTIFICATE:
            return decision
        bad = bad or decision
    plain = _unknown(record, key)
    if bad is None or plain.verdict is Verdict.CHANGED:
        return plain
    return Decision(
        Verdict.BAD_CERTIFICATE, key, bad.found, bad.certificate, bad.reason, without=plain.verdict
    )


def _find(lines: Sequence[KnownKey], key: PublicKey) -> KnownKey | None:
    return next((line for line in lines if line.key == key), None)


def _usable(certificates: Iterable[PublicKey], key: PublicKey) -> Iterable[Certificate]:
    from qsh.auth.certificates import Certificate

    for candidate in certificates:
        try:
            if candidate.is_certificate and candidate.plain == key:
                yield Certificate.parse(candidate)
        except KeyFormatError:
            continue


def _by_certificate(
    record: HostRecord, key: PublicKey, certificate: Certificate, hostname: str, now: float
) -> Decision | None:
    """None when nobody trusts the authority."""
    if mark := _find(record.revoked, certificate.authority) or _find(
        record.revoked, certificate.key
    ):
        return Decision(Verdict.REVOKED, key, mark, certificate)
    line = _find(record.authorities, certificate.authority)
    if line is None:
        return None
    from qsh.auth.certificates import check_host

    reason = check_host(certificate, hostname, now)
    verdict = Verdict.BAD_CERTIFICATE if reason else Verdict.TRUSTED
    return Decision(verdict, key, line, certificate, reason or "")


def _unknown(record: HostRecord, key: PublicKey) -> Decision:
    """Neither known nor certified: ssh calls it changed when *any* plain key is known under the
    name."""
    if record.known:
        return Decision(Verdict.CHANGED, key, record.known[-1])
    if others := [line for line in record.fallback if line.key.label != key.label]:
        return Decision(Verdict.NEW_OTHER_TYPE_KNOWN, key, others[0])
    return Decision(Verdict.NEW, key)


def host_key_types(record: HostRecord) -> tuple[str, ...]:
    """The types of key that this host is known by, the best first, then all others."""
    known = {line.key.plain_type for line in (*record.known, *record.fallback)}
    return (
        *(t for t in HOST_KEY_TYPES if t in known),
        *(t for t in HOST_KEY_TYPES if t not in known),
    )


def scheme_order(
    record: HostRecord, ca_known: bool | None = None, *, only_known: bool = False
) -> list[int]:
    """The TLS signature schemes to offer: the types that this host is known by first, then the
    rest.

    The server takes the first that it has a key for, so a host known by its RSA key does not look
    changed (sshconnect2.c, order_hostkeyalgs). ``only_known`` leaves out the rest, unless no type
    is known or an authority is: then any key may turn out to be certified.
    """
    types = host_key_types(record)
    known = {line.key.plain_type for line in (*record.known, *record.fallback)}
    authority = bool(record.authorities) if ca_known is None else ca_known
    if only_known and not authority and known & set(types):
        types = tuple(t for t in types if t in known)
    return [scheme for t in types for scheme in tls_schemes(t)]
