"""Which keys to offer, in which order: agent, key files, certificates (OpenSSH sshconnect2.c,
pubkey_prepare).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from qsh.auth.keys import PublicKey
from qsh.client import key_files
from qsh.client.log import log
from qsh.errors import AgentError, KeyFormatError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from qsh.auth.agent import Identity as AgentKey
    from qsh.client.agent import Agent
    from qsh.client.key_files import KeyFile, SigningKey
    from qsh.client.prompt import Prompter
    from qsh.config.options import ClientOptions

__all__ = ["Candidate", "Keyring", "order", "wanted_methods"]


class Candidate(NamedTuple):
    """A key that may be offered."""

    public: PublicKey
    name: str
    """Path or the agent's comment, as messages call it."""
    path: str = ""
    """Private key file; "" when only the agent has it."""
    in_agent: bool = False
    encrypted: bool = False

    @property
    def needs_person(self) -> bool:
        """Signing may wait for somebody: such a key signs only when the server has said that it
        would do.
        """
        return self.public.is_security_key or (self.encrypted and not self.in_agent)

    @property
    def mark(self) -> str:
        """Enough of the key to know it again: its last bytes are part of the point, the modulus or
        the authority's signature. (A hash would have to be imported.)
        """
        return self.public.base64()[-64:]

    def __str__(self) -> str:
        where = " agent" if self.in_agent else ""
        return f"{self.name} {self.public.label} {self.public.fingerprint()}{where}"


def wanted_methods(options: ClientOptions) -> list[str]:
    """Methods that may be tried, in order: PreferredAuthentications, which leaves out what it does not name, and each one's
    own switch. Nobody is asked in BatchMode.
    """
    asks = not options.batch_mode
    on = {
        "publickey": options.pubkey_authentication != "no",
        "keyboard-interactive": asks and options.kbd_interactive_authentication,
        "password": asks and options.password_authentication,
    }
    preferred = options.preferred_authentications
    names = list(on) if preferred is None else preferred.split(",")
    return [name for name in dict.fromkeys(names) if on.get(name)]


def _parse_agent_keys(keys: Iterable[AgentKey]) -> list[Candidate]:
    found = []
    for key in keys:
        try:
            public = PublicKey.from_blob(key.blob, key.comment)
        except KeyFormatError as error:
            log.debug(f"agent key {key.comment!r}: {error}", 2)
            continue
        found.append(Candidate(public, key.comment, in_agent=True))
    return found


def order(
    files: Sequence[Candidate],
    certificates: Sequence[Candidate],
    agent: Sequence[Candidate],
    *,
    identities_only: bool,
) -> list[Candidate]:
    """Certificates named by the user, then agent keys that are configured files, other agent keys,
    other files.
    """
    configured = {candidate.public.blob: candidate for candidate in reversed(files)}
    chosen = list(certificates)
    rest: list[Candidate] = []
    taken = {candidate.public.blob for candidate in certificates}
    for key in agent:
        blob = key.public.blob
        if blob in taken:
            continue
        if (file := configured.get(blob)) is not None:
            chosen.append(Candidate(key.public, file.name, file.path, in_agent=True))
        elif identities_only:
            continue
        else:
            rest.append(key)
        taken.add(blob)
    chosen += rest
    for file in files:
        if file.public.blob not in taken and file.path:
            chosen.append(file)
            taken.add(file.public.blob)
    return chosen


