"""One session: the channel's streams, the terminal, the signals, and the exit status that comes out
of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, NamedTuple, TypeVar

from qsh.channels import terminal_modes
from qsh.client.input import TypedInput
from qsh.client.log import log
from qsh.client.text import visible, visible_lines
from qsh.client.tty import Terminal, window_size
from qsh.errors import ChannelError, DescriptorError, QshError
from qsh.terminal.escape import Action, EscapeFilter, echo, help_text
from qsh.wire.messages import Attach, Open, Pty

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping

    from qsh.channels.session import ClientChannel
    from qsh.client.link import Link
    from qsh.client.resume import Reopen
    from qsh.client.terminal.remote import RemoteTerminal
    from qsh.terminal.command_line import CommandLine
    from qsh.wire.messages import Exit

    CommandRunner = Callable[[str], Coroutine[object, object, str]]

__all__ = ["Ended", "Plan", "Session"]

T = TypeVar("T")

FAILED: Final = 255
"""Exit status of every error of our own."""

_END_SIGNALS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
_HANGUPS: Final = (signal.SIGTERM, signal.SIGHUP)


class Plan(NamedTuple):
    """What is to run, and how it is connected to this process."""

    host: str
    """As messages call it."""
    kind: str = "shell"
    """``shell``, ``exec``, ``subsystem``, ``attach``, ``sessions``, or ``none`` (-N)."""
    command: bytes = b""
    pty: bool = False
    stdin: bool = True
    """False: -n, nothing is read."""
    escape: int | None = None
    env: Mapping[str, str] = MappingProxyType({})
    output: int = 1
    """Descriptor of standard output."""
    prediction: Literal["adaptive", "always", "never"] = "never"
    """``adaptive``, ``always``, ``never``."""
    exact: bool = False
    """Output is never skipped."""
    history_lines: int = 0
    """To be printed above the screen of a running terminal."""
    tell_waiting: bool = True
    """Say at login which detached sessions wait."""
    as_typed: str = ""
    """What qshctl is to be told in order to get to the same host; "": the host's name."""
    detach_on_hangup: bool = False
    """A closed window detaches instead of ending the session."""


class Ended(Exception):
    """The session ends by the user's will: an escape or a signal."""

    def __init__(self, text: str = "") -> None:
        self.text = text
        super().__init__(text)


