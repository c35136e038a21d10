"""Is the server who it should be: known_hosts before connecting, the decision after (sshconnect.c,
verify_host_key).
"""

from __future__ import annotations

import os

from qsh.auth import host_texts
from qsh.auth.host_identity import Decision, Verdict, decide, host_key_types, scheme_order
from qsh.auth.keys import PublicKey
from qsh.auth.known_hosts import HASH_MAGIC, KnownHosts, KnownKey, Line, format_line
from qsh.client.log import log
from qsh.client.text import visible
from qsh.errors import HostKeyError, KeyFormatError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from qsh.client.prompt import Prompter

__all__ = ["HostKeyPolicy", "KnownHost"]

_FAILED = host_texts.VERIFICATION_FAILED
_NO_FILES = ("none", "/dev/null")


class HostKeyPolicy:
    """What the options say about host keys."""

    def __init__(
        self,
        *,
        strict: str,
        user_files: Sequence[str],
        global_files: Sequence[str],
        revoked_files: Sequence[str] = (),
        alias: str | None = None,
        hash_names: bool = False,
        visual: bool = False,
        fingerprint_hash: str = "sha256",
        anything_goes: bool = False,
        command: Callable[[PublicKey | None], str] | None = None,
    ) -> None:
        self.strict = {"true": "yes", "false": "no", "off": "no"}.get(strict, strict)
        self.user_files = [path for path in user_files if path != "none"]
        self.global_files = [path for path in global_files if path != "none"]
        self.revoked_files = [path for path in revoked_files if path != "none"]
        self.alias = alias
        self.hash_names = hash_names
        self.visual = visual
        self.fingerprint_hash = fingerprint_hash.lower()
        self.anything_goes = anything_goes
        """NoHostAuthenticationForLocalhost, and this is it."""
        self.command = command
        """KnownHostsCommand: lines for the key that the host showed, or before one is known."""


def _read(path: str) -> str | None:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return file.read()
    except (OSError, ValueError) as error:
        log.debug(f"load_hostkeys: fopen {path}: {getattr(error, 'strerror', None) or error}")
        return None


def _read_revoked(path: str) -> list[PublicKey]:
    """Keys of a RevokedHostKeys file. Raises HostKeyError: what cannot be read revokes everything."""
    text = _read(path)
    if text is None or text.startswith("SSHKRL"):
        why = "it cannot be read" if text is None else "qsh cannot read a binary KRL yet"
        raise HostKeyError(f"Revoked host keys file {path}: {why}\n{_FAILED}")
    keys = []
    for line in text.splitlines():
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                keys.append(PublicKey.from_line(line))
            except KeyFormatError as error:
                raise HostKeyError(f"Revoked host keys file {path}: {error}\n{_FAILED}") from None
    return keys


