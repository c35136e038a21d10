"""The life of one persistent terminal, over all its connections, and the one timer of its parts.

When a connection is lost, the user is told in a line at the top of the screen, keys are kept, and another connection goes on
where the host and the user's terminal stand.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from qsh.client.log import log
from qsh.client.terminal.channel import TerminalChannel
from qsh.client.terminal.contact import ContactWatch
from qsh.client.terminal.ending import Ending
from qsh.client.terminal.history import History
from qsh.client.terminal.keyboard import Keyboard
from qsh.client.terminal.path import PathWatch
from qsh.client.terminal.reattaching import Reattaching, abandon
from qsh.client.terminal.reception import Reception
from qsh.client.terminal.reports import Reports
from qsh.client.terminal.typed import Typed
from qsh.client.terminal.view import View
from qsh.client.text import visible
from qsh.client.tty import window_size
from qsh.errors import ChannelError, ConnectionLost, StreamReset
from qsh.wire.terminal import Ended, Repaint, Resized, SendBreak

if TYPE_CHECKING:
    from collections.abc import Callable

    from qsh.channels.session import ClientChannel
    from qsh.client.link import Link
    from qsh.client.resume import Reopen
    from qsh.client.session import Plan
    from qsh.client.tty import Terminal
    from qsh.errors import QshError
    from qsh.terminal.escape import Action
    from qsh.wire.messages import Pty
    from qsh.wire.terminal import Attached

__all__ = ["RemoteTerminal"]

_INFO: Final = 3
"""LogLevel of what a login says."""


class RemoteTerminal:
    """One terminal, from OPENED to its end or to the detaching."""

    def __init__(
        self,
        plan: Plan,
        client: bytes,
        local: Terminal,
        *,
        end: asyncio.Future[int],
        stdin: int = 0,
        act: Callable[[Action], None],
        pty: Callable[[], Pty],
        reopen: Reopen | None,
    ) -> None:
        """``end`` is done when the user ends the session; ``act`` takes escapes."""
        self._plan, self._local, self._end = plan, local, end
        loop = asyncio.get_running_loop()
        self._loop, self._clock = loop, loop.time
        clock, now = self._clock, self._clock()
        channel = self._channel = TerminalChannel()
        view = self._view = View(plan, clock, self._progressed)
        self._display = view.display
        typed = self._typed = Typed(channel, view.output, now)
        reports = self._reports = Reports(channel, view.output, clock)
        self._reattaching = Reattaching(
            reopen,
            client,
            channel,
            view.display,
            exact=plan.exact,
            pty=pty,
            typed=typed.log,
            clock=clock,
            failed=self._tick,
        )
        contact = self._contact = ContactWatch(
            channel, view, typed, reports, self._reattaching, escape=plan.escape, now=now
        )
        self._path = PathWatch(channel, typed.repetition, reports, contact, view.display, now)
        self._keyboard = Keyboard(
            plan,
            stdin,
            channel,
            view,
            typed,
            reports,
            contact,
            clock=clock,
            act=act,
            after=self._after,
        )
        self._history = History(channel, view, self._keyboard, local, self._shows_else)
        self._reception = Reception(
            channel,
            view,
            self._keyboard,
            reports,
            contact,
            clock=clock,
            attached=self._attached,
            history=self._history.receive,
            after=self._after,
        )
        self._reach = visible(plan.as_typed or plan.host)
        self._ending = Ending(plan.host, self._reach, channel, view)
        self._timer: asyncio.TimerHandle | None = None
        self._timer_s = 0.0

    @property
    def link(self) -> Link | None:
        """The connection in use, or the last one."""
        return self._channel.link

    @property
    def name(self) -> str:
        """Of the session, once it is known."""
        return self._reattaching.name

    @property
    def farewell(self) -> str | None:
        """What to tell the user at the end instead of the usual line."""
        return self._ending.farewell

    # -- the life of it

    async def run(self, link: Link, channel: ClientChannel) -> int:
        """The exit status. Raises Ended, QshError."""
        self._keyboard.start()
        try:
            while True:
                outcome = await self._connected(link, channel)
                if outcome is None:
                    outcome = await self._again()
                if isinstance(outcome, int):
                    return outcome
                link, channel = outcome
        except ChannelError as error:
            if error.code != "session-lost":
                raise
            log.debug(f"terminal {visible(self.name)}: {visible(str(error))}")
            return self._ending.detached(self.name, "lost")
        finally:
            await self._close()

    async def _connected(
        self, link: Link, channel: ClientChannel
    ) -> int | tuple[Link, ClientChannel] | None:
        """Until the end (the status), another connection's success, or this one's loss (None)."""
        self._begin(link, channel)
        left, replaced = self._ending.left, self._reattaching.replaced
        reading = asyncio.ensure_future(self._read(channel))
        waited: set[asyncio.Future[Any]] = {reading, link.lost, self._end, left, replaced}
        try:
            await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
            self._raise_end()
            if (
                left.done()
            ):  # unheard: a farewell would reach a host that was stopped before our word
                abandon(link, channel)
                return self._ending.detached(self.name)
            if replaced.done():
                abandon(link, channel)
                return replaced.result()
            if not reading.done():
                await asyncio.wait({reading}, timeout=0.05)
            why: QshError = ConnectionLost("the stream was cut off")
            if reading.done():
                try:
                    if (status := reading.result()) is not None:
                        return status
                except (ConnectionLost, StreamReset) as error:
                    why = error
            await asyncio.wait({link.lost}, timeout=0.05)
            if link.lost.done():
                why = link.lost.result()
            self._raise_end()
        finally:
            reading.cancel()
            self._channel.heard = None
        if self._ending.detaching:
            return self._ending.detached(self.name)
        if self._reattaching.is_hopeless(why):
            raise why
        log.debug(f"terminal {visible(self.name)}: connection lost: {why}")
        self._reattaching.lost(why)
        abandon(link, channel)
        return None

    def _begin(self, link: Link, channel: ClientChannel) -> None:
        self._reattaching.begin()
        self._reception.begin()
        self._channel.begin(link, channel, self._reception.receive_datagram)
        self._contact.begin()
        self._path.begin()
        link.stranded = self._reattaching.start_anew
        link.seek_better = self._reattaching.seek_better

    async def _again(self) -> int | tuple[Link, ClientChannel]:
        """Another connection, whenever there is one. Raises Ended, QshError (no hope)."""
        self._reattaching.start()
        self._tick()
        left, replaced = self._ending.left, self._reattaching.replaced
        waited: set[asyncio.Future[Any]] = {replaced, self._end, left}
        await asyncio.wait(waited, return_when=asyncio.FIRST_COMPLETED)
        self._raise_end()
        return self._ending.detached(self.name) if left.done() else replaced.result()

    def _raise_end(self) -> None:
        if self._end.done():
            self._end.result()

    async def _close(self) -> None:
        """Leave the user's terminal as the server's bytes have it."""
        self._reattaching.stop()
        await self._history.close()
        self._stop_timer()
        self._keyboard.pause()
        await self._view.cleared(0.3)
        self._view.output.close()

    # -- its begin and its end on a connection

    def _attached(self, channel: ClientChannel, message: Attached, now: float) -> None:
        first = not self._reattaching.ticket
        self._reattaching.attached(message)
        log.debug(f"terminal {visible(message.name)}: output from {message.start}")
        self._view.show(self._display.start(message.start, now))
        self._view.output.put(b"", message.start)
        self._reports.start(message.start)
        self._typed.resume(message.received)
        self._channel.heard = channel
        if first and self._plan.tell_waiting:
            lines = message.waiting if log.level >= _INFO else []
            for text in lines:
                self._view.say(visible(text) + "\r\n")
            if lines:
                self._view.say(f"qshctl attach {self._reach} NAME goes on with it\r\n")
        if len(self._typed.log):
            self._keyboard.send(now)
        if not first:
            self.resized()
        self._path.look(now)

    async def _read(self, channel: ClientChannel) -> int | None:
        """Until the end of the stream; the exit status if there is one."""
        message = await self._reception.read(channel)
        if message is None:
            return None
        if isinstance(message, Ended):
            return await self._ending.ended(channel, message)
        channel.ended()
        if message.reason == "taken" and self._reattaching.took_it_itself():
            raise ConnectionLost("another connection of ours took over")
        return self._ending.detached(self.name, message.reason)

    # -- the clock

    def _progressed(self) -> None:
        self._after(self._clock())

    def _after(self, now: float) -> None:
        """Something has happened: say what the terminal has taken, and set the clock."""
        if self._channel.heard is not None:
            if self._display.needs_painting and not self._contact.notice_is_on:
                self._display.needs_painting = False
                self._channel.write(Repaint())
            self._reports.taken(now)
        self._schedule()

    def _schedule(self) -> None:
        """Wake when the next thing is due."""
        soonest = min(self._deadlines(), default=None)
        timer = self._timer
        if soonest is None or (timer is not None and self._timer_s <= soonest):
            return
        if timer is not None:
            timer.cancel()
        self._timer_s = soonest
        self._timer = self._loop.call_at(soonest, self._tick)

    def _deadlines(self) -> list[float]:
        now, contact, reports = self._clock(), self._contact, self._reports
        found = [self._display.deadline, contact.deadline(now)]
        if self._channel.heard is not None:
            found += [reports.datagram_s, reports.settled_s, self._typed.repetition.deadline]
            found.append(contact.probe_s)
            if contact.in_use(now):
                found.append(self._path.next_s)
        return [item for item in found if item is not None]

    def _tick(self) -> None:
        self._stop_timer()
        now = self._clock()
        if self._channel.heard is not None:
            self._reports.send_due(now)
            self._typed.repeat(now)
            if now >= self._path.next_s:
                self._path.look(now)
        self._contact.look(now)
        self._view.show(self._display.expire(now))
        self._after(now)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # -- what the user asks for

    def say(self, text: str) -> None:
        """Print a text of our own on the user's terminal."""
        self._view.say(text)

    def divert(self, take: Callable[[bytes], None] | None) -> None:
        """What is typed from now on is not for the host; None: it is again."""
        self._keyboard.divert(take)

    def type(self, data: bytes) -> None:
        """As if it were typed now."""
        self._keyboard.type(data)

    def detach(self) -> None:
        """Leave; the programs stay."""
        self._ending.detach()

    def history(self) -> None:
        """Show in a pager what has left the screen."""
        self._history.fetch()

    def send_break(self) -> None:
        """A break on the line."""
        self._channel.write(SendBreak())

    def resized(self) -> None:
        """The window has another size."""
        size = window_size(0)
        if not size.rows:
            return
        now = self._clock()
        damaged = self._display.resized(size.rows, size.cols, now)
        self._channel.write(
            Resized(self._typed.log.end, size.rows, size.cols, size.xpixel, size.ypixel)
        )
        if damaged:
            self._channel.write(Repaint())
            self._view.show(self._display.refresh(now))

    def suspend(self) -> None:
        """Stop this process; it goes on in the foreground, on a terminal that shows something else."""
        self._view.show(self._display.clear())
        self._local.suspend()
        self._shows_else()

    def _shows_else(self) -> None:
        self.resized()
        self._channel.write(Repaint())
        self._view.show(self._display.refresh(self._clock()))
        self._after(self._clock())
