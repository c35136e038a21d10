"""An SSH connection that carries qsh to a host: asyncssh with the user's keys, known_hosts and configuration.

The one door to asyncssh, which is loaded only when such a connection is made. What it would decide by itself is decided
here as for QUIC: who the host is (host_key.py), which keys are offered and who asks for passphrases (identities.py,
prompt.py). GSSAPI, host-based authentication and PKCS#11 providers are ssh(1)'s.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import socket
from typing import TYPE_CHECKING, Any, Final

import asyncssh

from qsh.auth.keys import PublicKey
from qsh.client import probe
from qsh.client.agent import Agent
from qsh.client.identities import Keyring, wanted_methods
from qsh.client.log import log
from qsh.client.text import visible
from qsh.errors import AgentError, ConnectError, HostKeyError, KeyFormatError
from qsh.wire.instance import MAX_LINE, VARIABLE, bridge_line, parse_answer, request_line

if TYPE_CHECKING:
    from collections.abc import Sequence

    from qsh.client.addresses import Address
    from qsh.client.early_tcp import EarlyTcp
    from qsh.client.host_key import KnownHost
    from qsh.client.identities import Candidate
    from qsh.client.prompt import Prompter
    from qsh.config.options import ClientOptions
    from qsh.wire.instance import Here

__all__ = ["Carrier"]

TIMEOUT_S: Final = 30.0
"""For TCP and the key exchange, and then for the answer of qshd, when ConnectTimeout says nothing."""
PROBE_S: Final = 3.0
MAX_NOISE: Final = 64
"""Lines that a shell's start-up files may print before ours."""
NO_ANSWER: Final = "what it says is no answer"
NOT_FOUND: Final = 127
PLACES: Final = "$HOME/.local/bin:/usr/local/bin:/usr/local/sbin:/usr/sbin"
"""Where qshd may be besides the PATH that sshd gives to commands."""
_CERTIFICATE: Final = "-cert-v01@openssh.com"
_RSA: Final = ("rsa-sha2-512", "rsa-sha2-256")


class _KeyPair(asyncssh.SSHKeyPair):
    """A key of the user's, signed with by whoever holds it."""

    def __init__(self, candidate: Candidate, keyring: Keyring) -> None:
        kind = candidate.public.type
        plain = kind.removesuffix(_CERTIFICATE)
        if kind.startswith("sk-"):
            plain = plain + "@openssh.com" if kind.endswith(_CERTIFICATE) else plain
        signs = [name.encode() for name in (_RSA if plain == "ssh-rsa" else (plain,))]
        comment = candidate.name.encode("utf-8", "replace")
        super().__init__(kind.encode(), signs[0], signs, signs, candidate.public.blob, comment)
        self._candidate, self._keyring = candidate, keyring

    @property
    def has_cert(self) -> bool:
        return self._candidate.public.is_certificate

    @property
    def has_x509_chain(self) -> bool:
        return False

    def sign(self, data: bytes) -> bytes:
        """What cannot sign is a key that the server refuses; why has been said."""
        return self._keyring.sign(self._candidate, data, self.sig_algorithm.decode()) or b""


class _Client(asyncssh.SSHClient):
    """The decisions of one connection."""

    def __init__(self, options: ClientOptions, known: KnownHost, prompter: Prompter) -> None:
        self._options, self._known, self._prompter = options, known, prompter
        self.refusal: HostKeyError | None = None
        self.asked = False
        """Somebody has been asked for a password."""
        self._passwords = options.number_of_password_prompts
        self._keyring: Keyring | None = None
        self._offered = False

    # -- who the host is

    def validate_host_public_key(
        self, host: str, addr: str, port: int, key: asyncssh.SSHKey
    ) -> bool:
        try:
            self._known.check(PublicKey.from_blob(key.public_data), addr, (), self._prompter)
        except HostKeyError as error:
            self.refusal = error
        except KeyFormatError as error:
            self.refusal = HostKeyError(str(error))
        return self.refusal is None

    def validate_host_ca_key(self, host: str, addr: str, port: int, key: asyncssh.SSHKey) -> bool:
        return self._known.trusts_authority(key.public_data)

    # -- who the user is

    def auth_banner_received(self, msg: str, lang: str) -> None:
        if not log.quiet:
            log.info(visible(msg.rstrip("\n")))

    def public_key_auth_requested(self) -> list[_KeyPair] | None:
        if "publickey" not in wanted_methods(self._options):
            return None
        if self._keyring is None:
            self._keyring = Keyring(self._agent(), self._prompter, self._passwords)
        if not self._offered:
            self._offered = True
            options = self._options
            found = self._keyring.candidates(
                options.identity_file,
                options.certificate_file,
                identities_only=options.identities_only,
            )
            if found := self._worth_asking(found):
                return [_KeyPair(candidate, self._keyring) for candidate in found]
        if self._prompter.batch or (late := self._keyring.unseal()) is None:
            return None
        return [_KeyPair(late, self._keyring)]

    def _worth_asking(self, found: Sequence[Candidate]) -> list[Candidate]:
        """Where nobody may be asked a sealed file is of no use."""
        return [each for each in found if not (self._prompter.batch and each.needs_person)]

    def _agent(self) -> Agent | None:
        if not self._options.identity_agent:
            return None
        try:
            return Agent(self._options.identity_agent)
        except AgentError as error:
            log.debug(f"ssh_get_authentication_socket: {error}")
            return None

    def password_auth_requested(self) -> str | None:
        options = self._options
        if not options.password_authentication or not self._may_ask():
            return None
        return self._prompter.passphrase(f"{options.user}@{options.hostname}'s password: ")

    def kbdint_auth_requested(self) -> str | None:
        return "" if self._options.kbd_interactive_authentication and self._may_ask() else None

    def kbdint_challenge_received(
        self, name: str, instructions: str, lang: str, prompts: Any
    ) -> list[str] | None:
        options, answers = self._options, []
        for text in (name, instructions):
            if text and prompts:
                log.info(visible(text.rstrip("\n")))
        for prompt, echo in prompts:
            shown = f"({options.user}@{options.hostname}) {visible(prompt)}"
            ask = self._prompter.line if echo else self._prompter.passphrase
            answer = ask(shown)
            if answer is None:
                return None
            answers.append(answer)
        return answers

    def _may_ask(self) -> bool:
        if self._prompter.batch or not self._passwords:
            return False
        self._passwords -= 1
        self.asked = True
        return True


