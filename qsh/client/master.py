"""The master of a shared connection (ControlMaster, ControlPersist): logs in once, for all that come (docs/protocol.md 14).

It is a process of its own from the start, forked before there is an engine (native threads do not survive a fork); who started it
is its first client, over a socket pair (sharing.py). So programs and terminals are served in one way, the master has no terminal
of its own that could be closed, and the first client's request goes out with the login.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from typing import TYPE_CHECKING, Any, Final

from qsh.client.control_path import PathTooLong, is_ours, socket_path
from qsh.client.control_socket import ControlSocket, Listener
from qsh.client.forward_requests import described, forward_of
from qsh.client.link import ABANDONED
from qsh.client.local_forwards import raise_descriptor_limit
from qsh.client.log import log
from qsh.client.shared_session import SharedClient
from qsh.client.text import lost_text, visible
from qsh.errors import ConnectionLost, ForwardError, QshError
from qsh.forward.listening import ListenError
from qsh.wire.messages import offering
from qsh.wire.sharing import Answered, ForwardRequest, Refused, Request

if TYPE_CHECKING:
    import socket
    from collections.abc import Awaitable, Callable, Coroutine, Iterator

    from qsh.client.forwards import Forwards
    from qsh.client.link import Link
    from qsh.config.options import ClientOptions
    from qsh.wire.messages import Open
    from qsh.wire.sharing import SessionRequest

__all__ = ["Master"]

MAX_CLIENTS: Final = 1024
"""More wait in the socket's queue."""
FAREWELL_S: Final = 0.5
"""How long clients may take to hear that the connection is lost."""
_END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)


@contextlib.contextmanager
def _placing(where: str) -> Iterator[None]:
    try:
        yield
    except FileExistsError:
        raise
    except OSError as error:
        text = f"unix_listener: cannot bind to path {visible(where)}: {error.strerror}"
        raise ForwardError(text) from None