class KnownHost:
    """What is known of one host. Made before connecting; :meth:`check` decides on the key it
    showed.
    """

    def __init__(
        self,
        policy: HostKeyPolicy,
        host: str,
        port: int,
        ssh_port: int,
        texts: Sequence[tuple[str, str]] = (),
    ) -> None:
        """``texts``: what is known besides the files, each with a name."""
        self._policy = policy
        self._host = host
        self.changed = False
        """The host showed another key than the known one, and StrictHostKeyChecking lets that pass."""
        self._port, self._ssh_port = port, ssh_port
        self._texts = [
            (path, text)
            for path in (*policy.user_files, *policy.global_files)
            if (text := _read(path))
        ]
        self._texts += texts
        self._look_up(None)
        for warning in (*self._all.warnings, *self._record.warnings):
            log.debug(f"hostkeys_foreach: {warning}")
        self._revoked = [key for path in policy.revoked_files for key in _read_revoked(path)]

    def _look_up(self, key: PublicKey | None) -> None:
        """Read the files, and what KnownHostsCommand says of ``key``."""
        policy, texts = self._policy, self._texts
        if policy.command is not None:
            texts = [*texts, ("KnownHostsCommand", policy.command(key))]
        self._all = KnownHosts.parse(texts)
        ssh_port = self._ssh_port if self._ssh_port != self._port else None
        self._record = self._all.lookup(
            self._host, self._port, alias=policy.alias, fallback_port=ssh_port
        )

    @property
    def schemes(self) -> list[int]:
        """TLS signature schemes to offer, best first."""
        return scheme_order(self._record)

    @property
    def trusted(self) -> list[bytes]:
        """SubjectPublicKeyInfo of every key that may stand for this host; none while KnownHostsCommand is to be asked."""
        if self._policy.command is not None:
            return []
        return _spkis(line.key for line in (*self._record.known, *self._record.fallback))

    @property
    def revoked(self) -> list[bytes]:
        """SubjectPublicKeyInfo of keys that may not; the connection fails in the handshake."""
        return _spkis(self.revoked_keys)

    @property
    def revoked_keys(self) -> tuple[PublicKey, ...]:
        """Keys and authorities that never stand."""
        return (*(line.key for line in self._record.revoked), *self._revoked)

    @property
    def key_types(self) -> tuple[str, ...]:
        """Types of host key, those that the host is known by first."""
        return host_key_types(self._record)

    def trusts_authority(self, blob: bytes) -> bool:
        """It may vouch for this host's key."""
        return not self.is_revoked(blob) and any(
            line.key.blob == blob for line in self._record.authorities
        )

    def is_revoked(self, blob: bytes) -> bool:
        """A key or an authority that never stands."""
        return any(key.blob == blob for key in self.revoked_keys)

    @property
    def needs_certificates(self) -> bool:
        """An authority is trusted for this host: HOSTAUTH may vouch for a key that is not known."""
        return bool(self._record.authorities)

    def check(
        self, key: PublicKey, address: str, certificates: Iterable[bytes], prompter: Prompter
    ) -> None:
        """Raises HostKeyError, its text ready for the user."""
        if self._policy.anything_goes:
            log.debug("Forcing accepting of host key for loopback/localhost.")
            return
        if self._policy.command is not None:
            self._look_up(key)
        found = []
        for blob in certificates:
            try:
                found.append(PublicKey.from_blob(blob))
            except KeyFormatError as error:
                log.debug(f"host certificate: {error}")
        name = self._policy.alias or self._host
        from time import time

        decision = decide(self._record, key, name, time(), found)
        verdict = decision.verdict
        if verdict is Verdict.BAD_CERTIFICATE:
            log.error(visible(decision.reason))
            verdict = decision.without or Verdict.NEW
        if verdict is Verdict.TRUSTED:
            self.known(key, decision)
        elif verdict is Verdict.REVOKED:
            raise self.revoked_error(key)
        elif verdict is Verdict.CHANGED:
            self._changed(key, decision.found)
        else:
            self._new(key, address, verdict, prompter)

    def known(self, key: PublicKey, decision: Decision | None = None) -> None:
        """Say in the debug log why the key is good; with VisualHostKey show it."""
        if self._policy.visual and not log.quiet:
            from qsh.auth.randomart import randomart

            algorithm = self._policy.fingerprint_hash
            picture = randomart(key, algorithm)
            log.info(f"Host key fingerprint is {key.fingerprint(algorithm)}\n{picture}")
        if not log.debugging:
            return
        name = visible(self._policy.alias or self._host)
        if decision is not None and decision.certificate is not None:
            log.debug(f"Host '{name}' is known and matches the {key.label}-CERT host certificate.")
        else:
            log.debug(f"Host '{name}' is known and matches the {key.label} host key.")
        line = decision.found if decision else self._line_of(key)
        if line is not None:
            log.debug(f"Found key in {line.file}:{line.line}")

    def _line_of(self, key: PublicKey) -> KnownKey | None:
        lines = (*self._record.known, *self._record.fallback)
        return next((line for line in lines if line.key == key), None)

    def revoked_error(self, key: PublicKey | None = None) -> HostKeyError:
        """A revoked key never stands, whatever StrictHostKeyChecking says.

        Without ``key``: the engine refused it in the handshake and does not tell which.
        """
        name = self._record.name
        key = key or self.revoked_keys[0]
        lines = [*host_texts.revoked_warning(name, key), *host_texts.revoked_refusal(name, key)]
        return HostKeyError("\n".join(lines))

    def _changed(self, key: PublicKey, offending: KnownKey | None) -> None:
        policy, name = self._policy, self._record.name
        user_file = policy.user_files[0] if policy.user_files else ""
        lines = []
        if offending is not None:
            lines = host_texts.changed_warning(
                name, key, offending, user_file, policy.fingerprint_hash
            )
        if policy.strict != "no":
            raise HostKeyError("\n".join([*lines, *host_texts.changed_refusal(name)]))
        log.error("\n".join(lines))
        self.changed = True

    def _new(self, key: PublicKey, address: str, verdict: Verdict, prompter: Prompter) -> None:
        policy, name = self._policy, self._record.name
        if policy.strict == "yes":
            raise HostKeyError("\n".join(host_texts.no_strict_key_text(name, key)))
        if policy.strict == "ask" and not self._ask(key, address, verdict, prompter):
            raise HostKeyError(_FAILED)
        self._add(key)

    # -- keys that the host has besides (UpdateHostKeys)

    def unknown(self, key: PublicKey, blobs: Iterable[bytes]) -> list[PublicKey]:
        """Those of ``blobs`` that could be learned, since ``key`` is known by a line of the user's own about this host alone."""
        own = self._policy.user_files
        line = self._line_of(key)
        if self.changed or line is None or line.file not in own or line not in self._record.known:
            return []
        every = (*self._record.known, *self._record.revoked, *self._record.fallback)
        known = {*(line.key.blob for line in every), *(key.blob for key in self._revoked)}
        new = [blob for blob in dict.fromkeys(blobs) if blob not in known]
        if new and any(not _is_about(found, self._record.name) for found in self._own_lines()):
            log.debug("a line for several hosts or with a pattern found: UpdateHostKeys is skipped")
            return []
        found = []
        for blob in new:
            try:
                other = PublicKey.from_blob(blob)
                other.require_usable()
            except KeyFormatError as error:
                log.debug(f"host key: {error}")
                continue
            if other.is_certificate:
                continue
            if self._all.other_names(other, self._record.name):
                log.debug("a host key is known under another name: UpdateHostKeys is skipped")
                return []
            found.append(other)
        return found

    def _own_lines(self) -> Iterator[Line]:
        own, name = self._policy.user_files, self._record.name
        return (
            line
            for line in self._all.lines
            if line.file in own and not line.marker and line.matches(name)
        )

    def learn(self, keys: Sequence[PublicKey]) -> None:
        """Add keys, which the host has proved to have, to the file where it is known."""
        path = self._policy.user_files[0]
        hashed = self._policy.hash_names or any(
            line.names.startswith(HASH_MAGIC) for line in self._own_lines()
        )
        text = "".join(format_line([self._record.name], key, hashed) for key in keys)
        try:
            _append(path, text)
        except OSError as error:
            log.debug(f"{path}: {error.strerror}")

    def _ask(self, key: PublicKey, address: str, verdict: Verdict, prompter: Prompter) -> bool:
        policy = self._policy
        home = os.path.expanduser("~")
        prompt = host_texts.ask_prompt(
            self._record.name,
            address,
            key,
            self._all.other_names(key, self._record.name, home),
            other_type_known=verdict is Verdict.NEW_OTHER_TYPE_KNOWN,
            visual=policy.visual,
            algorithm=policy.fingerprint_hash,
        )
        while True:
            answer = host_texts.read_answer(
                prompter.line(prompt), key.fingerprint(policy.fingerprint_hash)
            )
            if answer is not None:
                return answer
            prompt = host_texts.ask_again_prompt

    def _add(self, key: PublicKey) -> None:
        if not self._policy.user_files:
            return
        path = self._policy.user_files[0]
        try:
            _append(path, format_line([self._record.name], key, self._policy.hash_names))
        except OSError as error:
            log.info(f"Failed to add the host to the list of known hosts ({path}).")
            log.debug(f"{path}: {error.strerror}")
            return
        log.info(host_texts.added_text(self._record.name, key))


def _is_about(line: Line, name: str) -> bool:
    return line.names.startswith(HASH_MAGIC) or line.names.lower() == name


def _append(path: str, line: str) -> None:
    """One write, on a line of its own; directory 0700, file 0600."""
    if path in _NO_FILES:
        return
    directory = os.path.dirname(path)
    if directory and not os.path.isdir(directory):
        os.makedirs(directory, 0o700)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        size = os.fstat(fd).st_size
        if size and os.pread(fd, 1, size - 1) != b"\n":
            line = "\n" + line
        os.write(fd, line.encode("utf-8", "surrogateescape"))
    finally:
        os.close(fd)


def _spkis(keys: Iterable[PublicKey]) -> list[bytes]:
    found = []
    for key in keys:
        try:
            found.append(key.spki())
        except KeyFormatError:
            continue
    return found
