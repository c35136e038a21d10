"""From a finished handshake to a running session: host key, authentication, the first channel.

AUTH and the channel's OPEN leave together; with a key that needs nobody the prompt is there two
round trips after the first packet.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
from typing import TYPE_CHECKING, Final

from qsh.auth.keys import PublicKey
from qsh.client.addresses import Address, Target, route_source
from qsh.client.agent import Agent
from qsh.client.authenticate import Authenticator
from qsh.client.environment import to_send
from qsh.client.identities import Keyring, wanted_methods
from qsh.client.link import ABANDONED, Link
from qsh.client.log import log
from qsh.client.path_history import PathHistory
from qsh.client.session import FAILED, Ended, Plan, Session
from qsh.client.text import visible, visible_lines
from qsh.errors import AgentError, ChannelError, ConnectionLost, HostKeyError, UsageError
from qsh.wire.messages import MAX_COMMAND

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Sequence

    from qsh.channels.session import ClientChannel
    from qsh.client.background import Background
    from qsh.client.forwards import Forwards
    from qsh.client.host_key import KnownHost
    from qsh.client.host_state import HostState
    from qsh.client.identities import Candidate
    from qsh.client.key_files import SigningKey
    from qsh.client.leaving_udp import Streams
    from qsh.client.prompt import Prompter
    from qsh.client.questions import Questions
    from qsh.client.request import Request
    from qsh.client.resume_key import ResumeFirst, ResumeKey
    from qsh.client.session import CommandRunner
    from qsh.client.status_socket import StatusSocket
    from qsh.config.options import ClientOptions
    from qsh.quic import Connection
    from qsh.wire.messages import Auth, AuthAccepted, HostAuth, Open

    ConnectAgain = Callable[[], Awaitable[Connection]]

__all__ = ["Login", "plan_of"]

_HOST_AUTH_S: Final = 10.0
"""Wait for HOSTAUTH, which comes in the server's first flight; a lost packet takes a while."""
_UPDATE_S: Final = 0.5
"""How long a short command waits at its end for proofs of the host's other keys: it happens once, since they are learned then."""
_NO_ADDRESS: Final = "<no hostip for proxy command>"
"""What ssh says where it has no address of the host."""
_TELL_S: Final = 2.0
"""From a login to the socket that ``qshctl status`` asks."""
_AGAIN_S: Final = 15.0
"""From a later connection's handshake to its channel."""


