"""Calls to the user's agent: what the host may ask it, and that it knows who asks (docs/protocol.md 13.3).

An agent takes a connection that was never bound for one of this machine's own, for which no restriction of a key holds
(ssh-add -h). So a host that has not proved who it is gets no connection at all.
"""

from __future__ import annotations

import asyncio
import socket
from typing import TYPE_CHECKING, Final

from qsh.auth import agent as codec
from qsh.auth.keys import PublicKey
from qsh.client.log import log
from qsh.client.server_streams import refuse
from qsh.errors import AgentError, KeyFormatError, QshError
from qsh.forward.failure import Failure
from qsh.wire import framing
from qsh.wire.messages import Opened

if TYPE_CHECKING:
    from qsh.client.link import Link
    from qsh.config.options import ClientOptions
    from qsh.quic import Stream

__all__ = ["AgentCalls"]

MAX_OPEN: Final = 128
"""Connections to the agent at a time."""
_CONNECT_S: Final = 5.0
_QUICK_S: Final = 20.0
"""Limit of answers that need nobody."""
_PERSON_S: Final = 120.0
"""Limit of signatures: a person may have to touch or confirm."""
_HOST_AUTH_S: Final = 10.0
_GONE: Final = Failure("connect-failed", "the agent is gone")


class AgentCalls:
    """To the agent at ``path``."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._open = 0
        self._proofs: dict[Link, bytes] = {}

    @classmethod
    def of(cls, options: ClientOptions) -> AgentCalls | None:
        """None where nothing is to be called, or nobody is there to be called."""
        if not options.forward_agent:
            return None
        path = _path_of(options)
        if not path:
            log.debug("agent forwarding requested but there is no agent")
            return None
        with socket.socket(socket.AF_UNIX) as probe:
            try:
                probe.settimeout(_CONNECT_S)
                probe.connect(path)
            except (OSError, ValueError) as error:
                reason = getattr(error, "strerror", None) or error
                log.debug(f"ssh_get_authentication_socket: {reason}")
                return None
        return cls(path)

    async def serve(self, link: Link, stream: Stream) -> None:
        """One call, to its end."""
        if self._open >= MAX_OPEN:
            await refuse(stream, Failure("resources", "too many connections to the agent"))
            return
        self._open += 1
        try:
            await self._serve(link, stream)
        finally:
            self._open -= 1

    async def _serve(self, link: Link, stream: Stream) -> None:
        try:
            signature = await self._proof(link)
            request = codec.encode_session_bind(
                _host_key(link).blob, link.connection.session_id, signature, forwarding=True
            )
            agent = await _Connection.to(self._path, request)
        except AgentError as error:
            log.error(f"agent forwarding: {error}")
            await refuse(stream, _GONE)
            return
        try:
            await stream.send.write(framing.encode(Opened()))
            await _relay(stream, agent)
        except AgentError as error:
            log.debug(f"agent connection: {error}")
            stream.abort()
        except QshError as error:
            log.debug(f"agent connection: {error}", 2)
            stream.abort()
        finally:
            agent.close()

    async def _proof(self, link: Link) -> bytes:
        """The host's signature of the session id, by the key that the connection rests on. Raises AgentError."""
        if (known := self._proofs.get(link)) is not None:
            return known
        from qsh.auth import signatures

        host_auth, key = await link.host_auth(_HOST_AUTH_S), _host_key(link)
        if (
            host_auth is None
            or host_auth.key != key.blob
            or not signatures.verify(key, host_auth.signature, link.connection.session_id)
        ):
            raise AgentError("refused: the host does not prove to the agent who it is")
        self._proofs.clear()
        self._proofs[link] = host_auth.signature
        return host_auth.signature


class _Connection:
    """To the agent, asked one thing at a time. Every failure is an AgentError.

    An agent that knows nothing of session-bind refuses it, which does no harm: it has no restricted keys either. But a locked one
    refuses it, too. So it is asked again with each request, and what was answered while its mind changed is not passed on.
    """

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, bind: bytes
    ) -> None:
        self._reader, self._writer = reader, writer
        self._bind = bind
        self._bound = False

    @classmethod
    async def to(cls, path: str, bind: bytes) -> _Connection:
        """Connect. ``bind`` is the session-bind request of this host."""
        try:
            async with asyncio.timeout(_CONNECT_S):
                return cls(*await asyncio.open_unix_connection(path), bind)
        except (OSError, ValueError) as error:  # TimeoutError is one
            reason = getattr(error, "strerror", None) or "no answer"
            raise AgentError(f"cannot reach the agent: {reason}") from None

    async def answer(self, request: bytes, limit_s: float) -> bytes | None:
        """The body of the answer to the host's request, if it is to have it."""
        bound = self._bound or await self._binds()
        found = await self._ask(codec.Gate.frame(request), limit_s)
        if not bound and await self._binds():
            return None
        return found

    async def _binds(self) -> bool:
        """Tell the agent which host's requests these are."""
        answer = await self._ask(self._bind, _QUICK_S)
        self._bound = answer[0] == codec.SUCCESS
        log.debug("bound agent to hostkey" if self._bound else "the agent refuses session-bind", 2)
        return self._bound

    async def _ask(self, frame: bytes, limit_s: float) -> bytes:
        """The answer's body."""
        try:
            async with asyncio.timeout(limit_s):
                self._writer.write(frame)
                await self._writer.drain()
                size = int.from_bytes(await self._reader.readexactly(4), "big")
                if not 0 < size <= codec.FRAME_LIMIT:
                    raise AgentError(f"the agent sent a message of {size} bytes")
                return await self._reader.readexactly(size)
        except TimeoutError:
            raise AgentError("the agent does not answer") from None
        except (OSError, EOFError):
            raise AgentError("the agent hung up") from None

    def close(self) -> None:
        """At once."""
        self._writer.close()


async def _relay(stream: Stream, agent: _Connection) -> None:
    """Request by request, as the gate lets them through."""
    decoder, gate = codec.FrameDecoder(), codec.Gate()
    while data := await stream.recv.read():
        for request in decoder.receive(data):
            answer = gate.refusal()
            if gate.lets_in(request):
                limit_s = _PERSON_S if request[0] == codec.SIGN_REQUEST else _QUICK_S
                found = await agent.answer(request, limit_s)
                if found is not None and gate.lets_out(found):
                    answer = gate.frame(found)
            else:
                log.debug(f"agent connection: request of type {request[0]} refused")
            await stream.send.write(answer)
    stream.send.finish()


def _host_key(link: Link) -> PublicKey:
    try:
        return PublicKey.from_spki(link.connection.peer_key)
    except KeyFormatError as error:
        raise AgentError(str(error)) from None


def _path_of(options: ClientOptions) -> str | None:
    """What ForwardAgent names, else the agent that is used for the login."""
    path: str | None = options.forward_agent_path
    if path is None:
        return options.identity_agent
    if path.startswith("$"):
        return options.environment.variable(path[1:])
    return path