class Master:
    """:meth:`begin` with the login's first packet, :meth:`run` after it."""

    def __init__(
        self,
        options: ClientOptions,
        owner: socket.socket,
        connect_again: Callable[[Open | None], Awaitable[Link]],
    ) -> None:
        """``owner`` leads to the process that started this one; ``connect_again`` logs in once more, and asks nobody.

        It gets what is to be opened, where that is known: to come back to a terminal needs no key of the user's.
        """
        self._options, self._connect_again = options, connect_again
        self._connecting = asyncio.Lock()
        self._clients: set[SharedClient] = set()
        self._owner_socket = owner
        self._owner: SharedClient | None = None
        self._owner_due = True
        """The first client has not had what it came for."""
        self._link: Link | None = None
        self._forwards: Forwards | None = None
        self._listener: Listener | None = None
        self._accepting = False
        self._persists = False
        self._sessions = 0
        self._changed = asyncio.Event()
        self._may_open = asyncio.Event()
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()
        self._asking = asyncio.Lock()

    # -- the life of it

    def try_path(self) -> None:
        """Before anything is asked of the host, which would run it: can others find us? Raises ForwardError if not."""
        path = self._options.control_path
        if path is None:
            return
        with contextlib.suppress(PathTooLong), _placing(where := socket_path(path)):
            Listener.try_out(where)

    def begin(self, link: Link, forwards: Forwards) -> None:
        """The login is on its way; the first client's channel may follow it, unless the host is to listen before."""
        gc.enable()
        self._link, self._forwards = link, forwards
        link.stranded = self._stranded
        if not forwards.remote:
            self._may_open.set()
        self._owner = self._admit(self._owner_socket, owner=True)

    async def run(self) -> None:
        """After the login: until nobody needs it any more, or the connection is lost."""
        assert self._link is not None  # noqa: S101 - see begin()
        raise_descriptor_limit()
        self._listen()
        self._catch_signals()
        self._may_open.set()
        for client in self._clients:
            client.welcome(stays=self._persists)
        self._detach()
        unused = asyncio.ensure_future(self._until_unused())
        try:
            while not unused.done() and not self._ended.done():
                link = self._link
                waited: set[asyncio.Future[Any]] = {unused, self._ended, link.lost}
                await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
                if link.lost.done() and not self._ended.done() and not await self._replaced(link):
                    break
        finally:
            unused.cancel()
            self.stop_listening()
            for client in list(self._clients):
                client.close()

    def _listen(self) -> None:
        path = self._options.control_path
        if path is None:
            return
        log.debug("setting up multiplex master socket")
        try:
            where = socket_path(path)
            with _placing(where):
                self._listener = Listener(where)
        except PathTooLong as error:
            log.error(str(error))
            return
        except FileExistsError:
            log.error(f"ControlSocket {where} already exists, disabling multiplexing")
            return
        self._persists = bool(self._options.control_persist[0])
        self._accept(wanted=True)

    def _detach(self) -> None:
        """A master that stays holds nothing of whoever started it: who waits for the end of its output must not wait for ours."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        os.dup2(null, 0)
        os.dup2(null, 1)
        if self._persists or self._options.fork_after_authentication:
            with contextlib.suppress(PermissionError):
                os.setsid()
            if not (log.debugging and os.isatty(2)):
                os.dup2(null, 2)
        os.close(null)

    def _catch_signals(self) -> None:
        for number in _END_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, self.end)

    async def _until_unused(self) -> None:
        """ControlPersist: nobody is there, and has not been for so long. Without it: nobody is there."""
        assert self._forwards is not None  # noqa: S101 - see begin()
        while True:
            self._changed.clear()
            if self._sessions or self._owner_due or self._has_terminals:
                await self._changed.wait()
                continue
            changed = asyncio.ensure_future(self._changed.wait())
            idle = asyncio.ensure_future(self._forwards.idle())
            try:
                await asyncio.wait({changed, idle}, return_when=asyncio.FIRST_COMPLETED)
                if changed.done():
                    continue
                if not self._persists:
                    return
                await asyncio.wait({changed}, timeout=self._options.control_persist[1] or None)
                if not changed.done() and not self._forwards.numbers.lines():
                    log.debug("ControlPersist timeout expired", 2)
                    return
            finally:
                changed.cancel()
                idle.cancel()

    async def _replaced(self, lost: Link) -> bool:
        """The connection is lost: whether there is another. Terminals are worth it, and their clients ask again."""
        await asyncio.sleep(0)
        works = {client.work for client in self._clients if client.work is not None}
        if works:  # each tells its client
            await asyncio.wait(works, timeout=FAREWELL_S)
        while self._link is lost and not self._ended.done() and self._has_terminals:
            self._changed.clear()
            changed = asyncio.ensure_future(self._changed.wait())
            waited: set[asyncio.Future[Any]] = {changed, self._ended}
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            changed.cancel()
        return self._link is not lost

    @property
    def _has_terminals(self) -> bool:
        return any(client.has_terminal for client in self._clients)

    def end(self) -> None:
        """End the connection and all that goes over it."""
        if not self._ended.done():
            self._ended.set_result(None)

    def stop_listening(self) -> None:
        """Take no more clients; end with the last of those that are there. Idempotent."""
        if self._listener is not None:
            self._accept(wanted=False)
            self._listener.close()
            self._listener = None
        self._persists = False
        self._changed.set()

    # -- clients

    def _accept(self, *, wanted: bool) -> None:
        if self._listener is None or wanted == self._accepting:
            return
        self._accepting = wanted
        loop = asyncio.get_running_loop()
        if wanted:
            loop.add_reader(self._listener.sock.fileno(), self._accept_one)
        else:
            loop.remove_reader(self._listener.sock.fileno())

    def _accept_one(self) -> None:
        assert self._listener is not None  # noqa: S101 - it is readable
        if len(self._clients) >= MAX_CLIENTS:
            self._accept(wanted=False)
            return
        try:
            sock, _ = self._listener.sock.accept()
        except OSError as error:
            if not isinstance(error, BlockingIOError):
                log.error(f"accept: {error.strerror}")
                self._accept(wanted=False)
                asyncio.get_running_loop().call_later(1.0, lambda: self._accept(wanted=True))
            return
        if not is_ours(sock):
            log.error("multiplex uid mismatch: peer is another user")
            sock.close()
            return
        self._admit(sock).welcome(stays=self._persists)

    def _admit(self, sock: socket.socket, *, owner: bool = False) -> SharedClient:
        client = SharedClient(self, ControlSocket(sock, Request), owner=owner)
        self._clients.add(client)
        return client

    def left(self, client: SharedClient) -> None:
        """A client is gone."""
        self._clients.discard(client)
        self._accept(wanted=True)
        self._changed.set()
        if client is self._owner:
            killed = self._owner_due and not self._persists
            self._served_owner()
            if killed:  # it was ssh's whole connection, and ends as that does
                self.end()

    def served(self, client: SharedClient) -> None:
        """A client has had what it came for."""
        if client is self._owner:
            self._served_owner()

    def _served_owner(self) -> None:
        self._owner_due = False
        self._changed.set()

    @contextlib.contextmanager
    def session(self, text: str) -> Iterator[None]:
        """While the connection is in use; ``text`` is what ``-O channels`` says of it."""
        assert self._forwards is not None  # noqa: S101 - see begin()
        self._sessions += 1
        self._changed.set()
        try:
            with self._forwards.numbers.one(text):
                yield
        finally:
            self._sessions -= 1
            self._changed.set()

    def offer(self, request: SessionRequest) -> Open:
        """What a client asks to open, with the master's agent and display if it wants them and there are some."""
        plain = offering(request.open, agent=False, x11=None)
        if self._forwards is None:
            return plain
        return self._forwards.offer(plain, agent=request.open.agent, x11=request.x11)

    @contextlib.contextmanager
    def receives(self) -> Iterator[None]:
        """While somebody reads a stream who may stop reading it."""
        receives = self._forwards.receives if self._forwards is not None else None
        if receives is None:  # the first client's, before the login is done
            yield
            return
        with receives.forward():
            yield

    async def over(self) -> None:
        """Return when the master ends. Raises ConnectionLost when the connection does."""
        assert self._link is not None  # noqa: S101 - see begin()
        lost = self._link.lost
        waited: set[asyncio.Future[Any]] = {self._ended, lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if lost.done():
            raise lost.result()

    @property
    def in_use(self) -> Link | None:
        """The latest connection."""
        return self._link

    async def link(self, suspect: Link | None = None, message: Open | None = None) -> Link:
        """The connection, as soon as channels may be opened; another one if it is lost. Raises QshError, OSError.

        ``suspect``: the connection on which a client hears nothing. One that others hear of stays. ``message``: what is to be
        opened on it.
        """
        await self._may_open.wait()
        if (link := self._link) is not None and link is not suspect and not link.lost.done():
            return link
        async with self._connecting:
            link = self._link
            assert link is not None  # noqa: S101 - see begin()
            assert self._forwards is not None  # noqa: S101 - as above
            if link is not suspect and not link.lost.done():
                return link
            heard = link.connection.stats()["received_packets"]
            other = await self._connect_again(message)
            if not link.lost.done() and link.connection.stats()["received_packets"] != heard:
                await other.close()
                return link
            self._link = other
            other.stranded = self._stranded
            self._forwards.go_on(other)
            self._changed.set()
            link.connection.close(ABANDONED)  # not as a farewell: that would hang terminals up
            return other

    def _stranded(self) -> None:
        """Terminals are worth another connection over what way there is; programs can only wait for the old one."""
        if self._has_terminals:
            self.keep(self._leave(self._link))

    async def _leave(self, link: Link | None) -> None:
        with contextlib.suppress(QshError, OSError):
            await self.link(link)

    async def allows(self, question: str) -> bool:
        """Whether the user allows it, where ControlMaster says ask."""
        if self._options.control_master not in ("ask", "autoask"):
            return True
        from qsh.client.prompt import permission

        loop = asyncio.get_running_loop()
        async with self._asking:  # one question at a time
            text = question.format(self._options.host_arg)
            return await loop.run_in_executor(None, permission, text)

    def keep(self, work: Coroutine[Any, Any, None]) -> None:
        """Something that goes on without its client."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def text_of(self, error: QshError) -> str:
        """For the client whose work it ended."""
        if isinstance(error, ConnectionLost):
            return lost_text(self._options.hostname, error)
        return f"qsh: {visible(str(error))}"

    # -- forwards

    async def forward(self, request: ForwardRequest) -> Answered | Refused:
        """Begin one, or end one, for a client."""
        await self._may_open.wait()
        assert self._forwards is not None  # noqa: S101 - see begin()
        forward = forward_of(request)
        if forward is None:
            return Refused("failed", "Invalid forwarding request")
        if request.cancel:
            found = self._forwards.cancel(request.kind, lambda known: known == forward)
            return Answered() if found else Refused("failed", "port not forwarded")
        gateway = self._options.gateway_ports
        what = described(request.kind, forward, gateway=gateway)
        if not await self.allows(f"Open {what} on {{}}?"):
            return Refused("denied", "Permission denied")
        reason = "Port forwarding failed"
        try:
            return Answered(port=await self._forwards.add(request.kind, forward))
        except ListenError as error:
            for line in str(error).split("\n"):
                log.error(line)
            log.info(f"requested {what} failed")
        except ForwardError as error:
            reason = str(error)
        return Refused("failed", reason)

    # -- what -O asks

    def channels(self) -> str:
        """As OpenSSH's channel_open_message has it."""
        lines = self._forwards.numbers.lines() if self._forwards is not None else []
        return "".join(
            f"{line}\r\n"
            for line in ("The following connections are open:", *(f"  {line}" for line in lines))
        )

    def connection_info(self) -> str:
        """As OpenSSH's connection_info_message has it, with what QUIC has instead."""
        assert self._link is not None  # noqa: S101 - see begin()
        return self._link.information()