class Login:
    """:meth:`prepare` while the handshake runs, then :meth:`run`."""

    def __init__(
        self,
        options: ClientOptions,
        state: HostState,
        prompter: Prompter,
        background: Background | None,
        request: Request | None = None,
        connect_again: ConnectAgain | None = None,
        owner: socket.socket | None = None,
        *,
        through: bool = False,
    ) -> None:
        """``request``: what to do instead of what the command line says. ``connect_again`` makes a later connection.

        ``owner``: the connection is shared, and its first user is at the other end. ``through``: there are jump hosts before it.
        """
        self._owner = owner
        self.remember: Callable[[Connection, str], None] | None = None
        """For a master, which may go on for days: the login is done, with this key."""
        self.addresses: Sequence[Address] = ()
        """All of the host's that are known."""
        self.connect_to: Callable[[Address], Awaitable[Connection]] | None = None
        """A later connection, to this one of them."""
        self.streams: Streams | None = None
        """What may carry a connection where UDP does not."""
        self._options, self._state, self._through = options, state, through
        self._connect_again = connect_again
        self._known: KnownHost | None = None
        self._key: PublicKey | None = None
        self._used: Candidate | None = None
        self._history = PathHistory()
        self._in_use: Callable[[], Link]
        self._telling: asyncio.TimerHandle | StatusSocket | None = None
        self._resume: ResumeKey | None = None
        """Where there may be terminals to come back to."""
        self._prompter, self._background = prompter, background
        self._keyring = Keyring(None, prompter, options.number_of_password_prompts)
        self._candidates: list[Candidate] = []
        self._order: list[str] = ["publickey"]
        """Methods to try."""
        self._plan = plan_of(options, request)
        self._forwards = _forwards(options, self._plan, shared=owner is not None)
        self._updating: asyncio.Future[None] | None = None
        """UpdateHostKeys at work."""

    # -- before the handshake is done

    def prepare(self) -> None:
        """Read key files, ask the agent, load the key that will sign first."""
        options = self._options
        if self._forwards is not None:
            self._forwards.prepare()
        self._order = wanted_methods(options)
        if "publickey" not in self._order:
            return
        self._keyring.agent = self._agent()
        self._candidates = self._keyring.candidates(
            options.identity_file, options.certificate_file, identities_only=options.identities_only
        )
        if not any(candidate.in_agent for candidate in self._candidates):
            self._keyring.close_agent()
        self._keyring.preload(self._candidates, self._state.key)

    def offer_only(self, candidate: Candidate, key: SigningKey) -> None:
        """Instead of :meth:`prepare`: this key, which is in no file."""
        if self._forwards is not None:
            self._forwards.prepare()
        self._keyring.hold(candidate, key)
        self._candidates = [candidate]

    def _agent(self) -> Agent | None:
        path = self._options.identity_agent
        if not path:
            return None
        try:
            return Agent(path)
        except AgentError as error:
            log.debug(f"ssh_get_authentication_socket: {error}")
            return None

    # -- on the connection

    async def run(self, connection: Connection, known: KnownHost) -> tuple[int, str]:
        """Exit status, and the mark of the key that logged in."""
        link = Link(connection, self._history)
        link.listen()
        if self._connect_again is not None and (self._plan.pty or self._owner is not None):
            from qsh.client.resume_key import ResumeKey

            self._resume = ResumeKey()
        if self._owner is not None:
            return await self._share(self._owner, link, known)
        session = Session(self._plan, self._reopen if self._connect_again else None)
        self._in_use = lambda: session.link or link
        try:
            key = self._key = await self._check_host(link, known)
            self._known = known
            await self._bind_agent(link, key)
            authenticator = self._authenticator(link, key, self._candidates)
            status = await self._session(session, link, authenticator)
        finally:
            self._stop_telling()
            if self._updating is not None:
                await asyncio.wait({self._updating}, timeout=_UPDATE_S)
                self._updating.cancel()
            await (session.link or link).close()
        used = authenticator.used
        return status, "" if used is None else used.mark

    def _authenticator(
        self, link: Link, key: PublicKey, candidates: Sequence[Candidate], *, again: bool = False
    ) -> Authenticator:
        """``again``: nobody is asked."""
        return Authenticator(
            self._options.user,
            candidates,
            self._keyring,
            session_id=link.connection.session_id,
            host_key=key.blob,
            remembered=self._state.key,
            resume_key=b"" if self._resume is None else self._resume.public,
            order=["publickey"] if again else self._order,
            questions=None if again else self._questions,
        )

    def _questions(self) -> Questions:
        from qsh.client.questions import Questions

        return Questions(self._options, self._prompter)

    async def _session(self, session: Session, link: Link, authenticator: Authenticator) -> int:
        options, plan = self._options, self._plan
        if options.enable_escape_commandline and plan.escape is not None:
            session.commands = self._command_line(session)
        if self._forwards is not None:
            self._forwards.bind()
        await link.open_control()
        first = authenticator.first()
        login = asyncio.ensure_future(link.login(authenticator, first))
        await asyncio.sleep(0)  # AUTH goes first
        channel = None
        later = self._forwards is not None and self._forwards.remote
        if plan.kind != "none" and not later:
            channel = await self._open(session, link)
        accepted = await login
        self._accepted(accepted, authenticator)
        session.catch_signals()
        self._logged_in(link, accepted, authenticator.method)
        if options.update_host_keys != "no":
            await self._update_host_keys(link)
        if self._forwards is not None:
            await self._forwards.begin(link)
        _local_command(options)
        if self._background is not None:
            self._background.ready()
        if plan.kind != "none" and later:
            channel = await self._open(session, link)
        try:
            status = await session.run(link, channel, _stdio_forward(options, link))
            if self._forwards is not None and channel is not None:
                await session.linger(self._forwards.idle())
        except Ended:
            status = FAILED
        if plan.pty:
            log.info(session.farewell or f"Connection to {options.hostname} closed.")
        return status

    async def _share(self, owner: socket.socket, link: Link, known: KnownHost) -> tuple[int, str]:
        """As :meth:`run`, for all clients of a shared connection."""
        from qsh.client.master import Master

        assert self._forwards is not None  # noqa: S101 - a master always has them
        master = Master(self._options, owner, self._link_again)
        self._in_use = lambda: master.in_use or link
        try:
            key = self._key = await self._check_host(link, known)
            await self._bind_agent(link, key)
            authenticator = self._authenticator(link, key, self._candidates)
            self._forwards.bind()
            master.try_path()
            await link.open_control()
            login = asyncio.ensure_future(link.login(authenticator, authenticator.first()))
            await asyncio.sleep(0)  # AUTH goes first
            master.begin(link, self._forwards)
            accepted = await login
            used = self._accepted(accepted, authenticator)
            self._logged_in(link, accepted, authenticator.method)
            mark = "" if used is None else used.mark
            if self.remember is not None:
                self.remember(link.connection, mark)
            if self._options.update_host_keys != "no":
                await self._update_host_keys(link)
            await self._forwards.begin(link)
            _local_command(self._options)
            await master.run()
        finally:
            self._stop_telling()
            await (master.in_use or link).close()
        return 0, mark

    def _accepted(self, accepted: AuthAccepted, authenticator: Authenticator) -> Candidate | None:
        """The key that did it."""
        used = self._used = authenticator.used
        if self._resume is not None:
            self._resume.granted(accepted.resume, b"" if used is None else used.public.blob)
        return used

    def _roam(self, link: Link) -> None:
        """The way to a host behind jump hosts is another connection's, which roams."""
        if self._through:
            return
        host, port = link.connection.remote_address
        target = Target.of(self._options)
        source = route_source(target, Address.of(host), port)
        alone = self._plan.pty and self._owner is None
        link.roam(
            target,
            source,
            self.addresses,
            choosy=self._plan.pty or self._owner is not None,
            seek=self._seek if alone and self.connect_to is not None else None,
            streams=self.streams,
        )

    def _logged_in(self, link: Link, accepted: AuthAccepted, method: str) -> None:
        link.connection.endpoint.login_over()
        self._roam(link)
        self._tell_login(link, method)
        self._keep(link)
        self._telling = asyncio.get_running_loop().call_later(_TELL_S, self._tell_status)
        if log.debugging:
            _tell_plan(self._plan)
        for notice in accepted.notices:
            log.info(visible_lines(notice.rstrip("\n")))

    def _keep(self, link: Link) -> None:
        """Alive: by what is learned, unless an interval is set or the connection is inside another; then the engine pings."""
        if not self._options.server_alive_interval and not self._through:
            link.stay()

    def _tell_status(self) -> None:
        """To ``qshctl status``, from now on. A short command is over before it."""
        from qsh.client.status_socket import StatusSocket

        about = {
            "host": self._options.host_arg,
            "user": self._options.user,
            "port": self._options.qsh_port or self._options.port,
            "kind": "client" if self._owner is None else "master",
        }
        self._telling = StatusSocket(about, lambda: self._in_use().figures())

    def seek_better(self) -> None:
        """There seems to be a better way than that of the connection in use."""
        self._in_use().seek_better(None)

    def _seek(self, address: Address) -> None:
        """The same, by this address."""
        connect_to = self.connect_to
        assert connect_to is not None  # noqa: S101 - see _roam()
        self._in_use().seek_better(
            lambda message: self._reopen(message, lambda: connect_to(address))
        )

    def _stop_telling(self) -> None:
        if isinstance(self._telling, asyncio.TimerHandle):
            self._telling.cancel()
        elif self._telling is not None:
            self._telling.close()

    def _tell_login(self, link: Link, method: str) -> None:
        ip, port = link.connection.remote_address
        where = "via proxy" if self._through else f"[{ip}]:{port}"
        log.verbose(f'Authenticated to {self._options.hostname} ({where}) using "{method}".')

    async def hold(self, connection: Connection, known: KnownHost) -> Link:
        """Log in and run nothing: other connections lead through this one. Raises QshError."""
        link = Link(connection, self._history)
        link.listen()
        try:
            key = self._key = await self._check_host(link, known)
            await self._bind_agent(link, key)
            authenticator = self._authenticator(link, key, self._candidates)
            await link.open_control()
            await link.login(authenticator, authenticator.first())
        except BaseException:
            link.connection.close()
            raise
        self._used = authenticator.used
        self._tell_login(link, authenticator.method)
        self._roam(link)
        return link

    async def hold_again(self, connection: Connection) -> Link:
        """The same with a later connection; nobody is asked."""
        link = Link(connection, self._history)
        link.listen()
        try:
            authenticator = await self._authenticate_again(link)
            await link.open_control()
            await asyncio.wait_for(link.login(authenticator, authenticator.first()), _AGAIN_S)
            self._roam(link)
        except TimeoutError:
            await link.close(ABANDONED)
            raise ConnectionLost("no answer to the login", kind="timeout") from None
        except BaseException:
            link.connection.close(ABANDONED)
            raise
        return link

    async def _open(self, session: Session, link: Link) -> ClientChannel:
        channel = await link.open_channel(self._offer(session.open_message()))
        await asyncio.sleep(0)  # it is on its way
        session.load()
        return channel

    def _command_line(self, session: Session) -> CommandRunner:
        """Of ``~C``, which may begin the first forward there is."""
        from qsh.client.command_line import CommandLine

        def forwards() -> Forwards:
            if self._forwards is None:
                from qsh.client.forwards import Forwards

                self._forwards = Forwards(self._options, has_session=True)
                if session.link is not None:
                    self._forwards.begin_late(session.link)
            return self._forwards

        return CommandLine(self._options, forwards).run

    async def _update_host_keys(self, link: Link) -> None:
        """Beside everything else, unless the user is to be asked."""
        known, key = self._known, self._key
        if known is None or key is None or not (unknown := known.unknown(key, link.other_keys)):
            return
        from qsh.client.host_key_update import update

        if self._options.update_host_keys == "ask":
            await update(link, known, unknown, self._prompter)
        else:
            self._updating = asyncio.ensure_future(update(link, known, unknown, None))

    def _offer(self, message: Open) -> Open:
        return message if self._forwards is None else self._forwards.offer(message)

    # -- later connections

    async def _reopen(
        self, message: Callable[[], Open], connect: ConnectAgain | None = None
    ) -> tuple[Link, ClientChannel]:
        """Connect again, log in to the same host, and open this channel. Nobody is asked. ``connect``: not as always.

        Raises QshError, OSError.
        """
        link, channel = await self._again(message, connect or self._connect_again, opens=True)
        assert channel is not None  # noqa: S101 - asked for
        if self._forwards is not None:
            self._forwards.go_on(link)
        return link, channel

    async def _link_again(self, message: Open | None) -> Link:
        """The same for a master, which opens this itself."""
        wanted = None if message is None else lambda: message
        link, _ = await self._again(wanted, self._connect_again, opens=False)
        return link

    async def _again(
        self, message: Callable[[], Open] | None, connect: ConnectAgain | None, *, opens: bool
    ) -> tuple[Link, ClientChannel | None]:
        assert connect is not None  # noqa: S101 - see run()
        assert self._key is not None  # noqa: S101 - as above
        link = Link(await connect(), self._history)
        link.listen()
        try:
            wanted = None if message is None else message()
            work = self._log_in_again(link, wanted, opens=opens)
            channel = await asyncio.wait_for(work, _AGAIN_S)
        except TimeoutError:
            await link.close(ABANDONED)
            raise ConnectionLost("no answer to the login", kind="timeout") from None
        except BaseException:
            link.connection.close(ABANDONED)
            raise
        self._history.resumed()
        self._keep(link)
        return link, channel

    async def _authenticate_again(self, link: Link) -> Authenticator:
        """With the key of before, on a new connection."""
        key = self._same_host(link)
        if self._used is not None and self._used.in_agent:
            self._keyring.agent = self._agent()  # an agent binds each of its connections once
        await self._bind_agent(link, key)
        return self._authenticator_again(link, key)

    def _authenticator_again(self, link: Link, key: PublicKey) -> Authenticator:
        used = self._used
        candidates = [] if used is None else [used._replace(encrypted=False)]
        return self._authenticator(link, key, candidates, again=True)

    def _same_host(self, link: Link) -> PublicKey:
        key = PublicKey.from_spki(link.connection.peer_key)
        if key != self._key:
            raise HostKeyError("the host shows another key than before: not reconnecting")
        return key

    async def _resume_first(
        self, link: Link, message: Open | None
    ) -> tuple[Authenticator | ResumeFirst, Auth]:
        """Who answers, and what is said first. An agent is not even looked for before it is needed: it may be gone, or ask."""
        key, resume = self._same_host(link), self._resume
        auth = None
        if resume is not None:
            auth = resume.auth(self._options.user, link.connection.session_id, message)
        if resume is None or auth is None:
            authenticator = await self._authenticate_again(link)
            return authenticator, authenticator.first()
        from qsh.client.resume_key import ResumeFirst

        def otherwise() -> Authenticator:
            if self._used is not None and self._used.in_agent:
                self._keyring.agent = self._agent()
                self._bind(link, key, link.host_auth_now)
            return self._authenticator_again(link, key)

        return ResumeFirst(resume, otherwise), auth

    async def _log_in_again(
        self, link: Link, message: Open | None, *, opens: bool
    ) -> ClientChannel | None:
        authenticator, first = await self._resume_first(link, message)
        await link.open_control()
        login = asyncio.ensure_future(link.login(authenticator, first))
        try:
            await asyncio.sleep(0)  # AUTH goes first
            channel = None
            if message is not None and opens:
                channel = await link.open_channel(self._offer(message))
            accepted = await login
            self._roam(link)
        finally:
            login.cancel()
        if self._resume is not None:
            used = self._used
            self._resume.granted(accepted.resume, b"" if used is None else used.public.blob)
        if channel is not None and not (await channel.answer()).terminal:
            raise ChannelError("the server has no running terminals")
        return channel

    async def _check_host(self, link: Link, known: KnownHost) -> PublicKey:
        connection = link.connection
        key = PublicKey.from_spki(connection.peer_key)
        if log.debugging:  # a fingerprint takes importing a hash
            log.debug(f"Server host key: {key.type} {key.fingerprint()}")
        if connection.peer_key_trusted:
            known.known(key)
            return key
        certificates: Sequence[bytes] = ()
        if known.needs_certificates:
            host_auth = await link.host_auth(_HOST_AUTH_S)
            certificates = host_auth.certificates if host_auth else ()
        ip = _NO_ADDRESS if self._through else connection.remote_address[0]
        known.check(key, ip, certificates, self._prompter)
        if known.changed and self._forwards is not None:
            self._forwards.tell_disabled()
            self._forwards = None
        return key

    async def _bind_agent(self, link: Link, key: PublicKey) -> None:
        """Tell the agent where this leads, proved by the host's signature, before it signs."""
        if self._keyring.agent is not None:
            self._bind(link, key, await link.host_auth(_HOST_AUTH_S))

    def _bind(self, link: Link, key: PublicKey, host_auth: HostAuth | None) -> None:
        agent = self._keyring.agent
        if agent is None:
            return
        if host_auth is None or host_auth.key != key.blob:
            log.debug("no host signature for the agent (session-bind)")
            return
        try:
            agent.bind(key.blob, link.connection.session_id, host_auth.signature)
            log.debug("bound agent to hostkey")
        except AgentError as error:
            log.debug(f"ssh_agent_bind_hostkey: {error}")


