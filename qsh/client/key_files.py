"""Key files of the user: what can be known of them without a passphrase, and loading them when one
must sign.
"""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING, NamedTuple

from qsh.auth.keys import PublicKey
from qsh.auth.openssh_file import is_encrypted, public_of
from qsh.auth.seed_key import SeedKey
from qsh.client.log import log
from qsh.errors import KeyFormatError, KeyPassphraseError
from qsh.quic import ed25519_sign

if TYPE_CHECKING:
    from qsh.auth.private import PrivateKey
    from qsh.client.prompt import Prompter

    SigningKey = PrivateKey | SeedKey

__all__ = ["KeyFile", "load_private", "read_certificate", "read_key_file"]

_MAX_FILE = 1 << 20
"""Bytes of a key file, as OpenSSH's MAX_KEY_FILE_SIZE."""

_LINE = "@" * 59
_TOO_OPEN = """\
{line}
@         WARNING: UNPROTECTED PRIVATE KEY FILE!          @
{line}
Permissions {mode:04o} for '{path}' are too open.
It is required that your private key files are NOT accessible by others.
This private key will be ignored."""


class KeyFile(NamedTuple):
    """An IdentityFile: its public key if that could be read, and whether the private part is
    sealed.
    """

    path: str
    public: PublicKey | None
    private: bool
    """The private key file is there."""
    encrypted: bool


def _read(path: str) -> bytes | None:
    try:
        with open(path, "rb") as file:
            return file.read(_MAX_FILE)
    except (OSError, ValueError) as error:
        log.debug(f"identity file {path}: {getattr(error, 'strerror', None) or error}", 3)
        return None


def _read_public(path: str) -> PublicKey | None:
    """The key in a public key file, or None."""
    data = _read(path)
    if data is None or data.startswith(b"-----"):
        return None
    for line in data.decode("utf-8", "replace").splitlines():
        if line.strip() and not line.startswith("#"):
            try:
                return PublicKey.from_line(line)
            except KeyFormatError as error:
                log.debug(f"{path}: {error}", 2)
                return None
    return None


def read_certificate(path: str) -> PublicKey | None:
    """A certificate file, or None when there is none."""
    key = _read_public(path)
    return key if key is not None and key.is_certificate else None


def _tell_useless(path: str) -> None:
    """What is wrong with a file that shows no key, if there is one."""
    reason = "invalid format"
    try:
        with open(path, "rb"):
            pass
    except (FileNotFoundError, NotADirectoryError, ValueError):
        return
    except OSError as error:
        reason = error.strerror or str(error)
    log.error(f'Load key "{path}": {reason}')


def read_key_file(path: str) -> KeyFile | None:
    """What ``path`` and ``path.pub`` tell; None when neither is there."""
    data = _read(path)
    if data is None or not data.lstrip().startswith(b"-----BEGIN"):
        public = _read_public(path) or _read_public(path + ".pub")
        if public is None:
            _tell_useless(path)
            return None
        return KeyFile(path, public, private=False, encrypted=False)
    try:
        encrypted = is_encrypted(data)
        public = public_of(data) or _read_public(path + ".pub")
        if public is None and not encrypted:
            from qsh.auth.private import PrivateKey

            public = PrivateKey.load(data, name=path).public
    except (KeyFormatError, KeyPassphraseError) as error:
        log.error(f'Load key "{path}": {error}')
        return None
    return KeyFile(path, public, private=True, encrypted=encrypted)


def _is_too_open(path: str) -> bool:
    try:
        status = os.stat(path)
    except OSError:
        return False
    if status.st_uid != os.getuid() or not status.st_mode & 0o077:
        return False
    log.error(_TOO_OPEN.format(line=_LINE, mode=stat.S_IMODE(status.st_mode), path=path))
    log.error(f'Load key "{path}": bad permissions')
    return True


def load_private(path: str, prompter: Prompter, attempts: int) -> SigningKey | None:
    """The private key, asking for its passphrase if need be; None (and a message) when it cannot be
    had.
    """
    data = _read(path)
    if data is None or _is_too_open(path):
        return None
    seed_key = SeedKey.load(data, ed25519_sign)
    if seed_key is not None:
        return seed_key
    from qsh.auth.private import PrivateKey

    try:
        if not is_encrypted(data):
            return PrivateKey.load(data, name=path)
        for _ in range(attempts):
            passphrase = prompter.passphrase(f"Enter passphrase for key '{path}': ")
            if not passphrase:
                log.debug("no passphrase given, try next key", 2)
                return None
            try:
                return PrivateKey.load(data, passphrase.encode("utf-8", "surrogateescape"), path)
            except KeyPassphraseError:
                log.debug("bad passphrase given, try again...", 2)
    except (KeyFormatError, KeyPassphraseError) as error:
        log.error(f'Load key "{path}": {error}')
    return None
