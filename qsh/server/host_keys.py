"""The server's host keys: which files, may they be read, and what is signed with them. Lives in the signer only."""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from qsh.auth.certificates import HOST, Certificate
from qsh.auth.key_proof import proof_data
from qsh.auth.keys import PublicKey
from qsh.auth.private import PrivateKey, generate_ed25519
from qsh.errors import KeyFormatError, KeyPassphraseError, RemoteProtocolError, StartupError
from qsh.server import safe_files

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

__all__ = [
    "HostKeys",
    "SigningRequest",
    "any_exists",
    "load",
    "parse_signing_request",
    "session_id_of",
]

SYSTEM_KEYS: Final = tuple(f"/etc/ssh/ssh_host_{kind}_key" for kind in ("ed25519", "ecdsa", "rsa"))
CERTIFICATE_VERIFY: Final = b" " * 64 + b"TLS 1.3, server CertificateVerify\0"
"""What a TLS 1.3 server signs begins with this (RFC 8446 4.4.3). Besides that and its session id nothing is ever signed but
proof_data, of which the front chooses no byte: the session id is one that was signed here, and the keys are ours."""
SESSION_LABEL: Final = b"qsh/1 session\0"
MAX_REQUEST: Final = 512
"""Bytes of a signing request: label, hash and header are below 200."""


@dataclass(frozen=True, slots=True)
class SigningRequest:
    """A front's request to sign a handshake."""

    key: int
    scheme: int
    message: bytes


def parse_signing_request(data: bytes) -> SigningRequest:
    """The body of a request on the signing socket (docs/protocol.md 8). Raises RemoteProtocolError."""
    if not 3 < len(data) <= MAX_REQUEST:
        raise RemoteProtocolError("sign", f"a request of {len(data)} bytes")
    message = data[3:]
    if not message.startswith(CERTIFICATE_VERIFY) or len(message) - len(CERTIFICATE_VERIFY) not in (
        32,
        48,
    ):
        raise RemoteProtocolError("sign", "not a TLS 1.3 server CertificateVerify")
    return SigningRequest(data[0], int.from_bytes(data[1:3], "big"), message)


def session_id_of(message: bytes) -> bytes:
    """The session id of the handshake whose CertificateVerify input is ``message`` (docs/protocol.md 3.2)."""
    return SESSION_LABEL + hashlib.sha256(message).digest()


class HostKeys:
    """The loaded private keys, in order of preference."""

    def __init__(self, keys: Sequence[PrivateKey], certificates: Sequence[bytes] = ()) -> None:
        self._keys = tuple(keys)
        self.certificates = tuple(certificates)

    @property
    def public(self) -> tuple[PublicKey, ...]:
        """Their public halves."""
        return tuple(key.public for key in self._keys)

    def fingerprint(self) -> bytes:
        """The same for the same keys and certificates in the same order."""
        blobs = [*(key.blob for key in self.public), b"", *self.certificates]
        return hashlib.sha256(b"".join(len(b).to_bytes(4, "big") + b for b in blobs)).digest()

    def sign(self, request: SigningRequest) -> tuple[bytes, bytes]:
        """The TLS signature, and the SSH signature over the session id. Raises RemoteProtocolError, KeyFormatError."""
        if request.key >= len(self._keys):
            raise RemoteProtocolError("sign", f"no host key number {request.key}")
        key = self._keys[request.key]
        return key.sign_tls(request.scheme, request.message), key.sign(
            session_id_of(request.message)
        )

    def derive(self, label: bytes) -> bytes:
        """A secret of this server that is the same after a restart, and is stored nowhere. It hangs on the first key."""
        return self._keys[0].derive(label)

    def prove(self, session_id: bytes, used: int) -> list[bytes]:
        """Signatures which prove that all keys but number ``used`` are held. Raises KeyFormatError."""
        others = [key for number, key in enumerate(self._keys) if number != used]
        return [key.sign(proof_data(session_id, key.public.blob)) for key in others]


def load(
    configured: Sequence[str],
    certificates: Sequence[str],
    own_path: str,
    warn: Callable[[str], None],
) -> HostKeys:
    """The configured keys; else /etc/ssh's that may be read; else our own at ``own_path``, made if need be.

    Raises StartupError when a configured key cannot be used, none of /etc/ssh's can although there are some, or none can be had.
    """
    keys: list[PrivateKey] = []
    if configured:
        keys = [_load(path) for path in configured]
    else:
        readable = [path for path in SYSTEM_KEYS if os.access(path, os.R_OK)]
        reasons: list[str] = []
        for path in readable:
            try:
                keys.append(_load(path))
            except StartupError as error:
                reasons.append(str(error))
        if readable and not keys:
            # a new identity beside keys that clients know would look like an attack
            raise StartupError("\n".join(reasons))
        for reason in reasons:
            warn(reason)
        if not keys:
            keys = [_own(own_path)]
    held = {key.public.blob for key in keys}
    return HostKeys(keys, [_certificate(path, held) for path in certificates if path != "none"])


def any_exists(own_path: str) -> bool:
    """Whether :func:`load` would find a key without making one."""
    return any(os.path.exists(path) for path in (*SYSTEM_KEYS, own_path))


def _load(path: str) -> PrivateKey:
    refusal = safe_files.check_private(path)
    if refusal is not None:
        raise StartupError(refusal)
    try:
        with open(path, "rb") as file:
            key = PrivateKey.load(file.read(1 << 20), None, path)
        key.public.require_usable()
    except KeyPassphraseError:
        raise StartupError(
            f"host key {path} is encrypted; qshd cannot ask for its passphrase"
        ) from None
    except OSError as error:
        raise StartupError(f"qshd: could not load host key {path}: {error.strerror}") from None
    except KeyFormatError as error:
        raise StartupError(f"qshd: could not load host key {path}: {error}") from None
    return key


def _own(path: str) -> PrivateKey:
    if not os.path.exists(path):
        text, public = generate_ed25519("qshd")
        try:
            os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
            with open(
                os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600), "w"
            ) as file:
                file.write(text)
            with open(path + ".pub", "w") as file:
                file.write(public.line() + "\n")
        except OSError as error:
            raise StartupError(
                f"no host key to be had, and none can be made at {path}: {error.strerror}"
            ) from None
    return _load(path)


def _certificate(path: str, held: set[bytes]) -> bytes:
    """A host certificate of one of the keys; whether its time has come or is over is for clients to say."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            certificate = Certificate.parse(PublicKey.from_line(file.read(1 << 16)))
    except OSError as error:
        raise StartupError(f"could not load host certificate {path}: {error.strerror}") from None
    except KeyFormatError as error:
        raise StartupError(f"could not load host certificate {path}: {error}") from None
    if certificate.kind != HOST:
        raise StartupError(f"{path} is not a host certificate")
    if certificate.key.plain.blob not in held:
        raise StartupError(f"No matching private key for certificate: {path}")
    return certificate.key.blob
