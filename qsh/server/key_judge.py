"""Which keys let one user in: files, certificates of trusted authorities, a command, and what the configuration asks of a key
(model: OpenSSH's auth2-pubkey.c, in its order).

Read with root's rights: RevokedKeys, TrustedUserCAKeys. Files that the user may have written are read with his.
"""

from __future__ import annotations

import contextlib
import os
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Final

from qsh.auth import authorized_keys, signatures, userauth
from qsh.auth.certificates import Certificate
from qsh.auth.keys import PublicKey
from qsh.auth.krl import RevokedKeys
from qsh.config.algorithms import assemble
from qsh.config.tokens import Tokens
from qsh.errors import AuthenticationError, ConfigError, KeyFormatError
from qsh.server import principals, safe_files
from qsh.server.keys_command import Asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from qsh.auth.authorized_keys import KeyOptions, Visitor
    from qsh.config.daemon_options import DaemonOptions
    from qsh.server.account import Account
    from qsh.wire.messages import Proof

__all__ = ["KeyJudge", "describe", "user_rights"]

MAX_KEY_FILE: Final = 4 * 1024 * 1024
"""Bytes of an authorized_keys file, of principals, of authorities that are read."""
MAX_REVOKED: Final = 128 * 1024 * 1024
"""As OpenSSH's SSHBUF_SIZE_MAX."""
MAX_KEY_ID: Final = 256
MAX_REASON: Final = 4096
"""Characters of what is told to the monitor, for the log: whoever writes a file of keys must not make a message too large."""
FORCED_ONLY: Final = "forced-commands-only"
NONE: Final = "none"
COMMAND_TOKENS: Final = "hutfkU"


