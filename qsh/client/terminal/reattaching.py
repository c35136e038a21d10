"""Another connection for the terminal: beside one that is silent, or after one that was lost."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final

from qsh.client.link import ABANDONED
from qsh.client.log import log, log_failure
from qsh.client.resume import is_final, keep_trying, reason_of
from qsh.errors import QshError
from qsh.wire.messages import MAX_TYPED, Attach, Open

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.channels.session import ClientChannel
    from qsh.client.link import Link
    from qsh.client.resume import Reopen
    from qsh.client.terminal.channel import TerminalChannel
    from qsh.session.typed_log import TypedLog
    from qsh.terminal.display import Display
    from qsh.wire.messages import Pty
    from qsh.wire.terminal import Attached

__all__ = ["Reattaching", "abandon"]

OWN_TAKING_S: Final = 60.0
"""Who is put out by "another client" so soon after it tried another connection was put out by itself."""


class Reattaching:
    """Attempts go on until :meth:`stop`, or until one succeeds: then :attr:`replaced` is done."""

    def __init__(
        self,
        reopen: Reopen | None,
        client: bytes,
        channel: TerminalChannel,
        display: Display,
        *,
        exact: bool,
        pty: Callable[[], Pty],
        typed: TypedLog,
        clock: Callable[[], float],
        failed: Callable[[], None],
    ) -> None:
        """``failed`` is called after an attempt; without ``reopen`` there are none."""
        self._reopen, self._client, self._exact, self._pty = reopen, client, exact, pty
        self._channel, self._display, self._typed = channel, display, typed
        self._clock, self._failed = clock, failed
        self.name = ""
        self.ticket = b""
        """Who has it may attach the session again."""
        self.why = ""
        """There is no connection because of this, in a few words."""
        self.lost_s = clock()
        """When the last connection was lost."""
        self.replaced: asyncio.Future[tuple[Link, ClientChannel]] = self._waited()
        """By this connection, or there is no hope."""
        self._attempts: asyncio.Task[None] | None = None
        self._better = False
        """What is attempted is a better way."""
        self._reopen_better = reopen
        self._begun_s = -OWN_TAKING_S
        """When another connection was begun last: it may have got the terminal after we gave it up."""

    def begin(self) -> None:
        """A connection is in use, which may be replaced."""
        self.replaced = self._waited()

    def attached(self, message: Attached) -> None:
        """On that connection."""
        self.name, self.ticket, self.why = message.name, message.ticket, ""

    def is_hopeless(self, why: QshError) -> bool:
        """Whether a connection that was lost like this stays the last one."""
        return self._reopen is None or not self.ticket or is_final(why)

    def lost(self, why: QshError) -> None:
        """The connection."""
        self.why, self.lost_s = reason_of(why), self._clock()

    def took_it_itself(self) -> bool:
        """Whether the "other client" that has the terminal now may be one of our attempts."""
        return self._clock() - self._begun_s < OWN_TAKING_S

    def start(self) -> None:
        """Try, if nobody does."""
        if self._attempts is not None or self._reopen is None or not self.ticket:
            return
        self._begun_s = self._clock()
        self._attempts = asyncio.ensure_future(self._try(self._reopen))
        self._attempts.add_done_callback(log_failure)

    def start_anew(self) -> None:
        """Try at once, even if the last attempt has just failed: the network is another."""
        self.stop()
        self.start()

    def seek_better(self, reopen: Reopen | None = None) -> None:
        """Try once, though the connection in use is alive: there seems to be a better way, by which ``reopen`` goes."""
        if self._attempts is None:
            self._better, self._reopen_better = True, reopen or self._reopen
            self.start()

    def heard(self) -> None:
        """The connection in use is alive: it will do, unless there is a better way."""
        if not self._better:
            self.stop()

    def stop(self) -> None:
        """The old connection will do."""
        if self._attempts is not None:
            self._attempts.cancel()
            self._attempts, self._better = None, False

    async def _try(self, reopen: Reopen) -> None:
        replaced = self.replaced
        try:
            found = await self._try_better(self._reopen_better or reopen) if self._better else None
            if found is None and (not self._better or self._channel.heard is None):
                self._better = False  # the connection in use was lost meanwhile
                found = await keep_trying(reopen, self._message, self._attempt_failed)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # handed to whoever waits
            if not replaced.done():
                replaced.set_exception(error)
                replaced.exception()
            return
        finally:
            if self._attempts is asyncio.current_task():
                self._attempts, self._better = None, False
        if found is None:
            return
        if replaced.done() or replaced is not self.replaced:
            abandon(*found)
        else:
            replaced.set_result(found)

    async def _try_better(self, reopen: Reopen) -> tuple[Link, ClientChannel] | None:
        try:
            return await reopen(self._message)
        except (QshError, OSError) as error:
            log.debug(f"not a better way: {error}")
            return None

    def _attempt_failed(self, error: Exception) -> None:
        if self._channel.heard is None:
            self.why = reason_of(error)
        self._failed()

    def _message(self) -> Open:
        typed = self._typed.since(self._typed.start)
        attach = Attach(
            self._client,
            ticket=self.ticket,
            consumed=self._display.position,
            exact=self._exact,
            host=os.uname().nodename[:256],
            typed=typed if len(typed) <= MAX_TYPED else b"",
            typed_from=self._typed.start,
        )
        return Open("attach", self.name.encode(), self._pty(), terminal=attach)

    def _waited(self) -> asyncio.Future[tuple[Link, ClientChannel]]:
        return asyncio.get_running_loop().create_future()


def abandon(link: Link, channel: ClientChannel) -> None:
    """Leave a connection without the word that ends programs."""
    channel.ended()
    closing = asyncio.ensure_future(link.close(ABANDONED))
    closing.add_done_callback(log_failure)
