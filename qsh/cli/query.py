"""``-Q`` and ``-G``: what can be answered without a connection.

Key and signature names are those that qsh really accepts. For ``kex`` and ``cipher`` the honest
answer is TLS 1.3's: there are no SSH ciphers in qsh.
"""

from __future__ import annotations

from qsh.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.config.environment import Environment

__all__ = ["answer", "print_config"]

_CIPHERS = ("TLS_AES_256_GCM_SHA384", "TLS_AES_128_GCM_SHA256", "TLS_CHACHA20_POLY1305_SHA256")
_KEX = ("X25519MLKEM768", "X25519", "SECP256R1", "SECP384R1")
_PLAIN = (
    "ssh-ed25519",
    "sk-ssh-ed25519@openssh.com",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ecdsa-sha2-nistp256@openssh.com",
    "ssh-rsa",
)
_SIGNATURES = (*_PLAIN[:-1], "rsa-sha2-256", "rsa-sha2-512")


def _certificate(name: str) -> str:
    return f"{name.removesuffix('@openssh.com')}-cert-v01@openssh.com"


_CERTIFICATES = tuple(_certificate(name) for name in _PLAIN)
_ALL_SIGNATURES = (*_SIGNATURES, *(_certificate(name) for name in _SIGNATURES))

_ANSWERS: dict[str, tuple[str, ...]] = {
    "cipher": _CIPHERS,
    "cipher-auth": _CIPHERS,
    "compression": ("none",),
    "kex": _KEX,
    "kex-gss": (),
    "key": (*_PLAIN, *_CERTIFICATES),
    "key-ca-sign": _SIGNATURES,
    "key-cert": _CERTIFICATES,
    "key-plain": _PLAIN,
    "key-sig": _ALL_SIGNATURES,
    "mac": ("implicit",),
    "protocol-version": ("2",),
    "sig": _SIGNATURES,
}

_BY_OPTION = {
    "ciphers": "cipher",
    "macs": "mac",
    "kexalgorithms": "kex",
    "casignaturealgorithms": "key-ca-sign",
    "pubkeyacceptedkeytypes": "key-sig",
    "pubkeyacceptedalgorithms": "key-sig",
    "hostkeyalgorithms": "key-sig",
    "hostbasedkeytypes": "key-sig",
    "hostbasedacceptedkeytypes": "key-sig",
    "hostbasedacceptedalgorithms": "key-sig",
}


def answer(name: str) -> str:
    """What ``-Q name`` prints. Raises UsageError for a name that is not known."""
    if name == "help":
        return "\n".join(sorted(_ANSWERS)) + "\n"
    words = _ANSWERS.get(name, _ANSWERS.get(_BY_OPTION.get(name.lower(), "")))
    if words is None:
        raise UsageError(f'Unsupported query "{name}"')
    return "".join(f"{word}\n" for word in words)


def print_config(argv: Sequence[str], environment: Environment) -> str:
    """What ``qsh -G …`` prints for these arguments. Raises UsageError or ConfigError."""
    from qsh.cli.arguments import parse_arguments
    from qsh.config.dump import dump
    from qsh.config.resolve import resolve

    arguments = parse_arguments(argv, environment)
    arguments.print_config = True
    return dump(resolve(arguments, environment))
