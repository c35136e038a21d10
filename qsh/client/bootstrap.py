"""A host where the user's own qshd is reached, or started, through SSH (docs/protocol.md 15.6, 15.7).

The instance of last time is dialled at once. Where it is gone, SSH starts one, tells its port and keys, and lets in a key that
exists in this process only: so the login by QUIC asks for nothing more. Where UDP does not get there the packets go through the
same SSH connection.
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from qsh.auth.known_hosts import host_and_port
from qsh.auth.seed_key import SeedKey
from qsh.client import host_state
from qsh.client.connect import Connector
from qsh.client.host_key import HostKeyPolicy, KnownHost
from qsh.client.identities import Candidate
from qsh.client.link import ABANDONED
from qsh.client.log import log, log_failure
from qsh.client.login import Login
from qsh.client.prompt import Prompter
from qsh.client.udp_watch import tell_when_udp_answers
from qsh.errors import AuthenticationError, ConnectError, HostKeyError
from qsh.quic import Driver, ed25519_sign

if TYPE_CHECKING:
    import socket
    from collections.abc import Sequence

    from qsh.client.addresses import Address, Target
    from qsh.client.background import Background
    from qsh.client.leaving_udp import Dial
    from qsh.client.request import Request
    from qsh.client.ssh_carrier import Carrier
    from qsh.client.ssh_stream import SshStreams
    from qsh.client.tuning import Tuning
    from qsh.config.options import ClientOptions
    from qsh.quic import Connection
    from qsh.wire.instance import Here

__all__ = ["Bootstrap", "instance_of", "pinned"]

PATIENCE_S: Final = 0.3
PATIENCE_RTTS: Final = 3.0
"""How long an instance may take to answer on UDP until SSH is tried, or carries the packets."""
EARLY_S: Final = 5.0
FRESH_S: Final = 1.5
"""The same for one that has just been started: it is still loading."""
AGAIN_S: Final = 5.0
HANDSHAKE_S: Final = 15.0


def pinned(options: ClientOptions, port: int, keys: Sequence[str]) -> KnownHost:
    """The instance, by the keys that came through SSH: no file is asked, and none is written."""
    host = options.hostname
    lines = "".join(f"{host_and_port(host, port)} {key}\n" for key in keys)
    policy = HostKeyPolicy(
        strict="yes", user_files=(), global_files=(), revoked_files=options.revoked_host_keys
    )
    return KnownHost(policy, host, port, port, texts=(("what the host said by SSH", lines),))


def instance_of(state: host_state.HostState) -> tuple[int, tuple[str, ...]] | None:
    """Port and keys of the instance that is remembered."""
    words = state.instance.split()
    if len(words) < 3 or not words[0].isdecimal():
        return None
    port = int(words[0])
    return (port, (f"{words[1]} {words[2]}",)) if 0 < port <= 0xFFFF else None


def _one_time_key() -> tuple[Candidate, SeedKey]:
    """A key that is in no file and in no agent."""
    from qsh.auth.private import generate_ed25519

    text, public = generate_ed25519("")
    key = SeedKey.load(text.encode(), ed25519_sign)
    assert key is not None  # noqa: S101 - it was made a line above
    return Candidate(public, "the key of this connection", path="(memory)"), key


class Bootstrap:
    """One run with a host through SSH."""

    def __init__(
        self,
        options: ClientOptions,
        state: host_state.HostState,
        background: Background | None,
        *,
        reach: tuple[Target, Sequence[Address], Tuning],
        way: Sequence[tuple[ClientOptions, KnownHost]],
        request: Request | None = None,
        owner: socket.socket | None = None,
        only_packets: bool = False,
        quiet: bool = False,
    ) -> None:
        """``way``: the jump hosts, the nearest first, and the host, with what is known of sshd there.

        ``only_packets``: UDP is not tried. ``quiet``: nobody is asked anything on the way.
        """
        self._options, self._state, self._background = options, state, background
        self._target, self._addresses, self._tuning = reach
        self._way, self._request, self._owner = way, request, owner
        self._direct = len(way) == 1 and options.proxy_command is None
        self._only_packets = only_packets or not self._direct
        self._driver = Driver()
        self._prompter = Prompter(batch=options.batch_mode or quiet)
        self._carrier: Carrier | None = None
        self._key: tuple[Candidate, SeedKey] | None = None
        self._known: KnownHost | None = None
        self._here = instance_of(state)
        self._in_use: Login | None = None
        self._ssh: SshStreams | None = None
        self._udp_only = False
        """The next connection is wanted only if it goes by UDP."""

    async def run(self, *, only_remembered: bool = False) -> int | None:
        """The exit status. ``only_remembered``: None where the instance of last time is not there. Raises QshError."""
        if self._here is not None and not self._only_packets:
            try:
                return await self._by_remembered(*self._here)
            except (ConnectError, AuthenticationError, HostKeyError) as error:
                log.debug(f"the instance of last time: {error}")
                self._here = None
                self._state = self._state._replace(instance="")
        if only_remembered:
            self._save(self._state)
            return None
        self._key = _one_time_key()
        try:
            connection = await self._through_ssh()
            login = self._login()
            login.offer_only(*self._key)
            return await self._converse(login, connection)
        finally:
            if self._carrier is not None:
                self._carrier.close()

    @property
    def asked(self) -> bool:
        """A password has been asked for."""
        return self._carrier is not None and self._carrier.asked

    async def _by_remembered(self, port: int, keys: tuple[str, ...]) -> int:
        login = self._login()
        login.prepare()
        return await self._converse(login, await self._dial(port, keys, self._patience_s))

    @property
    def _patience_s(self) -> float:
        return max(PATIENCE_S, PATIENCE_RTTS * self._state.rtt_ms / 1000)

    def _login(self) -> Login:
        login = Login(
            self._options,
            self._state,
            self._prompter,
            self._background,
            self._request,
            self._again,
            self._owner,
            through=self._only_packets,
        )
        login.remember = lambda connection, _: self._remember(connection)
        if self._options.qsh_transport == "auto":
            login.streams = self._streams
        return login

    def _streams(self, connection: Connection) -> Sequence[tuple[str, Dial]]:
        """For one that UDP does not carry any more."""
        from qsh.client.ssh_stream import SshStreams

        ssh = self._ssh = self._ssh or SshStreams(lambda: (self._way, self._addresses))
        return [("ssh", lambda: ssh.dial(connection.remote_address))]

    async def _converse(self, login: Login, connection: Connection) -> int:
        assert self._known is not None  # noqa: S101 - whoever connected has set it
        self._in_use = login
        status, _ = await login.run(connection, self._known)
        self._remember(connection)
        return status

    async def _dial(self, port: int, keys: tuple[str, ...], limit_s: float) -> Connection:
        """By UDP. Raises ConnectError, HostKeyError."""
        known = self._known = pinned(self._options, port, keys)
        target = self._target._replace(udp_port=port)
        connector = Connector(self._driver, target, self._addresses, known, self._tuning)
        return await connector.again(limit_s)

    # -- through SSH

    async def _through_ssh(self) -> Connection:
        from qsh.client.early_tcp import EarlyTcp

        options = self._way[0][0]
        early = None
        if options.proxy_command is None and not options.bind_address:
            early = EarlyTcp(self._addresses, options.port, options.connect_timeout or EARLY_S)
        from qsh.client.ssh_carrier import Carrier

        self._carrier = Carrier(self._way, self._addresses, self._prompter)
        try:
            await self._carrier.connect(early)
        finally:
            if early is not None:
                early.close()
        if self._only_packets:
            return await self._packets(self._carrier)
        here = await self._carrier.instance(self._public)
        self._found(here)
        try:
            connection = await self._dial(here.port, here.keys, FRESH_S + self._patience_s)
        except ConnectError as error:
            log.debug(f"UDP port {here.port}: {error}; packets go through SSH")
            return await self._packets(self._carrier)
        self._carrier.close()
        return connection

    @property
    def _public(self) -> str:
        assert self._key is not None  # noqa: S101 - made before SSH is
        public = self._key[0].public
        return f"{public.type} {public.base64()}"

    def _found(self, here: Here) -> None:
        log.debug(f"qshd {here.version} of this user listens on UDP port {here.port}")
        self._here = here.port, here.keys

    async def _packets(self, carrier: Carrier) -> Connection:
        from qsh.client.ssh_packets import LOOPBACK, SshPackets

        process = await carrier.packets(self._public)
        packets = SshPackets(self._driver, process, self._tuning)
        packets.endpoint.carried = ("ssh", self._options.hostname)
        answer = asyncio.ensure_future(carrier.answer(process))
        carrying = asyncio.ensure_future(packets.carry(answer))
        # The handshake does not wait for the answer: the login looks at the key.
        expected = pinned(self._options, *(self._here or (self._target.udp_port, ())))
        connecting = asyncio.ensure_future(
            packets.endpoint.connect(
                LOOPBACK,
                packets.port,
                **self._tuning.handshake(expected),
                timeout_s=HANDSHAKE_S,
            )
        )
        try:
            self._found(here := await answer)
            self._known = pinned(self._options, here.port, here.keys)
            connection = await connecting
        except BaseException:
            connecting.cancel()
            carrying.cancel()
            raise
        carrying.add_done_callback(
            lambda _: connection.lose("the SSH connection is gone", ABANDONED)
        )
        if self._direct and self._options.qsh_transport != "ssh":
            watching = asyncio.ensure_future(
                tell_when_udp_answers(self._target, self._addresses, here.port, self._seek_udp)
            )
            watching.add_done_callback(log_failure)
            carrying.add_done_callback(lambda _: watching.cancel())
        return connection

    def _seek_udp(self) -> None:
        """A terminal goes on by UDP, on another connection; what else there is stays where it is."""
        if self._in_use is not None:
            log.debug("UDP works: looking for a connection by it")
            self._udp_only = True
            self._in_use.seek_better()

    async def _again(self) -> Connection:
        """A later connection: by UDP if that works now, else through SSH. Nobody is asked."""
        udp_only, self._udp_only = self._udp_only, False
        if self._here is not None and self._direct and self._options.qsh_transport != "ssh":
            try:
                return await self._dial(*self._here, AGAIN_S)
            except ConnectError:
                if udp_only:
                    raise
        if self._carrier is None:
            raise ConnectError("no answer", kind="timeout")
        self._prompter.batch = True
        if self._carrier.alive:
            with contextlib.suppress(ConnectError, TimeoutError):
                return await asyncio.wait_for(self._packets(self._carrier), AGAIN_S)
        return await self._carry_anew(self._carrier)

    async def _carry_anew(self, stale: Carrier) -> Connection:
        """Through another SSH connection: after a change of network nobody answers the one before, and nothing says so. It is
        kept until there is another: it may come back, and a password cannot be typed again.
        """
        from qsh.client.ssh_carrier import Carrier

        fresh = Carrier(self._way, self._addresses, self._prompter)
        try:
            await fresh.connect()
            connection = await self._packets(fresh)
        except BaseException:
            fresh.close()
            raise
        self._carrier = fresh
        stale.close()
        return connection

    def _remember(self, connection: Connection) -> None:
        """An instance only where it is to be dialled next time."""
        rtt_ms = connection.stats()["rtt_us"] / 1000
        state = self._state._replace(rtt_ms=rtt_ms)
        if self._options.qsh_bootstrap == "yes" and self._here is not None and self._direct:
            port, keys = self._here
            state = state._replace(instance=f"{port} {keys[0]}")
        if not state.is_like(self._state):
            self._save(state)

    def _save(self, state: host_state.HostState) -> None:
        options = self._options
        host_state.save(options.user, options.hostname, options.qsh_port or options.port, state)
