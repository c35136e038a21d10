"""Options in front of a key in authorized_keys and inside a certificate (sshd(8); OpenSSH
auth-options.c).

What is not understood refuses the key: a restriction must never be lost in silence.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from qsh.auth.absolute_time import parse_absolute_time
from qsh.auth.address_match import match_cidr_list
from qsh.auth.certificates import Certificate, option_text
from qsh.auth.sshwire import Reader
from qsh.errors import KeyFormatError

__all__ = [
    "TUNNEL_ANY",
    "KeyOptions",
    "Permit",
    "merge_options",
    "options_of_certificate",
    "parse_options",
]

ENVIRONMENT_LIMIT = 1024
PERMIT_LIMIT = 4096
"""As OpenSSH's SSH_AUTHOPT_ENV_MAX and SSH_AUTHOPT_PERMIT_MAX."""
HOST_LIMIT = 1024
"""NI_MAXHOST."""
TUNNEL_ANY = 0x7FFFFFFF
"""``tunnel="any"``: SSH_TUNID_ANY."""


@dataclass(frozen=True, slots=True)
class Permit:
    """One permitopen or permitlisten: a host (``*``: any) and a port (0: any)."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class KeyOptions:
    """What a key may do. The defaults are those of a line without options."""

    restricted: bool = False
    cert_authority: bool = False
    port_forwarding: bool = True
    agent_forwarding: bool = True
    x11_forwarding: bool = True
    pty: bool = True
    user_rc: bool = True
    touch_required: bool = True
    verify_required: bool = False
    command: str | None = None
    environment: tuple[tuple[str, str], ...] = ()
    from_hosts: str | None = None
    """``from=``: names, addresses, CIDR blocks, ``!``."""
    source_addresses: str | None = None
    """A certificate's source-address: CIDR blocks only."""
    expires: int = 0
    """Seconds since 1970 after which the line is void; 0: never."""
    principals: str | None = None
    permit_open: tuple[Permit, ...] = ()
    permit_listen: tuple[Permit, ...] = ()
    tunnel: int | None = None

    def has_principal(self, certificate: Certificate) -> bool:
        """Whether ``principals=`` names one of the certificate's: whole names (CVE-2026-35414)."""
        names = set((self.principals or "").split(",")) - {""}
        return not names.isdisjoint(certificate.principals)


_RESTRICT = {
    "restricted": True,
    "port_forwarding": False,
    "agent_forwarding": False,
    "x11_forwarding": False,
    "pty": False,
    "user_rc": False,
}
_FLAGS = {
    "port-forwarding": "port_forwarding",
    "agent-forwarding": "agent_forwarding",
    "x11-forwarding": "x11_forwarding",
    "touch-required": "touch_required",
    "verify-required": "verify_required",
    "pty": "pty",
    "user-rc": "user_rc",
}
_ONCE = {"command": "command", "principals": "principals", "from": "from_hosts"}


@dataclass(slots=True)
class _Parser:
    """Collects the options of one line; later flags win over earlier ones, as in
    ``restrict,pty``."""

    text: str
    at: int = 0
    values: dict[str, Any] = field(default_factory=dict)

    def parse(self) -> KeyOptions:
        while self.at < len(self.text) and self.text[self.at] not in " \t":
            self.option()
            if self.at == len(self.text) or self.text[self.at] in " \t":
                break
            if self.text[self.at] != ",":
                raise KeyFormatError("unknown key option")
            self.at += 1
            if self.at == len(self.text):
                raise KeyFormatError("unexpected end-of-options")
        return KeyOptions(**self.values)

    def option(self) -> None:
        start = self.at
        while self.at < len(self.text) and self.text[self.at] not in ',= \t"':
            self.at += 1
        name = self.text[start : self.at].lower()
        if self.at < len(self.text) and self.text[self.at] == "=":
            self.at += 1
            self.valued(name)
        elif name:
            self.flag(name)

    def flag(self, name: str) -> None:
        if name == "restrict":
            self.values |= _RESTRICT
        elif name == "cert-authority":
            self.values["cert_authority"] = True
        elif attribute := _FLAGS.get(name.removeprefix("no-")):
            self.values[attribute] = not name.startswith("no-")
        else:
            raise KeyFormatError("unknown key option")

    def valued(self, name: str) -> None:
        if name in _ONCE:
            value = self.dequote()
            if _ONCE[name] in self.values:
                raise KeyFormatError(f'multiple "{name}" clauses')
            self.values[_ONCE[name]] = value
        elif name == "expiry-time":
            expires = parse_absolute_time(self.dequote())
            self.values["expires"] = min(expires, self.values.get("expires", expires))
        elif name == "environment":
            self.environment(self.dequote())
        elif name in ("permitopen", "permitlisten"):
            self.permit(name, self.dequote())
        elif name == "tunnel":
            self.values["tunnel"] = _tunnel(self.dequote())
        else:
            raise KeyFormatError("unknown key option")

    def dequote(self) -> str:
        r"""A value in double quotes; ``\"`` stands for a quote, no other escape exists (misc.c,
        opt_dequote)."""
        text, at, value = self.text, self.at, []
        if text[at : at + 1] != '"':
            raise KeyFormatError("missing start quote")
        at += 1
        while at < len(text) and text[at] != '"':
            if text.startswith('\\"', at):
                at += 1
            value.append(text[at])
            at += 1
        if at == len(text):
            raise KeyFormatError("missing end quote")
        self.at = at + 1
        return "".join(value)

    def environment(self, setting: str) -> None:
        name, equals, value = setting.partition("=")
        if not equals or not name.isascii() or not name.replace("_", "a").isalnum():
            raise KeyFormatError("invalid environment string")
        known: tuple[tuple[str, str], ...] = self.values.get("environment", ())
        if len(known) > ENVIRONMENT_LIMIT:
            raise KeyFormatError("too many environment strings")
        if name not in dict(known):  # the first one wins
            self.values["environment"] = (*known, (name, value))

    def permit(self, name: str, value: str) -> None:
        attribute = "permit_open" if name == "permitopen" else "permit_listen"
        known: tuple[Permit, ...] = self.values.get(attribute, ())
        if len(known) > PERMIT_LIMIT:
            raise KeyFormatError("too many permission directives")
        if name == "permitlisten" and ":" not in value:
            value = f"*:{value}"
        self.values[attribute] = (*known, _permit(value))