def plan_of(options: ClientOptions, request: Request | None) -> Plan:
    """What the options say, or what is asked for instead."""
    size = len(os.fsencode(options.command))
    if size > MAX_COMMAND:
        raise UsageError(f"the command is {size} bytes long; a shell takes at most {MAX_COMMAND}")
    if request is not None and request.kind == "sessions":
        return Plan(
            host=options.host_arg,
            kind=request.kind,
            command=request.command,
            stdin=False,
            output=request.output,
        )
    wants_tty = options.wants_tty(stdin_is_terminal=os.isatty(0)) or request is not None
    kind, command = options.session_type, os.fsencode(options.command)
    if request is not None:
        kind, command = request.kind, request.command
    elif kind not in ("none", "subsystem"):
        kind = "exec" if options.command else "shell"
    draws = wants_tty and os.isatty(1)
    return Plan(
        host=options.host_arg,
        as_typed=options.as_typed,
        kind=kind,
        command=command,
        pty=wants_tty,
        stdin=not options.stdin_null and not options.fork_after_authentication,
        escape=ord(options.escape_char) if wants_tty and options.escape_char else None,
        env=to_send(options.send_env, options.set_env, os.environ),
        prediction=options.qsh_prediction if draws else "never",
        exact=options.qsh_skip == "exact" or not draws,
        history_lines=request.history_lines if request is not None else 0,
        tell_waiting=options.qsh_sessions != "no",
        detach_on_hangup=options.qsh_on_hangup == "detach",
    )