class Session:
    """Made before the connection (the terminal's size goes into OPEN), run after the login."""

    def __init__(self, plan: Plan, reopen: Reopen | None = None) -> None:
        """``reopen`` makes another connection when a terminal loses its own."""
        self._plan, self._reopen = plan, reopen
        self._terminal = Terminal(0)
        self._client = os.urandom(16) if plan.pty else b""
        self._remote: RemoteTerminal | None = None
        self._end: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._link: Link | None = None
        self._channel: ClientChannel | None = None
        self.commands: CommandRunner | None = None
        """Does what is typed after ``~C``; None: it is disabled (EnableEscapeCommandline)."""
        self.shared = False
        """The connection is a master's."""
        self._command: asyncio.Task[None] | None = None

    def open_message(self) -> Open:
        """OPEN for this session."""
        plan = self._plan
        if not plan.pty:
            return Open(plan.kind, plan.command, env=dict(plan.env))
        host = os.uname().nodename[:256]
        attach = Attach(self._client, exact=plan.exact, host=host, history_lines=plan.history_lines)
        return Open(plan.kind, plan.command, self._pty(), dict(plan.env), attach)

    def load(self) -> None:
        """Import what a terminal needs, while the server's answer is on its way."""
        if self._plan.pty:
            import_module("qsh.client.terminal.remote")

    @property
    def link(self) -> Link | None:
        """The connection in use, or the last one."""
        return self._link if self._remote is None else self._remote.link or self._link

    @property
    def farewell(self) -> str | None:
        """What to say at the end instead of the usual line."""
        return None if self._remote is None else self._remote.farewell

    def _pty(self) -> Pty:
        size = window_size(0)
        modes = self._terminal.modes
        encoded = {} if modes is None else terminal_modes.encode(modes)
        term = os.environ.get("TERM", "")[:256]
        return Pty(term, size.rows, size.cols, size.xpixel, size.ypixel, encoded)

    async def run(
        self,
        link: Link,
        channel: ClientChannel | None,
        instead: Coroutine[object, object, int] | None = None,
    ) -> int:
        """The exit status. Raises Ended, QshError; the terminal is what it was. ``instead``: what to do without a channel."""
        gc.enable()
        self._link, self._channel = link, channel
        try:
            if channel is None:
                return await self._first(asyncio.ensure_future(instead or _forever()))
            return await self._with_channel(channel)
        finally:
            self._terminal.close()

    async def _with_channel(self, channel: ClientChannel) -> int:
        opened = await self._first(asyncio.ensure_future(channel.answer()))
        for notice in opened.notices:
            log.info(visible_lines(notice.rstrip("\n")))
        if self._plan.pty:
            self._terminal.enter()
        if opened.terminal:
            return await self._with_terminal(channel)
        if self._plan.kind == "attach":
            raise ChannelError("the server has no running terminals")
        feeding = asyncio.ensure_future(self._feed(channel))
        output = asyncio.ensure_future(channel.copy_output(os.dup(self._plan.output), os.dup(2)))
        if self._plan.pty:
            asyncio.get_running_loop().call_soon(self._terminal.watch)
        try:
            return _status(await self._first(output))
        except DescriptorError as error:
            raise ChannelError(f"write to standard output: {os.strerror(error.code)}") from None
        finally:
            feeding.cancel()
            output.cancel()

    async def _with_terminal(self, channel: ClientChannel) -> int:
        from qsh.client.terminal.remote import RemoteTerminal

        assert self._link is not None  # noqa: S101 - set by run()
        self._remote = RemoteTerminal(
            self._plan,
            self._client,
            self._terminal,
            end=self._end,
            act=self._act,
            pty=self._pty,
            reopen=self._reopen,
        )
        asyncio.get_running_loop().call_soon(self._terminal.watch)
        try:
            return await self._remote.run(self._link, channel)
        except DescriptorError as error:
            raise ChannelError(f"write to standard output: {os.strerror(error.code)}") from None

    async def linger(self, work: Coroutine[object, object, None]) -> None:
        """The program has ended; end when ``work`` has, too. Raises as :meth:`run`."""
        self._link = self.link
        await self._first(asyncio.ensure_future(work))

    async def _first(self, work: asyncio.Future[T]) -> T:
        """``work``'s result, unless the session is ended or the connection lost before."""
        assert self._link is not None  # noqa: S101 - set by run()
        waited: set[asyncio.Future[Any]] = {work, self._end, self._link.lost}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        if self._end.done():
            work.cancel()
            self._end.result()
        if work.done():
            return work.result()
        await asyncio.wait({work}, timeout=0.05)  # what the loss itself tells the work
        if work.done():
            return work.result()
        work.cancel()
        raise self._link.lost.result()

    # -- input

    async def _feed(self, channel: ClientChannel) -> None:
        plan = self._plan
        try:
            if not plan.stdin:
                channel.send.finish()
            elif plan.pty:
                await TypedInput(0, channel.send, EscapeFilter(plan.escape), self._act).run()
            else:
                await channel.send.splice_from(os.dup(0), shared=True)
        except DescriptorError as error:
            log.debug(f"standard input: {error}")
            with contextlib.suppress(QshError):
                channel.send.finish()
        except QshError as error:
            log.debug(f"standard input: {error}", 2)

    def _act(self, action: Action) -> None:
        character = self._plan.escape or 0
        remote = self._remote
        if action is Action.HELP:
            text = help_text(
                character,
                persistent=remote is not None,
                commands=self.commands is not None,
                shared=self.shared,
            )
            self._say(text.replace("\n", "\r\n"))
            return
        self._say(echo(character, action))
        handlers: dict[Action, Callable[[], None]] = {
            Action.TERMINATE: lambda: self._finish("\r\n"),
            Action.SUSPEND: self._suspend,
            Action.BREAK: self._break,
            Action.LIST: self._list,
            Action.LESS_VERBOSE: lambda: self._verbosity(-1),
            Action.MORE_VERBOSE: lambda: self._verbosity(1),
            Action.COMMAND: self._open_command_line,
            Action.INFORMATION: self._information,
            Action.STATUS: self._information,
            Action.REKEY: lambda: self._say(" [QUIC renews its keys by itself]\r\n"),
            Action.BACKGROUND: lambda: self._say(" [not in the background: use -f]\r\n"),
        }
        if remote is not None:
            handlers |= {Action.DETACH: remote.detach, Action.HISTORY: remote.history}
        handlers[action]()

    def _say(self, text: str) -> None:
        if self._remote is not None:
            self._remote.say(text)
        else:
            log.plain(text)

    def _finish(self, text: str = "") -> None:
        if text:
            self._say(text)
        if not self._end.done():
            self._end.set_exception(Ended())
            self._end.exception()

    def _suspend(self) -> None:
        self._say(" [suspend qsh]\r\n")
        if self._remote is not None:
            self._remote.suspend()
            return
        self._terminal.suspend()
        self._resized()

    def _break(self) -> None:
        self._say("\r\n")
        if self._remote is not None:
            self._remote.send_break()
        elif self._channel is not None:
            self._channel.signal("BRK")

    def _list(self) -> None:
        lines = self.link.describe_channels() if self.link else []
        self._say("\r\n".join(["", "The following connections are open:", *lines, ""]))

    def _information(self) -> None:
        self._say("\r\n" + (self.link.information() if self.link else ""))

    def _open_command_line(self) -> None:
        remote = self._remote
        if self.shared:
            self._say(" escape not available to multiplexed sessions\r\n")
        elif self.commands is None or remote is None:
            self._say("\r\ncommandline disabled\r\n")
        elif self._command is None:
            from qsh.terminal.command_line import CommandLine

            line = CommandLine()
            self._say("\r\nssh> ")
            remote.divert(lambda data: self._command_typed(line, data))

    def _command_typed(self, line: CommandLine, data: bytes) -> None:
        seen, rest = line.receive(data)
        if seen:
            self._say(seen)
        if line.line is None or self._remote is None or self.commands is None:
            return
        self._remote.divert(None)
        self._command = asyncio.ensure_future(self._run_command(self.commands(line.line)))
        self._remote.type(rest)

    async def _run_command(self, command: Coroutine[object, object, str]) -> None:
        try:
            answer = await command
        except (QshError, OSError) as error:
            answer = str(error)
        finally:
            self._command = None
        if answer:
            self._say(visible_lines(answer).replace("\n", "\r\n") + "\r\n")

    def _verbosity(self, step: int) -> None:
        self._say(f" [LogLevel {log.change_level(step)}]\r\n")

    # -- signals

    def catch_signals(self) -> None:
        """From the login on, signals end the session in good order."""
        loop = asyncio.get_running_loop()
        for number in _END_SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                loop.add_signal_handler(number, self._signalled, number)
        if self._plan.pty:
            loop.add_signal_handler(signal.SIGWINCH, self._resized)

    def _signalled(self, number: int) -> None:
        log.verbose(f"Killed by signal {int(number)}.")
        if self._remote is not None and self._plan.detach_on_hangup and number in _HANGUPS:
            self._remote.detach()
            return
        self._finish()

    def _resized(self) -> None:
        if self._remote is not None:
            self._remote.resized()
            return
        size = window_size(0)
        if self._channel is not None and size.rows:
            self._channel.resize(size.rows, size.cols, size.xpixel, size.ypixel)


def _status(message: Exit) -> int:
    if message.signal is not None or message.status is None:
        log.debug(f"exit-signal {visible(message.signal or '?')} {visible(message.text)}")
        return FAILED
    log.debug(f"Exit status {message.status}")
    return message.status


async def _forever() -> int:
    await asyncio.Event().wait()
    return 0
