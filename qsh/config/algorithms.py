"""Names of SSH's algorithms: what a configuration may list and how lists are put together.

qsh uses none of the ciphers, MACs and key exchanges (TLS 1.3 has its own), but configuration
files name them, ``-G`` prints them, and a misspelt name is an error in ssh too. The tables are
those of OpenSSH 9.2 in its order; ``_NEWER`` are names that only other releases know.
"""

from __future__ import annotations

from qsh.errors import ConfigError
from qsh.patterns import match_list, match_pattern

__all__ = ["ALL", "DEFAULT", "assemble", "check_names"]

_CIPHERS = (
    "3des-cbc",
    "aes128-cbc",
    "aes192-cbc",
    "aes256-cbc",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
    "chacha20-poly1305@openssh.com",
)
_MACS = (
    "hmac-sha1",
    "hmac-sha1-96",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-md5",
    "hmac-md5-96",
    "umac-64@openssh.com",
    "umac-128@openssh.com",
    "hmac-sha1-etm@openssh.com",
    "hmac-sha1-96-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-md5-etm@openssh.com",
    "hmac-md5-96-etm@openssh.com",
    "umac-64-etm@openssh.com",
    "umac-128-etm@openssh.com",
)
_KEX = (
    "diffie-hellman-group1-sha1",
    "diffie-hellman-group14-sha1",
    "diffie-hellman-group14-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group-exchange-sha1",
    "diffie-hellman-group-exchange-sha256",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
)
_GSS_KEX = (
    "gss-gex-sha1-",
    "gss-group1-sha1-",
    "gss-group14-sha1-",
    "gss-group14-sha256-",
    "gss-group16-sha512-",
    "gss-nistp256-sha256-",
    "gss-curve25519-sha256-",
)
_KEYS = (
    "ssh-ed25519",
    "ssh-ed25519-cert-v01@openssh.com",
    "sk-ssh-ed25519@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
    "ssh-dss-cert-v01@openssh.com",
    "ssh-rsa",
    "ssh-rsa-cert-v01@openssh.com",
    "rsa-sha2-256",
    "rsa-sha2-256-cert-v01@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-512-cert-v01@openssh.com",
)
_SIGNATURES = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-dss",
    "ssh-rsa",
    "rsa-sha2-256",
    "rsa-sha2-512",
)
_DEFAULT_CIPHERS = (
    "chacha20-poly1305@openssh.com",
    "aes128-ctr",
    "aes192-ctr",
    "aes256-ctr",
    "aes128-gcm@openssh.com",
    "aes256-gcm@openssh.com",
)
_DEFAULT_MACS = (
    "umac-64-etm@openssh.com",
    "umac-128-etm@openssh.com",
    "hmac-sha2-256-etm@openssh.com",
    "hmac-sha2-512-etm@openssh.com",
    "hmac-sha1-etm@openssh.com",
    "umac-64@openssh.com",
    "umac-128@openssh.com",
    "hmac-sha2-256",
    "hmac-sha2-512",
    "hmac-sha1",
)
_DEFAULT_KEX = (
    "sntrup761x25519-sha512",
    "sntrup761x25519-sha512@openssh.com",
    "curve25519-sha256",
    "curve25519-sha256@libssh.org",
    "ecdh-sha2-nistp256",
    "ecdh-sha2-nistp384",
    "ecdh-sha2-nistp521",
    "diffie-hellman-group-exchange-sha256",
    "diffie-hellman-group16-sha512",
    "diffie-hellman-group18-sha512",
    "diffie-hellman-group14-sha256",
)
_DEFAULT_GSS_KEX = (
    "gss-group14-sha256-",
    "gss-group16-sha512-",
    "gss-nistp256-sha256-",
    "gss-curve25519-sha256-",
    "gss-group14-sha1-",
    "gss-gex-sha1-",
)
_DEFAULT_SIGNATURES = (
    "ssh-ed25519",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "rsa-sha2-512",
    "rsa-sha2-256",
)
_DEFAULT_KEYS = (
    "ssh-ed25519-cert-v01@openssh.com",
    "ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "ecdsa-sha2-nistp384-cert-v01@openssh.com",
    "ecdsa-sha2-nistp521-cert-v01@openssh.com",
    "sk-ssh-ed25519-cert-v01@openssh.com",
    "sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    "rsa-sha2-512-cert-v01@openssh.com",
    "rsa-sha2-256-cert-v01@openssh.com",
    *_DEFAULT_SIGNATURES,
)

_NEWER = {
    "kex": ("mlkem768x25519-sha256", "mlkem768nistp256-sha256"),
    "keys": (
        "ssh-mldsa44-ed25519@openssh.com",
        "ssh-mldsa44-ed25519-cert-v01@openssh.com",
        "webauthn-sk-ecdsa-sha2-nistp256-cert-v01@openssh.com",
    ),
}

ALL = {
    "ciphers": _CIPHERS,
    "macs": _MACS,
    "kex": _KEX,
    "gss-kex": _GSS_KEX,
    "keys": _KEYS,
    "signatures": _SIGNATURES,
}
DEFAULT = {
    "ciphers": _DEFAULT_CIPHERS,
    "macs": _DEFAULT_MACS,
    "kex": _DEFAULT_KEX,
    "gss-kex": _DEFAULT_GSS_KEX,
    "keys": _DEFAULT_KEYS,
    "signatures": _DEFAULT_SIGNATURES,
}
_COMPLAINT = {
    "ciphers": "Bad SSH2 cipher spec '{}'.",
    "macs": "Bad SSH2 MAC spec '{}'.",
    "kex": "Bad SSH2 KexAlgorithms '{}'.",
    "gss-kex": "Bad GSSAPI KexAlgorithms '{}'.",
    "keys": "Bad key types '{}'.",
    "signatures": "Bad key types '{}'.",
}


def check_names(family: str, spec: str) -> None:
    """Raise ConfigError unless ``spec``, with its ``+``, ``-`` or ``^``, names known algorithms."""
    if spec.startswith("-"):
        return
    names = spec[1:] if spec[:1] in ("+", "^") else spec
    known = "keys" if family == "signatures" else family
    for at, name in enumerate(names.split(",")):
        if not name and at:
            break  # OpenSSH stops at the first empty member
        if not _known(known, name):
            raise ConfigError(_COMPLAINT[family].format(spec))


def _known(family: str, name: str) -> bool:
    if name in ALL[family] or name in _NEWER.get(family, ()):
        return True
    return family == "keys" and any(match_list(known, name) != 0 for known in ALL["keys"])


def assemble(family: str, spec: str | None) -> str:
    """The list that ``spec`` makes of the default one, as OpenSSH prints it."""
    default = DEFAULT[family]
    if not spec:
        return ",".join(default)
    if spec[0] == "-":
        return ",".join(name for name in default if match_list(name, spec[1:]) != 1)
    wanted = spec.split(",")
    if spec[0] == "+":
        wanted = [*default, *spec[1:].split(",")]
    elif spec[0] == "^":
        wanted = [*spec[1:].split(","), *default]
    found: dict[str, None] = {}
    for pattern in wanted:
        for name in _matching(family, pattern):
            found[name] = None
    if not found:
        raise ConfigError(f"no algorithm matches '{spec}'")
    return ",".join(found)


def _matching(family: str, pattern: str) -> list[str]:
    if pattern in _NEWER.get("keys" if family == "signatures" else family, ()):
        return [pattern]
    return [name for name in ALL[family] if match_pattern(name, pattern)]
