"""How the terminal ends for this client: with the program's status, or detached."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Final

from qsh.client.log import log
from qsh.client.text import visible
from qsh.errors import ChannelError, QshError
from qsh.wire.terminal import Detach, EndedAck

if TYPE_CHECKING:
    from qsh.channels.session import ClientChannel
    from qsh.client.terminal.channel import TerminalChannel
    from qsh.client.terminal.view import View
    from qsh.wire.terminal import Ended

__all__ = ["Ending"]

FAILED: Final = 255
ACKNOWLEDGED_S: Final = 0.3
"""How long an ended client waits until the host has heard that the exit status arrived."""
DETACH_S: Final = 1.0
"""How long DETACHED is waited for."""


class Ending:
    """The last words to the host and to the user."""

    def __init__(self, host: str, reach: str, channel: TerminalChannel, view: View) -> None:
        """``host``: as messages call it; ``reach``: as somebody would have to type it."""
        self._host, self._reach, self._channel, self._view = host, reach, channel, view
        self._loop = asyncio.get_running_loop()
        self.farewell: str | None = None
        """What to tell the user at the end instead of the usual line."""
        self.detaching = False
        """The loss of the connection is as good as DETACHED."""
        self.left: asyncio.Future[None] = self._loop.create_future()
        """Done when the user has detached and nobody is waited for any more."""

    def detach(self) -> None:
        """Leave; the programs stay."""
        if self.detaching:
            return
        self.detaching = True
        if self._channel.heard is None:
            self._leave()
            return
        self._channel.write(Detach())
        self._loop.call_later(DETACH_S, self._leave)

    def _leave(self) -> None:
        if not self.left.done():
            self.left.set_result(None)

    def detached(self, session: str, reason: str = "") -> int:
        """The exit status of a client whose programs stay, were killed by another one, or ended unheard."""
        host, name = self._host, visible(session)
        self._view.new_line()
        if reason == "killed":
            self.farewell = f"[session {name} on {host} was killed]"
            return FAILED
        if reason == "not-recorded":
            self.farewell = f"[session {name} on {host} was ended: it cannot be recorded any more]"
            return FAILED
        if reason == "lost":
            self.farewell = f"[session {name} on {host} has ended; its exit status is not known]"
            return FAILED
        why = {"taken": " by another client", "by-command": " by command"}.get(reason, "")
        self.farewell = (
            f"[detached{why} from session {name} on {host}; qshctl attach {self._reach} {name}]"
        )
        return 0

    async def ended(self, channel: ClientChannel, message: Ended) -> int:
        """The program's exit status, once the output before it is on the screen. Raises ChannelError."""
        position = self._view.display.position
        if message.offset != position:
            raise ChannelError(f"the output is incomplete: {position} of {message.offset} bytes")
        await self._view.cleared()
        self._channel.write(EndedAck())
        with contextlib.suppress(
            QshError, TimeoutError
        ):  # closing at once would drop it, and the host keep the end
            channel.send.finish()
            await asyncio.wait_for(channel.send.acknowledged(), ACKNOWLEDGED_S)
        channel.ended()
        if message.signal is not None or message.status is None:
            log.debug(f"exit-signal {visible(message.signal or '?')}")
            return FAILED
        log.debug(f"Exit status {message.status}")
        return message.status