class Carrier:
    """:meth:`connect`, then :meth:`instance` or :meth:`packets`, and :meth:`close`."""

    def __init__(
        self,
        way: Sequence[tuple[ClientOptions, KnownHost]],
        addresses: Sequence[Address],
        prompter: Prompter,
    ) -> None:
        """``way``: the jump hosts, the nearest first, and the host; what is known of sshd on each."""
        self._way, self._addresses, self._prompter = way, addresses, prompter
        self._connections: list[asyncssh.SSHClientConnection] = []
        self.asked = False

    @property
    def alive(self) -> bool:
        """The host is connected."""
        return len(self._connections) == len(self._way) and not any(
            connection.is_closed() for connection in self._connections
        )

    async def connect(self, early: EarlyTcp | None = None) -> None:
        """Raises ConnectError, HostKeyError. ``early``: a TCP connection to the first one, if it has come about."""
        self.close()
        for options, known in self._way:
            self._connections.append(await self._enter(options, known, early))
            early = None

    async def _enter(self, options: ClientOptions, known: KnownHost, early: EarlyTcp | None) -> Any:
        before = self._connections[-1] if self._connections else None
        client = _Client(options, known, self._prompter)
        where = f"{options.hostname} port {options.port}"
        arguments: dict[str, Any] = {} if before is None else {"tunnel": before}
        if before is None and options.proxy_command is not None:
            arguments["sock"] = await _proxy(options.proxy_command)
        elif early is not None and (sock := early.take()) is not None:
            arguments["sock"] = sock
        elif before is None:
            arguments["family"] = {"inet": socket.AF_INET, "inet6": socket.AF_INET6}.get(
                options.address_family, 0
            )
            if options.bind_address:
                arguments["local_addr"] = (options.bind_address, 0)
        log.debug(f"Connecting to {visible(where)} by SSH.")
        try:
            connection = await asyncssh.connect(
                options.hostname,
                options.port,
                config=None,
                client_factory=lambda: client,
                username=options.user,
                client_keys=[],
                agent_path=None,
                known_hosts=([], [], _revoked(known)),
                host_key_alias=options.host_key_alias,
                server_host_key_algs=_host_key_algorithms(options, known),
                gss_host=None,
                connect_timeout=options.connect_timeout or TIMEOUT_S,
                login_timeout=0,
                keepalive_interval=options.server_alive_interval or 0,
                keepalive_count_max=options.server_alive_count_max,
                **arguments,
            )
        except asyncssh.PermissionDenied as error:
            methods = visible(str(error.reason))
            text = f"{options.user}@{options.hostname}: Permission denied ({methods})."
            raise ConnectError(text, kind="ssh") from None
        except (asyncssh.Error, OSError, ValueError) as error:
            if client.refusal is not None:
                raise client.refusal from None
            if isinstance(error, asyncssh.HostKeyNotVerifiable) and "is revoked" in str(error):
                raise known.revoked_error() from None
            reason = await self._why(options, error, first=before is None)
            raise ConnectError(
                f"connect to host {visible(where)} by SSH: {reason}", kind="ssh"
            ) from None
        finally:
            self.asked = self.asked or client.asked
        return connection

    async def _why(self, options: ClientOptions, error: Exception, *, first: bool) -> str:
        connected = isinstance(
            error, asyncssh.Error | ConnectionResetError | BrokenPipeError | TimeoutError
        )
        if first and options.proxy_command is None and connected:
            greets = await probe.ssh_greets(self._addresses, options.port, PROBE_S)
            if greets == "web":
                return "what answers there is a web page (HTTP), and does not speak SSH: a captive portal?"
            if greets == "other":
                return "what answers there does not speak SSH"
        if isinstance(error, TimeoutError):
            return "Connection timed out"
        if isinstance(error, OSError) and error.errno:
            return os.strerror(error.errno)
        return visible(str(error))

    async def instance(self, key: str) -> Here:
        """The user's instance on the host, which is started if need be; ``key`` is let in. Raises ConnectError."""
        process = await self._start("-I", request_line(key))
        here = await self.answer(process)
        process.close()
        return here

    async def packets(self, key: str) -> Any:
        """A process whose standard input and output carry packets to it, after its :meth:`answer`. Raises ConnectError."""
        return await self._start("-i", request_line(key))

    async def bridge(self, port: int, *, ipv6: bool) -> Any:
        """The same to whatever qshd has this UDP port; its :meth:`answer` names no keys."""
        return await self._start("-i", bridge_line(port, ipv6=ipv6))

    async def _start(self, flag: str, request: str) -> Any:
        options = self._way[-1][0]
        line = f"{VARIABLE}='{request}'; export {VARIABLE}"
        script = f'PATH="$PATH:{PLACES}"; {line}; exec {options.qsh_bootstrap_command} {flag}'
        try:
            return await self._connections[-1].create_process(
                f"sh -c {shlex.quote(script)}", encoding=None
            )
        except (asyncssh.Error, OSError) as error:
            text = f"{visible(options.hostname)}: {visible(str(error))}"
            raise ConnectError(text, kind="ssh") from None

    async def answer(self, process: Any, *, keys: bool = True) -> Here:
        """What the process says first, with ``keys`` or without. Raises ConnectError."""
        options = self._way[-1][0]
        host = options.hostname
        try:
            async with asyncio.timeout(options.connect_timeout or TIMEOUT_S):
                here = await _answer(process, keys=keys)
            if here is not None:
                return here
            try:
                await asyncio.wait_for(process.wait_closed(), PROBE_S)
            except TimeoutError:  # whatever it is, it goes on
                process.close()
            said = await process.stderr.read(4096)
        except TimeoutError:  # a forced command that waits for us, say
            process.close()
            text = f"qshd on {visible(host)} did not start: no answer in time"
            raise ConnectError(text, kind="no-daemon") from None
        except (asyncssh.Error, OSError) as error:
            raise ConnectError(f"{visible(host)}: {visible(str(error))}", kind="ssh") from None
        lines = visible(said.decode("utf-8", "replace").strip().split("\n")[-1]) or NO_ANSWER
        if process.exit_status == NOT_FOUND:
            raise ConnectError(
                f"there is no qshd on {visible(host)} ({lines}). Install qsh there (pip install --user qsh-shell), "
                "or say with QshBootstrapCommand where it is",
                kind="no-daemon",
            )
        raise ConnectError(f"qshd on {visible(host)} did not start: {lines}", kind="no-daemon")

    def close(self) -> None:
        """Leave the host and all on the way."""
        for connection in reversed(self._connections):
            connection.close()
        self._connections = []


