"""What a user's key signs to log in: SSH's publickey-hostbound request (RFC 4252 7, OpenSSH
PROTOCOL 3.1).

qsh signs this very text over its own session id, so that agents, security keys and an agent's
restrictions (``ssh-add -h``) work as they do for ssh.
"""

from __future__ import annotations

from qsh.auth.algorithms import signature_algorithm
from qsh.auth.keys import CERT_SUFFIX, plain_type
from qsh.auth.sshwire import Writer

__all__ = [
    "METHOD",
    "default_algorithm",
    "request_algorithms",
    "signature_algorithm",
    "signed_data",
]

METHOD = "publickey-hostbound-v00@openssh.com"
SERVICE = "ssh-connection"
USERAUTH_REQUEST = 50
"""SSH_MSG_USERAUTH_REQUEST (RFC 4250 4.1.2)."""


def signed_data(
    session_id: bytes, user: str, algorithm: str, key_blob: bytes, host_key_blob: bytes
) -> bytes:
    """The bytes to sign: ``algorithm`` is one of :func:`request_algorithms`, ``key_blob`` the
    offered key."""
    request = (
        Writer().string(session_id).byte(USERAUTH_REQUEST).text(user).text(SERVICE).text(METHOD)
    )
    return request.boolean(True).text(algorithm).string(key_blob).string(host_key_blob).bytes()


def request_algorithms(key_type: str) -> tuple[str, ...]:
    """Algorithm names that a request for this type of key may carry, the best first (RFC 8332)."""
    if plain_type(key_type) != "ssh-rsa":
        return (key_type,)
    suffix = CERT_SUFFIX if key_type.endswith(CERT_SUFFIX) else ""
    return (f"rsa-sha2-512{suffix}", f"rsa-sha2-256{suffix}")


def default_algorithm(key_type: str) -> str:
    """The algorithm that a client asks for first."""
    return request_algorithms(key_type)[0]