@dataclass
class KeyJudge:
    """Judges the keys of one attempt to log in."""

    account: Account
    options: DaemonOptions
    visitor: Visitor
    now: float
    deadline_s: float
    """By when commands must have answered, on the monotonic clock."""
    complaints: list[str]
    """For the log: what could not be trusted, or did not work."""
    _read: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    _asked: dict[tuple[str, ...], str | None] = field(default_factory=dict)
    _revoked: RevokedKeys | None = None

    def permitted(self, blob: bytes) -> KeyOptions | str:
        """The options that come with the key, or why it does not count."""
        options = self.options
        if self.account.uid == 0 and options.permit_root_login == "no":
            return "PermitRootLogin no"
        try:
            key = PublicKey.from_blob(blob)
            certificate = Certificate.parse(key) if key.is_certificate else None
        except KeyFormatError as error:
            return f"bad key: {error}"
        found = self._unwanted(key, certificate) or self._search(key, certificate)
        if (
            not isinstance(found, str)
            and self.account.uid == 0
            and options.permit_root_login == FORCED_ONLY
            and found.command is None
        ):
            return f"PermitRootLogin {FORCED_ONLY}"
        return found

    def proof_refusal(
        self, proof: Proof, blob: bytes, key_options: KeyOptions, signed: bytes
    ) -> str | None:
        """Why the signature over ``signed`` does not prove this key, or None."""
        key = PublicKey.from_blob(blob)
        if proof.algorithm not in userauth.request_algorithms(key.type):
            return "the signature is wrong"
        if proof.algorithm not in _names("keys", self.options.pubkey_accepted_algorithms):
            return f"signature algorithm {proof.algorithm} not in PubkeyAcceptedAlgorithms"
        if not key.is_security_key:
            holds = signatures.verify(key, proof.signature, signed, proof.algorithm)
            return None if holds else "the signature is wrong"
        details = signatures.verify_sk(key, proof.signature, signed, proof.algorithm)
        if details is None:
            return "the signature is wrong"
        asked = self.options.pubkey_auth_options
        return details.refusal(
            touch_required=key_options.touch_required or "touch-required" in asked,
            verify_required=key_options.verify_required or "verify-required" in asked,
        )

    # -- what the configuration asks of every key ------------------------------------------------

    def _unwanted(self, key: PublicKey, certificate: Certificate | None) -> str | None:
        if _names("keys", self.options.pubkey_accepted_algorithms).isdisjoint(
            userauth.request_algorithms(key.type)
        ):
            return (
                f"key {key.fingerprint()} is of a type ({key.type}) not in PubkeyAcceptedAlgorithms"
            )
        if certificate is not None:
            allowed = _names("signatures", self.options.ca_signature_algorithms)
            if certificate.signature_type not in allowed:
                signed = f"its certificate is signed by {certificate.signature_type}"
                return f"key {key.fingerprint()}: {signed}, not in CASignatureAlgorithms"
        if key.plain_type == "ssh-rsa" and key.bits < self.options.required_rsa_size:
            return f"key {key.fingerprint()} is shorter ({key.bits} bits) than RequiredRSASize"
        return self._revoked_reason(key, certificate)

    def _revoked_reason(self, key: PublicKey, certificate: Certificate | None) -> str | None:
        """An unreadable file refuses every key: the one that matters may stand in it."""
        path = self.options.revoked_keys
        if path == NONE:
            return None
        if self._revoked is None:
            try:
                self._revoked = RevokedKeys.parse(safe_files.read_all(path, MAX_REVOKED))
            except (OSError, KeyFormatError) as error:
                reason = getattr(error, "strerror", None) or str(error)
                self._complain(
                    f"RevokedKeys {path} cannot be read, so no key is accepted: {reason}"
                )
                return f"RevokedKeys {path} cannot be read"
        if self._revoked.has(key, certificate):
            self._complain(f"{key.label} key {key.fingerprint()} is revoked by file {path}")
            return f"key {key.fingerprint()} is revoked by file {path}"
        return None

    # -- where keys and authorities are looked for -----------------------------------------------

    def _search(self, key: PublicKey, certificate: Certificate | None) -> KeyOptions | str:
        reasons = []
        for name, text in self._texts("keys"):
            grant = authorized_keys.authorize(text, key, self.visitor, self.now)
            if grant.options is not None:
                return grant.options
            reasons += [f"{name}: {reason}" for reason in grant.reasons]
        if certificate is not None and self._trusted(certificate):
            grant = authorized_keys.authorize_by_principals(
                self._principals(certificate), certificate, self.visitor, self.now
            )
            if grant.options is not None:
                return grant.options
            reasons += grant.reasons
        answer = self._keys_command(key)
        if answer is not None:
            grant = authorized_keys.authorize(answer, key, self.visitor, self.now)
            if grant.options is not None:
                return grant.options
            reasons += [f"AuthorizedKeysCommand: {reason}" for reason in grant.reasons]
        missing = f"key {key.fingerprint()} is not authorized"
        return "; ".join((missing, *reasons))[:MAX_REASON]

    def _trusted(self, certificate: Certificate) -> bool:
        path = self.options.trusted_user_ca_keys
        if path == NONE:
            return False
        try:
            data = safe_files.read_all(path, MAX_KEY_FILE, ours=self.options.strict_modes)
        except OSError as error:
            self._complain(f"TrustedUserCAKeys {path}: {error.strerror}")
            return False
        return principals.listed(data.decode("utf-8", "surrogateescape"), certificate.authority)

    def _principals(self, certificate: Certificate) -> str | None:
        """Lines of the file, then of the command, which is only asked if they do not match; None: there is neither."""
        options = self.options
        command = Asking(
            "AuthorizedPrincipalsCommand",
            options.authorized_principals_command,
            options.authorized_principals_command_user,
        )
        if options.authorized_principals_file == NONE and not command.configured:
            return None
        texts = [text for _, text in self._texts("principals")]
        if command.configured and not any(
            authorized_keys.has_principal_line(text, certificate) for text in texts
        ):
            tokens = principals.command_tokens(certificate, self.account)
            texts.append(self._ask(command, tokens) or "")
        return "\n".join(texts)

    def _keys_command(self, key: PublicKey) -> str | None:
        options, account = self.options, self.account
        command = Asking(
            "AuthorizedKeysCommand",
            options.authorized_keys_command,
            options.authorized_keys_command_user,
        )
        if not command.configured:
            return None
        about = {"h": account.home, "u": account.name, "U": str(account.uid), "t": key.type}
        about |= {"f": key.fingerprint(), "k": key.base64()}
        return self._ask(command, Tokens(dict(about), COMMAND_TOKENS), account.name)

    def _ask(self, command: Asking, tokens: Tokens, *alone: str) -> str | None:
        """The answer, once for each command line. ``alone``: the words of a command that has none."""
        try:
            argv = command.argv(tokens)
        except ConfigError as error:
            self._complain(f"{command.keyword}: {error.text}")
            return None
        if len(argv) == 1:
            argv += alone
        if tuple(argv) not in self._asked:
            self._asked[tuple(argv)] = None
            try:
                answer = command.ask(argv, self.account.name, self.deadline_s)
                self._asked[tuple(argv)] = answer
            except (AuthenticationError, ConfigError) as error:
                self._complain(str(error))
        return self._asked[tuple(argv)]

    def _texts(self, kind: str) -> list[tuple[str, str]]:
        """Paths and texts of the user's files of that kind that may be trusted, read once."""
        if kind not in self._read:
            self._read[kind] = list(self._read_texts(kind))
        return self._read[kind]

    def _read_texts(self, kind: str) -> Iterator[tuple[str, str]]:
        account, options = self.account, self.options
        paths_of = (
            options.authorized_keys_paths if kind == "keys" else options.authorized_principals_paths
        )
        try:
            paths = paths_of(account.name, account.uid, account.home)
        except ConfigError as error:
            self._complain(f"files of authorized {kind}: {error.text}")
            return
        with user_rights(account):
            for path in paths:
                checked = safe_files.read_checked(
                    path, account.uid, account.home, strict=options.strict_modes, limit=MAX_KEY_FILE
                )
                if checked.text is not None:
                    yield path, checked.text
                elif checked.reason:
                    self._complain(checked.reason)

    def read_files(self) -> None:
        """Read what every key needs: the time that it takes says nothing about a key."""
        self._texts("keys")

    def _complain(self, text: str) -> None:
        if text not in self.complaints:
            self.complaints.append(text)


@cache
def _names(family: str, spec: str) -> frozenset[str]:
    """The algorithms that a list in the configuration names; one that names none lets none in."""
    try:
        return frozenset(assemble(family, spec).split(","))
    except ConfigError:
        return frozenset()


def describe(blob: bytes) -> str:
    """The key as sshd's log has it."""
    key = PublicKey.from_blob(blob)
    text = f"{key.label} {key.fingerprint()}"
    if not key.is_certificate:
        return text
    certificate = Certificate.parse(key)
    authority = certificate.authority
    key_id, signer = certificate.key_id[:MAX_KEY_ID], f"{authority.label} {authority.fingerprint()}"
    return f"{text} ID {key_id} (serial {certificate.serial}) CA {signer}"


@contextlib.contextmanager
def user_rights(account: Account) -> Iterator[None]:
    """Effective ids of the user while its files are read (uidswap.c: temporarily_use_uid)."""
    if os.geteuid() != 0:
        yield
        return
    groups = os.getgroups()
    os.setgroups(list(account.groups))
    os.setegid(account.gid)
    os.seteuid(account.uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)