def _permit(value: str) -> Permit:
    """``host:port``, ``[v6]:port`` or ``host/port`` (misc.c, hpdelim2)."""
    if value.startswith("["):
        host, bracket, port = value[1:].partition("]")
        if not bracket or port[:1] not in (":", "/"):
            raise KeyFormatError("invalid permission hostname")
        port = port[1:]
    else:
        cut = next((i for i, c in enumerate(value) if c in ":/"), len(value))
        host, port = value[:cut], value[cut + 1 :]
    if len(host) >= HOST_LIMIT:
        raise KeyFormatError("invalid permission hostname")
    if port == "*":
        return Permit(host, 0)
    if not (port.isascii() and port.isdigit() and len(port) <= 5 and 0 < int(port) <= 65535):
        raise KeyFormatError("invalid permission port")
    return Permit(host, int(port))


def _tunnel(value: str) -> int:
    if value.lower() == "any":
        return TUNNEL_ANY
    if value.isascii() and value.isdigit() and len(value) <= 10 and int(value) < TUNNEL_ANY - 1:
        return int(value)
    raise KeyFormatError("invalid tun device")


def parse_options(text: str) -> KeyOptions:
    """Read an option string, up to its end or the first blank outside quotes; KeyFormatError: why
    the key is refused."""
    return _Parser(text).parse()


_EXTENSIONS = {
    "permit-X11-forwarding": "x11_forwarding",
    "permit-agent-forwarding": "agent_forwarding",
    "permit-port-forwarding": "port_forwarding",
    "permit-pty": "pty",
    "permit-user-rc": "user_rc",
}


def options_of_certificate(certificate: Certificate) -> KeyOptions:
    """What a user certificate allows: nothing but what it names (auth-options.c,
    sshauthopt_from_cert)."""
    values: dict[str, Any] = dict.fromkeys(_EXTENSIONS.values(), False)
    texts = {"force-command": "command", "source-address": "source_addresses"}
    for name, data in certificate.critical:
        if name == "verify-required":
            values["verify_required"] = True
            Reader(data).end()
        elif attribute := texts.get(name):
            if attribute in values:
                raise KeyFormatError(f"Certificate has multiple {name} options")
            values[attribute] = option_text(name, data)
        else:
            raise KeyFormatError(f'Certificate critical option "{name}" is not supported')
    if values.get("source_addresses") is not None:
        match_cidr_list(None, values["source_addresses"])
    for name, data in certificate.extensions:
        if name == "no-touch-required":
            values["touch_required"] = False
        elif name in _EXTENSIONS:
            values[_EXTENSIONS[name]] = True
        else:
            continue  # an extension that is not known grants nothing
        Reader(data).end()
    return KeyOptions(**values)


_BOTH = ("port_forwarding", "agent_forwarding", "x11_forwarding", "pty", "user_rc")


def merge_options(primary: KeyOptions, other: KeyOptions) -> KeyOptions:
    """The line's options and the certificate's: what both allow (auth-options.c,
    sshauthopt_merge)."""
    if (
        primary.command is not None
        and other.command is not None
        and primary.command != other.command
    ):
        raise KeyFormatError("forced command options do not match")
    prefer = {
        f.name: getattr(primary, f.name)
        if getattr(primary, f.name) not in (None, ())
        else getattr(other, f.name)
        for f in fields(KeyOptions)
    }
    expiries = [e for e in (primary.expires, other.expires) if e]
    both = {name: getattr(primary, name) and getattr(other, name) for name in _BOTH}
    return replace(
        KeyOptions(**(prefer | both)),
        touch_required=primary.touch_required or other.touch_required,
        verify_required=primary.verify_required or other.verify_required,
        expires=min(expiries, default=0),
        cert_authority=False,
        principals=None,
    )