class Keyring:
    """All the user's keys: lists candidates, signs with them."""

    def __init__(self, agent: Agent | None, prompter: Prompter, attempts: int) -> None:
        self.agent = agent
        self._prompter = prompter
        self._attempts = attempts
        self.sealed: list[KeyFile] = []
        """Encrypted files that do not even show their public key."""
        self._holders: dict[bytes, Candidate] = {}
        self._loaded: dict[str, SigningKey | None] = {}
        """None: it cannot be loaded, and that has been said."""

    def candidates(
        self, files: Sequence[str], certificates: Sequence[str], *, identities_only: bool
    ) -> list[Candidate]:
        """Read the files, ask the agent, and put all in order."""
        from_files = self._read_files(files, add_certificates=not certificates)
        in_agent = _parse_agent_keys(self._agent_keys())
        held = {key.public.blob for key in in_agent}
        for file in from_files:
            mute = not file.path and file.public.blob not in held
            if mute and file.name.endswith(".pub") and not file.public.is_certificate:
                who = (
                    "there is no agent" if self.agent is None else "the agent does not hold its key"
                )
                log.error(f'Load key "{file.name}": a public key, and {who}')
        for holder in (*from_files, *in_agent):
            if not holder.public.is_certificate and (holder.path or holder.in_agent):
                self._holders[holder.public.blob] = holder
        named = []
        for path in certificates:
            certificate = key_files.read_certificate(path)
            if certificate is None:
                log.debug(f"certificate file {path} is not one")
                continue
            owner = self._holders.get(certificate.plain.blob)
            if owner is not None:
                named.append(Candidate(certificate, path, owner.path, encrypted=owner.needs_person))
        return order(from_files, named, in_agent, identities_only=identities_only)

    def _read_files(self, paths: Sequence[str], *, add_certificates: bool) -> list[Candidate]:
        found = []
        for path in paths:
            file = key_files.read_key_file(path)
            known = file.public.label if file and file.public else -1
            log.debug(f"identity file {path} type {known}")
            if file is None:
                continue
            if file.public is None:
                self.sealed.append(file)
                continue
            private = path if file.private else ""
            found.append(Candidate(file.public, path, private, encrypted=file.encrypted))
            if add_certificates and (certificate := key_files.read_certificate(f"{path}-cert.pub")):
                found.append(Candidate(certificate, path, path, encrypted=file.encrypted))
        return found

    def _agent_keys(self) -> tuple[AgentKey, ...]:
        if self.agent is None:
            return ()
        try:
            return self.agent.identities()
        except AgentError as error:
            log.debug(f"get_agent_identities: {error}")
            return ()

    def close_agent(self) -> None:
        """The agent has nothing to offer."""
        if self.agent is not None:
            self.agent.close()
            self.agent = None

    def preload(self, candidates: Sequence[Candidate], remembered: str) -> None:
        """Load the private key that will sign first, if it is a file that needs nobody."""
        ready = [candidate for candidate in candidates if not candidate.needs_person]
        ready.sort(key=lambda candidate: candidate.mark != remembered)
        if not ready or ready[0].in_agent or ready[0].path in self._loaded:
            return
        holder = self._holders.get(ready[0].public.plain.blob)
        if holder is None or not holder.in_agent:
            path = ready[0].path
            self._loaded[path] = key_files.load_private(path, self._prompter, 0)

    def hold(self, candidate: Candidate, key: SigningKey) -> None:
        """A key that no file has."""
        self._loaded[candidate.path] = key

    def unseal(self) -> Candidate | None:
        """Ask for the passphrase of the next sealed file; None when there is none left."""
        while self.sealed:
            path = self.sealed.pop(0).path
            private = key_files.load_private(path, self._prompter, self._attempts)
            if private is not None:
                self._loaded[path] = private
                return Candidate(private.public, path, path)
        return None

    def sign(self, candidate: Candidate, data: bytes, algorithm: str) -> bytes | None:
        """An SSH signature; None, after a message, when there can be none."""
        holder = self._holders.get(candidate.public.plain.blob, candidate)
        agent_blob = candidate.public.blob if candidate.in_agent else holder.public.blob
        try:
            if candidate.in_agent or holder.in_agent:
                if self.agent is None:
                    return None
                return self.agent.sign(agent_blob, data, algorithm)
            if candidate.path in self._loaded:
                key = self._loaded[candidate.path]
            else:
                key = key_files.load_private(candidate.path, self._prompter, self._attempts)
            return key.sign(data, algorithm) if key is not None else None
        except (AgentError, KeyFormatError) as error:
            where = "agent" if candidate.in_agent or holder.in_agent else "file"
            log.error(
                f"sign_and_send_pubkey: signing failed for {candidate.public.label} "
                f'"{candidate.name}" from {where}: {error}'
            )
            return None
