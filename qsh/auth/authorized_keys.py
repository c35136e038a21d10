"""authorized_keys: which keys let a user in, and with what rights (sshd(8); OpenSSH
auth2-pubkeyfile.c).

The file belongs to the user who logs in, and the key on offer to anybody. A line is therefore
looked at closely only when it contains the offered key (or the certificate's authority) letter by
letter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from qsh.auth.address_match import match_cidr_list, match_host_and_address
from qsh.auth.certificates import Certificate, check_user
from qsh.auth.key_options import KeyOptions, merge_options, options_of_certificate, parse_options
from qsh.auth.keys import PublicKey
from qsh.errors import KeyFormatError

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = [
    "AuthorizedLine",
    "Grant",
    "KeyOptions",
    "Visitor",
    "authorize",
    "authorize_by_principals",
    "find",
    "has_principal_line",
    "parse_authorized_line",
    "permits",
]

SPACE = " \t"


@dataclass(frozen=True, slots=True)
class AuthorizedLine:
    """A key and the text of its options."""

    key: PublicKey
    options: str


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who wants in, and from where. ``hostname`` is the address again unless UseDNS looked it
    up."""

    user: str
    address: str
    hostname: str


@dataclass(frozen=True, slots=True)
class Grant:
    """The outcome of a search: ``options`` is None when the key does not let the user in."""

    options: KeyOptions | None
    line: int = 0
    reasons: tuple[str, ...] = ()
    """``line N: why`` of lines with the right key that did not count."""


def parse_authorized_line(text: str) -> AuthorizedLine | None:
    """A line's key and option text; None for comments and for what holds no key (sshd skips
    both)."""
    text = text.strip(SPACE + "\r\n")
    if not text or text.startswith("#"):
        return None
    try:
        return AuthorizedLine(PublicKey.from_line(text), "")
    except KeyFormatError:
        pass
    end = _end_of_options(text)
    try:
        return AuthorizedLine(PublicKey.from_line(text[end:]), text[:end])
    except KeyFormatError:
        return None


def _end_of_options(text: str) -> int:
    """The first blank outside quotes; an open quote runs to the end, and no key is left."""
    at, quoted = 0, False
    while at < len(text) and (quoted or text[at] not in SPACE):
        if text.startswith('\\"', at):
            at += 1
        elif text[at] == '"':
            quoted = not quoted
        at += 1
    return at


def _matching(
    text: str, wanted: PublicKey, *, authority: bool
) -> Iterator[tuple[int, KeyOptions | str]]:
    """Lines with this key in this role: their options, or why those refuse it."""
    needle = wanted.base64()
    for number, raw in enumerate(text.split("\n"), 1):
        line = parse_authorized_line(raw) if needle in raw else None
        if line is None or line.key != wanted:
            continue
        try:
            options = parse_options(line.options)
        except KeyFormatError as error:
            yield number, f"bad key options: {error}"
            continue
        if options.cert_authority is authority:
            yield number, options


def find(text: str, key: PublicKey, *, authority: bool = False) -> list[tuple[int, KeyOptions]]:
    """Line numbers and options of the lines that name ``key``, in order.

    ``authority`` asks for ``cert-authority`` lines, which never admit the key itself.
    """
    return [
        (n, o) for n, o in _matching(text, key, authority=authority) if isinstance(o, KeyOptions)
    ]


def permits(options: KeyOptions, address: str, hostname: str, now: float) -> str | None:
    """Why a login from there and then is refused, or None (auth2-pubkeyfile.c,
    auth_authorise_keyopts)."""
    if options.expires and options.expires < now:
        return "entry expired"
    if options.principals is not None and not options.cert_authority:
        return "principals on non-CA key"
    return _refused_source(options, address, hostname)