async def _answer(process: Any, *, keys: bool) -> Here | None:
    with contextlib.suppress(asyncio.LimitOverrunError, ValueError):
        for _ in range(MAX_NOISE):
            line = await process.stdout.readline()
            if not line:
                return None
            if len(line) <= MAX_LINE and (here := parse_answer(line, keys=keys)) is not None:
                return here
    return None


def _host_key_algorithms(options: ClientOptions, known: KnownHost) -> list[str]:
    """Types that the host is known by first, so that it shows such a key."""
    wanted = options.host_key_algorithms.split(",")
    plain = [name for kind in known.key_types for name in (_RSA if kind == "ssh-rsa" else (kind,))]
    found = [name for name in plain if name in wanted] or plain
    if known.needs_certificates:
        return [f"{name}{_CERTIFICATE}" for name in found] + found
    return found


def _revoked(known: KnownHost) -> list[asyncssh.SSHKey]:
    """For asyncssh, which does not ask about a key that an authority vouches for. What it cannot read it does not take either."""
    found = []
    for key in known.revoked_keys:
        with contextlib.suppress(asyncssh.KeyImportError):
            found.append(asyncssh.import_public_key(f"{key.type} {key.base64()}"))
    return found


async def _proxy(command: str) -> socket.socket:
    """A socket to a ProxyCommand, run as ssh runs it. Raises ConnectError."""
    ours, theirs = socket.socketpair()
    shell = os.environ.get("SHELL") or "/bin/sh"
    try:
        await asyncio.create_subprocess_exec(
            *(shell, "-c", f"exec {command}"), stdin=theirs.fileno(), stdout=theirs.fileno()
        )
    except OSError as error:
        ours.close()
        raise ConnectError(f"{shell}: {error.strerror}", kind="ssh") from None
    finally:
        theirs.close()
    return ours