def _tell_plan(plan: Plan) -> None:
    """What is asked of the server, in ssh's words."""
    command = visible(os.fsdecode(plan.command))
    if plan.kind == "exec":
        log.debug(f"Sending command: {command}")
    elif plan.kind == "subsystem":
        log.debug(f"Sending subsystem: {command}")
    else:
        log.debug("Entering interactive session.")


def _forwards(options: ClientOptions, plan: Plan, *, shared: bool) -> Forwards | None:
    """None where nothing is to be forwarded: then nothing of it is loaded. A shared connection may be asked for some later."""
    ports = options.local_forward or options.dynamic_forward or options.remote_forward
    calls = plan.kind != "none" and (options.forward_agent or options.forward_x11)
    if plan.kind == "sessions" or not (ports or calls or shared):
        return None
    from qsh.client.forwards import Forwards

    return Forwards(options, has_session=plan.kind != "none" and not shared)


def _stdio_forward(options: ClientOptions, link: Link) -> Coroutine[object, object, int] | None:
    if options.stdio_forward is None:
        return None
    from qsh.client import stdio_forward

    return stdio_forward.run(link, stdio_forward.target_of(options.stdio_forward))


def _local_command(options: ClientOptions) -> None:
    """LocalCommand, if it is permitted: after the login, before the session, as ssh does."""
    if not options.permit_local_command or not options.local_command:
        return
    command = options.expand("localcommand", options.local_command, T="NONE")
    subprocess.run([os.environ.get("SHELL") or "/bin/sh", "-c", command], check=False)