def _refused_source(options: KeyOptions, address: str, hostname: str) -> str | None:
    try:
        wanted = options.from_hosts
        if wanted is not None and not match_host_and_address(hostname, address, wanted):
            return f"Your host '{hostname}' is not permitted to use this key for login."
    except KeyFormatError:
        return "invalid from criteria"
    try:
        wanted = options.source_addresses
        if wanted is not None and not match_cidr_list(address, wanted):
            return f"Your address '{address}' is not permitted to use this certificate for login."
    except KeyFormatError:
        return "Certificate source-address invalid"
    return None


def authorize(text: str, key: PublicKey, visitor: Visitor, now: float) -> Grant:
    """Whether this file lets the visitor in by ``key``, plain or certificate: the first acceptable
    line wins.

    The caller still has to verify the signature, and a security key's flags against
    ``options.touch_required`` and ``options.verify_required``.
    """
    reasons: list[str] = []
    try:
        key.require_usable()
        certificate = Certificate.parse(key) if key.is_certificate else None
    except KeyFormatError as error:
        return Grant(None, reasons=(str(error),))
    wanted = certificate.authority if certificate else key
    for number, options in _matching(text, wanted, authority=certificate is not None):
        try:
            granted = _judge(options, certificate, visitor, now)
        except KeyFormatError as error:
            reasons.append(f"line {number}: {error}")
            continue
        return Grant(granted, number, tuple(reasons))
    return Grant(None, reasons=tuple(reasons))


def _judge(
    options: KeyOptions | str, certificate: Certificate | None, visitor: Visitor, now: float
) -> KeyOptions:
    """The rights that the line gives; KeyFormatError: why it gives none."""
    if isinstance(options, str):
        raise KeyFormatError(options)
    _must(permits(options, visitor.address, visitor.hostname, now))
    if certificate is None:
        return options
    rights = options_of_certificate(certificate)
    _must(permits(rights, visitor.address, visitor.hostname, now))
    if options.principals is not None and not options.has_principal(certificate):
        raise KeyFormatError("Certificate does not contain an authorized principal")
    principal = visitor.user if options.principals is None else None
    _must(check_user(certificate, principal, visitor.address, now))
    return merge_options(options, rights)


def _must(reason: str | None) -> None:
    if reason:
        raise KeyFormatError(reason)


def authorize_by_principals(
    principals_text: str | None, certificate: Certificate, visitor: Visitor, now: float
) -> Grant:
    """A certificate by one of TrustedUserCAKeys (which the caller has checked).

    ``principals_text`` is the AuthorizedPrincipalsFile, None when none is configured: then the
    certificate must name the user (auth2-pubkey.c, user_cert_trusted_ca; auth2-pubkeyfile.c,
    auth_process_principals).
    """
    try:
        rights = options_of_certificate(certificate)
        _must(permits(rights, visitor.address, visitor.hostname, now))
        if principals_text is None:
            _must(check_user(certificate, visitor.user, visitor.address, now))
            return Grant(rights)
        number, options = _principal_line(principals_text, certificate)
        _must(check_user(certificate, None, visitor.address, now))
        _must(permits(options, visitor.address, visitor.hostname, now))
        if options.cert_authority:
            raise KeyFormatError("cert-authority flag invalid here")
        return Grant(merge_options(options, rights), number)
    except KeyFormatError as error:
        return Grant(None, reasons=(str(error),))


def has_principal_line(text: str, certificate: Certificate) -> bool:
    """Whether such a text has a line for one of the certificate's principals."""
    try:
        _principal_line(text, certificate)
    except KeyFormatError:
        return False
    return True


def _principal_line(text: str, certificate: Certificate) -> tuple[int, KeyOptions]:
    """The first line whose last word is one of the certificate's principals."""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.partition("#")[0].strip(SPACE + "\r")
        cut = max(line.rfind(" "), line.rfind("\t")) + 1
        if not line or line[cut:] not in certificate.principals:
            continue
        try:
            return number, parse_options(line[:cut])
        except KeyFormatError:
            continue
    raise KeyFormatError("Certificate does not contain an authorized principal")
