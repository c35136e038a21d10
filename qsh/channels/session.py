"""The client's end of a shell, exec or subsystem channel (docs/protocol.md 6).

The data of a channel is spliced natively and never seen here; what is kept is the account: EXIT
names how many bytes of standard output and error the program wrote, and the exit status counts only
when exactly those have been written out.
"""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING

from qsh.channels.frames import read_frame
from qsh.errors import ChannelError, DescriptorError, StreamReset
from qsh.wire.channel import AnswerReader
from qsh.wire.messages import Exit, ExitAck, Failed, Opened, Signal, WindowChange

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.errors import QshError
    from qsh.quic import RecvStream, SendStream

    Tell = Callable[[WindowChange | Signal | ExitAck], None]

__all__ = ["Account", "ClientChannel"]


class Account:
    """Has all output arrived? ``None`` for a stream whose local end was closed: nobody counts it
    any more.
    """

    def __init__(self) -> None:
        self._counted: dict[str, int | None] = {}

    def ended(self, name: str, size: int | None) -> None:
        """``stdout`` or ``stderr`` has ended after ``size`` bytes."""
        self._counted[name] = size

    def check(self, exit_message: Exit) -> None:
        """Raises ChannelError when bytes are missing (or too many)."""
        wanted = {"stdout": exit_message.stdout_offset, "stderr": exit_message.stderr_offset}
        for name, total in wanted.items():
            have = self._counted.get(name, 0)
            if have is not None and have != total:
                raise ChannelError(f"{name} is incomplete: {have} of {total} bytes arrived")


class ClientChannel:
    """One channel. :meth:`open`, :meth:`answer`, then :meth:`copy_output` beside whatever feeds
    :attr:`send`.
    """

    def __init__(self, send: SendStream, recv: RecvStream, tell: Tell) -> None:
        self.send, self.recv, self._tell = send, recv, tell
        self.id = send.id
        self._header = 0
        loop = asyncio.get_running_loop()
        self._exit: asyncio.Future[Exit] = loop.create_future()
        self._stderr: asyncio.Future[RecvStream] = loop.create_future()
        self._has_stderr = False
        self._over = False

    # -- what the connection's reader delivers

    @property
    def running(self) -> bool:
        """The program's end has not been told yet."""
        return not self._over and not self._exit.done()

    def ended(self) -> None:
        """The channel's own messages have told the end: nothing runs that would have to be hung up."""
        self._over = True

    def exit_received(self, message: Exit) -> None:
        """EXIT for this channel."""
        if not self._exit.done():
            self._exit.set_result(message)

    def stderr_received(self, recv: RecvStream) -> None:
        """The unidirectional stream of this channel, its header already read."""
        if not self._stderr.done():
            self._stderr.set_result(recv)

    def lost(self, error: QshError) -> None:
        """The connection is gone."""
        for future in (self._exit, self._stderr):
            if not future.done():
                future.set_exception(error)
                future.exception()  # it may be that nobody waits for this one

    # -- what the session does

    async def open(self, frame: bytes) -> None:
        """Ask for the channel (``frame`` is an encoded OPEN); raw input may follow only after :meth:`answer`."""
        self._header = len(frame)
        await self.send.write(frame)

    async def answer(self) -> Opened:
        """Raises ChannelError when the server refuses."""
        answer: tuple[Opened | Failed, int] = await read_frame(self.recv, AnswerReader())
        message = answer[0]
        if isinstance(message, Failed):
            raise ChannelError(message.reason or message.code, code=message.code)
        self._has_stderr = message.stderr
        return message

    def abort(self) -> None:
        """Give up both ways, whatever is under way."""
        self._over = True
        self.send.reset()
        self.recv.stop()

    @property
    def input_offset(self) -> int:
        """Raw bytes of input sent so far."""
        return max(0, self.send.total - self._header)

    def resize(self, rows: int, cols: int, xpixel: int, ypixel: int) -> None:
        """The window has another size from here on."""
        self._tell(WindowChange(self.id, rows, cols, xpixel, ypixel, self.input_offset))

    def signal(self, name: str) -> None:
        """Deliver a signal, or ``BRK``."""
        self._tell(Signal(self.id, name))

    async def copy_output(self, stdout_fd: int, stderr_fd: int) -> Exit:
        """Write all output, then give EXIT. The descriptors are taken over and closed.

        Raises ChannelError when the account does not fit, DescriptorError when the output could not
        be written (other than to a reader that went away), TransportError when the connection ends
        before.
        """
        account = Account()
        if not self._has_stderr:
            self._stderr.cancel()
        copies = [asyncio.ensure_future(self._copy("stdout", self.recv, stdout_fd, account))]
        copies.append(asyncio.ensure_future(self._copy_stderr(stderr_fd, account)))
        try:
            await asyncio.gather(*copies, self._exit)
        except BaseException:
            for copy in copies:
                copy.cancel()
            raise
        message = self._exit.result()
        account.check(message)
        self._tell(ExitAck(self.id))
        return message

    async def _copy_stderr(self, fd: int, account: Account) -> None:
        if not self._has_stderr:
            os.close(fd)
            return
        await self._copy("stderr", await self._stderr, fd, account)

    async def _copy(self, name: str, recv: RecvStream, fd: int, account: Account) -> None:
        try:
            account.ended(name, await recv.splice_to(fd, shared=True))
        except DescriptorError as error:
            if error.kind != "fd-closed":
                raise
            account.ended(name, None)
        except StreamReset as error:
            raise ChannelError(f"{name} was cut off by the server ({error})") from None
